"""Every slot gets a living owner, nobody's sessions are given away, and the directory's own death disturbs nobody."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.directory.front_door import OPENING_S, FrontDoor
from actors.directory.orders import MOVES_AT_ONCE_MAX, Term, latest_terms, orders
from actors.directory.placement import Node
from actors.directory.plan import PlanRefusedError
from actors.directory.steward import BUSY_ROUND_S, ROUND_S, LeaseLostError, Steward
from actors.health import DirectoryAwayError, Health
from actors.shard.shard import Shard
from storage.journal import DataSetConflictError, Fence, JournalUnavailableError
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


def test_no_slot_is_given_up_for_a_shard_that_is_not_there_yet() -> None:
    fences = {slot: Fence(1, 0, "a") for slot in range(4)}
    healths = {"a": health(serving=dict.fromkeys(range(4), 1))}
    given = orders(terms=latest_terms({}, fences, healths), fences=fences, healths=healths, awaited=["b"], slots=4)
    assert (given.release, given.to_move) == ({}, 2)


def test_only_a_few_slots_are_on_their_way_at_a_time() -> None:
    slots = 10 * MOVES_AT_ONCE_MAX
    fences = {slot: Fence(1, 0, "a") for slot in range(slots)}
    healths = {"a": health(serving=dict.fromkeys(range(slots), 1)), "b": health()}
    given = orders(terms=latest_terms({}, fences, healths), fences=fences, healths=healths, awaited=[], slots=slots)
    assert (len(given.release["a"]), given.to_move) == (MOVES_AT_ONCE_MAX, slots // 2)
    coming = {"a": health(serving=dict.fromkeys(range(3, slots), 1)), "b": health(coming=[0, 1, 2])}
    given = orders(terms=latest_terms({}, fences, coming), fences=fences, healths=coming, awaited=[], slots=slots)
    assert len(given.release["a"]) == MOVES_AT_ONCE_MAX - 3


def test_while_something_went_wrong_nothing_moves_by_plan() -> None:
    slots = 4 * MOVES_AT_ONCE_MAX
    fences = {slot: Fence(1, 0, "a" if slot < slots // 2 else "lost") for slot in range(slots)}
    healths = {"a": health(serving=dict.fromkeys(range(slots // 2), 1)), "b": health()}
    given = orders(terms=latest_terms({}, fences, healths), fences=fences, healths=healths, awaited=["lost"], slots=slots, leaving=["a"])
    assert given.release == {}


def test_a_shard_that_leaves_gives_everything_up_and_is_given_nothing() -> None:
    fences = {slot: Fence(1, 0, "a") for slot in range(3)} | {3: Fence(1, 0, "")}
    healths = {"a": health(serving=dict.fromkeys(range(3), 1)), "b": health()}
    given = orders(terms=latest_terms({}, fences, healths), fences=fences, healths=healths, awaited=[], slots=4, leaving=["a"])
    assert (given.release, given.own) == ({"a": [0, 1, 2]}, {"b": {3: 1}})


def test_a_shard_that_leaves_keeps_its_slots_while_there_is_nobody_to_take_them() -> None:
    fences = {0: Fence(1, 0, "a")}
    healths = {"a": health(serving={0: 1})}
    given = orders(terms=latest_terms({}, fences, healths), fences=fences, healths=healths, awaited=[], slots=1, leaving=["a"])
    assert (given.release, given.own) == ({}, {})


# The loop: steward.py, with real shards on a journal in memory.


@dataclass
class Port:
    """Shards of a bench, without Ray: a shard that is not there does not answer."""

    bench: Bench
    shards: dict[str, Shard] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    created: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    homes: dict[str, str] = field(default_factory=dict)
    """Node by shard."""
    machines: list[Node] = field(default_factory=list)
    can_create: bool = True

    async def watch(self, shard: str, *, front_door_up: bool, restarts: int) -> Health | None:
        if shard in self.cut or shard not in self.shards:
            return None
        health = self.shards[shard].watch(front_door_up=front_door_up, restarts=restarts)
        return health._replace(node=self.homes.get(shard, ""))

    async def own(self, shard: str, expected: Mapping[int, int], *, after_wipe: bool) -> None:
        if shard not in self.cut and shard in self.shards:
            self.shards[shard].own(expected, after_wipe=after_wipe)

    async def release(self, shard: str, slots: Sequence[int]) -> None:
        if shard not in self.cut and shard in self.shards:
            await self.shards[shard].release(slots)

    async def create(self, shard: str, *, node: str | None) -> None:
        self.created.append(shard)
        if self.can_create and shard not in self.shards:
            self.shards[shard], _ = self.bench.shard(shard)
            self.homes[shard] = node or ""

    async def end(self, shard: str) -> bool:
        self.ended.append(shard)
        await self.shards.pop(shard).stop()
        return True

    async def existing(self) -> Collection[str]:
        return list(self.shards)

    async def nodes(self) -> Sequence[Node]:
        return self.machines

    async def kill(self, shard: str) -> None:
        await self.shards.pop(shard).halt()


class Cluster:
    """A bench with a directory that looks once a second."""

    def __init__(self, *, slots: int = 16) -> None:
        self.bench = Bench(slots=slots)
        self.port = Port(self.bench)
        self.journal = MemoryJournal(self.bench.store)
        self.loop: asyncio.Task[None] | None = None

    def steward(
        self, *, shards: int = 2, run: str = "run-1", instance: str = "laptop", door: FrontDoor | None = None, shards_are_set: bool = True
    ) -> Steward:
        steward = Steward(
            journal=self.journal,
            shards=shards,
            name=lambda index: f"shard-{index}",
            shards_are_set=shards_are_set,
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

    def slow_down(self) -> None:
        """Let the directory's rounds take long, so that people look in the middle of them."""
        self.journal.faults = lambda moment, operation: asyncio.sleep(0.1) if operation == "fences" else None

    def forget_directory(self) -> None:
        if self.loop is not None:
            self.loop.cancel()

    async def end(self) -> None:
        self.forget_directory()
        for name in list(self.port.shards):
            await self.port.shards.pop(name).stop()

    async def _look(self, steward: Steward) -> None:
        while True:
            busy = await steward.look()
            await asyncio.sleep(BUSY_ROUND_S if busy else ROUND_S)

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
        assert Counter(status["owners"].values()) == {"shard-0": 8, "shard-1": 8}  # type: ignore[attr-defined]
        assert status["epochs"] == dict.fromkeys(range(16), 1)
        assert [shard["epochs"] for shard in status["shards"].values()] == [[1, 1], [1, 1]]  # type: ignore[attr-defined]

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


