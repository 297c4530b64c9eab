"""Every counter and histogram of quality on a written-down timeline whose result is worked out by hand."""

from itertools import pairwise

import pytest

from metrics.catalog import CATALOG, Kind, labels_of
from sessions.changes import Increments, Key, Policy
from sessions.events import Beacon, End, Happenings, Heartbeat, Start
from sessions.histograms import BOUNDS, bucket
from sessions.qoe import figures
from sessions.tracker import Tracker
from tests.unit.inputs import beat, end, event, events, known, pixel, start

Said = Start | Heartbeat | Happenings | End

QUALITY = {
    "playing", "rebuffering", "seek_rebuffering", "paused", "rebuffers", "played_bytes", "bitrate", "quality_switches", "stream_errors",
    "start_failures", "playback_failures", "exits_before_start", "plays", "startup", "live_latency", "session", "experience_score",
    "player_watch_difference", "player_count_difference",
}  # fmt: skip


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(7, policy=Policy())


def at_of(said: Said) -> float:
    return said.happenings[-1].at if isinstance(said, Happenings) else said.at


def gained(tracker: Tracker) -> Increments:
    """What is new of quality since the last call."""
    tracker.validate()
    increments = tracker.take_changes().increments
    for key in increments:
        labels_of(key)
    return {key: amount for key, amount in increments.items() if key[0] in QUALITY}


def live(tracker: Tracker, *inputs: Said) -> Increments:
    """Each input reaches us as it is stamped."""
    for each in inputs:
        tracker.receive(each, now=at_of(each))
    return gained(tracker)


def of(increments: Increments, *names: str) -> Increments:
    return {key: amount for key, amount in increments.items() if key[0] in names}


def observed(name: str, *values: float, labels: Key = ()) -> Increments:
    """The increments of a histogram that saw these."""
    seen: Increments = {}
    for value in values:
        key = (name, "le", bucket(name, value), *labels)
        seen[key] = seen.get(key, 0) + 1
    return seen | {(name, "sum", *labels): pytest.approx(sum(values))}


TIMES = ("playing", "rebuffering", "paused")


