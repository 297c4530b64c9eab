"""What a tracker gives away: the live count, what is to be written, what is to be added, and itself again (architecture.md)."""

from collections.abc import Callable, Iterator

import pytest

from sessions.changes import Audience, Ledger, Policy
from sessions.errors import InvariantError
from sessions.session import Session
from sessions.tracker import Tracker
from storage.codec import decode_session, encode_session
from tests.unit.inputs import PIXEL, beat, end, event, events, known, ledger, pixel, start


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker(7, policy=Policy())
    yield tracker
    tracker.validate()


# The live count.

STARTED: Audience = {
    ("state", "starting"): 1,
    ("stream", "stream", "starting"): 1,
    ("channel", "channel"): 1,
    ("creator", "creator"): 1,
    ("program", "program"): 1,
    ("platform", "web"): 1,
    ("country", "US"): 1,
    ("quality", "auto"): 1,
    ("connection", "wifi"): 1,
}


def test_a_started_session_counts_under_each_of_its_dimensions(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    assert tracker.audience == STARTED
    assert tracker.changed_keys == set(STARTED)


def test_a_provisional_session_counts_and_what_it_has_not_said_is_unknown(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000)
    assert tracker.audience[("state", "playing")] == 1
    assert {value for key, *values in tracker.audience for value in values[:1] if key != "state"} == {"unknown"}


@pytest.mark.parametrize("over", [end(1_030), None])
def test_who_is_over_counts_nowhere(tracker: Tracker, over: object) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.changed_keys.clear()
    if over is None:
        tracker.advance(now=1_100, limit=10)
    else:
        tracker.receive(end(1_030), now=1_030)
    assert tracker.audience == {}
    assert tracker.changed_keys == set(STARTED)


def test_a_revived_session_counts_again_as_what_it_is(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.advance(now=1_100, limit=10)
    tracker.receive(beat(1_200, "paused"), now=1_200)
    assert tracker.audience == {
        **{key: 1 for key in STARTED if "starting" not in key},
        ("state", "paused"): 1,
        ("stream", "stream", "paused"): 1,
    }


def test_a_change_of_state_moves_the_session_and_names_no_other_key(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.changed_keys.clear()
    tracker.receive(beat(1_010, "playing"), now=1_010)
    assert tracker.changed_keys == {
        ("state", "starting"),
        ("state", "playing"),
        ("stream", "stream", "starting"),
        ("stream", "stream", "playing"),
    }
    assert ("state", "starting") not in tracker.audience


def test_a_heartbeat_that_changes_nothing_touches_no_key(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000)
    tracker.changed_keys.clear()
    tracker.receive(beat(1_030, "playing"), now=1_030)
    assert tracker.changed_keys == set()


def test_a_change_of_stream_and_program_moves_the_audience_with_it(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.changed_keys.clear()
    tracker.receive(events(event("program_change", 1_010, program_id="next"), stream_id="other"), now=1_010)
    assert tracker.audience == {
        **{key: 1 for key in STARTED if key[0] not in ("stream", "program")},
        ("stream", "other", "starting"): 1,
        ("program", "next"): 1,
    }
    assert tracker.changed_keys == {
        ("stream", "stream", "starting"),
        ("stream", "other", "starting"),
        ("program", "program"),
        ("program", "next"),
    }


def test_a_program_keeps_the_title_it_was_changed_to_until_another_begins(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(events(event("program_change", 1_010, program_id="next", program_title="The Next")), now=1_010)
    tracker.receive(events(event("program_change", 1_005, program_id="old", program_title="The Old")), now=1_011)
    assert (known(tracker).program_id, known(tracker).program_title) == ("next", "The Next")
    tracker.receive(beat(1_030)._replace(program_id="third"), now=1_030)
    assert (known(tracker).program_id, known(tracker).program_title) == ("third", None)


def test_time_stays_with_the_stream_where_it_was_spent(tracker: Tracker) -> None:
    tracker.receive(start(1_000, stream_id="a"), now=1_000)
    tracker.receive(beat(1_010, "playing", stream_id="b"), now=1_010)
    tracker.receive(beat(1_040, "playing", stream_id="a"), now=1_040)
    session = known(tracker)
    names = (*session.streams, session.stream_id)
    assert [(record[0], names[record[2]]) for record in session.window_inputs()] == [(1_000, "a"), (1_010, "b"), (1_040, "a")]


def test_the_streams_always_sum_to_the_states(tracker: Tracker) -> None:
    for index in range(30):
        tracker.receive(start(1_000, session_id=f"s{index}", stream_id=f"stream{index % 4}"), now=1_000)
        flag = ("playing", "paused", "rebuffering", None)[index % 4]
        tracker.receive(beat(1_001 + index, flag, session_id=f"s{index}", stream_id=f"stream{index % 3}"), now=1_001 + index)
    states = {key[1]: count for key, count in tracker.audience.items() if key[0] == "state"}
    for state, count in states.items():
        assert count == sum(size for key, size in tracker.audience.items() if key[0] == "stream" and key[2] == state)
    assert sum(states.values()) == 30


# What is to be written, and to be added.


def test_changes_are_given_once(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(events(event("mute", 1_001)), now=1_001)
    tracker.receive(end(1_002), now=1_002)
    assert tracker.has_changes()
    changes = tracker.take_changes()
    assert changes.sessions == [known(tracker)]
    assert [(each.session, each.revision) for each in changes.finished] == [(known(tracker), 1)]
    assert changes.increments[("events", "mute")] == 1
    assert changes.increments[("clock_skew", "sum")] == 0
    again = tracker.take_changes()
    assert (again.sessions, again.forgotten, again.finished, again.increments) == ([], [], [], {})
    assert not tracker.has_changes()
    assert again.ledger == changes.ledger


def test_the_ledger_in_the_changes_stays_as_it_was(tracker: Tracker) -> None:
    tracker.receive(end(1_000, session_id="a"), now=1_000)
    changes = tracker.take_changes()
    tracker.receive(end(1_000, session_id="b"), now=1_000)
    assert changes.ledger == Ledger(provisional=1, ended={"user_exit": 1})


@pytest.mark.parametrize("again", [start(1_000), beat(1_010), events(event("mute", 1_010)), end(1_020)])
def test_what_is_repeated_is_written_too_because_it_says_that_the_player_lives(tracker: Tracker, again: object) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_010), now=1_010)
    tracker.receive(events(event("mute", 1_010)), now=1_010)
    if again == end(1_020):
        tracker.receive(end(1_020), now=1_020)
    tracker.take_changes()
    tracker.receive(again, now=1_021)  # type: ignore[arg-type]
    assert tracker.take_changes().sessions == [known(tracker)]


def test_a_session_finishes_with_a_revision_each_time(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.advance(now=1_100, limit=10)
    tracker.receive(beat(1_200), now=1_200)
    tracker.advance(now=1_300, limit=10)
    tracker.receive(end(1_301), now=1_301)
    assert [each.revision for each in tracker.take_changes().finished] == [1, 2, 3]


def test_heartbeats_are_counted_without_their_repetitions(tracker: Tracker) -> None:
    for at in (1_000, 1_030, 1_030, 1_015, 1_060):
        tracker.receive(beat(at), now=1_060)
    increments = tracker.take_changes().increments
    assert (increments[("heartbeats",)], increments[("duplicates",)]) == (3, 2)


def test_all_changes_give_back_everything_and_count_as_taken(tracker: Tracker) -> None:
    tracker.receive(start(1_000, session_id="a"), now=1_000)
    tracker.receive(end(1_000, session_id="b"), now=1_000)
    tracker.pause(12.5)
    tracker.take_changes()
    tracker.receive(beat(1_010, session_id="a"), now=1_010)
    changes = tracker.all_changes()
    assert {session.session_id for session in changes.sessions} == {"a", "b"}
    assert (changes.forgotten, changes.paused_s, changes.ledger) == ([], 12.5, tracker.ledger)
    assert changes.increments == {("heartbeats",): 1}
    assert not tracker.has_changes()


# Itself again.


def _through_dump(session: Session) -> Session:
    return Session.load(session.dump())


def _through_codec(session: Session) -> Session:
    return decode_session(encode_session(session))


@pytest.mark.parametrize("copied", [_through_dump, _through_codec])
def test_a_restored_slot_behaves_as_the_one_that_it_was_restored_from(tracker: Tracker, copied: Callable[[Session], Session]) -> None:
    def live(each: Tracker) -> None:
        each.receive(beat(1_070, "playing", session_id="a", stream_id="b", quality="720p", bitrate_bps=10), now=1_070)
        each.receive(events(event("stream_buffer_start", 1_065), event("mute", 1_004), session_id="a"), now=1_071)
        each.receive(beat(1_080, session_id="gone"), now=1_080)
        each.receive(beat(1_080, session_id="ended"), now=1_080)
        each.receive(start(1_000, session_id="provisional"), now=1_080)
        each.receive(pixel("view"), now=1_081)
        each.receive(pixel("play"), now=1_081)
        each.receive(beat(1_085, "paused", session_id="blipped"), now=1_085)
        while each.advance(now=1_200, limit=2):
            pass

    tracker.pause(3.5)
    tracker.receive(start(900, session_id="gone"), now=900)
    tracker.advance(now=1_000, limit=10)
    tracker.receive(start(1_000, session_id="a", profile=b"\xff"), now=1_000)
    tracker.receive(events(event("mute", 1_004), session_id="a", stream_id="a2"), now=1_004)
    tracker.receive(beat(1_005, session_id="provisional", rebuffer_count=3, vitals=b"v"), now=1_005, interval_s=60)
    tracker.receive(end(1_010, session_id="ended", farewell=b"bye"), now=1_010)
    tracker.receive(pixel("view"), now=1_011)
    tracker.receive(beat(1_012, session_id="blipped"), now=1_012)
    tracker.receive(beat(9_999_999, session_id="blipped"), now=1_013)
    changes = tracker.take_changes()

    twin = Tracker.restore(
        7, policy=Policy(), sessions=map(copied, tracker.sessions.values()), ledger=changes.ledger, paused_s=changes.paused_s
    )
    twin.validate()
    assert {name: each.dump() for name, each in twin.sessions.items()} == {name: each.dump() for name, each in tracker.sessions.items()}
    assert (twin.audience, twin.ledger, twin.beacons) == (tracker.audience, tracker.ledger, tracker.beacons)
    assert twin.changed_keys == set(twin.audience)
    assert twin.next_deadline() == tracker.next_deadline()
    assert not twin.has_changes()

    live(tracker)
    live(twin)
    twin.validate()
    ours, theirs = tracker.take_changes(), twin.take_changes()
    assert {each.session_id: each.dump() for each in ours.sessions} == {each.session_id: each.dump() for each in theirs.sessions}
    assert (ours.forgotten, ours.ledger, ours.paused_s, ours.increments) == (
        theirs.forgotten,
        theirs.ledger,
        theirs.paused_s,
        theirs.increments,
    )
    assert (twin.audience, twin.next_deadline()) == (tracker.audience, tracker.next_deadline())


def test_a_restored_slot_does_not_write_into_the_record_it_came_from() -> None:
    record = Ledger(ended={"error": 1}, provisional=1)
    tracker = Tracker.restore(7, policy=Policy(), sessions=[], ledger=record, paused_s=0.0)
    tracker.receive(end(1_000), now=1_000)
    assert record == Ledger(ended={"error": 1}, provisional=1)


# Validation.


def test_validation_finds_a_count_that_does_not_add_up() -> None:
    tracker = Tracker(7, policy=Policy())
    tracker.receive(start(1_000), now=1_000)
    tracker.ledger.revived += 1
    with pytest.raises(InvariantError, match="the ledger does not hold"):
        tracker.validate()


def test_validation_finds_a_session_that_is_counted_as_something_else() -> None:
    tracker = Tracker(7, policy=Policy())
    tracker.receive(start(1_000), now=1_000)
    known(tracker).country = "CA"
    with pytest.raises(InvariantError, match="audience"):
        tracker.validate()


def test_a_broken_invariant_carries_the_sessions_story() -> None:
    tracker = Tracker(7, policy=Policy())
    tracker.receive(pixel("view"), now=1_000)
    known(tracker, PIXEL).newest_at -= 1
    with pytest.raises(InvariantError, match="newest input") as caught:
        tracker.validate()
    assert isinstance(caught.value.story, dict)
    assert caught.value.story["session_id"] == PIXEL
    assert ledger(tracker) == {"active": 1, "started": 1}


def test_what_was_dropped_of_an_input_is_counted_by_the_platform_of_its_session(tracker: Tracker) -> None:
    tracker.receive(beat(1_000)._replace(dropped="user_id"), now=1_000)
    tracker.receive(start(1_001)._replace(dropped="platform,geo.country", platform="other"), now=1_001)
    tracker.receive(beat(1_030)._replace(dropped="user_id"), now=1_030)
    tracker.receive(beat(1_030)._replace(dropped="user_id"), now=1_031)
    counted = {key[1:]: amount for key, amount in tracker.take_changes().increments.items() if key[0] == "platform_dropped_fields"}
    # The first beat came before anybody knew the platform; who sends a beat again has sent it wrongly again.
    assert counted == {("user_id", "unknown"): 1, ("platform", "other"): 1, ("geo.country", "other"): 1, ("user_id", "other"): 2}


def test_an_end_whose_totals_cannot_be_ends_the_session_and_compares_nothing(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    unknown = end(1_010)._replace(total_watch_s=None, rebuffer_count=None, quality_switches=None)
    receipt = tracker.receive(unknown, now=1_010)
    assert (receipt.accepted, receipt.total_watch_s, receipt.end_reason) == (True, None, "user_exit")
    assert not {key[0] for key in tracker.take_changes().increments} & {"player_watch_difference", "player_count_difference"}
