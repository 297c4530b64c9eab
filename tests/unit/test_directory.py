"""Every slot gets a living owner, nobody's sessions are given away, and the directory's own death disturbs nobody."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.front_door import OPENING_S, FrontDoor
from actors.health import Health
from actors.orders import Term, latest_terms, orders
from actors.shard import Shard
from actors.steward import LeaseLostError, Steward
from actors.writing import DirectoryAwayError
from storage.journal import DataSetConflictError, Fence
from storage.memory_journal import MemoryJournal
from tests.simulation import virtual_time
from tests.simulation.one_shard import Bench, beat, now, start, until


def health(
    *, serving: Mapping[int, int] | None = None, coming: Sequence[int] = (), recovered: bool = True, journal_up: bool = True
) -> Health:
    return Health("life-1", serving or {}, coming, recovered, 0, journal_up, 0, 0.0)


# What to order: orders.py.


def test_unowned_slots_are_spread_over_the_living() -> None:
    given = orders(terms={}, fences={}, healths={"a": health(), "b": health()}, awaited=[], slots=4)
    assert sorted(map(sorted, given.own.values())) == sorted([sorted(given.own["a"]), sorted(given.own["b"])])
    assert {slot: epoch for mine in given.own.values() for slot, epoch in mine.items()} == {0: 0, 1: 0, 2: 0, 3: 0}
    assert {len(mine) for mine in given.own.values()} == {2}


def test_a_shard_that_may_answer_in_a_moment_keeps_its_slots_and_its_share() -> None:
    terms = {slot: Term(3, "a") for slot in range(2)}
    fences = {slot: Fence(3, 9, "a") for slot in range(2)}
    given = orders(terms=terms, fences=fences, healths={"b": health()}, awaited=["a"], slots=4)
    assert given.own == {"b": {2: 0, 3: 0}}


def test_a_lost_shard_s_slots_are_taken_with_the_epoch_that_stands() -> None:
    terms = {slot: Term(3, "a") for slot in range(2)}
    fences = {slot: Fence(3, 9, "a") for slot in range(2)}
    given = orders(terms=terms, fences=fences, healths={"b": health()}, awaited=[], slots=2)
    assert given.own == {"b": {0: 3, 1: 3}}


def test_a_shard_that_recovers_or_loads_is_not_ordered_to_take_what_it_is_taking() -> None:
    terms = {0: Term(3, "a"), 1: Term(3, "a")}
    fences = {slot: Fence(3, 9, "a") for slot in range(2)}
    recovering = orders(terms=terms, fences=fences, healths={"a": health(recovered=False)}, awaited=[], slots=2)
    loading = orders(terms=terms, fences=fences, healths={"a": health(coming=[0, 1])}, awaited=[], slots=2)
    assert recovering.own == loading.own == {}


def test_a_slot_that_its_owner_does_not_hold_is_ordered_again() -> None:
    fences = {0: Fence(3, 0, "a")}
    given = orders(terms={0: Term(3, "a")}, fences=fences, healths={"a": health()}, awaited=[], slots=1)
    assert given.own == {"a": {0: 3}}


def test_a_shard_that_has_too_many_gives_them_up_first() -> None:
    fences = {slot: Fence(1, 0, "a") for slot in range(4)}
    terms = {slot: Term(1, "a") for slot in range(4)}
    healths = {"a": health(serving=dict.fromkeys(range(4), 1)), "b": health()}
    given = orders(terms=terms, fences=fences, healths=healths, awaited=[], slots=4)
    assert not given.own
    assert len(given.release["a"]) == 2


def test_a_shard_that_alone_cannot_reach_the_journal_keeps_its_slots_and_is_given_none() -> None:
    fences = {slot: Fence(1, 0, "a") for slot in range(2)} | {2: Fence(1, 0, "b"), 3: Fence(1, 0, "")}
    healths = {"a": health(serving={0: 1, 1: 1}, journal_up=False), "b": health(serving={2: 1})}
    given = orders(terms=latest_terms({}, fences, healths), fences=fences, healths=healths, awaited=[], slots=4)
    assert (given.own, given.release) == ({"b": {3: 1}}, {})


def test_what_a_cut_off_shard_has_lost_is_not_given_back_to_it_before_it_can_take_it() -> None:
    fences = {0: Fence(2, 0, "b"), 1: Fence(2, 0, "b")}
    healths = {"a": health(serving={0: 1, 1: 1}, journal_up=False), "b": health(serving={0: 2, 1: 2})}
    given = orders(terms=latest_terms({}, fences, healths), fences=fences, healths=healths, awaited=[], slots=2)
    assert (given.own, given.release) == ({}, {})


def test_while_no_shard_reaches_the_journal_slots_are_given_all_the_same() -> None:
    healths = {"a": health(journal_up=False), "b": health(journal_up=False)}
    given = orders(terms={}, fences={}, healths=healths, awaited=[], slots=2)
    assert {len(mine) for mine in given.own.values()} == {1}


def test_a_stale_owner_s_word_does_not_count() -> None:
    terms = latest_terms({}, {0: Fence(5, 0, "b")}, {"a": health(serving={0: 4})})
    assert terms == {0: Term(5, "b")}


def test_a_released_slot_has_no_owner_although_its_epoch_stands() -> None:
    terms = latest_terms({0: Term(5, "a")}, {0: Fence(5, 7, "")}, {"a": health()})
    assert terms == {0: Term(5, "")}
    assert orders(terms=terms, fences={0: Fence(5, 7, "")}, healths={"b": health()}, awaited=[], slots=1).own == {"b": {0: 5}}


def test_a_wiped_journal_takes_no_slot_from_whoever_holds_it() -> None:
    healths = {"a": health(serving={0: 5}), "b": health(serving={1: 2})}
    terms = latest_terms({}, {}, healths)
    assert orders(terms=terms, fences={}, healths=healths, awaited=[], slots=2).own == {}


def test_after_a_wipe_the_epochs_of_what_was_lost_go_on() -> None:
    given = orders(terms={0: Term(5, "gone")}, fences={}, healths={"a": health()}, awaited=[], slots=1)
    assert given.own == {}
    assert given.own_after_wipe == {"a": {0: 5}}


# The loop: steward.py, with real shards on a journal in memory.


@dataclass
class Port:
    """Shards of a bench, without Ray: a shard that is not there does not answer."""

    bench: Bench
    shards: dict[str, Shard] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    created: list[str] = field(default_factory=list)
    can_create: bool = True

    async def watch(self, shard: str, *, front_door_up: bool, restarts: int) -> Health | None:
        if shard in self.cut or shard not in self.shards:
            return None
        return self.shards[shard].watch(front_door_up=front_door_up, restarts=restarts)

    async def own(self, shard: str, expected: Mapping[int, int], *, after_wipe: bool) -> None:
        if shard not in self.cut and shard in self.shards:
            self.shards[shard].own(expected, after_wipe=after_wipe)

    async def release(self, shard: str, slots: Sequence[int]) -> None:
        if shard not in self.cut and shard in self.shards:
            await self.shards[shard].release(slots)

    async def create(self, shard: str) -> None:
        self.created.append(shard)
        if self.can_create and shard not in self.shards:
            self.shards[shard], _ = self.bench.shard(shard)

    async def kill(self, shard: str) -> None:
        await self.shards.pop(shard).halt()


class Cluster:
    """A bench with a directory that looks once a second."""

    def __init__(self, *, slots: int = 16) -> None:
        self.bench = Bench(slots=slots)
        self.port = Port(self.bench)
        self.journal = MemoryJournal(self.bench.store)
        self.loop: asyncio.Task[None] | None = None

    def steward(self, *, shards: int = 2, run: str = "run-1", instance: str = "laptop", door: FrontDoor | None = None) -> Steward:
        steward = Steward(
            journal=self.journal,
            shards=[f"shard-{number}" for number in range(shards)],
            slots=self.bench.slots,
            instance=instance,
            run=run,
            port=self.port,
            clock=now,
            front_door=door or FrontDoor(None, now=now()),
        )
        self.bench.confirm = steward.confirm  # type: ignore[method-assign]
        return steward

    async def begin(self, **settings: Any) -> Steward:
        self.forget_directory()
        steward = self.steward(**settings)
        await steward.open()
        self.loop = asyncio.create_task(self._look(steward))
        await until(steward.is_settled)
        return steward

    def forget_directory(self) -> None:
        if self.loop is not None:
            self.loop.cancel()

    async def end(self) -> None:
        self.forget_directory()
        for name in list(self.port.shards):
            await self.port.shards.pop(name).stop()

    async def _look(self, steward: Steward) -> None:
        while True:
            if not await steward.look():
                await asyncio.sleep(1.0)

    def owners(self) -> dict[str, int]:
        served = [held for shard in self.port.shards.values() for held in shard.held]
        assert len(served) == len(set(served))
        return {name: len(shard.held) for name, shard in sorted(self.port.shards.items())}


Scenario = Callable[[Cluster], Coroutine[Any, Any, None]]


def play(scenario: Scenario) -> None:
    async def scene() -> None:
        await scenario(Cluster())

    virtual_time.run(scene())


def test_a_first_start_creates_the_shards_and_shares_the_slots_among_them() -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin()
        assert cluster.port.created == ["shard-0", "shard-1"]
        assert cluster.owners() == {"shard-0": 8, "shard-1": 8}
        status = steward.status()
        assert (status["owned"], status["slots"], status["map_version"], status["journal_up"]) == (16, 16, 16, True)

    play(scenario)


def test_a_shard_that_comes_back_within_5_s_finds_its_slots() -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin()
        cluster.port.can_create = False
        await cluster.port.kill("shard-0")
        await asyncio.sleep(4.0)
        assert cluster.owners() == {"shard-1": 8}
        cluster.port.shards["shard-0"], _ = cluster.bench.shard("shard-0")
        await asyncio.sleep(2.0)
        assert cluster.owners() == {"shard-0": 8, "shard-1": 8}
        shards = steward.status()["shards"]
        assert isinstance(shards, dict)
        assert shards["shard-0"]["restarts"] == 1

    play(scenario)


def test_a_shard_that_stays_away_loses_its_slots_to_the_others_and_gets_a_share_when_it_returns() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.begin()
        session = cluster.bench.id_in(next(iter(cluster.port.shards["shard-0"].held)))
        await cluster.bench.send(cluster.port.shards["shard-0"], start(session))
        cluster.port.can_create = False
        await cluster.port.kill("shard-0")
        await asyncio.sleep(8.0)
        assert cluster.owners() == {"shard-1": 16}
        assert cluster.port.shards["shard-1"].sessions == 1
        cluster.port.can_create = True
        await asyncio.sleep(15.0)
        assert cluster.owners() == {"shard-0": 8, "shard-1": 8}

    play(scenario)


def test_a_shard_that_was_cut_off_and_returns_has_lost_its_slots() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.begin()
        cut = cluster.port.shards["shard-0"]
        cluster.port.cut = {"shard-0"}
        await asyncio.sleep(10.0)
        assert len(cluster.port.shards["shard-1"].held) == 16
        assert not cut.held

    play(scenario)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3)])
def test_a_start_with_another_number_of_shards_owns_every_slot(before: int, after: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.begin(shards=before)
        await cluster.end()
        await asyncio.sleep(60.0)
        await cluster.begin(shards=after, run="run-2")
        await asyncio.sleep(10.0)
        owners = cluster.owners()
        assert len(owners) == after
        assert max(owners.values()) - min(owners.values()) <= 1

    play(scenario)


def test_a_directory_that_begins_anew_changes_nothing() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.begin()
        epochs = {slot: fence.epoch for slot, fence in cluster.bench.store.fences.items()}
        await cluster.begin()
        await asyncio.sleep(30.0)
        assert {slot: fence.epoch for slot, fence in cluster.bench.store.fences.items()} == epochs

    play(scenario)


def test_a_run_that_another_has_followed_stops() -> None:
    async def scenario(cluster: Cluster) -> None:
        first = cluster.steward(run="run-1")
        await first.open()
        await first.look()
        second = cluster.steward(run="run-2")
        await second.open()
        with pytest.raises(LeaseLostError):
            await first.look()

    play(scenario)


def test_a_second_cluster_on_the_same_data_set_is_refused() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.begin()
        with pytest.raises(DataSetConflictError):
            await cluster.steward(instance="another").open()

    play(scenario)


def test_a_wiped_journal_is_made_anew_and_gets_back_what_its_owners_hold() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.begin()
        names = [f"s{number}" for number in range(40)]
        for name in names:
            for shard in cluster.port.shards.values():
                await cluster.bench.send(shard, start(name))
        sessions = sum(map(len, cluster.bench.store.sessions.values()))
        before = cluster.owners()
        cluster.bench.store.wipe()
        await asyncio.sleep(5.0)
        assert cluster.owners() == before
        assert sum(map(len, cluster.bench.store.sessions.values())) == sessions == 40
        assert {fence.epoch for fence in cluster.bench.store.fences.values()} == {2}

    play(scenario)


def test_a_stale_owner_is_not_confirmed_after_a_wipe() -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin()
        slot, epoch = next(iter((held.slot, held.epoch) for held in cluster.port.shards["shard-0"].held.values()))
        cluster.port.shards["shard-1"].own({slot: epoch})
        await asyncio.sleep(2.0)
        cluster.bench.store.wipe()
        assert await steward.confirm("shard-0", {slot: epoch}) == []
        assert await steward.confirm("shard-1", {slot: epoch + 1}) == [slot]

    play(scenario)


def test_an_earlier_life_of_the_owner_is_not_confirmed_after_a_wipe() -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin()
        slot, epoch = next(iter((held.slot, held.epoch) for held in cluster.port.shards["shard-0"].held.values()))
        assert await steward.confirm("shard-0", {slot: epoch - 1}) == []
        assert await steward.confirm("shard-0", {slot: epoch}) == [slot]

    play(scenario)


def test_a_directory_that_has_not_heard_the_shards_yet_confirms_nothing() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.begin()
        fresh = cluster.steward()
        with pytest.raises(DirectoryAwayError):
            await fresh.confirm("shard-0", {0: 1})
        await fresh.look()
        assert await fresh.confirm("shard-0", {0: 1}) in ([0], [])

    play(scenario)


def test_slots_lost_with_the_journal_and_their_owner_begin_again_above_their_epoch() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.begin(shards=1)
        cluster.bench.store.wipe()
        await cluster.port.kill("shard-0")
        await asyncio.sleep(20.0)
        assert cluster.owners() == {"shard-0": 16}
        assert {fence.epoch for fence in cluster.bench.store.fences.values()} == {2}

    play(scenario)


# The front door.


def test_a_door_that_was_never_open_is_opening_for_a_while_and_then_not_watched() -> None:
    async def closed() -> bool:
        return False

    async def scenario(cluster: Cluster) -> None:
        door = FrontDoor(closed, now=1_000.0)
        await door.look()
        assert not door.is_open(1_000.0 + OPENING_S - 1.0)
        assert door.is_open(1_000.0 + OPENING_S + 1.0)

    play(scenario)


def test_a_door_that_closes_stops_the_expiry_clock_of_every_shard() -> None:
    is_open = True

    async def probe() -> bool:
        return is_open

    async def scenario(cluster: Cluster) -> None:
        nonlocal is_open
        await cluster.begin(door=FrontDoor(probe, now=now()))
        for shard in cluster.port.shards.values():
            await cluster.bench.send(shard, *(beat(f"s{number}") for number in range(40)))
        is_open = False
        await asyncio.sleep(600.0)
        is_open = True
        await asyncio.sleep(60.0)
        assert sum(held.tracker.ledger.active for shard in cluster.port.shards.values() for held in shard.held.values()) == 40
        await asyncio.sleep(40.0)
        assert sum(held.tracker.ledger.active for shard in cluster.port.shards.values() for held in shard.held.values()) == 0

    play(scenario)
