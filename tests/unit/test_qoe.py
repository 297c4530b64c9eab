"""Every formula of docs/metrics.md, on a written-down timeline whose result is worked out by hand."""

import pytest

from sessions.changes import Policy
from sessions.events import End, Happenings, Heartbeat, Start
from sessions.qoe import exited_before_start, experience_score, figures, score
from sessions.tracker import Tracker
from tests.unit.inputs import beat, end, event, events, known, pixel, start


def lived(*inputs: Start | Heartbeat | Happenings | End, expire_at: float | None = None) -> dict[str, object]:
    """The figures of a session that sent these; each reaches us as it is stamped."""
    tracker = Tracker(7, policy=Policy())
    for each in inputs:
        tracker.receive(each, now=each.happenings[-1].at if isinstance(each, Happenings) else each.at)
    if expire_at is not None:
        assert tracker.advance(now=expire_at, limit=10) == 1
    tracker.validate()
    return figures(known(tracker))


def test_times_and_ratios_of_a_whole_session() -> None:
    """
    0 start · 2 first frame · 30 stall · 36 on · 60 seek · 62 stall · 65 on · 80 paused · 100 playing · 110 end.

    starting 0-2 = 2. playing 2-30 + 36-62 + 65-80 + 100-110 = 28 + 26 + 15 + 10 = 79. rebuffering 30-36 + 62-65 = 6 + 3 = 9, of
    which 3 by the seek. paused 80-100 = 20. watched 79 + 9 = 88; ratio 9/88; connection-induced 6/88; two stalls; startup 2.
    """
    result = lived(
        start(0),
        events(event("stream_start", 2)),
        events(event("stream_buffer_start", 30)),
        events(event("stream_buffer_end", 36)),
        events(event("dvr_seek", 60)),
        events(event("stream_buffer_start", 62)),
        events(event("stream_buffer_end", 65)),
        beat(80, "paused"),
        beat(100, "playing"),
        end(110),
    )
    assert result["startup_time_s"] == 2
    assert result["starting_time_s"] == 2
    assert result["playing_time_s"] == 79
    assert result["rebuffering_time_s"] == 9
    assert result["paused_time_s"] == 20
    assert result["watch_time_s"] == 88
    assert result["rebuffering_ratio"] == pytest.approx(9 / 88)
    assert result["connection_induced_rebuffering_ratio"] == pytest.approx(6 / 88)
    assert result["rebuffer_count"] == 2
    assert (result["failure"], result["exit_before_video_start"]) == (None, False)


def test_the_watch_time_of_who_vanished_ends_at_the_last_sign_of_life() -> None:
    """0 playing · 30 playing · silence until 121: 30 s were watched, not 120."""
    assert lived(beat(0, "playing"), beat(30, "playing"), expire_at=121)["watch_time_s"] == 30


def test_nothing_watched_has_no_ratio() -> None:
    """0 start · 5 end: a share of nothing is unknown, not zero."""
    result = lived(start(0), end(5))
    assert (result["rebuffering_ratio"], result["connection_induced_rebuffering_ratio"]) == (None, None)


# Startup.


def test_startup_is_unknown_if_only_a_heartbeat_tells_of_the_first_frame() -> None:
    """0 start · 30 heartbeat playing: it played at some time before, nobody knows when."""
    assert lived(start(0), beat(30, "playing"))["startup_time_s"] is None


def test_startup_is_unknown_while_provisional() -> None:
    """0 stream_start, and no start ever."""
    assert lived(events(event("stream_start", 0)))["startup_time_s"] is None


def test_startup_is_that_of_the_first_frame_not_of_a_later_one() -> None:
    """0 start · 3 first frame · 50 a second stream_start: 3 s."""
    assert lived(start(0), events(event("stream_start", 3)), events(event("stream_start", 50)))["startup_time_s"] == 3


def test_startup_is_that_of_the_first_start_not_of_one_that_revives() -> None:
    """0 start · 3 first frame · expired · 200 the same session starts again: still 3 s."""
    tracker = Tracker(7, policy=Policy())
    tracker.receive(start(0), now=0)
    tracker.receive(events(event("stream_start", 3)), now=3)
    tracker.advance(now=100, limit=10)
    tracker.receive(start(200), now=200)
    assert figures(known(tracker))["startup_time_s"] == 3


