"""Who counts, since when and until when: liveness and the ledger."""

from collections.abc import Iterator

import pytest

from sessions.changes import Policy
from sessions.events import Event
from sessions.states import Liveness
from sessions.tracker import Tracker
from tests.unit.inputs import PIXEL, account, beat, end, event, events, known, ledger, pixel, start


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker(7, policy=Policy())
    yield tracker
    tracker.validate()


def expire(tracker: Tracker, *, now: float) -> None:
    while tracker.advance(now=now, limit=100):
        pass


# The ledger, path by path.


@pytest.mark.parametrize(
    ("first", "counts"),
    [
        (start(1_000), {"active": 1, "started": 1}),
        (pixel("view"), {"active": 1, "started": 1}),
        (pixel("play"), {"active": 1, "started": 1}),
        (pixel("check"), {"active": 1, "started": 1}),
        (beat(1_000), {"active": 1, "provisional": 1}),
        (events(event("mute", 1_000)), {"active": 1, "provisional": 1}),
        (end(1_000), {"provisional": 1, "ended": 1}),
    ],
)
def test_the_first_input_of_an_unknown_session_opens_it_in_the_ledger(tracker: Tracker, first: Event, counts: dict[str, int]) -> None:
    assert tracker.receive(first, now=1_000).accepted
    assert ledger(tracker) == counts


@pytest.mark.parametrize("again", [start(1_005), beat(1_005), events(event("mute", 1_005)), start(1_000), beat(1_000)])
def test_what_an_active_session_sends_moves_nothing_in_the_ledger(tracker: Tracker, again: Event) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(again, now=1_005)
    assert ledger(tracker) == {"active": 1, "started": 1}


def test_a_start_promotes_a_provisional_session_outside_the_equation(tracker: Tracker) -> None:
    tracker.receive(beat(1_030), now=1_030)
    tracker.receive(start(1_000), now=1_031)
    assert ledger(tracker) == {"active": 1, "provisional": 1, "promoted": 1}
    assert not known(tracker).provisional
    tracker.receive(start(1_000), now=1_032)
    assert ledger(tracker) == {"active": 1, "provisional": 1, "promoted": 1}


