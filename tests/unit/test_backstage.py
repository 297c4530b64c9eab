"""Operators' questions reach whoever knows, also after a move; ready means that every slot is served."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from serve_app.delivery.actor_calls import ActorAwayError, ActorGoneError
from serve_app.delivery.slotmap import SlotMap
from serve_app.operators import backstage as module
from serve_app.operators.backstage import ActorsBackstage
from serve_app.operators.readiness import Readiness
from sessions.routing import slot_of
from sessions.search import Found, Query
from storage.journal import Fence, JournalUnavailableError

SLOTS = 8


@dataclass
class World:
    """A map, a journal and shards that hold slots; what was asked is noted."""

    owners: dict[int, str] = field(default_factory=lambda: dict.fromkeys(range(SLOTS), "a"))
    held: dict[str, list[int]] = field(default_factory=lambda: {"a": list(range(SLOTS))})
    known: dict[str, dict[str, bytes]] = field(default_factory=dict)
    journal_up: bool = True
    unheard: str = ""
    """A shard that gets no answer from the journal."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    now: float = 1_000.0
    commit_s: float = 0.01
    replaced: set[str] = field(default_factory=set)
    """Names that lead to an actor that is gone, until they are looked up again."""
    hand_over_after: int | None = None
    """So many times is the map read before the slots that nobody owns are claimed by `b`."""

    async def fences(self) -> Mapping[int, Fence]:
        if self.hand_over_after is not None:
            self.hand_over_after -= 1
            if self.hand_over_after < 0:
                self.owners = {slot: owner or "b" for slot, owner in self.owners.items()}
        return {slot: Fence(1, 0, owner) for slot, owner in self.owners.items()}

    async def ping(self) -> None:
        if not self.journal_up:
            raise JournalUnavailableError

    async def call(self, name: str, method: str, *arguments: Any, within_s: float) -> Any:
        self.asked.append((name, method))
        if name in self.replaced:
            self.replaced.discard(name)
            raise ActorGoneError(name)
        if method == "status" and name in self.held:
            return {"epochs": dict.fromkeys(self.held[name], 1), "journal_up": name != self.unheard, "last_commit_s": self.commit_s}
        if method == "search" and name in self.held:
            return Found([((1.0, name), {"session_id": name})], 3)
        if method == "describe" and name in self.held:
            return self.known.get(name, {}).get(arguments[1])
        raise ActorAwayError(name)

    def backstage(self) -> tuple[ActorsBackstage, SlotMap]:
        slot_map = SlotMap(self.fences)
        return ActorsBackstage(self, slot_map, self, slots=SLOTS, monotonic=lambda: self.now), slot_map  # type: ignore[arg-type]


def readiness(world: World) -> Readiness:
    async def ask() -> Readiness:
        return await world.backstage()[0].readiness()

    return asyncio.run(ask())


def test_ready_is_every_slot_served_and_the_journal_answering() -> None:
    assert readiness(World()) == Readiness(SLOTS, SLOTS)
    assert readiness(World()).ready


def test_a_journal_that_takes_its_time_is_ready_and_called_slow() -> None:
    told = readiness(World(commit_s=0.6))
    assert (told.ready, told.journal_is_slow) == (True, True)
    assert not readiness(World(commit_s=0.4)).journal_is_slow


@pytest.mark.parametrize(
    ("world", "problem"),
    [
        (World(owners={}), "8 of 8 slots are not served"),
        (World(owners=dict.fromkeys(range(SLOTS - 1), "a"), held={"a": list(range(SLOTS - 1))}), "1 of 8 slots are not served"),
        (World(held={"a": [0, 1, 2]}), "5 of 8 slots are not served"),
        (World(held={}), "a does not answer"),
        (World(unheard="a"), "a gets no answer from the journal"),
    ],
)
def test_what_is_missing_is_named(world: World, problem: str) -> None:
    found = readiness(world)
    assert not found.ready
    assert problem in found.problems


def test_without_a_journal_nobody_is_ready() -> None:
    async def ask() -> Readiness:
        world = World()
        backstage, slot_map = world.backstage()
        await slot_map.refresh()
        world.journal_up = False
        return await backstage.readiness()

    assert asyncio.run(ask()).problems == ("the journal does not answer",)