def test_a_first_frame_stamped_before_the_start_gives_no_startup() -> None:
    """0 stream_start · 1 start."""
    assert lived(events(event("stream_start", 0)), start(1))["startup_time_s"] is None


def test_pixels_give_no_startup() -> None:
    """Ours: 10 view · 14 play: whoever looks at a page before it clicks is not loading."""
    tracker = Tracker(7, policy=Policy())
    tracker.receive(pixel("view"), now=10)
    tracker.receive(pixel("play"), now=14)
    [session] = tracker.sessions.values()
    assert figures(session)["startup_time_s"] is None


# Rebuffering.


def test_waiting_for_the_first_frame_is_no_rebuffering() -> None:
    """0 start · 1 buffer_start (starting, for no frame was shown) · 5 first frame · 15 end: 5 s starting, 10 playing, no stall."""
    result = lived(start(0), events(event("stream_buffer_start", 1)), events(event("stream_start", 5)), end(15))
    assert (result["starting_time_s"], result["playing_time_s"], result["rebuffer_count"]) == (5, 10, 0)
    assert result["rebuffering_ratio"] == 0


def test_a_stall_told_twice_is_one_stall() -> None:
    """0 frame · 10 buffer_start · 12 reconnect · 15 heartbeat rebuffering · 20 reconnected: one stall of 10 s."""
    result = lived(
        events(event("stream_start", 0)),
        events(event("stream_buffer_start", 10)),
        events(event("stream_reconnect", 12)),
        beat(15, "rebuffering"),
        events(event("stream_reconnect_success", 20)),
    )
    assert (result["rebuffer_count"], result["rebuffering_time_s"]) == (1, 10)


@pytest.mark.reaches("SEEK_CAUSES_STALL_S")
@pytest.mark.parametrize(("stall_at", "induced"), [(15, 0.0), (15.1, 1.0)])
def test_a_stall_is_the_seeks_fault_if_it_begins_within_five_seconds(stall_at: float, induced: float) -> None:
    """0 frame · 10 seek · 15 or 15.1 stall · 20 end: the stall is all the rebuffering; its share by the connection is none, or all."""
    result = lived(events(event("stream_start", 0)), events(event("dvr_seek", 10)), events(event("stream_buffer_start", stall_at)), end(20))
    assert result["rebuffering_time_s"] == pytest.approx(20 - stall_at)
    assert result["connection_induced_rebuffering_ratio"] == pytest.approx(induced * (20 - stall_at) / 20)


def test_one_seek_causes_one_stall() -> None:
    """0 frame · 10 seek · 11-12 stall · 13-15 stall: the second, within 5 s too, is the connection's: 2 of 15 s watched."""
    result = lived(
        events(event("stream_start", 0)),
        events(event("dvr_seek", 10)),
        events(event("stream_buffer_start", 11)),
        events(event("stream_buffer_end", 12)),
        events(event("stream_buffer_start", 13)),
        end(15),
    )
    assert result["connection_induced_rebuffering_ratio"] == pytest.approx(2 / 15)


@pytest.mark.parametrize(("theirs", "count"), [(0, 1), (1, 1), (5, 5)])
def test_the_larger_of_our_count_of_stalls_and_the_players_counts(theirs: int, count: int) -> None:
    """0 frame · 10 a stall of which the heartbeat at 20 tells the player's own counter."""
    result = lived(events(event("stream_start", 0)), events(event("stream_buffer_start", 10)), beat(20, rebuffer_count=theirs))
    assert result["rebuffer_count"] == count


def test_the_players_counter_at_the_end_counts_and_never_falls() -> None:
    assert lived(beat(0, "playing", rebuffer_count=4), end(10, rebuffer_count=7))["rebuffer_count"] == 7
    assert lived(beat(0, "playing", rebuffer_count=4), end(10, rebuffer_count=0))["rebuffer_count"] == 4


# Bitrate, latency, quality.