def test_an_end_of_an_active_session_counts_by_its_reason(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(end(1_010, reason="inactivity"), now=1_010)
    assert ledger(tracker) == {"started": 1, "ended": 1}
    assert tracker.ledger.ended == {"inactivity": 1}


@pytest.mark.parametrize("sign", [start(1_200), start(1_000), beat(1_200), beat(999), events(event("mute", 1_200))])
def test_any_sign_of_life_revives_an_expired_session(tracker: Tracker, sign: Event) -> None:
    tracker.receive(start(1_000), now=1_000)
    expire(tracker, now=1_100)
    assert ledger(tracker) == {"started": 1, "expired": 1}
    assert tracker.receive(sign, now=1_200).accepted
    assert ledger(tracker) == {"active": 1, "started": 1, "expired": 1, "revived": 1}


def test_a_beacon_revives_an_expired_beacon_session(tracker: Tracker) -> None:
    tracker.receive(pixel("view"), now=1_000)
    expire(tracker, now=1_100)
    tracker.receive(pixel("check"), now=1_200)
    assert ledger(tracker) == {"active": 1, "started": 1, "expired": 1, "revived": 1}


def test_an_end_of_an_expired_session_revives_and_ends_it(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    expire(tracker, now=1_100)
    receipt = tracker.receive(end(1_010, total_watch_s=10), now=1_200)
    assert receipt.accepted
    assert receipt.total_watch_s == 10
    assert ledger(tracker) == {"started": 1, "expired": 1, "revived": 1, "ended": 1}


def test_a_start_that_meets_an_expired_provisional_session_revives_and_promotes_it(tracker: Tracker) -> None:
    tracker.receive(beat(1_000), now=1_000)
    expire(tracker, now=1_100)
    tracker.receive(start(1_200), now=1_200)
    assert ledger(tracker) == {"active": 1, "provisional": 1, "expired": 1, "revived": 1, "promoted": 1}


@pytest.mark.parametrize("anything", [start(1_010), start(1_000), beat(1_020), beat(1_005), events(event("mute", 1_020)), end(1_020)])
def test_whatever_names_an_ended_session_is_refused_and_moves_nothing(tracker: Tracker, anything: Event) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(end(1_010), now=1_010)
    before = known(tracker).dump()[:14]
    receipt = tracker.receive(anything, now=1_020)
    assert (receipt.accepted, receipt.reason) == (False, "session_ended")
    assert ledger(tracker) == {"started": 1, "ended": 1}
    assert known(tracker).dump()[:14] == before
    assert tracker.audience == {}


def test_nothing_revives_an_ended_beacon_session(tracker: Tracker) -> None:
    # No POST can name it, so nobody can end it; but the table has the cell.
    tracker.receive(pixel("view"), now=1_000)
    tracker.receive(end(1_010, session_id=PIXEL), now=1_010)
    receipt = tracker.receive(pixel("check"), now=1_020)
    assert (receipt.accepted, receipt.reason) == (False, "session_ended")
    assert ledger(tracker) == {"started": 1, "ended": 1}


# The end.


def test_the_first_end_stands(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(end(1_010, reason="user_exit", total_watch_s=10), now=1_010)
    again = tracker.receive(end(1_020, reason="error", total_watch_s=99), now=1_020)
    assert (again.accepted, again.reason) == (False, "session_ended")
    assert (again.total_watch_s, again.end_reason) == (10, "user_exit")
    assert tracker.ledger.ended == {"user_exit": 1}
    assert known(tracker).revision == 1


def test_events_stamped_before_the_end_are_still_taken_and_later_ones_are_rejected_by_id(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(end(1_050), now=1_050)
    tracker.take_changes()
    receipt = tracker.receive(
        events(
            event("mute", 1_049, event_id="before"),
            event("share", 1_050, event_id="at the end"),
            event("tip", 1_051, event_id="after"),
        ),
        now=1_055,
    )
    assert receipt.accepted_count == 2
    assert receipt.rejected == (("after", "session_ended"),)
    increments = tracker.take_changes().increments
    assert increments[("events", "mute")] == increments[("events", "share")] == 1
    assert ("events", "tip") not in increments
    assert increments[("late_events",)] == 2


def test_events_that_are_sent_again_after_the_end_stay_accepted(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    batch = events(event("mute", 1_020, event_id="taken"), event("tip", 1_060, event_id="taken too"))
    tracker.receive(batch, now=1_060)
    tracker.receive(end(1_050), now=1_061)
    tracker.take_changes()
    receipt = tracker.receive(batch, now=1_062)
    assert (receipt.accepted_count, receipt.rejected) == (2, ())
    assert tracker.take_changes().increments == {("duplicates",): 2}


def test_an_event_list_that_is_wholly_after_the_end_is_not_accepted(tracker: Tracker) -> None:
    tracker.receive(end(1_000), now=1_000)
    receipt = tracker.receive(events(event("mute", 1_001, event_id="e")), now=1_001)
    assert (receipt.accepted, receipt.reason, receipt.accepted_count) == (False, "session_ended", 0)
    assert receipt.rejected == (("e", "session_ended"),)


def test_the_end_folds_everything_and_closes_the_last_interval(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_010, "playing"), now=1_010)
    tracker.receive(end(1_035), now=1_035)
    assert known(tracker).window == b""
    assert (account(tracker).starting_s, account(tracker).playing_s) == (10, 25)


def test_an_end_older_than_the_newest_input_ends_the_session_at_that_input(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_030, "playing"), now=1_030)
    tracker.receive(beat(1_060, "playing"), now=1_060)
    tracker.receive(end(1_055), now=1_061)
    assert account(tracker).playing_s == 30


def test_an_end_for_an_error_that_is_older_than_the_newest_input_is_still_its_failure(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_030, "playing"), now=1_030)
    tracker.receive(beat(1_060, "playing"), now=1_060)
    tracker.receive(end(990, reason="error"), now=1_061)
    assert (account(tracker).playing_s, account(tracker).failure) == (30, 2)


# Expiry.


def test_a_session_leaves_the_count_after_three_intervals_give_or_take_a_second(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_030, "playing"), now=1_030)
    expire(tracker, now=1_120)
    assert ledger(tracker)["active"] == 1
    expire(tracker, now=1_120.5)
    assert ledger(tracker) == {"started": 1, "expired": 1}
    assert tracker.audience == {}


def test_an_expired_session_ends_at_its_last_sign_of_life_not_at_its_deadline(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_010, "playing"), now=1_010)
    tracker.receive(beat(1_040, "playing"), now=1_040)
    expire(tracker, now=5_000)
    assert known(tracker).liveness is Liveness.EXPIRED
    assert known(tracker).seen_at == 1_040
    assert account(tracker).playing_s == 30


