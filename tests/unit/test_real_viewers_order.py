"""What stamps of real players do to the order of a session: two inputs of one second, zaps, and stamps that are far off."""

from typing import Any

import pytest

from sessions.changes import Policy
from sessions.events import Heartbeat
from sessions.qoe import figures
from sessions.tracker import Tracker
from tests.unit.inputs import account, beat, end, event, events, known, start

YEAR_9999 = 253_402_300_799.0


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(3, policy=Policy())


# Two inputs of one second.


@pytest.mark.parametrize(
    "differs",
    [
        {"playback": "paused"},
        {"stream_id": "another"},
        {"channel_id": "another"},
        {"program_id": "another"},
        {"quality": "480p"},
        {"bitrate_bps": 2_000_000},
        {"latency_us": 9},
        {"rebuffer_count": 2},
        {"vitals": b"more"},
    ],
)
def test_a_heartbeat_of_the_same_second_that_says_something_else_is_newer(tracker: Tracker, differs: dict[str, Any]) -> None:
    said: dict[str, Any] = {
        "playback": "playing",
        "stream_id": "stream",
        "channel_id": "channel",
        "program_id": "program",
        "quality": "720p",
        "bitrate_bps": 4_000_000,
        "latency_us": 7,
        "rebuffer_count": 1,
        "vitals": b"new",
    }
    first, other = Heartbeat("s", 1_030, **said), Heartbeat("s", 1_030, **{**said, **differs})
    for each in (first, first, other, other):
        tracker.receive(each, now=1_030)
    increments = tracker.take_changes().increments
    assert (increments[("heartbeats",)], increments[("duplicates",)]) == (2, 2)
    (field, value), *_ = differs.items()
    if field == "playback":
        assert str(tracker.sessions["s"].playback) == value
    elif field in {"stream_id", "channel_id", "program_id", "quality", "vitals"}:
        assert getattr(tracker.sessions["s"], field) == value


# Zaps.


