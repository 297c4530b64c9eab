"""
What real players send about how it went, and the right number for it.

Each case says in words what happens, in seconds of the player's clock, and works out what must come of it. The audience is one
session; what it sends arrives as it is stamped, unless the case says otherwise.
"""

import pytest

from sessions.changes import Increments, Policy
from sessions.events import Event, Happenings
from sessions.qoe import figures
from sessions.session import Session
from sessions.states import Playback
from sessions.tracker import Tracker
from tests.unit.inputs import beat, end, event, events, known, pixel, start


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(7, policy=Policy())


def live(tracker: Tracker, *inputs: Event | tuple[Event, float]) -> Session:
    """Let a session live through inputs, each when it is stamped or, of a pair, when the second says; return it."""
    for each in inputs:
        said, now = each if isinstance(each, tuple) and not hasattr(each, "_fields") else (each, None)
        if now is None:
            now = said.happenings[-1].at if isinstance(said, Happenings) else said.at  # type: ignore[union-attr]
        tracker.receive(said, now=now)
        tracker.validate()
    return known(tracker)


def one(kind: str, at: float, **details: object) -> Happenings:
    return events(event(kind, at, **details))  # type: ignore[arg-type]


def gained(tracker: Tracker) -> Increments:
    return tracker.take_changes().increments


# Waiting for too long.


@pytest.mark.reaches("STALLED_AFTER_S")
def test_who_waits_for_more_than_five_minutes_is_a_session_and_watches_no_more(tracker: Tracker) -> None:
    """0 frame · 30 stalls, and says so every 30 s: 300 s of it are rebuffering, at 330 it still is, at 360 it is `stalled`."""
    live(tracker, start(0), one("stream_start", 0))
    for at in range(30, 331, 30):
        assert live(tracker, beat(at, "rebuffering")).playback is Playback.REBUFFERING
    for at in range(360, 3_601, 30):
        assert live(tracker, beat(at, "rebuffering")).playback is Playback.STALLED
    assert tracker.audience["state", Playback.STALLED] == 1
    told = figures(known(tracker))
    assert (told["playing_time_s"], told["rebuffering_time_s"], told["rebuffer_count"]) == (30, 300, 1)


def test_who_waits_for_its_first_frame_for_more_than_five_minutes_watches_no_more_either(tracker: Tracker) -> None:
    """0 start, then it says every 30 s that it buffers, and no frame comes."""
    live(tracker, start(0))
    for at in range(30, 301, 30):
        assert live(tracker, beat(at, "rebuffering")).playback is Playback.STARTING
    assert live(tracker, beat(330, "rebuffering")).playback is Playback.STALLED
    assert figures(known(tracker))["starting_time_s"] == 300


def test_who_says_nothing_of_its_playback_is_not_taken_for_stalled(tracker: Tracker) -> None:
    live(tracker, start(0))
    for at in range(30, 901, 30):
        assert live(tracker, beat(at)).playback is Playback.STARTING


def test_a_stall_that_ends_after_five_minutes_plays_on_from_there(tracker: Tracker) -> None:
    """0 frame · 10 stalls · 400 it ends · 420: 10 s and 20 s of playing, 300 s of one stall, 90 s of nothing."""
    live(tracker, start(0), one("stream_start", 0), one("stream_buffer_start", 10))
    for at in range(30, 391, 30):
        live(tracker, beat(at, "rebuffering"))
    live(tracker, one("stream_buffer_end", 400), beat(420, "playing"))
    told = figures(known(tracker))
    assert (told["playing_time_s"], told["rebuffering_time_s"], told["rebuffer_count"]) == (30, 300, 1)


# Flags.


def test_all_three_flags_false_is_paused_once_a_frame_was_shown(tracker: Tracker) -> None:
    """0 start · 30 plays · 60 to 570 nothing of the three: 30 s of playing, then 510 s paused."""
    live(tracker, start(0), beat(30, "playing"))
    for at in range(60, 571, 30):
        assert live(tracker, beat(at, "idle")).playback is Playback.PAUSED
    told = figures(known(tracker))
    assert (told["playing_time_s"], told["paused_time_s"]) == (30, 510)


