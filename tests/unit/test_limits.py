"""
Each bound of a session is reached, held, and costs no more than it says (sessions/limits.py).

Reached elsewhere: REORDER_WINDOW_S and WILD_AHEAD_S in `test_tracker_order.py` (60 s and 60.1 s), SEEK_CAUSES_STALL_S in `test_qoe.py`
(5 s and 5.1 s), STORY_INTERVALS_MAX and STORY_IGNORED_MAX in `test_story.py`, what a player reports on the wire in `test_wire.py`.
"""

from collections.abc import Iterator

import pytest

from sessions import limits
from sessions.account import Account
from sessions.changes import Policy
from sessions.tracker import Tracker
from storage.codec import decode_session, encode_session
from tests.unit.inputs import account, beat, event, events, known, start


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker(7, policy=Policy())
    yield tracker
    tracker.validate()


@pytest.mark.reaches("EVENT_IDS_MAX")
def test_1024_event_ids_are_remembered_and_the_1025th_pushes_the_oldest_out(tracker: Tracker) -> None:
    for number in range(1_024):
        tracker.receive(events(event("mute", 1_000, event_id=f"e{number}")), now=1_000)
    tracker.take_changes()
    for number in (0, 512, 1_023):
        tracker.receive(events(event("mute", 1_000, event_id=f"e{number}")), now=1_000)
    assert tracker.take_changes().increments == {("duplicates",): 3}
    tracker.receive(events(event("mute", 1_000, event_id="one more")), now=1_000)
    tracker.receive(events(event("mute", 1_000, event_id="e1")), now=1_000)
    assert tracker.take_changes().increments == {("events", "mute"): 1, ("duplicates",): 1}
    tracker.receive(events(event("mute", 1_000, event_id="e0")), now=1_000)
    assert tracker.take_changes().increments[("events", "mute")] == 1
    assert len(known(tracker).event_ids) == 1_024 * 7


def test_1024_event_ids_survive_a_restart(tracker: Tracker) -> None:
    ids = [event("mute", 1_000, event_id=f"e{number}") for number in range(limits.EVENT_IDS_MAX)]
    tracker.receive(events(*ids), now=1_000)
    stored = [decode_session(encode_session(session)) for session in tracker.sessions.values()]
    again = Tracker.restore(7, policy=Policy(), sessions=stored, ledger=tracker.ledger, paused_s=0.0)
    assert again.receive(events(*ids), now=1_001).accepted_count == 1_024
    assert again.take_changes().increments == {("duplicates",): 1_024}


@pytest.mark.parametrize(("behind_s", "late"), [(13_599, 0), (13_600, 1)])
def test_a_clock_that_is_nearer_to_ours_by_more_than_a_day_is_believed(tracker: Tracker, behind_s: int, late: int) -> None:
    """The first input is 100,000 s ahead of us. 100,000 - 86,400 = 13,600: who is nearer than that has another clock."""
    tracker.receive(events(event("mute", 300_000)), now=200_000)
    tracker.receive(events(event("unmute", 200_000 - behind_s)), now=200_000)
    assert known(tracker).tallies.late == late


@pytest.mark.reaches("QUEUE_SPAN_S_MAX")
@pytest.mark.parametrize(("span_s", "wild"), [(limits.QUEUE_SPAN_S_MAX, 0), (limits.QUEUE_SPAN_S_MAX + 1, 1)])
def test_what_a_player_kept_for_a_day_is_believed_and_what_is_older_is_of_another_clock(tracker: Tracker, span_s: float, wild: int) -> None:
    tracker.receive(events(event("mute", 9_000), event("unmute", 9_000 + span_s)), now=1_000)
    assert known(tracker).tallies.wild == wild


@pytest.mark.reaches("INTERVAL_CAP_S_MAX")
def test_one_interval_counts_65535_seconds_at_most_whatever_was_promised() -> None:
    tracker = Tracker(7, policy=Policy(heartbeat_interval_s=3_600, expiry_intervals=100))
    for at in (0, 65_536, 200_000, 300_000):
        tracker.receive(beat(at, "playing"), now=at)
    assert account(tracker).playing_s == 3 * limits.INTERVAL_CAP_S_MAX == 3 * 65_535
    tracker.validate()


