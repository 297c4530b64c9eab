"""
One loop that sees that every slot has a living owner.

Theory of operation. Every second: renew the lease of the data set, read the fences, ask every shard how it is (and tell it whether
players can reach us), and give the orders that follow (`orders.py`). A shard that does not answer keeps its slots for 5 s of asking,
because Ray restarts a dead actor by itself; then they go to others, and it is created again if it is gone. Which shards there are to be is
the plan's business (`plan.py`), and who comes and goes for it the fleet's (`fleet.py`); while the cluster is not as planned the rounds
follow each other faster. Nothing here is needed for ingest: the directory may die, and finds everything again in the journal
and in what the shards say.

It runs on asyncio alone; Ray is behind `Shards`.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import structlog

from actors import names
from actors.directory import placement
from actors.directory.fleet import Fleet, Patience
from actors.directory.front_door import FrontDoor
from actors.directory.orders import Orders, Term, latest_terms, orders
from actors.directory.placement import Node
from actors.directory.plan import Plan, PlanRefusedError
from actors.health import DirectoryAwayError, Health
from storage.journal import Fence, Journal, JournalError, JournalUnavailableError, WipedError

log = structlog.get_logger(__name__)

ROUND_S: Final = 1.0
"""Between two looks around."""
BUSY_ROUND_S: Final = 0.05
"""The same while the cluster is not as planned."""
PATIENCE: Final = Patience()


class LeaseLostError(Exception):
    """Another run holds the data set: this one must stop."""


class Shards(Protocol):
    """How the steward reaches shards. A shard that cannot be reached is no error: it did not answer."""

    async def watch(self, shard: str, *, front_door_up: bool, restarts: int) -> Health | None:
        """Return how it is; None: no answer in time."""

    async def own(self, shard: str, expected: Mapping[int, int], *, after_wipe: bool) -> None:
        """Order it to take slots."""

    async def release(self, shard: str, slots: Sequence[int]) -> None:
        """Order it to give slots up, and wait until it has, or for some seconds."""

    async def create(self, shard: str, *, node: str | None) -> None:
        """Create it, unless it is there; `node`: where, if that node can take it."""

    async def end(self, shard: str) -> bool:
        """End it for good; True: it is gone."""

    async def existing(self) -> Collection[str] | None:
        """Return the shards that there are; None: that cannot be said now."""

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes that live, as far as is known."""


