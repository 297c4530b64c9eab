"""Deadlines: never early, hardly late, and at the cost of those that are due."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessions import deadlines
from sessions.deadlines import Deadlines, bucket_of, due_at_of


class Watched:
    """An item that says how often it was touched."""

    def __init__(self) -> None:
        self.touched = 0

    def __hash__(self) -> int:
        self.touched += 1
        return id(self)


def popped(wheel: Deadlines[str], *, now: float, limit: int = 100) -> list[str]:
    return list(wheel.pop_due(now=now, limit=limit))


@given(st.floats(0, 4_000_000_000))
@settings(max_examples=200)
def test_a_deadline_is_never_early_and_a_quarter_of_a_second_late_at_most(due_at: float) -> None:
    assert due_at < due_at_of(bucket_of(due_at)) <= due_at + 0.25


def test_what_is_due_comes_out_once_earliest_first() -> None:
    wheel: Deadlines[str] = Deadlines()
    for item, due_at in (("c", 30.0), ("a", 10.0), ("later", 50.0), ("b", 20.0)):
        wheel.add(item, bucket_of(due_at))
    assert popped(wheel, now=40) == ["a", "b", "c"]
    assert popped(wheel, now=40) == []
    assert [item for item, _ in wheel.items()] == ["later"]


def test_what_was_removed_or_moved_does_not_come_out_at_its_old_time() -> None:
    wheel: Deadlines[str] = Deadlines()
    wheel.add("removed", 40)
    wheel.add("moved", 40)
    wheel.remove("removed", 40)
    wheel.remove("moved", 40)
    wheel.add("moved", 80)
    assert wheel.next_due_at() == 20
    assert popped(wheel, now=19.9) == []
    assert popped(wheel, now=20) == ["moved"]
    assert wheel.next_due_at() is None


def test_a_bucket_that_was_emptied_and_filled_again_comes_out_once() -> None:
    wheel: Deadlines[str] = Deadlines()
    wheel.add("a", 40)
    wheel.remove("a", 40)
    wheel.add("b", 40)
    assert popped(wheel, now=10) == ["b"]
    assert wheel.next_due_at() is None


def test_removing_what_is_not_there_is_an_error() -> None:
    wheel: Deadlines[str] = Deadlines()
    wheel.add("a", 40)
    with pytest.raises(KeyError):
        wheel.remove("b", 40)


def test_a_slice_takes_no_more_than_its_limit_and_the_rest_stays_due() -> None:
    wheel: Deadlines[str] = Deadlines()
    for index in range(10):
        wheel.add(f"item{index}", 40 + index // 5)
    taken = [popped(wheel, now=100, limit=4) for _ in range(4)]
    assert [len(items) for items in taken] == [4, 4, 2, 0]
    assert {item for items in taken for item in items} == {f"item{index}" for index in range(10)}


def test_an_item_that_is_added_while_others_come_out_waits_for_its_own_time() -> None:
    wheel: Deadlines[str] = Deadlines()
    wheel.add("first", 40)
    wheel.add("second", 41)
    seen = []
    for item in wheel.pop_due(now=11, limit=100):
        seen.append(item)
        wheel.add(f"{item} again", 60)
    assert seen == ["first", "second"]
    assert popped(wheel, now=15) != []


def test_a_tick_touches_only_what_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel: Deadlines[Watched] = Deadlines()
    waiting = [Watched() for _ in range(10_000)]
    due = [Watched() for _ in range(5)]
    for index, item in enumerate(waiting):
        wheel.add(item, 4_000 + index)
    for index, item in enumerate(due):
        wheel.add(item, 40 + index)
    for item in waiting:
        item.touched = 0
    pops = []
    pop = deadlines.heappop
    monkeypatch.setattr(deadlines, "heappop", lambda heap: pops.append(pop(heap)))
    assert len(list(wheel.pop_due(now=100, limit=1_000))) == 5
    assert list(wheel.pop_due(now=101, limit=1_000)) == []
    assert wheel.next_due_at() == 1_000
    assert sum(item.touched for item in waiting) == 0
    assert len(pops) == 5


def test_moving_one_deadline_touches_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel: Deadlines[Watched] = Deadlines()
    others = [Watched() for _ in range(1_000)]
    for index, item in enumerate(others):
        wheel.add(item, 4_000 + index % 2)
    moving = Watched()
    wheel.add(moving, 4_000)
    for item in others:
        item.touched = 0
    pushes = []
    push = deadlines.heappush
    monkeypatch.setattr(deadlines, "heappush", lambda heap, number: pushes.append(push(heap, number)))
    for bucket in (4_000, 4_001) * 50:
        wheel.remove(moving, bucket)
        wheel.add(moving, 8_001 - bucket)
    assert sum(item.touched for item in others) == 0
    assert pushes == []


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 12)), max_size=40), st.integers(0, 3))
def test_it_gives_what_a_plain_dictionary_would(moves: list[tuple[str, int]], now: int) -> None:
    wheel: Deadlines[str] = Deadlines()
    naive: dict[str, int] = {}
    for item, bucket in moves:
        if item in naive:
            wheel.remove(item, naive[item])
        naive[item] = wheel.add(item, bucket)
    assert dict(wheel.items()) == naive
    assert wheel.next_due_at() == (min(naive.values()) / 4 if naive else None)
    assert sorted(popped(wheel, now=now)) == sorted(item for item, bucket in naive.items() if bucket <= now * 4)