def test_readiness_is_asked_for_once_a_second_however_many_want_to_know() -> None:
    async def ask() -> list[int]:
        world = World()
        backstage, _ = world.backstage()
        await asyncio.gather(*(backstage.readiness() for _ in range(20)))
        counts = [len(world.asked)]
        world.now += module.READY_CACHED_S - 0.01
        await backstage.readiness()
        counts.append(len(world.asked))
        world.now += 0.01
        await backstage.readiness()
        return [*counts, len(world.asked)]

    assert asyncio.run(ask()) == [1, 1, 2]


def described(world: World, *, moved_to: str | None = None) -> bytes | None:
    async def ask() -> bytes | None:
        backstage, slot_map = world.backstage()
        await slot_map.refresh()
        if moved_to is not None:
            world.owners[slot_of("s", slots=SLOTS)] = moved_to
        return await backstage.describe("s")

    return asyncio.run(ask())


def test_a_session_is_described_by_its_owner() -> None:
    assert described(World(known={"a": {"s": b"{}"}})) == b"{}"


def test_a_session_that_moved_is_described_by_its_new_owner() -> None:
    world = World(held={"a": [], "b": []}, known={"b": {"s": b"{}"}})
    assert described(world, moved_to="b") == b"{}"
    assert [name for name, _ in world.asked] == ["a", "b"]


def test_a_session_that_nobody_knows_is_unknown() -> None:
    world = World()
    assert described(world) is None
    assert world.asked == [("a", "describe")]


def test_without_an_owner_nobody_can_tell() -> None:
    with pytest.raises(ActorAwayError):
        described(World(owners={}))
    with pytest.raises(ActorAwayError):
        described(World(held={}))


def test_a_shard_that_was_scaled_away_is_asked_no_more_and_the_new_owner_says_that_nobody_has_the_id() -> None:
    """The map of the replica still names a shard that is gone: not a 503 until somebody reads it again, but a 404."""
    world = World(held={"b": []})
    assert described(world, moved_to="b") is None
    assert [name for name, _ in world.asked] == ["a", "b"]


def test_a_session_whose_slot_is_just_being_handed_over_is_described_by_who_gets_it() -> None:
    world = World(owners=dict.fromkeys(range(SLOTS), ""), held={"b": []}, known={"b": {"s": b"{}"}}, hand_over_after=2)
    assert described(world) == b"{}"


def test_an_owner_that_does_not_answer_is_not_taken_for_one_that_knows_nothing() -> None:
    world = World(held={})
    with pytest.raises(ActorAwayError):
        described(world)
    assert world.asked == [("a", "describe")]


def test_whoever_was_replaced_under_the_same_name_is_asked_in_the_same_breath() -> None:
    """A rollout: the name leads to a shard that was ended, and a moment later to the new one."""
    world = World(replaced={"a"}, known={"a": {"s": b"{}"}})
    assert described(world) == b"{}"
    assert readiness(World(replaced={"a"})).ready


def test_slots_that_move_while_they_are_looked_at_are_looked_at_again() -> None:
    """The map is read, then `a` gives its slots up and is ended, and only then is it asked: the second look finds them with `b`."""

    async def ask() -> Readiness:
        world = World(held={"b": list(range(SLOTS))})
        fences, reads = world.fences, 0

        async def moving() -> Mapping[int, Fence]:
            nonlocal reads
            reads += 1
            found = await fences()
            world.owners = dict.fromkeys(range(SLOTS), "b")
            return found

        world.fences = moving  # type: ignore[method-assign]
        backstage, _ = world.backstage()
        told = await backstage.readiness()
        assert reads == 2
        return told

    assert asyncio.run(ask()) == Readiness(SLOTS, SLOTS)


def searched(world: World) -> Mapping[str, Any]:
    async def ask() -> Mapping[str, Any]:
        return await world.backstage()[0].search(Query())

    return asyncio.run(ask())


def test_every_shard_that_owns_a_slot_is_searched_and_one_that_does_not_answer_is_named() -> None:
    owners = {slot: "ab"[slot % 2] for slot in range(SLOTS)}
    answer = searched(World(owners=owners, held={"a": [], "b": [], "c": []}))
    assert [row["session_id"] for row in answer["sessions"]] == ["b", "a"]
    assert "without_shards" not in answer
    assert searched(World(owners=owners, held={"b": []}))["without_shards"] == ["a"]


def test_where_no_shard_answers_nothing_is_said_to_be_found() -> None:
    with pytest.raises(ActorAwayError):
        searched(World(held={}))
