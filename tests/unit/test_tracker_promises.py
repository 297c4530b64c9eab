"""When a session is over: promised intervals and our own outages."""

from collections.abc import Iterator

import pytest

from sessions.changes import Policy
from sessions.errors import InvariantError
from sessions.events import Event
from sessions.states import Liveness
from sessions.tracker import Tracker
from tests.unit.inputs import account, beat, end, event, events, known, ledger, pixel, start


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker(7, policy=Policy())
    yield tracker
    tracker.validate()


def expire(tracker: Tracker, *, now: float) -> None:
    while tracker.advance(now=now, limit=100):
        pass


# Promised intervals.


def test_a_stretched_interval_stretches_the_expiry_with_it(tracker: Tracker) -> None:
    receipt = tracker.receive(start(1_000), now=1_000, interval_s=120)
    assert receipt.interval_s == 120
    expire(tracker, now=1_360)
    assert known(tracker).liveness is Liveness.ACTIVE
    expire(tracker, now=1_361)
    assert known(tracker).liveness is Liveness.EXPIRED


def test_a_shorter_promise_that_spreads_players_expires_nobody_sooner(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    receipt = tracker.receive(beat(1_030, "playing"), now=1_030, interval_s=16)
    assert receipt.interval_s == 16
    # Three times the configured 30 s after the last sign of life, and not three times 16.
    expire(tracker, now=1_119)
    assert known(tracker).liveness is Liveness.ACTIVE
    # A beat that comes a whole configured interval later counts all of it.
    tracker.receive(beat(1_110, "playing"), now=1_110)
    assert account(tracker).playing_s == 80
    expire(tracker, now=1_201)
    assert known(tracker).liveness is Liveness.EXPIRED


@pytest.mark.parametrize("untold", [pixel("play"), events(event("mute", 1_000))])
def test_what_cannot_be_told_an_interval_is_promised_the_configured_one(tracker: Tracker, untold: Event) -> None:
    """Neither a GIF nor the answer to events carries one: such a player beats as ever, and expires as ever."""
    tracker.receive(untold, now=1_000, interval_s=120)
    expire(tracker, now=1_090)
    assert tracker.ledger.active == 1
    expire(tracker, now=1_091)
    assert tracker.ledger.active == 0


def test_an_event_neither_changes_the_promise_nor_takes_it_back(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000, interval_s=120)
    receipt = tracker.receive(events(event("mute", 1_010)), now=1_010, interval_s=30)
    assert receipt.interval_s == 120
    expire(tracker, now=1_369)
    assert known(tracker).liveness is Liveness.ACTIVE


def test_when_the_interval_shrinks_the_longer_promise_holds(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000, interval_s=120)
    assert tracker.receive(beat(1_030), now=1_030, interval_s=30).interval_s == 30
    expire(tracker, now=1_360)
    assert known(tracker).liveness is Liveness.ACTIVE
    expire(tracker, now=1_361)
    assert known(tracker).liveness is Liveness.EXPIRED


def test_the_longer_promise_holds_until_the_next_beat_only(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000, interval_s=120)
    tracker.receive(beat(1_030), now=1_030, interval_s=30)
    tracker.receive(beat(1_060), now=1_060, interval_s=30)
    expire(tracker, now=1_150)
    assert known(tracker).liveness is Liveness.ACTIVE
    expire(tracker, now=1_151)
    assert known(tracker).liveness is Liveness.EXPIRED


@pytest.mark.parametrize("sign", [beat(1_030), beat(1_020), start(1_000), events(event("mute", 1_032))])
def test_what_is_no_new_beat_does_not_take_a_longer_promise_back(tracker: Tracker, sign: Event) -> None:
    tracker.receive(start(1_000), now=1_000, interval_s=120)
    tracker.receive(beat(1_030), now=1_030, interval_s=30)
    tracker.receive(sign, now=1_032, interval_s=30)
    expire(tracker, now=1_360)
    assert known(tracker).liveness is Liveness.ACTIVE


def test_no_promise_is_too_long_for_the_window() -> None:
    """The settings allow an interval of an hour, 100 of them until expiry, stretched four times."""
    tracker = Tracker(7, policy=Policy(heartbeat_interval_s=3_600, expiry_intervals=100))
    tracker.receive(start(0), now=0, interval_s=14_400)
    tracker.receive(beat(14_400, "playing"), now=14_400, interval_s=14_400)
    tracker.receive(beat(28_800, "playing"), now=28_800, interval_s=14_400)
    assert account(tracker).playing_s == 14_400
    expire(tracker, now=28_800 + 1_440_000)
    assert known(tracker).liveness is Liveness.ACTIVE
    tracker.validate()


# Our own outages.


def test_a_pause_moves_every_deadline_by_as_much(tracker: Tracker) -> None:
    tracker.receive(start(1_000, session_id="active"), now=1_000)
    tracker.receive(end(1_000, session_id="ended"), now=1_000)
    before = tracker.next_deadline()
    assert before == 1_090.25
    tracker.pause(500)
    assert tracker.next_deadline() == 1_590.25
    expire(tracker, now=1_590)
    assert ledger(tracker)["active"] == 1
    expire(tracker, now=1_590.25)
    assert ledger(tracker).get("active", 0) == 0
    expire(tracker, now=3_300)
    assert tracker.get("ended") is not None
    expire(tracker, now=3_301)
    assert tracker.get("ended") is None


def test_pauses_add_up(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.pause(100)
    tracker.pause(20)
    assert tracker.next_deadline() == 1_210.25
    assert tracker.take_changes().paused_s == 120


def test_the_revive_window_too_stands_still_while_we_are_away(tracker: Tracker) -> None:
    tracker.pause(500)
    tracker.receive(end(1_000), now=1_000)
    assert tracker.next_deadline() == 2_800.25
    tracker.pause(100)
    assert tracker.next_deadline() == 2_900.25


def test_a_sign_of_life_after_a_pause_is_promised_the_full_interval(tracker: Tracker) -> None:
    tracker.pause(500)
    tracker.receive(start(1_000), now=1_000)
    assert tracker.next_deadline() == 1_090.25
    assert tracker.remaining_s(known(tracker), now=1_050) == 40.25


def test_advance_has_work_exactly_from_the_next_deadline_on(tracker: Tracker) -> None:
    assert tracker.next_deadline() is None
    tracker.receive(start(1_000, session_id="a"), now=1_000)
    tracker.receive(start(1_000, session_id="b"), now=1_007.5)
    tracker.pause(10.5)
    # Each of the two expires, is summed up ten minutes later, and is forgotten.
    for _ in range(6):
        due_at = tracker.next_deadline()
        assert due_at is not None
        assert tracker.advance(now=due_at - 0.125, limit=10) == 0
        assert tracker.advance(now=due_at, limit=10) == 1
    assert tracker.next_deadline() is None


def test_time_cannot_be_taken_back(tracker: Tracker) -> None:
    with pytest.raises(InvariantError, match="cannot pause"):
        tracker.pause(-1)
