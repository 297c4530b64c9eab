"""How it went, counted when it is known: at the end, or ten minutes after a session expired; a failure when it was not got over."""

from collections.abc import Iterator

import pytest

from sessions.changes import Increments, Policy
from sessions.session import Session
from sessions.tracker import Tracker
from tests.unit.inputs import PIXEL, beat, end, event, events, known, ledger, pixel, start

OUTCOMES = ("exits_before_start", "start_failures", "playback_failures", "session", "experience_score", "player_watch_difference")


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker(3, policy=Policy())
    yield tracker
    tracker.validate()


def pass_time(tracker: Tracker, *, until: float) -> None:
    """Do everything at the moment at which it falls due."""
    while (due_at := tracker.next_deadline()) is not None and due_at <= until:
        tracker.advance(now=due_at, limit=10)


def told(tracker: Tracker) -> dict[str, float]:
    """What was counted since the last time: how many, or the sum of what a histogram saw."""
    increments: Increments = tracker.take_changes().increments
    counts = {key[0]: amount for key, amount in increments.items() if key[0] in OUTCOMES and len(key) == 2 and key[1] != "sum"}
    return counts | {key[0]: amount for key, amount in increments.items() if key[0] in OUTCOMES and key[1] == "sum"}


def again(tracker: Tracker) -> Tracker:
    """The same slot after a crash, from what it would have stored."""
    changes = tracker.all_changes()
    sessions = [Session.load(each.dump()) for each in changes.sessions]
    return Tracker.restore(3, policy=Policy(), sessions=sessions, ledger=changes.ledger, paused_s=changes.paused_s)