class Steward:
    """Looks after slots and shards, a round at each `look`, and takes operators' orders. Times are the server's, in seconds since the epoch."""

    def __init__(  # noqa: PLR0913 - all injected
        self,
        *,
        journal: Journal,
        shards: int,
        slots: int,
        instance: str,
        run: str,
        port: Shards,
        clock: Callable[[], float],
        front_door: FrontDoor,
        patience: Patience = PATIENCE,
        shards_are_set: bool = True,
        name: Callable[[int], str] = names.shard_name,
    ) -> None:
        """`shards`: the setting; see `Plan.begin` for when it counts."""
        self._journal = journal
        self._shards = shards
        self._shards_are_set = shards_are_set
        self._slots = slots
        self._instance = instance
        self._run = run
        self._port = port
        self._clock = clock
        self._front_door = front_door
        self._fleet = Fleet(Plan(shards, run), name=name, patience=patience, now=clock())
        self._opened = False
        self._met = False
        """We know which shards there were before us."""
        self._fences: Mapping[int, Fence] = {}
        self._terms: dict[int, Term] = {}
        self._rounds = 0
        self._to_move: int | None = None
        """Slots that are not where they belong, as of the last round; None: the plan has changed since."""
        self._as_planned = False
        """As of the last round."""
        self._journal_up = False
        self._reopening = asyncio.Lock()
        self._replanning = asyncio.Lock()

    async def open(self) -> None:
        """Create the data set or take its lease, and read the plan. Raises `DataSetConflictError`, `JournalUnavailableError`."""
        await self._journal.open_data_set(slots=self._slots, instance=self._instance, run=self._run)
        if not self._opened:
            stored = await self._journal.plan()
            self._fleet.plan = Plan.begin(stored, run=self._run, shards=self._shards, shards_are_set=self._shards_are_set)
        if not await self._journal.keep_plan(self._fleet.plan.encode(), run=self._run):
            raise LeaseLostError
        self._opened = self._journal_up = True

    async def look(self) -> bool:
        """
        Do one round; True: the cluster is not as planned, so that the next round has work soon.

        Raises `LeaseLostError`, and `DataSetConflictError` if the data set is another cluster's by now.
        """
        await self._front_door.look()
        await self._meet_shards()
        await self._hear_shards()
        await self._create_missing()
        try:
            await self._keep_lease()
            self._fences = await self._journal.fences()
        except (JournalUnavailableError, WipedError) as error:
            if self._journal_up:
                log.warning("the journal does not answer the directory", error=str(error))
            self._journal_up = False
            return False
        self._journal_up = True
        fleet, now = self._fleet, self._clock()
        self._terms = latest_terms(self._terms, self._fences, fleet.healths)
        self._rounds += 1
        given = orders(
            terms=self._terms,
            fences=self._fences,
            healths=fleet.healths,
            awaited=[shard for shard in fleet.known if shard not in fleet.healths and fleet.is_awaited(shard, now=now)],
            slots=self._slots,
            leaving=fleet.leaving,
        )
        self._to_move = given.to_move
        emptied = fleet.emptied(self._fences, now=now)
        even = not given.to_move and self.is_settled()
        fleet.choose(even=even)
        # Here, where all that was heard is of one round: a moment later a new shard may have been heard, and its slots not been looked at.
        self._as_planned = even and fleet.is_whole() and not fleet.renewing and not fleet.outdated()
        await self._give(given)
        await self._end(emptied)
        return bool(given.own or given.release or fleet.leaving)

    async def confirm(self, shard: str, epochs: Mapping[int, int]) -> list[int]:
        """
        Say which slots are still a shard's, after the journal lost the data set; the data set is there when this returns.

        Raises `DirectoryAwayError` while that cannot be said.
        """
        fleet, now = self._fleet, self._clock()
        if not self._rounds and not all(name in fleet.healths or not fleet.is_awaited(name, now=now) for name in fleet.known):
            raise DirectoryAwayError
        try:
            await self._keep_lease()
        except JournalError as error:
            raise DirectoryAwayError from error
        return [slot for slot, epoch in epochs.items() if self._is_still(shard, slot, epoch)]

    # What people ask for.

    async def scale(self, shards: int) -> None:
        """Have another number of shards. Raises `PlanRefusedError`, `JournalError`; nothing has changed then."""
        await self._replan(lambda plan: plan.scaled(shards, slots=self._slots))

    async def drain(self, node: str) -> str:
        """Have no shard on a node; return its id. Raises as `scale` does."""
        return await self._replan_node(node, lambda plan, node_id: plan.without_node(node_id))

    async def undrain(self, node: str) -> str:
        """Let shards live on a node again; return its id. Raises as `scale` does."""
        return await self._replan_node(node, lambda plan, node_id: plan.with_node(node_id))

    async def rollout(self) -> int:
        """Have every shard replaced by a new one, one after the other; return how many. Raises as `scale` does."""
        living = tuple(health.incarnation for health in self._fleet.healths.values())
        await self._replan(lambda plan: plan.renewing(living))
        return len(self._fleet.outdated())

    async def _replan_node(self, named: str, change: Callable[[Plan, str], Plan]) -> str:
        node = placement.find(named, self._fleet.nodes)

        def changed(plan: Plan) -> Plan:
            wanted = change(plan, node.node_id)
            placement.require_another_home(self._fleet.nodes, drained=wanted.drained)
            return wanted

        await self._replan(changed)
        return node.node_id

    async def _replan(self, change: Callable[[Plan], Plan]) -> None:
        """Change the plan: first what is kept of it, then the fleet."""
        async with self._replanning:
            if not self._opened:
                raise PlanRefusedError("the directory has not read the plan yet: try again")
            plan = change(self._fleet.plan)
            if not await self._journal.keep_plan(plan.encode(), run=self._run):
                raise PlanRefusedError("another run of Headcount uses this data set now")
            log.info("the plan was changed", shards=plan.shards, drained=plan.drained, outdated=len(plan.outdated))
            self._fleet.plan = plan
            self._to_move, self._as_planned = None, False

    def status(self) -> dict[str, object]:
        """Return how the cluster is, for people."""
        fleet, now = self._fleet, self._clock()
        return {
            "slots": self._slots,
            "owned": sum(len(health.serving) for health in fleet.healths.values()),
            "map_version": sum(term.epoch for term in self._terms.values()),
            "journal_up": self._journal_up,
            "front_door_up": self._front_door.is_open(now),
            "as_planned": self._as_planned,
            "planned_shards": fleet.plan.shards,
            "to_move": self._to_move,
            "to_renew": len(fleet.outdated()),
            "epochs": {slot: term.epoch for slot, term in sorted(self._terms.items())},
            "owners": {slot: term.owner for slot, term in sorted(self._terms.items())},
            "shards": {name: self._status_of(name, now=now) for name in fleet.known},
            "nodes": {node.node_id: self._status_of_node(node) for node in fleet.nodes},
        }

    def is_settled(self) -> bool:
        """Tell whether every slot is served by a shard that answers."""
        return len({slot for health in self._fleet.healths.values() for slot in health.serving}) == self._slots

    def shards(self) -> list[str]:
        """Return every shard that there may be."""
        return self._fleet.known

    def _status_of(self, name: str, *, now: float) -> dict[str, object]:
        fleet = self._fleet
        health = fleet.healths.get(name)
        silent_s = fleet.silent_s(name, now=now)
        status: dict[str, object] = {
            "alive": health is not None,
            "leaving": name in fleet.leaving,
            "silent_s": None if silent_s is None else round(silent_s, 3),
            "restarts": fleet.restarts(name),
        }
        if health is not None:
            status |= {
                "incarnation": health.incarnation,
                "node": health.node,
                "slots": len(health.serving),
                "epochs": [min(health.serving.values()), max(health.serving.values())] if health.serving else [],
                "coming": len(health.coming),
                "sessions": health.sessions,
                "journal_up": health.journal_up,
                "unwritten_sessions": health.unwritten_sessions,
                "behind_s": round(health.behind_s, 3),
                "commits_refused": health.commits_refused,
                "write_backs": health.write_backs,
                "clock_step_s": round(health.clock_step_s, 3),
            }
        return status

    def _status_of_node(self, node: Node) -> dict[str, object]:
        return {
            "address": node.address,
            "head": node.is_head,
            "takes_shards": node.takes_shards,
            "drained": node.node_id in self._fleet.plan.drained,
            "shards": sum(health.node == node.node_id for health in self._fleet.healths.values()),
        }

    async def _keep_lease(self) -> None:
        async with self._reopening:
            try:
                held = await self._journal.renew_lease(run=self._run)
            except WipedError:
                log.warning("the data set is gone: it is created again")
                await self.open()
                return
        if not held:
            raise LeaseLostError

    async def _meet_shards(self) -> None:
        """Learn which nodes there are, and once, which shards lived before us: some may be on their way out."""
        self._fleet.nodes = await self._port.nodes()
        if not self._met and (living := await self._port.existing()) is not None:
            self._fleet.meet(living)
            self._met = True

    async def _hear_shards(self) -> None:
        fleet = self._fleet
        up, asked, asked_at = self._front_door.is_open(self._clock()), fleet.known, self._clock()
        healths = await asyncio.gather(*(self._port.watch(name, front_door_up=up, restarts=fleet.restarts(name)) for name in asked))
        heard = {name: health for name, health in zip(asked, healths, strict=True) if health is not None}
        fleet.hear(heard, asked=asked, asked_at=asked_at, now=self._clock())

    async def _create_missing(self) -> None:
        due = self._fleet.due(now=self._clock())
        await asyncio.gather(*(self._port.create(name, node=node) for name, node in due.items()))

    async def _end(self, emptied: Sequence[str]) -> None:
        """End those that have given up all they had. Their names are free only when they are gone."""
        for shard in emptied:
            log.info("a shard has nothing left to do and is ended", shard=shard)
            if await self._port.end(shard):
                self._fleet.forget(shard)

    def _is_still(self, shard: str, slot: int, epoch: int) -> bool:
        if any(health.serving.get(slot, 0) > epoch for health in self._fleet.healths.values()):
            return False
        term = self._terms.get(slot)
        return term is None or term.epoch <= epoch or term.owner == shard

    async def _give(self, given: Orders) -> None:
        for after_wipe, by_shard in ((False, given.own), (True, given.own_after_wipe)):
            for shard, expected in by_shard.items():
                log.info("slots assigned", shard=shard, slots=len(expected), after_wipe=after_wipe)
        await asyncio.gather(
            *(self._port.own(shard, expected, after_wipe=False) for shard, expected in given.own.items()),
            *(self._port.own(shard, expected, after_wipe=True) for shard, expected in given.own_after_wipe.items()),
            *(self._port.release(shard, slots) for shard, slots in given.release.items()),
        )
