"""Slots are spread evenly, and move no more than that needs."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.directory.assign import assign

NAMES = [f"shard-{number}" for number in range(6)]


def after(owners: dict[int, str], moves: dict[int, str]) -> dict[int, str]:
    return {**owners, **moves}


@st.composite
def maps(draw: st.DrawFn) -> tuple[dict[int, str], list[str], int]:
    slots = draw(st.integers(1, 40))
    shards = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    owners = draw(st.dictionaries(st.integers(0, slots - 1), st.sampled_from([*NAMES, "gone", ""])))
    return owners, shards, slots


@given(maps())
def test_every_slot_has_a_living_owner_and_nobody_has_two_more_than_another(case: tuple[dict[int, str], list[str], int]) -> None:
    owners, shards, slots = case
    result = after(owners, assign(owners, shards=shards, slots=slots))
    assert set(result) == set(range(slots))
    counts = Counter(dict.fromkeys(shards, 0))
    counts.update(result.values())
    assert set(counts) == set(shards)
    assert max(counts.values()) - min(counts.values()) <= 1


@given(maps())
def test_only_orphans_and_what_is_too_much_move(case: tuple[dict[int, str], list[str], int]) -> None:
    owners, shards, slots = case
    moves = assign(owners, shards=shards, slots=slots)
    held = Counter(dict.fromkeys(shards, 0))
    held.update(owner for owner in owners.values() if owner in shards)
    share, extra = divmod(slots, len(shards))
    rooms = [share + (rank < extra) for rank in range(len(shards))]
    surplus = sum(max(0, count - room) for (_, count), room in zip(held.most_common(), rooms, strict=True))
    assert len(moves) == slots - sum(held.values()) + surplus
    assert all(owners.get(slot) != shard for slot, shard in moves.items())


@given(maps())
def test_what_was_assigned_stays(case: tuple[dict[int, str], list[str], int]) -> None:
    owners, shards, slots = case
    result = after(owners, assign(owners, shards=shards, slots=slots))
    assert assign(result, shards=shards, slots=slots) == {}


@pytest.mark.parametrize(("before", "now", "moved"), [(2, 3, 85), (3, 2, 85), (1, 2, 128), (2, 2, 0)])
def test_256_slots_move_only_as_many_as_the_change_needs(before: int, now: int, moved: int) -> None:
    owners = assign({}, shards=NAMES[:before], slots=256)
    assert len(assign(owners, shards=NAMES[:now], slots=256)) == moved


@given(maps(), st.integers(1, 5))
def test_a_few_at_a_time_it_takes_no_more_moves_than_all_at_once(case: tuple[dict[int, str], list[str], int], at_once: int) -> None:
    owners, shards, slots = case
    needed = len(assign(owners, shards=shards, slots=slots))
    moved = 0
    while moves := assign(owners, shards=shards, slots=slots):
        # Given up first, and owned by nobody when it is looked at next: as a planned move goes.
        given_up = dict.fromkeys(sorted(moves)[:at_once], "")
        owners = owners | given_up
        taken = {slot: shard for slot, shard in assign(owners, shards=shards, slots=slots).items() if slot in given_up}
        owners = owners | taken
        moved += len(taken)
    assert moved == needed


def test_without_shards_nothing_can_be_done() -> None:
    assert assign({0: "shard-0"}, shards=[], slots=4) == {}