def test_a_shard_that_misses_one_question_after_a_slow_round_keeps_its_slots() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.begin()
        epochs = {slot: fence.epoch for slot, fence in cluster.bench.store.fences.items()}
        cluster.port.can_create = False
        rounds = 0

        async def slow(moment: str, operation: str) -> None:
            nonlocal rounds
            if (moment, operation) != ("before", "fences"):
                return
            rounds += 1
            # Every other question has no answer; the rounds are slow before they judge, and so before the next question.
            cluster.port.cut = {"shard-0"} if rounds % 2 else set()
            await asyncio.sleep(10.0)

        cluster.journal.faults = slow
        await asyncio.sleep(100.0)
        assert rounds > 6
        assert {slot: fence.epoch for slot, fence in cluster.bench.store.fences.items()} == epochs

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


# The plan: growing, shrinking, renewing, draining.


def epochs(cluster: Cluster) -> dict[int, int]:
    return {slot: fence.epoch for slot, fence in sorted(cluster.bench.store.fences.items())}


def raised(before: dict[int, int], after: dict[int, int]) -> int:
    """Count the moves between two maps."""
    return sum(after.values()) - sum(before.values())


def as_planned(steward: Steward) -> Callable[[], bool]:
    return lambda: bool(steward.status()["as_planned"])