@pytest.mark.reaches("OUTCOME_AFTER_S")
def test_how_an_expired_session_went_is_counted_ten_minutes_later_and_once(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(beat(30, "playing"), now=30)
    # It expires at 120.25, the first quarter of a second after 90 s of silence; ten minutes later is 720.5.
    pass_time(tracker, until=720.4)
    assert ledger(tracker) == {"started": 1, "expired": 1}
    assert told(tracker) == {}
    pass_time(tracker, until=720.5)
    assert told(tracker) == {"session": 30, "experience_score": 100}
    pass_time(tracker, until=3_000)
    assert told(tracker) == {}
    assert tracker.sessions == {}


def test_a_phone_in_a_pocket_has_one_score_of_all_that_it_played(tracker: Tracker) -> None:
    """Locked for two minutes in the first minute, then half an hour: a length of 30 + 1,800 s."""
    tracker.receive(start(0), now=0)
    tracker.receive(events(event("stream_start", 0)), now=0)
    tracker.receive(beat(30, "playing"), now=30)
    pass_time(tracker, until=150)
    assert ledger(tracker) == {"started": 1, "expired": 1}
    for at in range(150, 1_951, 30):
        tracker.receive(beat(at, "playing"), now=at)
    tracker.receive(end(1_950, total_watch_s=1_830), now=1_950)
    assert told(tracker) == {"session": 1_830, "experience_score": 100, "player_watch_difference": 0}


def test_who_comes_back_after_his_outcome_was_counted_adds_none(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    pass_time(tracker, until=1_000)
    assert told(tracker) == {"exits_before_start": 1, "session": 0, "experience_score": 25}
    tracker.receive(beat(1_000, "playing"), now=1_000)
    tracker.receive(end(1_010), now=1_010)
    assert "session" not in told(tracker)
    assert known(tracker).revision == 2


def test_who_closes_the_tab_before_the_first_beat_exited_before_the_start(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    pass_time(tracker, until=1_000)
    assert told(tracker)["exits_before_start"] == 1


def test_an_end_of_a_session_that_is_forgotten_is_in_the_ledger_and_in_no_outcome(tracker: Tracker) -> None:
    tracker.receive(end(60, total_watch_s=3_000), now=60)
    assert ledger(tracker) == {"provisional": 1, "ended": 1}
    pass_time(tracker, until=3_000)
    assert told(tracker) == {}


def test_an_expired_session_is_remembered_for_the_whole_revive_window(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    pass_time(tracker, until=1_000)
    # Expired at 90.25, remembered for 1,800 s from then on.
    assert tracker.remaining_s(known(tracker), now=1_000) == pytest.approx(890.25, abs=0.5)
    tracker.receive(beat(1_880), now=1_880)
    assert ledger(tracker) == {"active": 1, "started": 1, "expired": 1, "revived": 1}


def test_how_long_an_expired_session_is_remembered_is_told_from_its_expiry_on(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    pass_time(tracker, until=100)
    assert tracker.remaining_s(known(tracker), now=100) == pytest.approx(1_790.25, abs=0.5)


def test_an_outcome_is_counted_once_through_a_crash(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    pass_time(tracker, until=200)
    first = again(tracker)
    pass_time(first, until=1_000)
    assert told(first)["exits_before_start"] == 1
    second = again(first)
    pass_time(second, until=5_000)
    assert told(second) == {}


def test_a_new_viewing_has_an_outcome_of_its_own(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(end(10), now=10)
    assert told(tracker)["exits_before_start"] == 1
    tracker.receive(start(12), now=12)
    tracker.receive(end(20), now=20)
    assert told(tracker)["exits_before_start"] == 1


def test_what_an_older_build_counted_at_the_first_finish_is_not_counted_again() -> None:
    tracker = Tracker(3, policy=Policy())
    tracker.receive(start(0), now=0)
    pass_time(tracker, until=100)
    changes = tracker.all_changes()
    [session] = changes.sessions
    values = list(session.dump())
    place = next(number for number, value in enumerate(values) if value is session.tallies)
    values[place] = tuple(session.tallies)[:5]
    older = Tracker.restore(3, policy=Policy(), sessions=[Session.load(values)], ledger=changes.ledger, paused_s=0.0)
    pass_time(older, until=5_000)
    assert told(older) == {}


def test_a_pixels_outcome_comes_ten_minutes_after_it_expired_too(tracker: Tracker) -> None:
    tracker.receive(pixel("play"), now=0)
    tracker.receive(pixel("check"), now=30)
    pass_time(tracker, until=700)
    assert told(tracker) == {}
    assert known(tracker, PIXEL).tallies.outcomes == 0
    pass_time(tracker, until=730)
    assert told(tracker) == {"session": 30, "experience_score": 100}


# Failures.


@pytest.mark.reaches("FAILURE_AFTER_S")
def test_a_fatal_error_is_told_as_a_failure_thirty_seconds_after_it(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(beat(10, "playing"), now=10)
    tracker.receive(events(event("stream_error", 20, fatal=True)), now=20)
    pass_time(tracker, until=50.2)
    assert told(tracker) == {}
    pass_time(tracker, until=50.25)
    assert told(tracker) == {"playback_failures": 1}
    tracker.receive(end(60, reason="error"), now=60)
    assert "playback_failures" not in told(tracker)


def test_an_error_that_is_got_over_in_time_is_no_failure(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(events(event("stream_start", 1)), now=1)
    tracker.receive(events(event("stream_error", 10, fatal=True)), now=10)
    tracker.receive(events(event("stream_start", 12)), now=12)
    for at in range(30, 630, 30):
        tracker.receive(beat(at, "playing"), now=at)
        pass_time(tracker, until=at)
    tracker.receive(end(630), now=630)
    assert {name: count for name, count in told(tracker).items() if name.endswith("failures")} == {}


def test_an_end_tells_the_failure_at_once(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(events(event("stream_error", 10, fatal=True)), now=10)
    tracker.receive(end(12), now=12)
    assert told(tracker)["start_failures"] == 1
    pass_time(tracker, until=5_000)
    assert told(tracker) == {}


def test_a_failure_is_told_once_through_a_crash_before_and_after(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(events(event("stream_error", 10, fatal=True)), now=10)
    first = again(tracker)
    pass_time(first, until=45)
    assert told(first) == {"start_failures": 1}
    second = again(first)
    second.validate()
    pass_time(second, until=5_000)
    assert "start_failures" not in told(second)


def test_our_outages_do_not_make_a_failure_of_an_error(tracker: Tracker) -> None:
    tracker.receive(start(0), now=0)
    tracker.receive(events(event("stream_error", 10, fatal=True)), now=10)
    tracker.pause(100)
    pass_time(tracker, until=140)
    assert told(tracker) == {}
    pass_time(tracker, until=141)
    assert told(tracker) == {"start_failures": 1}