def test_the_event_of_a_zap_that_overtakes_its_beat_leaves_the_channel_to_the_beat(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing", stream_id="a")._replace(channel_id="one"), now=1_000)
    tracker.receive(events(event("mute", 1_045.2), stream_id="b"), now=1_045)
    tracker.receive(beat(1_045, "playing", stream_id="b")._replace(channel_id="two"), now=1_046)
    assert (known(tracker).stream_id, known(tracker).channel_id) == ("b", "two")
    tracker.receive(beat(1_040, "playing", stream_id="a")._replace(channel_id="one"), now=1_047)
    assert (known(tracker).stream_id, known(tracker).channel_id) == ("b", "two")


@pytest.mark.parametrize("event_at", [1_045.2, 1_045])
def test_the_event_of_a_zap_that_overtakes_its_start_leaves_the_channel_to_the_start(tracker: Tracker, event_at: float) -> None:
    """1,000 start on A · 1,030 plays · an event of B, and only then the start on B of 1,045, or of the same second; then its copy."""
    tracker.receive(start(1_000, stream_id="a")._replace(channel_id="one"), now=1_000)
    tracker.receive(beat(1_030, "playing", stream_id="a")._replace(channel_id="one"), now=1_030)
    tracker.receive(events(event("mute", event_at), stream_id="b"), now=1_045.5)
    for now in (1_046, 1_047):
        tracker.receive(start(1_045, stream_id="b")._replace(channel_id="two"), now=now)
        tracker.validate()
    assert (known(tracker).stream_id, known(tracker).channel_id) == ("b", "two")
    assert tracker.take_changes().increments[("duplicates",)] == 1
    tracker.receive(beat(1_040, "playing", stream_id="a")._replace(channel_id="one"), now=1_048)
    assert (known(tracker).stream_id, known(tracker).channel_id) == ("b", "two")


def test_an_error_that_comes_after_the_zap_is_the_stream_s_that_was_watched_then(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing", stream_id="a"), now=1_000)
    tracker.receive(beat(1_045, "playing", stream_id="b"), now=1_045)
    tracker.receive(events(event("stream_error", 1_040), stream_id=None), now=1_046)
    increments = tracker.take_changes().increments
    assert increments[("stream_errors", "a", "false")] == 1
    assert ("stream_errors", "b", "false") not in increments


# Stamps that are far ahead.


def test_who_is_stamped_far_ahead_shows_at_once_and_counts_once_a_beat_agrees(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000)
    tracker.receive(beat(1_030, "playing"), now=1_030)
    tracker.receive(beat(8_260, "paused"), now=1_060)
    assert str(known(tracker).playback) == "paused"
    tracker.receive(beat(8_290, "paused"), now=1_090)
    # 30 s of playing; the 30 s between the two clocks are nobody's; then 30 s of being paused.
    assert (account(tracker).playing_s, account(tracker).paused_s) == (30, 30)
    assert known(tracker).tallies.wild == 1


def test_the_copy_of_a_beat_that_is_stamped_far_ahead_is_a_copy(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000)
    for now in (1_030, 1_031):
        tracker.receive(beat(8_230, "playing"), now=now)
    increments = tracker.take_changes().increments
    assert (increments[("heartbeats",)], increments[("duplicates",)]) == (2, 1)


def test_a_session_that_ends_while_it_is_stamped_far_ahead_ends_as_it_was_stamped(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(events(event("stream_start", 8_201)), now=1_001)
    tracker.receive(end(8_211), now=1_011)
    # The clock was set ahead before the first frame: 10 s of playing, and nobody knows how long it took to start.
    assert account(tracker).playing_s == 10
    assert figures(known(tracker))["startup_time_s"] is None


def test_a_stray_stamp_forgets_no_seek(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000)
    tracker.receive(events(event("dvr_seek", 1_010)), now=1_010)
    tracker.receive(events(event("mute", YEAR_9999)), now=1_011)
    tracker.receive(events(event("stream_buffer_start", 1_012), event("stream_buffer_end", 1_015)), now=1_015)
    assert (account(tracker).rebuffers, account(tracker).seek_rebuffers) == (1, 1)


def test_a_stray_stamp_makes_nothing_late(tracker: Tracker) -> None:
    tracker.receive(beat(1_056, "playing"), now=1_059)
    tracker.receive(events(event("mute", YEAR_9999)), now=1_062)
    tracker.receive(events(event("follow", 1_035), event("tip", 1_039)), now=1_065)
    assert known(tracker).tallies.late == 0


def test_stray_stamps_of_events_alone_set_no_clock_however_many_there_are(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000)
    for second in range(1, 30, 4):
        tracker.receive(events(event("reaction", YEAR_9999 + second, event_id=f"e{second}")), now=1_000 + second)
    tracker.receive(beat(1_030, "playing"), now=1_030)
    assert (account(tracker).playing_s, known(tracker).tallies.wild) == (30, 1)


def test_a_stray_stamp_moves_nobody_to_another_stream(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing", stream_id="a"), now=1_000)
    tracker.receive(events(event("mute", YEAR_9999), stream_id="b"), now=1_005)
    tracker.receive(beat(1_030, "playing", stream_id=None), now=1_030)
    assert known(tracker).stream_id == "a"
    tracker.validate()


def test_the_first_beat_after_a_clock_was_set_back_counts_for_the_stream_that_it_names(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing", stream_id="a"), now=1_000)
    tracker.receive(beat(1_030, "playing", stream_id="a"), now=1_030)
    for number in range(3):
        tracker.receive(beat(1_060 - 7_200 + 30 * number, "playing", stream_id="b"), now=1_060 + 30 * number)
    tracker.receive(end(1_130 - 7_200), now=1_130)
    increments = tracker.take_changes().increments
    assert (increments[("playing", "a")], increments[("playing", "b")]) == (30, 70)


def test_an_end_by_the_clock_of_before_says_that_what_lay_ahead_was_stray(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing", stream_id="a"), now=1_000)
    tracker.receive(events(event("mute", YEAR_9999), stream_id="b"), now=1_005)
    tracker.receive(end(1_010, reason="error"), now=1_010)
    assert tracker.take_changes().increments[("playback_failures", "a")] == 1


def test_what_was_stray_moves_nobody_though_something_else_is_stray_at_once(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing", stream_id="a"), now=1_000)
    tracker.receive(beat(1_100, "paused", stream_id="b"), now=1_001)
    tracker.receive(events(event("mute", YEAR_9999)), now=1_002)
    assert (known(tracker).stream_id, str(known(tracker).playback)) == ("a", "playing")
    tracker.validate()


def test_an_end_of_the_same_second_by_the_clock_of_before_says_so_too(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000)
    tracker.receive(events(event("stream_buffer_start", YEAR_9999)), now=1_001)
    tracker.receive(end(1_000), now=1_002)
    assert account(tracker).rebuffers == 0