def test_all_three_flags_false_before_the_first_frame_is_still_starting(tracker: Tracker) -> None:
    assert live(tracker, start(0), beat(30, "idle")).playback is Playback.STARTING


def test_a_page_that_starts_and_never_plays_watches_no_more_after_five_minutes(tracker: Tracker) -> None:
    """0 start, since the page begins by itself; the browser forbids it to play, and nobody presses play: all three flags false for an hour."""
    live(tracker, start(0))
    for at in range(30, 301, 30):
        assert live(tracker, beat(at, "idle")).playback is Playback.STARTING
    for at in range(330, 3_601, 30):
        assert live(tracker, beat(at, "idle")).playback is Playback.STALLED
    assert figures(known(tracker))["starting_time_s"] == 300
    assert live(tracker, beat(3_630, "playing")).playback is Playback.PLAYING


def test_a_missing_flag_leaves_the_state_as_it_was(tracker: Tracker) -> None:
    assert live(tracker, start(0), beat(30, "playing"), beat(60)).playback is Playback.PLAYING


# The start, and what comes before it.


def test_a_start_that_arrives_after_the_first_frame_fills_in_who_and_leaves_the_state(tracker: Tracker) -> None:
    """The first frame is stamped 2 and the start 5: no startup is known, and it plays throughout."""
    session = live(tracker, (one("stream_start", 2), 5), start(5))
    assert (session.playback, session.platform) == (Playback.PLAYING, "web")
    live(tracker, beat(8, "playing"))
    told = figures(known(tracker))
    assert (told["startup_time_s"], told["playing_time_s"], told["starting_time_s"]) == (None, 6, 0)


def test_a_lost_start_that_comes_late_does_not_stop_who_plays(tracker: Tracker) -> None:
    """Beats play at 30 and 60, the start comes at 61; 30 s later nothing but playing was counted."""
    session = live(tracker, beat(30, "playing"), beat(60, "playing"), start(61))
    assert session.playback is Playback.PLAYING
    live(tracker, beat(90, "playing"))
    told = figures(known(tracker))
    assert (told["playing_time_s"], told["starting_time_s"], told["startup_time_s"]) == (60, 0, None)


def test_a_stream_start_after_a_frame_that_a_beat_told_is_not_the_first_frame(tracker: Tracker) -> None:
    """0 start · 30 a beat says that it plays · 45 stream_start, after an error: the first frame came somewhere before 30."""
    live(tracker, start(0), beat(30, "playing"), one("stream_start", 45))
    assert figures(known(tracker))["startup_time_s"] is None


@pytest.mark.reaches("STARTUP_S_MAX")
@pytest.mark.parametrize(("first_frame_at", "startup_s"), [(600, 600), (601, None)])
def test_a_first_frame_more_than_ten_minutes_after_the_start_gives_no_startup(
    tracker: Tracker, first_frame_at: float, startup_s: float | None
) -> None:
    live(tracker, start(0))
    for at in range(30, 600, 30):
        live(tracker, beat(at))
    live(tracker, one("stream_start", first_frame_at), end(first_frame_at + 1))
    assert figures(known(tracker))["startup_time_s"] == startup_s
    assert (("startup", "sum") in gained(tracker)) == (startup_s is not None)


# What a stall ends in.


def test_a_preload_that_ends_before_the_first_frame_is_no_play(tracker: Tracker) -> None:
    """0 start · 0.2-1.9 it buffers · 20 end: no play, no playing time, an exit before the start."""
    live(tracker, start(0), one("stream_buffer_start", 0.2), one("stream_buffer_end", 1.9), end(20))
    told = figures(known(tracker))
    assert (told["played"], told["playing_time_s"], told["exit_before_video_start"]) == (False, 0, True)