def test_the_average_bitrate_weighs_by_the_playing_time_for_which_it_is_known() -> None:
    """
    0 playing, bitrate unknown · 10 playing at 4 Mbit/s · 40 at 1 Mbit/s · 50 paused · 60 end.

    10-40: 30 s of 4 M = 120 M; 40-50: 10 s of 1 M = 10 M; 0-10 unknown and 50-60 not playing: 130 M / 40 s = 3.25 M.
    """
    result = lived(
        beat(0, "playing"), beat(10, "playing", bitrate_bps=4_000_000), beat(40, bitrate_bps=1_000_000), beat(50, "paused"), end(60)
    )
    assert result["average_bitrate_bps"] == pytest.approx(3_250_000)


def test_a_bitrate_stays_known_until_the_player_names_another() -> None:
    """0 playing at 2 Mbit/s · 30 no bitrate said · 60 end: 2 Mbit/s for 60 s."""
    assert lived(beat(0, "playing", bitrate_bps=2_000_000), beat(30), end(60))["average_bitrate_bps"] == pytest.approx(2_000_000)


def test_a_bitrate_of_zero_is_none_and_a_latency_of_zero_is_one() -> None:
    assert lived(beat(0, "playing", bitrate_bps=0, latency_us=0), end(60))["average_bitrate_bps"] is None
    assert lived(beat(0, "playing", bitrate_bps=0, latency_us=0), end(60))["live_latency_s"] == 0
    assert lived(beat(0, "playing"), end(60))["average_bitrate_bps"] is None
    assert lived(beat(0, "playing"), end(60))["live_latency_s"] is None


def test_live_latency_weighs_by_the_same_time() -> None:
    """0 playing 2.0 s behind · 30 at 5.0 s · 40 stalled · 60 end: (30·2 + 10·5) / 40 = 2.75 s."""
    result = lived(beat(0, "playing", latency_us=2_000_000), beat(30, latency_us=5_000_000), beat(40, "rebuffering"), end(60))
    assert result["live_latency_s"] == pytest.approx(2.75)


def test_quality_switches_are_the_changes_after_the_first() -> None:
    """auto · 720p (first) · 720p again · 1080p · none said · auto: one change."""
    qualities = ["720p", "720p", "1080p", None, "auto"]
    beats = [beat(30 * number, quality=quality) for number, quality in enumerate(qualities, start=1)]
    assert lived(start(0, quality="auto"), *beats)["quality_switches"] == 1
    assert lived(beat(0), beat(30, quality="720p"))["quality_switches"] == 0
    assert lived(start(0), events(event("quality_change", 5, quality="240p")))["quality_switches"] == 0


# Failures and exits.


def test_a_fatal_error_before_the_first_frame_is_a_start_failure() -> None:
    result = lived(start(0), events(event("stream_error", 5, fatal=True)), end(9))
    assert (result["failure"], result["exit_before_video_start"], result["experience_score"]) == ("start", False, 0)


def test_a_fatal_error_after_it_is_a_playback_failure() -> None:
    result = lived(start(0), events(event("stream_start", 1)), events(event("stream_error", 5, fatal=True)), end(9))
    assert (result["failure"], result["experience_score"]) == ("playback", 0)


def test_an_end_for_an_error_is_a_failure_like_a_fatal_error() -> None:
    assert lived(start(0), end(9, reason="error"))["failure"] == "start"
    assert lived(start(0), beat(1, "playing"), end(9, reason="error"))["failure"] == "playback"


def test_a_session_fails_at_most_once_and_for_what_it_did_not_get_over() -> None:
    """0 start · 1 fatal · 2 it plays after all · 5 fatal again · end for an error: one playback failure."""
    inputs = [start(0), events(event("stream_error", 1, fatal=True)), beat(2, "playing"), events(event("stream_error", 5, fatal=True))]
    result = lived(*inputs, end(9, reason="error"))
    assert (result["failure"], result["errors"]) == ("playback", 2)


def test_an_error_is_not_fatal_unless_it_says_so() -> None:
    result = lived(start(0), beat(1, "playing"), events(event("stream_error", 5)), end(9))
    assert (result["failure"], result["errors"], result["playing_time_s"]) == (None, 1, 8)