def test_seconds_are_counted_by_state_and_stream_once_the_session_is_over(tracker: Tracker) -> None:
    """
    0 start · 2 first frame · 30 stall · 36 on · 60 seek · 62 stall · 65 on · 80 paused · 100 playing · 110 end.

    playing 28 + 26 + 15 + 10 = 79; rebuffering 6 + 3 = 9, 3 of them by the seek; paused 20; one stall by the connection, one by
    the seek; one play.
    """
    told = live(
        tracker,
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
    assert of(told, *TIMES, "seek_rebuffering", "rebuffers", "plays") == {
        ("playing", "stream"): 79,
        ("rebuffering", "stream"): 9,
        ("seek_rebuffering", "stream"): 3,
        ("paused", "stream"): 20,
        ("rebuffers", "stream", "connection"): 1,
        ("rebuffers", "stream", "seek"): 1,
        ("plays", "stream"): 1,
    }


def test_time_is_counted_when_it_can_no_longer_change(tracker: Tracker) -> None:
    """
    0 playing · 30 · 60: nothing is older than 60 s. 90: the input at 0 folds, and opens an interval. 120: 0-30 is final, 30 s.

    181 the session expires: the rest, 30-120, is 90 s.
    """
    assert live(tracker, beat(0, "playing"), beat(30), beat(60)) == {}
    assert of(live(tracker, beat(90)), *TIMES) == {}
    assert of(live(tracker, beat(120)), *TIMES) == {("playing", "unknown"): 30}
    tracker.advance(now=300, limit=10)
    assert of(gained(tracker), *TIMES) == {("playing", "unknown"): 90}


def test_who_asks_adds_nothing(tracker: Tracker) -> None:
    """0 playing · 100 playing · 200: asked for its figures each time, 100 s are counted when they are final, and the rest never twice."""
    total = 0.0
    for at in (0, 100, 200):
        tracker.receive(beat(at, "playing"), now=at, interval_s=120)
        figures(known(tracker))
        known(tracker).settled()
        total += gained(tracker).get(("playing", "unknown"), 0)
    assert total == 100
    tracker.receive(end(200), now=200)
    assert of(gained(tracker), "playing") == {("playing", "unknown"): 100}


def test_time_stays_with_the_stream_in_which_it_was_spent(tracker: Tracker) -> None:
    """0 playing x · 20 playing y · 25 stalls in y · 30 paused in x · 50 end: x 20 playing and 20 paused, y 5 and 5."""
    told = live(
        tracker,
        beat(0, "playing", stream_id="x"),
        beat(20, "playing", stream_id="y"),
        beat(25, "rebuffering", stream_id="y"),
        beat(30, "paused", stream_id="x"),
        end(50),
    )
    assert of(told, *TIMES, "plays", "rebuffers") == {
        ("playing", "x"): 20,
        ("playing", "y"): 5,
        ("rebuffering", "y"): 5,
        ("paused", "x"): 20,
        ("plays", "x"): 1,
        ("rebuffers", "y", "connection"): 1,
    }


def test_average_bitrate_is_eight_times_bytes_over_seconds(tracker: Tracker) -> None:
    """
    0 playing, bitrate unknown · 10 playing at 4 Mbit/s · 40 at 1 Mbit/s · 50 paused · 60 end.

    30 s of 4 M + 10 s of 1 M = 130 Mbit = 16.25 MB over 40 s; 8 · 16.25 M / 40 = 3.25 Mbit/s.
    """
    told = live(
        tracker,
        beat(0, "playing", stream_id="s"),
        beat(10, bitrate_bps=4_000_000),
        beat(40, bitrate_bps=1_000_000),
        beat(50, "paused"),
        end(60),
    )
    assert of(told, "played_bytes", "bitrate") == {("played_bytes", "s"): 16_250_000, ("bitrate", "s"): 40}
    assert 8 * told["played_bytes", "s"] / told["bitrate", "s"] == figures(known(tracker))["average_bitrate_bps"] == 3_250_000


def test_quality_switches_are_the_changes_after_the_first(tracker: Tracker) -> None:
    """auto at the start · 720p (first) · 720p again · 1080p · end: one."""
    told = live(tracker, start(0), beat(10, quality="720p"), beat(20, quality="720p"), beat(30, quality="1080p"), end(40))
    assert told["quality_switches", "stream"] == 1


def test_errors_are_counted_as_they_are_taken_by_stream_fatal_or_not(tracker: Tracker) -> None:
    """One of each; a second time the same id; a late one (200, then 10); one stamped before the end that comes after it."""
    tracker.receive(start(0), now=0)
    assert live(tracker, events(event("stream_error", 5), event("stream_error", 6, fatal=True))) == {
        ("stream_errors", "stream", "false"): 1,
        ("stream_errors", "stream", "true"): 1,
    }
    assert live(tracker, events(event("stream_error", 5))) == {}
    tracker.receive(beat(80, "playing"), now=80)
    gained(tracker)
    assert live(tracker, events(event("stream_error", 7))) == {("stream_errors", "stream", "false"): 1}
    live(tracker, end(90))
    assert live(tracker, events(event("stream_error", 89, fatal=True), stream_id="other one")) == {
        ("stream_errors", "other one", "true"): 1
    }


# Outcomes.


def outcomes(told: Increments) -> dict[str, float]:
    names = ("plays", "start_failures", "playback_failures", "exits_before_start")
    return {name: told[name, "stream"] for name in names if (name, "stream") in told}


def test_a_fatal_error_before_the_first_frame_is_a_start_failure_and_no_exit(tracker: Tracker) -> None:
    assert outcomes(live(tracker, start(0), events(event("stream_error", 5, fatal=True)), end(9))) == {"start_failures": 1}


def test_a_fatal_error_after_it_is_a_playback_failure_of_a_play(tracker: Tracker) -> None:
    told = live(tracker, start(0), events(event("stream_start", 1)), events(event("stream_error", 5, fatal=True)), end(9))
    assert outcomes(told) == {"plays": 1, "playback_failures": 1}


def test_an_end_for_an_error_fails_like_a_fatal_error(tracker: Tracker) -> None:
    assert outcomes(live(tracker, start(0), end(9, reason="error"))) == {"start_failures": 1}


def test_a_session_fails_once(tracker: Tracker) -> None:
    """0 start · 1 fatal · 2 plays after all · 5 fatal again · 9 end for an error: one playback failure, and a play."""
    told = live(
        tracker,
        start(0),
        events(event("stream_error", 1, fatal=True)),
        beat(2, "playing"),
        events(event("stream_error", 5, fatal=True)),
        end(9, reason="error"),
    )
    assert outcomes(told) == {"plays": 1, "playback_failures": 1}


@pytest.mark.parametrize(("left_at", "exits"), [(0.9, {}), (1.0, {"exits_before_start": 1})])
def test_who_leaves_without_a_frame_after_a_second_exited_before_the_start(
    tracker: Tracker, left_at: float, exits: dict[str, float]
) -> None:
    assert outcomes(live(tracker, start(0), end(left_at))) == exits


def test_outcomes_are_counted_once_however_often_a_session_revives(tracker: Tracker) -> None:
    """0 start · 40 waits · expires · 200 revives, waits · expires · 400 revives and plays · 410 end: one play of 40 + 10 s, no exit."""
    total: Increments = {}
    for each in (start(0), beat(40), beat(200), beat(400, "playing"), end(410)):
        tracker.advance(now=at_of(each) - 1, limit=10)
        for key, amount in live(tracker, each).items():
            total[key] = total.get(key, 0) + amount
    assert known(tracker).revision == 3
    assert outcomes(total) == {"plays": 1}
    assert of(total, "session", "experience_score") == observed("session", 50) | observed("experience_score", 100)
    assert total["playing", "stream"] == 10


def test_a_revived_sessions_time_is_counted_from_where_it_was_folded(tracker: Tracker) -> None:
    """0-30 playing, expired; 200-220 playing, end: 30 s, then 20 s more; the silence is nobody's."""
    live(tracker, beat(0, "playing"), beat(30, "playing"))
    tracker.advance(now=150, limit=10)
    assert of(gained(tracker), *TIMES, "plays") == {("playing", "unknown"): 30, ("plays", "unknown"): 1}
    assert of(live(tracker, beat(200, "playing"), end(220)), *TIMES, "plays") == {("playing", "unknown"): 20}


# Histograms.


def test_startup_is_observed_once_when_both_its_times_are_final(tracker: Tracker) -> None:
    """0 start · 2.5 first frame · 50 a second stream_start · 63 a beat makes both final: 2.5 s; at the end nothing more."""
    told = live(tracker, start(0), events(event("stream_start", 2.5)), events(event("stream_start", 50)), beat(63))
    assert of(told, "startup") == observed("startup", 2.5)
    assert of(live(tracker, end(70)), "startup") == {}


def test_startup_that_is_unknown_is_not_observed(tracker: Tracker) -> None:
    """Only a heartbeat tells of the frame; or there was no start."""
    assert of(live(tracker, start(0), beat(30, "playing"), end(40)), "startup") == {}
    other = (events(event("stream_start", 0), session_id="t"), end(9, session_id="t"))
    assert of(live(tracker, *other), "startup") == {}


def test_a_start_that_comes_after_its_first_frame_gives_its_startup(tracker: Tracker) -> None:
    """stream_start at 2 arrives first, the start of 0 after it: 2 s."""
    tracker.receive(events(event("stream_start", 2)), now=2)
    tracker.receive(start(0), now=3)
    assert of(live(tracker, end(9)), "startup") == observed("startup", 2)


def test_a_finished_session_is_observed_in_length_latency_and_score(tracker: Tracker) -> None:
    """
    0 start · 2 frame · 12 says 2 s behind live · 42 paused · 52 end.

    Length 2 starting + 40 playing + 10 paused = 52. Latency: known for 30 s, 2 s. Score: startup 80, smooth 100: 32 + 60 = 92.
    """
    told = live(tracker, start(0), events(event("stream_start", 2)), beat(12, latency_us=2_000_000), beat(42, "paused"), end(52))
    assert of(told, "session", "live_latency", "experience_score") == {
        **observed("session", 52),
        **observed("live_latency", 2),
        **observed("experience_score", 92),
    }


def test_the_score_observed_is_that_of_the_story(tracker: Tracker) -> None:
    """Two stalls of the player's counter, startup unknown: 50/√2 + 50 = 85.36."""
    told = live(tracker, beat(0, "playing", rebuffer_count=2), end(60))
    assert told["experience_score", "sum"] == figures(known(tracker))["experience_score"] == pytest.approx(85.3553, abs=1e-4)


def test_stalls_that_only_the_player_counted_are_added_when_its_session_finishes(tracker: Tracker) -> None:
    """
    0 playing · 10 a stall that we saw · 20 on, the player has counted three · expired: two more, the connection's.

    300 revives, counts four · 320 ends with four: one more.
    """
    live(tracker, beat(0, "playing"), events(event("stream_buffer_start", 10)), beat(20, "playing", rebuffer_count=3))
    tracker.advance(now=200, limit=10)
    assert of(gained(tracker), "rebuffers") == {("rebuffers", "unknown", "connection"): 3}
    told = live(tracker, beat(300, "playing", rebuffer_count=4), end(320, rebuffer_count=4))
    assert of(told, "rebuffers") == {("rebuffers", "unknown", "connection"): 1}


def test_how_far_the_players_totals_are_from_ours_is_observed_at_the_end(tracker: Tracker) -> None:
    """0 start · 10 plays · 40 end: 30 s watched, no stall, no switch. The player says 34 s, 2 stalls and 1 switch: 4, 2 and 1."""
    tracker.receive(start(0), now=0)
    tracker.receive(beat(10, "playing"), now=10)
    tracker.receive(End("s", 40, "user_exit", 34, 2, 1), now=40)
    tracker.receive(End("s", 40, "user_exit", 99, 9, 9), now=41)
    assert of(gained(tracker), "player_watch_difference", "player_count_difference") == {
        **observed("player_watch_difference", 4),
        **observed("player_count_difference", 2, labels=("rebuffers",)),
        **observed("player_count_difference", 1, labels=("quality_switches",)),
    }


# Beacons.


def pixels(tracker: Tracker, *said: tuple[Beacon, float]) -> Increments:
    for each, now in said:
        tracker.receive(each, now=now)
    while (due_at := tracker.next_deadline()) is not None:
        tracker.advance(now=due_at, limit=10)
    return gained(tracker)


def test_a_beacons_play_is_a_play_with_its_time(tracker: Tracker) -> None:
    """10 view · 14 play · 44 check · expired: shown 4 s (nobody's), no startup, playing 30; a score of smoothness alone, 100."""
    told = pixels(tracker, (pixel("view"), 10), (pixel("play"), 14), (pixel("play"), 20), (pixel("check"), 44))
    assert told == {
        ("playing", "video"): 30,
        ("plays", "video"): 1,
        **observed("session", 30),
        **observed("experience_score", 100),
    }


def test_a_player_that_was_only_shown_is_no_play_no_exit_and_has_no_score(tracker: Tracker) -> None:
    assert pixels(tracker, (pixel("view"), 10), (pixel("check"), 40)) == {}


def test_a_check_that_comes_first_was_playing(tracker: Tracker) -> None:
    """10 check · 40 check: 30 s of one play, its startup unknown."""
    told = pixels(tracker, (pixel("check"), 10), (pixel("check"), 40))
    assert of(told, "playing", "plays", "startup") == {("playing", "video"): 30, ("plays", "video"): 1}


# The catalog.


def test_every_row_of_qoe_md_is_declared() -> None:
    declared = {metric.name: (metric.kind, metric.labels) for metric in CATALOG}
    by_stream = ("playing_seconds", "rebuffering_seconds", "seek_rebuffering_seconds", "paused_seconds", "played_bytes", "bitrate_seconds",
                 "quality_switches", "start_failures", "playback_failures", "exits_before_start", "plays")  # fmt: skip
    for name in by_stream:
        assert declared[name] == (Kind.COUNTER, ("stream_id",))
    assert declared["rebuffers"] == (Kind.COUNTER, ("stream_id", "cause"))
    assert declared["stream_errors"] == (Kind.COUNTER, ("stream_id", "fatal"))
    for name in ("startup_seconds", "live_latency_seconds", "session_seconds", "experience_score", "player_watch_difference_seconds"):
        assert declared[name] == (Kind.HISTOGRAM, ())
    for name in ("stream_startup_seconds", "stream_live_latency_seconds", "stream_experience_score"):
        assert declared[name] == (Kind.HISTOGRAM, ("stream_id",))
    assert declared["player_count_difference"] == (Kind.HISTOGRAM, ("total",))
    assert {metric.increments for metric in CATALOG} >= QUALITY


def test_bounds_ascend() -> None:
    assert all(low < high for bounds in BOUNDS.values() for low, high in pairwise(bounds))