@pytest.mark.parametrize("ends", ["stream_buffer_end", "stream_reconnect_success"])
def test_who_was_paused_before_a_stall_is_paused_after_it(tracker: Tracker, ends: str) -> None:
    """0 plays · 60 paused · 61-62 a stall · 90: 60 s of playing, 1 + 28 s paused, one stall of 1 s."""
    live(tracker, start(0), beat(0, "playing"), beat(60, "paused"), one("stream_buffer_start", 61))
    assert live(tracker, one(ends, 62)).playback is Playback.PAUSED
    live(tracker, beat(90))
    told = figures(known(tracker))
    assert (told["playing_time_s"], told["paused_time_s"], told["rebuffering_time_s"]) == (60, 29, 1)


@pytest.mark.parametrize("kind", ["dvr_resume_live", "stream_buffer_end"])
def test_who_is_paused_stays_paused_back_at_the_live_edge_or_where_no_stall_was(tracker: Tracker, kind: str) -> None:
    assert live(tracker, start(0), beat(0, "playing"), beat(30, "paused"), one(kind, 31)).playback is Playback.PAUSED


# Errors.


def test_an_error_that_the_player_got_over_is_an_error_and_no_failure(tracker: Tracker) -> None:
    """1 first frame · 10 a fatal error · 12 it plays again, for ten minutes: one error, no failure, a score like anybody's."""
    live(tracker, start(0), one("stream_start", 1), one("stream_error", 10, fatal=True), one("stream_start", 12))
    for at in range(30, 601, 30):
        live(tracker, beat(at, "playing"))
    live(tracker, end(610))
    told = figures(known(tracker))
    assert (told["errors"], told["failure"], told["startup_time_s"]) == (1, None, 1)
    assert told["experience_score"] == pytest.approx(0.4 * 100 * 8 / 9 + 0.6 * 100)
    assert not {key for key in gained(tracker) if key[0] in ("playback_failures", "start_failures")}


@pytest.mark.parametrize("said", [beat(40, "paused"), beat(40, "idle"), beat(40, "rebuffering"), one("stream_buffer_start", 40)])
def test_who_failed_stays_failed_until_something_says_that_it_plays(tracker: Tracker, said: Event) -> None:
    live(tracker, start(0), beat(10, "playing"), one("stream_error", 20, fatal=True), said)
    assert known(tracker).playback is Playback.FAILED
    assert live(tracker, beat(70, "playing")).playback is Playback.PLAYING


def test_who_fails_and_never_plays_again_is_a_failure_of_its_kind(tracker: Tracker) -> None:
    live(tracker, start(0), beat(10, "playing"), one("stream_error", 20, fatal=True), beat(40, "paused"), end(50))
    assert gained(tracker)["playback_failures", "stream"] == 1


# Seeks.


@pytest.mark.reaches("SEEK_FOLLOWS_STALL_S")
@pytest.mark.parametrize(("seek_at", "by_seek"), [(10.05, True), (10.5, True), (10.6, False)])
def test_a_stall_that_the_player_told_just_before_its_seek_is_the_seeks(tracker: Tracker, seek_at: float, by_seek: bool) -> None:
    """0 frame · 10 a stall · the seek that caused it · 13 it ends: 3 s of rebuffering, all of it the seek's, or none."""
    live(tracker, start(0), one("stream_start", 0), one("stream_buffer_start", 10), one("dvr_seek", seek_at), one("stream_buffer_end", 13))
    live(tracker, end(20))
    told = figures(known(tracker))
    assert told["rebuffering_time_s"] == pytest.approx(3)
    assert told["connection_induced_rebuffering_ratio"] == pytest.approx(0 if by_seek else 3 / 20)
    increments = gained(tracker)
    assert increments.get(("rebuffers", "stream", "seek"), 0) == by_seek
    assert increments.get(("rebuffers", "stream", "connection"), 0) == (not by_seek)
    assert increments.get(("seek_rebuffering", "stream"), 0) == pytest.approx(3 if by_seek else 0)