@pytest.mark.parametrize(("before", "after", "moves"), [(1, 2, 8), (2, 3, 5), (3, 5, 6), (3, 1, 10), (4, 3, 4)])
def test_scaling_moves_as_few_slots_as_possible_and_ends_who_is_not_needed(before: int, after: int, moves: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin(shards=before)
        await until(as_planned(steward))
        sent = [
            (await cluster.bench.send(shard, start(cluster.bench.id_in(slot))))
            for shard in cluster.port.shards.values()
            for slot in shard.held
        ]
        was = epochs(cluster)
        cluster.slow_down()
        await steward.scale(after)
        assert not steward.status()["as_planned"]
        await until(as_planned(steward))
        assert raised(was, epochs(cluster)) == moves
        assert len(cluster.owners()) == after
        assert cluster.port.ended == [f"shard-{number}" for number in range(after, before)]
        assert sum(shard.sessions for shard in cluster.port.shards.values()) == len(sent) == 16
        assert len(steward.status()["shards"]) == after  # type: ignore[arg-type]

    play(scenario)


def test_while_slots_move_none_is_without_an_owner_for_long() -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin(shards=1)
        await until(as_planned(steward))
        await steward.scale(4)
        unserved_s = dict.fromkeys(range(16), 0.0)
        while not steward.status()["as_planned"]:
            await asyncio.sleep(0.01)
            served = {slot for shard in cluster.port.shards.values() for slot in shard.held}
            unserved_s = {slot: 0.0 if slot in served else unserved_s[slot] + 0.01 for slot in unserved_s}
            assert max(unserved_s.values()) < 0.5

    play(scenario)


def test_a_number_of_shards_outlasts_the_directory_and_the_run() -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin(shards=2)
        await steward.scale(3)
        assert (await cluster.begin(shards=2)).status()["planned_shards"] == 3
        await until(lambda: len(cluster.owners()) == 3)
        await cluster.end()
        assert (await cluster.begin(shards=2, run="run-2", shards_are_set=False)).status()["planned_shards"] == 3
        await cluster.end()
        assert (await cluster.begin(shards=2, run="run-3")).status()["planned_shards"] == 2

    play(scenario)


def test_a_directory_that_begins_anew_goes_on_where_the_last_one_died() -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin(shards=4)
        await until(as_planned(steward))
        was = epochs(cluster)
        await steward.scale(2)
        await asyncio.sleep(0.01)
        steward = await cluster.begin(shards=4)
        await until(as_planned(steward))
        assert sorted(cluster.port.shards) == ["shard-0", "shard-1"]
        assert raised(was, epochs(cluster)) == 8

    play(scenario)


def test_a_plan_outlasts_a_wipe() -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin(shards=2)
        await steward.scale(3)
        await until(as_planned(steward))
        cluster.bench.store.wipe()
        await asyncio.sleep(5.0)
        assert (await cluster.begin(shards=2)).status()["planned_shards"] == 3

    play(scenario)


def test_what_cannot_be_kept_is_not_begun() -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin(shards=2)
        await until(as_planned(steward))

        def away(moment: str, operation: str) -> None:
            raise JournalUnavailableError(f"{operation} {moment}")

        cluster.journal.faults = away
        with pytest.raises(JournalUnavailableError):
            await steward.scale(3)
        cluster.journal.faults = None
        await asyncio.sleep(5.0)
        assert len(cluster.owners()) == 2

    play(scenario)


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_a_rollout_replaces_every_shard_and_is_no_restart(shards: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin(shards=shards)
        await until(as_planned(steward))
        before = {name: shard.incarnation for name, shard in cluster.port.shards.items()}
        assert await steward.rollout() == shards
        while not steward.status()["as_planned"]:
            await asyncio.sleep(0.01)
            assert len(cluster.port.shards) >= max(1, shards - 1), "more than one at a time"
        assert cluster.port.shards.keys() == before.keys()
        assert not {shard.incarnation for shard in cluster.port.shards.values()} & set(before.values())
        told = steward.status()["shards"]
        assert isinstance(told, dict)
        assert {shard["restarts"] for shard in told.values()} == {0}

    play(scenario)


def test_a_shard_that_dies_while_others_are_renewed_comes_first() -> None:
    async def scenario(cluster: Cluster) -> None:
        steward = await cluster.begin(shards=3)
        await until(as_planned(steward))
        await steward.rollout()
        cluster.port.can_create = False
        await cluster.port.kill("shard-2")
        await asyncio.sleep(20.0)
        assert "shard-0" not in cluster.port.ended[1:]
        assert len(cluster.port.shards) >= 1
        cluster.port.can_create = True
        await until(as_planned(steward))
        assert sorted(cluster.port.shards) == ["shard-0", "shard-1", "shard-2"]

    play(scenario)


def machines(*names: str) -> list[Node]:
    return [Node(name, "", takes_shards=True) for name in names]


def homes(cluster: Cluster) -> dict[str, int]:
    return dict(sorted(Counter(cluster.port.homes[name] for name in cluster.port.shards).items()))


def test_shards_are_spread_over_the_nodes_and_a_drained_one_is_left_and_not_come_back_to() -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.port.machines = machines("node-a", "node-b", "node-c")
        steward = await cluster.begin(shards=4)
        await until(as_planned(steward))
        assert sorted(homes(cluster).values()) == [1, 1, 2]
        assert await steward.drain("node-b") == "node-b"
        await until(as_planned(steward))
        assert homes(cluster) == {"node-a": 2, "node-c": 2}
        steward = await cluster.begin(shards=4)
        await steward.scale(6)
        await until(as_planned(steward))
        assert homes(cluster) == {"node-a": 3, "node-c": 3}
        told = steward.status()["nodes"]
        assert isinstance(told, dict)
        assert (told["node-b"]["drained"], told["node-b"]["shards"]) == (True, 0)
        await steward.undrain("node-b")
        await until(as_planned(steward))
        assert homes(cluster) == {"node-a": 2, "node-b": 2, "node-c": 2}

    play(scenario)


def test_a_node_that_joins_takes_its_share() -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.port.machines = machines("node-a", "node-b")
        steward = await cluster.begin(shards=6)
        await until(as_planned(steward))
        cluster.port.machines = machines("node-a", "node-b", "node-c")
        await until(lambda: homes(cluster) == {"node-a": 2, "node-b": 2, "node-c": 2})

    play(scenario)


def test_the_last_node_and_one_that_is_not_there_are_not_drained() -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.port.machines = machines("node-a", "node-b")
        steward = await cluster.begin(shards=2)
        await steward.drain("node-a")
        for named in ("node-b", "node-x"):
            with pytest.raises(PlanRefusedError):
                await steward.drain(named)
        await until(as_planned(steward))
        assert homes(cluster) == {"node-b": 2}

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