@pytest.mark.parametrize(("left_at", "exited"), [(0.9, False), (1, True), (40, True)])
def test_who_leaves_without_a_frame_after_a_second_exited_before_the_video_started(left_at: float, exited: bool) -> None:
    assert lived(start(0), end(left_at))["exit_before_video_start"] is exited


def test_who_expires_without_a_frame_exited_before_the_video_started() -> None:
    assert lived(start(0), beat(30), expire_at=121)["exit_before_video_start"] is True


def test_neither_who_saw_a_frame_nor_a_provisional_nor_a_live_session_exited_before_start() -> None:
    assert lived(start(0), beat(5, "playing"), end(9))["exit_before_video_start"] is False
    assert lived(beat(0), end(9))["exit_before_video_start"] is False
    assert lived(start(0), beat(30))["exit_before_video_start"] is False


def test_who_started_too_long_ago_to_know_when_still_exited_before_start() -> None:
    """100 a heartbeat without a frame · its start, stamped 10, arrives: too late for the window, but it was started · 110 end."""
    tracker = Tracker(7, policy=Policy())
    tracker.receive(beat(100), now=100)
    tracker.receive(start(10), now=101)
    tracker.receive(end(110), now=110)
    assert exited_before_start(known(tracker))


# The score.


def test_the_score_of_a_perfect_session_is_a_hundred() -> None:
    """Startup 0 s: 100·8/8 = 100. No stall: ½·100/1 + ½·100·1 = 100."""
    assert experience_score(success=100, startup_time_s=0, rebuffers=0, ratio=0, showed_frame=True) == 100


def test_the_score_follows_its_published_curves() -> None:
    """
    Startup 2 s: 100·8/10 = 80. Two stalls, ratio 0.1: ½·100/√2 + ½·100·e⁻¹ = 35.3553 + 18.3940 = 53.7493.

    0.4·80 + 0.6·53.7493 = 32 + 32.2496 = 64.2496.
    """
    assert experience_score(success=100, startup_time_s=2, rebuffers=2, ratio=0.1, showed_frame=True) == pytest.approx(64.2496, abs=1e-4)


def test_with_startup_unknown_the_score_is_smoothness_alone() -> None:
    assert experience_score(success=100, startup_time_s=None, rebuffers=2, ratio=0.1, showed_frame=True) == pytest.approx(53.7493, abs=1e-4)


@pytest.mark.parametrize(("success", "expected"), [(50, 25), (0, 0)])
def test_who_never_saw_a_frame_scores_a_quarter_or_nothing(success: int, expected: float) -> None:
    """Left by itself: 50 · 0.5 = 25. Failed: 0."""
    assert experience_score(success=success, startup_time_s=None, rebuffers=0, ratio=0, showed_frame=False) == expected


def test_only_a_session_that_is_over_has_a_score() -> None:
    """0 start · 2 frame · 42 end: startup 80, smooth 100: 0.4·80 + 0.6·100 = 92."""
    inputs = [start(0), events(event("stream_start", 2)), beat(30, "playing")]
    assert lived(*inputs)["experience_score"] is None
    assert lived(*inputs, end(42))["experience_score"] == pytest.approx(92)
    assert lived(start(0), end(5))["experience_score"] == 25


def test_the_score_knows_of_the_stalls_that_only_the_player_counted() -> None:
    """0 playing, two stalls counted by the player · 60 end: ½·100/√2 + 50 = 85.3553, startup unknown."""
    assert lived(beat(0, "playing", rebuffer_count=2), end(60))["experience_score"] == pytest.approx(85.3553, abs=1e-4)


def test_the_players_own_total_stands_beside_ours() -> None:
    result = lived(start(0), beat(10, "playing"), end(30, total_watch_s=2_340))
    assert (result["watch_time_s"], result["player_total_watch_s"]) == (20, 2_340)


def test_a_live_sessions_figures_are_not_extrapolated_to_now() -> None:
    tracker = Tracker(7, policy=Policy())
    tracker.receive(beat(0, "playing"), now=0)
    tracker.receive(beat(30, "playing"), now=30)
    tracker.advance(now=80, limit=10)
    assert figures(known(tracker))["playing_time_s"] == 30
    assert score(known(tracker)) is None
