"""A planned hand-over is ready, and whatever else leaves a slot without an owner is not."""

from typing import Any

from serve_app.operators.readiness import HAND_OVER_S, Look, Seen, judge

SLOTS = 4


def status(*slots: int, coming: tuple[int, ...] = (), journal_up: bool = True) -> dict[str, Any]:
    return {"epochs": dict.fromkeys(slots, 1), "coming": list(coming), "journal_up": journal_up, "last_commit_s": 0.01}


def look(statuses: dict[str, dict[str, Any] | None], *given_up: int) -> Look:
    return Look(journal_answers=True, given_up=frozenset(given_up), statuses=statuses)


WELL = look({"a": status(0, 1), "b": status(2, 3)})


def seen_well(now: float = 1_000.0) -> Seen:
    readiness, seen = judge(Seen(), [WELL], slots=SLOTS, now=now)
    assert readiness.ready
    return seen


def problems(seen: Seen, *looks: Look, now: float) -> tuple[str, ...]:
    return judge(seen, looks, slots=SLOTS, now=now)[0].problems


def test_a_slot_that_its_owner_gave_up_is_ready_until_it_is_claimed_and_loaded() -> None:
    """`a` gave up slot 1; `b` takes it, and serves it: ready all the time, with all four slots."""
    seen = seen_well()
    given_up, coming = look({"a": status(0), "b": status(2, 3)}, 1), look({"a": status(0), "b": status(2, 3, coming=(1,))})
    for moment, now in ((given_up, 1_000.2), (coming, 1_000.4), (look({"a": status(0), "b": status(1, 2, 3)}), 1_000.6)):
        readiness, seen = judge(seen, [moment], slots=SLOTS, now=now)
        assert (readiness.problems, readiness.served) == ((), 4)


def test_a_hand_over_that_takes_too_long_is_no_hand_over_any_more() -> None:
    """Last served at 1,000: 5 s later it still counts, and then it does not, until somebody serves it."""
    given_up = look({"a": status(0), "b": status(2, 3)}, 1)
    readiness, seen = judge(seen_well(), [given_up], slots=SLOTS, now=1_000.0 + HAND_OVER_S)
    assert readiness.ready
    readiness, seen = judge(seen, [given_up], slots=SLOTS, now=1_000.1 + HAND_OVER_S)
    assert readiness.problems == ("1 of 4 slots are not served",)
    assert problems(seen, look({"a": status(0), "b": status(2, 3, coming=(1,))}), now=1_006.0) == ("1 of 4 slots are not served",)
    assert problems(seen, WELL, now=1_006.0) == ()


def test_slots_of_a_shard_that_died_are_missing_until_they_are_served() -> None:
    """`a` dies; five seconds later `b` is loading its slots: players of theirs are still waiting."""
    readiness, seen = judge(seen_well(), [look({"a": None, "b": status(2, 3)})] * 2, slots=SLOTS, now=1_001.0)
    assert readiness.problems == ("a does not answer", "2 of 4 slots are not served")
    loading = look({"b": status(2, 3, coming=(0, 1))})
    readiness, seen = judge(seen, [loading], slots=SLOTS, now=1_002.0)
    assert readiness.problems == ("2 of 4 slots are not served",)
    assert problems(seen, look({"b": status(0, 1, 2, 3)}), now=1_003.0) == ()


def test_at_a_start_slots_that_are_on_their_way_are_not_served_yet() -> None:
    assert problems(Seen(), look({"a": status(0, 1, coming=(2, 3))}), now=1_000.0) == ("2 of 4 slots are not served",)


def test_what_only_one_of_two_looks_found_wrong_was_a_slot_on_the_move() -> None:
    first = look({"a": None, "b": status(2, 3)})
    assert problems(seen_well(), first, now=1_001.0) != ()
    assert problems(seen_well(), first, look({"b": status(0, 1, 2, 3)}), now=1_001.0) == ()


def test_a_shard_that_answers_the_second_time_was_not_silent() -> None:
    assert problems(seen_well(), look({"a": None, "b": status(2, 3)}), WELL, now=1_001.0) == ()


def test_a_shard_without_a_journal_and_a_journal_that_is_away_are_named_once() -> None:
    unheard = look({"a": status(0, 1, journal_up=False), "b": status(2, 3)})
    assert problems(seen_well(), unheard, now=1_001.0) == ("a gets no answer from the journal",)
    assert problems(seen_well(), unheard._replace(journal_answers=False), now=1_001.0) == ("the journal does not answer",)
