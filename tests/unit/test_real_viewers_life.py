"""
Who counts, as real viewers come and go: pages that come back, starts sent twice, ends sent twice, and the table that decides all of it.
"""

from collections.abc import Callable, Iterator

import pytest

from sessions.changes import Policy
from sessions.events import Event
from sessions.states import Input, Liveness, Playback
from sessions.tracker import Tracker
from sessions.transitions import LIVENESS
from tests.unit.inputs import account, beat, end, event, events, known, ledger, start

ACTIVE, EXPIRED, ENDED, UNKNOWN = Liveness.ACTIVE, Liveness.EXPIRED, Liveness.ENDED, Liveness.UNKNOWN


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker(3, policy=Policy())
    yield tracker
    tracker.validate()


def again(tracker: Tracker) -> Tracker:
    """The same slot after a crash, from what it would have stored."""
    changes = tracker.all_changes()
    sessions = [type(each).load(each.dump()) for each in changes.sessions]
    return Tracker.restore(3, policy=Policy(), sessions=sessions, ledger=changes.ledger, paused_s=changes.paused_s)


# A page that comes back.


def test_a_start_stamped_after_the_end_begins_a_new_viewing_that_counts_from_there(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(beat(30, "playing"), now=30)
    tracker.receive(end(60, total_watch_s=30), now=60)
    assert tracker.receive(start(62), now=62).accepted
    tracker.receive(beat(92, "playing"), now=92)
    tracker.receive(beat(122, "playing"), now=122)
    assert ledger(tracker) == {"active": 1, "started": 2, "ended": 1}
    # 30 s from the start to the first beat, then 30 s of playing: the two seconds between the viewings are nobody's.
    assert (account(tracker).starting_s, account(tracker).playing_s) == (30, 30)
    assert known(tracker).end_reason is None
    assert tracker.audience["state", "playing"] == 1
    changes = tracker.take_changes()
    assert [each.session_id for each in changes.sessions] == ["s"]
    # What the first viewing played stays counted, once, and so does its exit.
    [finished] = changes.finished
    assert (finished.session.settled().playing_s, finished.session.end_reason) == (30, "user_exit")


def test_a_new_viewing_is_one_through_a_crash(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(end(60), now=60)
    tracker.receive(start(62), now=62)
    restored = again(tracker)
    restored.validate()
    assert ledger(restored) == {"active": 1, "started": 2, "ended": 1}
    # The first viewing's end, sent again by a player whose answer was lost, ends nothing.
    assert restored.receive(end(60), now=63).accepted
    assert ledger(restored) == {"active": 1, "started": 2, "ended": 1}


def test_a_start_that_is_not_after_the_end_was_only_late(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(end(60), now=60)
    receipt = tracker.receive(start(60), now=61)
    assert (receipt.accepted, receipt.reason) == (False, "session_ended")
    assert ledger(tracker) == {"started": 1, "ended": 1}


def test_an_event_of_the_first_viewing_does_not_count_twice_in_the_second(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(events(event("mute", 10, event_id="e")), now=10)
    tracker.receive(end(60), now=60)
    tracker.receive(start(62), now=62)
    tracker.take_changes()
    tracker.receive(events(event("mute", 10, event_id="e")), now=63)
    assert tracker.take_changes().increments == {("duplicates",): 1}


def test_what_was_stamped_before_a_new_viewing_is_late_in_it(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(end(60), now=60)
    tracker.receive(start(62), now=62)
    tracker.receive(beat(58, "playing"), now=63)
    assert known(tracker).tallies.late == 1
    assert known(tracker).playback is Playback.STARTING


# Starts.


def test_a_start_that_names_another_stream_moves_the_session_and_time_stays_where_it_was_spent(tracker: Tracker) -> None:
    tracker.receive(start(0, stream_id="s1"), now=0)
    tracker.receive(beat(30, "playing"), now=30)
    tracker.receive(start(40, stream_id="s2"), now=40)
    tracker.receive(beat(70, "playing"), now=70)
    tracker.receive(end(80), now=80)
    assert known(tracker).stream_id == "s2"
    increments = tracker.take_changes().increments
    # Playing from 30 to 40 on the first stream, from 40 to 80 on the second.
    assert (increments["playing", "s1"], increments["playing", "s2"]) == (10, 40)
    assert ("duplicates",) not in increments


def test_an_older_start_that_names_another_stream_moves_nothing(tracker: Tracker) -> None:
    tracker.receive(start(10, stream_id="s2"), now=10)
    tracker.receive(beat(30, "playing", stream_id="s2"), now=30)
    tracker.receive(start(0, stream_id="s1"), now=31)
    assert known(tracker).stream_id == "s2"
    assert known(tracker).tallies.duplicates == 1


@pytest.mark.parametrize("first_comes", ["start", "stream_start"])
def test_a_start_comes_before_everything_else_of_its_second(tracker: Tracker, first_comes: str) -> None:
    inputs = [start(10), events(event("stream_start", 10))]
    for each in inputs if first_comes == "start" else reversed(inputs):
        tracker.receive(each, now=10)
    tracker.receive(beat(70, "playing"), now=70)
    assert known(tracker).playback is Playback.PLAYING
    assert (account(tracker).starting_s, account(tracker).playing_s) == (0, 60)


def test_of_what_a_start_and_its_second_say_the_start_is_the_older(tracker: Tracker) -> None:
    tracker.receive(beat(10, "playing", stream_id="s2", quality="1080p"), now=10)
    tracker.receive(start(10, stream_id="s1", quality="720p"), now=10)
    assert (known(tracker).stream_id, known(tracker).quality, known(tracker).platform) == ("s2", "1080p", "web")


def test_among_equal_stamps_the_order_of_the_array_stands(tracker: Tracker) -> None:
    tracker.receive(start(10), now=10)
    tracker.receive(events(event("stream_start", 10), event("stream_buffer_start", 10), event("stream_buffer_end", 10)), now=10)
    assert known(tracker).playback is Playback.PLAYING
    assert account(tracker).rebuffers == 1


def test_answers_ask_for_a_start_until_it_comes(tracker: Tracker) -> None:
    assert tracker.receive(beat(10), now=10).start_wanted
    assert tracker.receive(beat(10), now=11).start_wanted
    assert tracker.receive(events(event("mute", 12)), now=12).start_wanted
    assert not tracker.receive(start(0), now=13).start_wanted
    assert not tracker.receive(beat(40), now=40).start_wanted
    assert not tracker.receive(events(event("unmute", 42)), now=42).start_wanted


# Ends.


def test_an_end_that_is_sent_again_is_answered_as_the_first_was(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    first = tracker.receive(end(60, total_watch_s=50, farewell=b"bye"), now=60)
    assert tracker.receive(end(60, total_watch_s=50, farewell=b"bye"), now=62) == first
    assert (first.accepted, first.reason) == (True, None)
    assert ledger(tracker) == {"started": 1, "ended": 1}
    assert known(tracker).tallies.duplicates == 1


@pytest.mark.parametrize(
    "other",
    [
        end(61, total_watch_s=50),
        end(60, total_watch_s=51),
        end(60, total_watch_s=50, reason="error"),
        end(60, total_watch_s=50, farewell=b"x"),
    ],
)
def test_an_end_that_says_something_else_is_not_taken(tracker: Tracker, other: object) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(end(60, total_watch_s=50), now=60)
    receipt = tracker.receive(other, now=62)  # type: ignore[arg-type]
    assert (receipt.accepted, receipt.reason, receipt.total_watch_s) == (False, "session_ended", 50)


# The table is the machine.

LIFE: dict[Input, Callable[[float], Event]] = {
    Input.START: start,
    Input.HEARTBEAT: beat,
    Input.EVENT: lambda at: events(event("mute", at)),
    Input.END: lambda at: end(at + 1),
}


def live_until(tracker: Tracker, before: Liveness) -> float:
    """Bring the session there; return a time at which it still is."""
    if before is UNKNOWN:
        return 0.0
    tracker.receive(start(0), now=0)
    if before is ENDED:
        tracker.receive(end(10), now=10)
    elif before is EXPIRED:
        tracker.advance(now=200, limit=10)
        return 200.0
    return 10.0


@pytest.mark.parametrize("moved_by", LIFE)
@pytest.mark.parametrize("before", list(Liveness))
def test_every_row_of_the_table_that_is_broken_shows_in_the_ledger(
    monkeypatch: pytest.MonkeyPatch, before: Liveness, moved_by: Input
) -> None:
    tracker = Tracker(3, policy=Policy())
    at = live_until(tracker, before)
    revived = tracker.ledger.revived
    # Whatever the row says: let it book one more revival.
    after, entries = LIVENESS[before, moved_by]
    monkeypatch.setitem(LIVENESS, (before, moved_by), (after, (*entries, "revived")))
    tracker.receive(LIFE[moved_by](at), now=at)
    assert tracker.ledger.revived == revived + entries.count("revived") + 1


def test_a_broken_row_of_a_deadline_shows(monkeypatch: pytest.MonkeyPatch, tracker: Tracker) -> None:
    monkeypatch.setitem(LIVENESS, (ACTIVE, Input.DEADLINE), (UNKNOWN, ("expired",)))
    broken = Tracker(3, policy=Policy())
    broken.receive(start(0), now=0)
    broken.advance(now=200, limit=10)
    assert (broken.get("s"), broken.ledger.expired) == (None, 1)