def test_a_stall_is_counted_once_though_its_seek_is_folded_after_it(tracker: Tracker) -> None:
    """A stall at 10.00 and its seek at 10.05: the beat at 70.02 lets go of the one and not yet of the other. No counter falls."""
    live(tracker, start(0), one("stream_start", 0), one("stream_buffer_start", 10), one("dvr_seek", 10.05), one("stream_buffer_end", 13))
    live(tracker, beat(70.02, "playing"))
    first = gained(tracker)
    live(tracker, beat(100, "playing"), end(110))
    second = gained(tracker)
    for cause, stalls in (("connection", 0), ("seek", 1)):
        amounts = [told.get(("rebuffers", "stream", cause), 0) for told in (first, second)]
        assert min(amounts) >= 0
        assert sum(amounts) == stalls


# What players measure.


def test_a_bitrate_of_zero_is_no_bitrate(tracker: Tracker) -> None:
    """0-30 the player says 0 · from 30 on 5 Mbit/s · 60: on average 5, over the 30 s for which one was known."""
    live(tracker, start(0), beat(0, "playing", bitrate_bps=0), beat(30, "playing", bitrate_bps=5_000_000), end(60))
    assert figures(known(tracker))["average_bitrate_bps"] == pytest.approx(5_000_000)


@pytest.mark.reaches("DVR_OFFSET_S_MIN")
def test_who_watches_ten_minutes_back_has_no_live_latency_meanwhile(tracker: Tracker) -> None:
    """0-60 live, 2 s behind · 60-150 ten minutes back, whose player calls 602 s a latency · 150 live again at 4 s · 180."""
    live(tracker, start(0), beat(0, "playing", latency_us=2_000_000), beat(30, "playing", latency_us=2_000_000))
    behind = [beat(at, "playing", latency_us=602_000_000)._replace(behind_live=True) for at in (60, 90, 120)]
    live(tracker, *behind)
    assert figures(known(tracker))["live_latency_s"] == pytest.approx(2)
    live(tracker, beat(150, "playing", latency_us=4_000_000), end(180))
    assert figures(known(tracker))["live_latency_s"] == pytest.approx((60 * 2 + 30 * 4) / 90)


def test_auto_neither_switches_nor_hides_the_quality_that_is_known(tracker: Tracker) -> None:
    """Beats say auto, events say 1080p, nine times in turn: one quality, no switch."""
    live(tracker, start(0, quality="auto"))
    for at in range(30, 271, 30):
        session = live(tracker, one("quality_change", at, quality="1080p"), beat(at + 1, "playing", quality="auto"))
        assert session.quality == "1080p"
    assert figures(known(tracker))["quality_switches"] == 0


def test_auto_is_what_is_shown_until_a_quality_is_known(tracker: Tracker) -> None:
    assert live(tracker, start(0, quality="auto")).quality == "auto"
    assert live(tracker, beat(30, "playing", quality="720p")).quality == "720p"


@pytest.mark.parametrize(
    ("readings", "stalls"),
    [
        ([("rebuffering", 3), ("playing", 3), ("playing", 5)], 2),  # three before the first frame were no stalls
        ([("playing", 4), ("playing", 6), ("playing", 1), ("playing", 2)], 8),  # 6, then it began again and rose by 2
        ([("playing", 2), ("playing", 2), ("playing", 2)], 2),
    ],
)
def test_the_players_counter_of_stalls_counts_as_it_rises_after_the_first_frame(
    tracker: Tracker, readings: list[tuple[str, int]], stalls: int
) -> None:
    live(tracker, start(0))
    for number, (state, reading) in enumerate(readings, start=1):
        live(tracker, beat(30 * number, state, rebuffer_count=reading))
    assert figures(known(tracker))["rebuffer_count"] == stalls


# Advertisements.


