"""
One loop that sees that every slot has a living owner.

Theory of operation. Every second: renew the lease of the data set, read the fences, ask every shard how it is (and tell it whether
players can reach us), and give the orders that follow (`orders.py`). A shard that does not answer keeps its slots for 5 s, because
Ray restarts a dead actor by itself; then they go to others, and it is created again if it is gone. Nothing here is needed
for ingest: the directory may die, and finds everything again in the journal and in what the shards say.

It runs on asyncio alone; Ray is behind `Shards`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import structlog

from actors.front_door import FrontDoor
from actors.health import Health
from actors.orders import Orders, Term, latest_terms, orders
from actors.writing import DirectoryAwayError
from storage.journal import Fence, Journal, JournalError, JournalUnavailableError, WipedError

log = structlog.get_logger(__name__)

ROUND_S: Final = 1.0
"""Between two looks around."""


class Patience(NamedTuple):
    """How long the steward waits; in seconds. Simulations stretch it."""

    lost_after_s: float = 5.0
    """A shard that has been silent for so long loses its slots."""
    starting_s: float = 20.0
    """A shard that has not said anything since the directory began is waited for that long."""
    create_again_s: float = 5.0
    """Between two attempts to create a shard that is gone."""


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

    async def create(self, shard: str) -> None:
        """Create it, unless it is there."""


class Steward:
    """See the module. Times are the server's, in seconds since the epoch."""

    def __init__(  # noqa: PLR0913 - all injected
        self,
        *,
        journal: Journal,
        shards: Sequence[str],
        slots: int,
        instance: str,
        run: str,
        port: Shards,
        clock: Callable[[], float],
        front_door: FrontDoor,
        patience: Patience = PATIENCE,
    ) -> None:
        self._journal = journal
        self._names = tuple(shards)
        self._slots = slots
        self._instance = instance
        self._run = run
        self._port = port
        self._clock = clock
        self._front_door = front_door
        self._patience = patience
        self._began_at = clock()
        self._heard_at: dict[str, float] = {}
        self._created_at: dict[str, float] = {}
        self._restarts: dict[str, int] = {}
        self._incarnations: dict[str, str] = {}
        self._healths: dict[str, Health] = {}
        self._fences: Mapping[int, Fence] = {}
        self._terms: dict[int, Term] = {}
        self._rounds = 0
        self._journal_up = False
        self._reopening = asyncio.Lock()

    async def open(self) -> None:
        """Create the data set or take its lease. Raises `DataSetConflictError`, `JournalUnavailableError`."""
        await self._journal.open_data_set(slots=self._slots, instance=self._instance, run=self._run, now=self._clock())
        self._journal_up = True

    async def look(self) -> bool:
        """
        Do one round; True: slots were given up, so that the next round has work at once.

        Raises `LeaseLostError`, and `DataSetConflictError` if the data set is another cluster's by now.
        """
        await self._front_door.look()
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
        self._terms = latest_terms(self._terms, self._fences, self._healths)
        self._rounds += 1
        return await self._give(
            orders(
                terms=self._terms,
                fences=self._fences,
                healths=self._healths,
                awaited=[shard for shard in self._names if shard not in self._healths and self._is_awaited(shard)],
                slots=self._slots,
            )
        )

    async def confirm(self, shard: str, epochs: Mapping[int, int]) -> list[int]:
        """
        Say which slots are still a shard's, after the journal lost the data set; the data set is there when this returns.

        Raises `DirectoryAwayError` while that cannot be said.
        """
        if not self._rounds and not all(name in self._healths or not self._is_awaited(name) for name in self._names):
            raise DirectoryAwayError
        try:
            await self._keep_lease()
        except JournalError as error:
            raise DirectoryAwayError from error
        return [slot for slot, epoch in epochs.items() if self._is_still(shard, slot, epoch)]

    def status(self) -> dict[str, object]:
        """Return how the cluster is, for people."""
        now = self._clock()
        return {
            "slots": self._slots,
            "owned": sum(len(health.serving) for health in self._healths.values()),
            "map_version": sum(term.epoch for term in self._terms.values()),
            "journal_up": self._journal_up,
            "front_door_up": self._front_door.is_open(now),
            "epochs": {slot: term.epoch for slot, term in sorted(self._terms.items())},
            "shards": {name: self._status_of(name, now=now) for name in self._names},
        }

    def is_settled(self) -> bool:
        """Tell whether every slot is served by a shard that answers."""
        return len({slot for health in self._healths.values() for slot in health.serving}) == self._slots

    def _status_of(self, name: str, *, now: float) -> dict[str, object]:
        health = self._healths.get(name)
        heard_at = self._heard_at.get(name)
        status: dict[str, object] = {
            "alive": health is not None,
            "silent_s": None if heard_at is None else round(now - heard_at, 3),
            "restarts": self._restarts.get(name, 0),
        }
        if health is not None:
            status |= {
                "slots": len(health.serving),
                "coming": len(health.coming),
                "sessions": health.sessions,
                "journal_up": health.journal_up,
                "unwritten_sessions": health.unwritten_sessions,
                "behind_s": round(health.behind_s, 3),
                "commits_refused": health.commits_refused,
                "write_backs": health.write_backs,
            }
        return status

    async def _keep_lease(self) -> None:
        async with self._reopening:
            try:
                held = await self._journal.renew_lease(run=self._run, now=self._clock())
            except WipedError:
                log.warning("the data set is gone: making it anew")
                await self.open()
                return
        if not held:
            raise LeaseLostError

    async def _hear_shards(self) -> None:
        up = self._front_door.is_open(self._clock())
        healths = await asyncio.gather(
            *(self._port.watch(name, front_door_up=up, restarts=self._restarts.get(name, 0)) for name in self._names)
        )
        now = self._clock()
        self._healths = {name: health for name, health in zip(self._names, healths, strict=True) if health is not None}
        for name, health in self._healths.items():
            self._heard_at[name] = now
            if self._incarnations.setdefault(name, health.incarnation) != health.incarnation:
                self._incarnations[name] = health.incarnation
                self._restarts[name] = self._restarts.get(name, 0) + 1
                log.warning("a shard began anew", shard=name, restarts=self._restarts[name])

    def _is_awaited(self, shard: str) -> bool:
        now, heard_at = self._clock(), self._heard_at.get(shard)
        return now - self._began_at < self._patience.starting_s if heard_at is None else now - heard_at < self._patience.lost_after_s

    async def _create_missing(self) -> None:
        now = self._clock()
        missing = [name for name in self._names if name not in self._healths]
        due = [name for name in missing if now - self._created_at.get(name, float("-inf")) >= self._patience.create_again_s]
        self._created_at |= dict.fromkeys(due, now)
        await asyncio.gather(*(self._port.create(name) for name in due))

    def _is_still(self, shard: str, slot: int, epoch: int) -> bool:
        if any(health.serving.get(slot, 0) > epoch for health in self._healths.values()):
            return False
        term = self._terms.get(slot)
        return term is None or term.epoch <= epoch or term.owner == shard

    async def _give(self, given: Orders) -> bool:
        for after_wipe, by_shard in ((False, given.own), (True, given.own_after_wipe)):
            for shard, expected in by_shard.items():
                log.info("slots assigned", shard=shard, slots=len(expected), after_wipe=after_wipe)
        await asyncio.gather(
            *(self._port.own(shard, expected, after_wipe=False) for shard, expected in given.own.items()),
            *(self._port.own(shard, expected, after_wipe=True) for shard, expected in given.own_after_wipe.items()),
            *(self._port.release(shard, slots) for shard, slots in given.release.items()),
        )
        return bool(given.release)