def test_the_silence_before_a_revival_belongs_to_no_state(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000)
    tracker.receive(beat(1_030, "playing"), now=1_030)
    expire(tracker, now=1_200)
    tracker.receive(beat(1_300, "playing"), now=1_300)
    tracker.receive(beat(1_320, "playing"), now=1_320)
    assert account(tracker).playing_s == 30 + 20


def test_only_the_servers_clock_decides_expiry(tracker: Tracker) -> None:
    tracker.receive(start(5), now=1_000)
    tracker.receive(beat(35, "playing"), now=1_030)
    expire(tracker, now=1_119)
    assert known(tracker).liveness is Liveness.ACTIVE
    expire(tracker, now=1_121)
    assert known(tracker).liveness is Liveness.EXPIRED


@pytest.mark.parametrize("sign", [start(1_000), beat(1_000), beat(900), events(event("mute", 1_000)), events()])
def test_even_what_is_repeated_or_old_proves_that_the_player_is_alive(tracker: Tracker, sign: Event) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_001), now=1_001)
    tracker.receive(events(event("mute", 1_000)), now=1_001)
    tracker.receive(sign, now=1_080)
    expire(tracker, now=1_169)
    assert known(tracker).liveness is Liveness.ACTIVE
    assert known(tracker).seen_at == 1_080


def test_an_empty_list_of_events_opens_and_revives_nothing(tracker: Tracker) -> None:
    assert tracker.receive(events(), now=1_000).accepted
    assert tracker.get("s") is None
    tracker.receive(start(1_000), now=1_000)
    expire(tracker, now=1_100)
    assert tracker.receive(events(), now=1_101).accepted
    assert ledger(tracker) == {"started": 1, "expired": 1}


def test_an_expired_session_is_remembered_for_the_revive_window_then_forgotten(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    expire(tracker, now=1_091)
    expire(tracker, now=1_091 + 1_800)
    assert tracker.get("s") is not None
    tracker.take_changes()
    expire(tracker, now=1_091 + 1_801)
    assert tracker.get("s") is None
    changes = tracker.take_changes()
    assert (changes.sessions, changes.forgotten) == ([], ["s"])
    assert ledger(tracker) == {"started": 1, "expired": 1}
    tracker.receive(beat(2_900), now=2_900)
    assert ledger(tracker) == {"active": 1, "started": 1, "expired": 1, "provisional": 1}


def test_an_ended_session_is_forgotten_after_the_revive_window_however_often_it_is_named(tracker: Tracker) -> None:
    tracker.receive(end(1_000), now=1_000)
    tracker.receive(end(1_000), now=2_000)
    tracker.receive(beat(2_500), now=2_500)
    expire(tracker, now=2_801)
    assert tracker.get("s") is None


def test_a_session_that_is_forgotten_before_it_was_written_is_only_deleted(tracker: Tracker) -> None:
    tracker.receive(end(1_000), now=1_000)
    expire(tracker, now=2_801)
    changes = tracker.take_changes()
    assert (changes.sessions, changes.forgotten) == ([], ["s"])
    assert len(changes.finished) == 1


def test_a_session_that_comes_back_before_its_deletion_is_written_is_not_deleted(tracker: Tracker) -> None:
    tracker.receive(end(1_000), now=1_000)
    tracker.take_changes()
    expire(tracker, now=2_801)
    tracker.receive(start(2_802), now=2_802)
    changes = tracker.take_changes()
    assert [session.session_id for session in changes.sessions] == ["s"]
    assert changes.forgotten == []


def test_advance_works_off_no_more_than_it_is_allowed(tracker: Tracker) -> None:
    for index in range(25):
        tracker.receive(start(1_000, session_id=f"s{index}"), now=1_000)
    assert [tracker.advance(now=1_091, limit=10) for _ in range(4)] == [10, 10, 5, 0]
    assert ledger(tracker) == {"started": 25, "expired": 25}


def test_an_input_that_beats_the_overdue_expiry_keeps_the_session_alive(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_200), now=1_200)
    assert tracker.advance(now=1_200, limit=10) == 0
    assert ledger(tracker) == {"active": 1, "started": 1}