def test_startup_is_without_the_advertisement_before_it(tracker: Tracker) -> None:
    """0 start · 0.8-30.8 a break · 32 first frame: 2 s of startup, 30 s in advertisements, no stall for what the player waits in it."""
    live(tracker, start(0), one("ad_break_start", 0.8))
    assert live(tracker, one("stream_buffer_start", 5), beat(15, "playing")).playback is Playback.AD
    assert tracker.audience["state", Playback.AD] == 1
    assert live(tracker, one("ad_break_end", 30.8)).playback is Playback.STARTING
    live(tracker, one("stream_start", 32), end(60))
    told = figures(known(tracker))
    assert told["startup_time_s"] == pytest.approx(2)
    assert told["ad_time_s"] == pytest.approx(30)
    assert (told["playing_time_s"], told["rebuffer_count"]) == (28, 0)
    increments = gained(tracker)
    assert increments["startup", "sum"] == pytest.approx(2)
    assert increments["ad", "stream"] == pytest.approx(30)


@pytest.mark.parametrize("said", [beat(70, "rebuffering"), beat(70, "paused"), beat(70, "idle"), beat(70, "playing")])
def test_a_break_in_the_middle_is_no_stall_and_no_pause_whatever_the_content_does_meanwhile(tracker: Tracker, said: Event) -> None:
    """0 plays · 60-90 a break · 120: 60 + 30 s of playing, 30 s in advertisements."""
    live(tracker, start(0), beat(0, "playing"), one("ad_break_start", 60), one("ad_start", 60), said)
    assert known(tracker).playback is Playback.AD
    assert live(tracker, one("ad_end", 80)).playback is Playback.AD, "the break goes on"
    assert live(tracker, one("ad_break_end", 90)).playback is Playback.PLAYING
    live(tracker, end(120))
    told = figures(known(tracker))
    assert (told["playing_time_s"], told["ad_time_s"], told["rebuffering_time_s"], told["paused_time_s"]) == (90, 30, 0, 0)
    assert told["rebuffer_count"] == 0


def test_an_advertisement_of_which_no_break_was_told_ends_with_itself(tracker: Tracker) -> None:
    live(tracker, start(0), beat(0, "playing"))
    assert live(tracker, one("ad_start", 20)).playback is Playback.AD
    assert live(tracker, one("ad_end", 35)).playback is Playback.PLAYING


def test_a_stall_that_a_break_interrupts_is_one_stall(tracker: Tracker) -> None:
    """0 plays · 10 a stall · 12-42 a break · 44 the stall ends · 60: 2 + 2 s of one stall."""
    live(tracker, start(0), beat(0, "playing"), one("stream_buffer_start", 10), one("ad_break_start", 12))
    assert live(tracker, one("ad_break_end", 42)).playback is Playback.REBUFFERING
    live(tracker, one("stream_buffer_end", 44), end(60))
    told = figures(known(tracker))
    assert (told["rebuffering_time_s"], told["rebuffer_count"], told["ad_time_s"], told["playing_time_s"]) == (4, 1, 30, 26)


def test_a_first_frame_ends_a_break_whose_end_was_lost(tracker: Tracker) -> None:
    live(tracker, start(0), one("ad_break_start", 1), one("stream_start", 31))
    assert known(tracker).playback is Playback.PLAYING
    assert figures(known(tracker))["startup_time_s"] == pytest.approx(1)


@pytest.mark.reaches("AD_BREAK_S_MAX")
@pytest.mark.parametrize("said", ["playing", "rebuffering", "paused"])
def test_a_break_of_which_the_end_was_lost_is_over_after_ten_minutes(tracker: Tracker, said: str) -> None:
    """0 plays · 60 a break begins, and its end is lost: what the player says at 660 is still within it, at 690 it is believed again."""
    live(tracker, start(0), beat(0, "playing"), one("ad_break_start", 60))
    for at in range(90, 661, 30):
        assert live(tracker, beat(at, said)).playback is Playback.AD
    assert live(tracker, beat(690, said)).playback is Playback(said)
    assert figures(known(tracker))["ad_time_s"] == 630