@pytest.mark.reaches("WINDOW_INPUTS_MAX")
def test_a_window_holds_128_inputs_and_folds_the_oldest_early(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    for number in range(1, 600):
        tracker.receive(beat(1_000 + number / 20, "playing"), now=1_030)
    session = known(tracker)
    assert len(session.window_inputs()) == limits.WINDOW_INPUTS_MAX == 128
    assert account(tracker).playing_s == pytest.approx(598 / 20)


def test_a_full_window_takes_what_is_out_of_order_too(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_040, "playing"), now=1_040)
    for number in range(150):
        tracker.receive(events(event("mute", 1_039 - number / 5, event_id=f"e{number}")), now=1_041)
    assert len(known(tracker).window_inputs()) == 128
    tracker.receive(beat(1_050, "playing"), now=1_050)
    assert (account(tracker).starting_s, account(tracker).playing_s) == (40, 10)
    # What was folded early is the floor now: older inputs are late, though they are within 60 s.
    tracker.receive(events(event("mute", 1_001, event_id="late")), now=1_050)
    assert known(tracker).tallies.late > 0


@pytest.mark.reaches("STORY_ENTRIES_MAX")
def test_a_session_tells_48_entries_and_always_its_first(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    for number in range(100):
        tracker.receive(events(event("stream_error", 1_001 + number)), now=1_001 + number)
    entries = known(tracker).story_entries()
    assert len(entries) == limits.STORY_ENTRIES_MAX == 48
    assert (entries[0][0], entries[1][0], entries[-1][0]) == (1_000, 1_100 - 46, 1_100)


@pytest.mark.reaches("STREAMS_PER_WINDOW_MAX")
def test_a_session_may_visit_200_streams_and_folds_early_beyond(tracker: Tracker) -> None:
    tracker.receive(start(1_000, stream_id="x0"), now=1_000)
    session, folded = known(tracker), 0
    for number in range(1, 500):
        at = 1_000 + number / 10
        tracker.receive(beat(at, "playing", stream_id=f"x{number}"), now=at)
        session = known(tracker)
        if len(session.window_inputs()) == 1:
            # Just folded: the open interval is that of the stream before.
            assert (*session.streams, session.stream_id)[Account(session.account).stream] == f"x{number - 1}"
            folded += 1
    assert folded == 2
    assert len(session.streams) <= limits.STREAMS_PER_WINDOW_MAX == 200
    assert session.stream_id == "x499"
    names = (*session.streams, session.stream_id)
    assert [names[record[2]] for record in session.window_inputs()][-3:] == ["x497", "x498", "x499"]
    assert names[session.settled().stream] == "x499"
    assert tracker.audience[("stream", "x499", "playing")] == 1
    assert account(tracker).playing_s == pytest.approx(49.8)


def test_streams_that_were_visited_out_of_order_are_bounded_too(tracker: Tracker) -> None:
    tracker.receive(start(1_000, stream_id="x"), now=1_000)
    tracker.receive(beat(1_050, "playing", stream_id="x"), now=1_050)
    for number in range(300):
        late = event("mute", 1_049 - number / 10, event_id=f"e{number}")
        tracker.receive(events(late, stream_id=f"y{number}"), now=1_051)
    assert len(known(tracker).streams) <= limits.STREAMS_PER_WINDOW_MAX
    assert known(tracker).stream_id == "x"


def test_a_stream_index_fits_its_byte_and_a_cap_its_two() -> None:
    assert limits.STREAMS_PER_WINDOW_MAX <= 255
    assert limits.INTERVAL_CAP_S_MAX == 65_535


def test_the_greatest_that_a_player_may_report_fits_and_is_not_taken_for_unknown(tracker: Tracker) -> None:
    greatest = {"bitrate_bps": limits.BITRATE_BPS_MAX, "latency_us": limits.LATENCY_US_MAX}
    tracker.receive(beat(1_000, "playing", rebuffer_count=limits.PLAYER_COUNTER_MAX, **greatest), now=1_000)
    tracker.receive(beat(1_010, "playing"), now=1_010)
    assert account(tracker).bits == 10 * 1_000_000_000
    assert account(tracker).latency_us_s == 10 * 3_600_000_000
    assert known(tracker).player_rebuffers == 1_000_000


def test_a_session_at_all_its_bounds_stays_within_25_kilobytes(tracker: Tracker) -> None:
    tracker.receive(start(1_000, stream_id="s0"), now=1_000)
    for number in range(1_100):
        kind = ("stream_buffer_start", "stream_buffer_end")[number % 2]
        each = event(kind, 1_001 + number / 30, event_id=f"e{number}")
        tracker.receive(events(each, stream_id=f"s{number % 150}"), now=1_040)
    session = known(tracker)
    assert sum(len(part) for part in (session.window, session.account, session.event_ids, session.story)) < 25_000