def test_a_break_in_which_another_advertisement_begins_goes_on_for_ten_minutes_from_there(tracker: Tracker) -> None:
    live(tracker, start(0), beat(0, "playing"), one("ad_break_start", 60))
    for at in range(90, 661, 30):
        live(tracker, beat(at, "playing"))
    live(tracker, one("ad_start", 661))
    for at in range(690, 1_261, 30):
        assert live(tracker, beat(at, "playing")).playback is Playback.AD
    assert live(tracker, beat(1_290, "playing")).playback is Playback.PLAYING


def test_a_stall_that_ends_after_a_break_of_which_the_end_was_lost_goes_back_to_what_was_before_the_break(tracker: Tracker) -> None:
    live(tracker, start(0), beat(0, "paused"), beat(30, "playing"), beat(40, "paused"), one("ad_break_start", 60))
    for at in range(90, 661, 30):
        live(tracker, beat(at))
    assert live(tracker, one("stream_buffer_end", 670)).playback is Playback.PAUSED


def test_who_leaves_during_an_advertisement_is_counted_so(tracker: Tracker) -> None:
    live(tracker, start(0), beat(0, "playing"), one("ad_break_start", 60), one("ad_error", 65), end(70))
    increments = gained(tracker)
    assert (increments["exits_during_ad", "stream"], increments["ad_errors", "stream"]) == (1, 1)


# What is stored.


def test_an_account_that_an_older_build_stored_goes_on_where_it_was(tracker: Tracker) -> None:
    """A session that stalls is stored without what this build added: its stall still ends in playing, and is counted once."""
    live(tracker, start(0), one("stream_start", 0), one("stream_buffer_start", 10), beat(80, "rebuffering"))
    session = known(tracker)
    before = bytes(session.account[: 13 * 8 + 6 * 4 + 2 + 6])
    again = Session.load([*session.dump()])
    again.account = bytearray(before)
    assert again.settled().playback is Playback.REBUFFERING
    assert again.settled().rebuffers == 1


def test_a_pixels_time_before_its_play_is_nobodys(tracker: Tracker) -> None:
    tracker.receive(pixel("view"), now=10)
    tracker.receive(pixel("play"), now=310)
    tracker.receive(pixel("check"), now=340)
    [session] = tracker.sessions.values()
    assert figures(session)["playing_time_s"] == 30


# On the way to another stream, and after the end.


def test_a_stall_counts_for_the_stream_on_which_it_began_though_its_viewer_zaps_at_once(tracker: Tracker) -> None:
    """10.0 stalls on A · 10.3 is on B: within the half second in which a seek might still be told, so that its cause is open until then."""
    live(tracker, start(0, stream_id="A"), one("stream_start", 1), one("stream_buffer_start", 10), beat(10.3, "rebuffering", stream_id="B"))
    live(tracker, one("stream_buffer_end", 12), end(20))
    counted = gained(tracker)
    assert (counted["rebuffers", "A", "connection"], ("rebuffers", "B", "connection") in counted) == (1, False)


def test_an_error_of_an_advertisement_is_counted_though_it_arrives_after_the_end(tracker: Tracker) -> None:
    """20 ends · what is stamped 15 arrives at 21 and is taken, as an error of the stream's would be."""
    live(tracker, start(0), one("stream_start", 1), end(20), (one("ad_error", 15), 21))
    assert gained(tracker)["ad_errors", "stream"] == 1


def test_a_stall_of_a_seek_that_a_break_interrupts_is_the_seek_s_after_it_too(tracker: Tracker) -> None:
    stalled = one("dvr_seek", 10), one("stream_buffer_start", 11), one("ad_break_start", 15), one("ad_break_end", 45)
    told = live(tracker, beat(0, "playing"), *stalled, beat(60, "playing")).settled()
    # Four seconds before the break and fifteen after it, of one stall.
    assert (told.rebuffers, told.seek_rebuffers) == (1, 1)
    assert (told.rebuffering_s, told.seek_rebuffering_s, told.ad_s) == (19, 19, 30)
