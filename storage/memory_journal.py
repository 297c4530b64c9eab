"""
A journal in memory: the same promises, deterministic, for simulation and tests.

A `MemoryStore` is the data; each client has a `MemoryJournal` on it, so that one client can be cut off alone. Nothing here
waits by itself: driven without an event loop, every coroutine ends at its first step, unless `faults` makes it wait.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from sessions.limits import FINISHED_STREAM_MAX
from storage.journal import (
    LEASE_S,
    Claimed,
    Fence,
    SlotWrite,
    StaleEpochError,
    StoredSlot,
    WipedError,
    check_batch,
    lease_conflict,
    mixed_batch,
    slots_conflict,
)

Moment = Literal["before", "after"]
Faults = Callable[[Moment, str], Awaitable[None] | None]
"""
Called with the moment and the operation's name. Raising `JournalUnavailableError` before the operation drops it; raising it
after tears it: done, but nobody was told. What it returns is awaited, which delays.
"""


class _Lease(NamedTuple):
    slots: int
    instance: str
    run: str
    renewed_at: float
    plan: bytes | None = None


@dataclass(slots=True)
class MemoryStore:
    """What the clients share."""

    clock: Callable[[], float] = lambda: 0.0
    """The server's own, in seconds; it stands still unless one is given."""
    lease: _Lease | None = None
    """None: there is no data set."""
    fences: dict[int, Fence] = field(default_factory=dict)
    records: dict[int, bytes] = field(default_factory=dict)
    alive: dict[int, float] = field(default_factory=dict)
    sessions: dict[int, dict[str, bytes]] = field(default_factory=dict)
    aside: dict[int, dict[str, bytes]] = field(default_factory=dict)
    finished: deque[bytes] = field(default_factory=lambda: deque(maxlen=FINISHED_STREAM_MAX))

    def wipe(self) -> None:
        """Lose everything, as a server does that lost its disk."""
        self.lease = None
        for kept in (self.fences, self.records, self.alive, self.sessions, self.aside, self.finished):
            kept.clear()


class MemoryJournal:
    """One client's view of a `MemoryStore`. See `storage.journal.Journal` for what each method promises."""

    def __init__(self, store: MemoryStore | None = None, *, faults: Faults | None = None) -> None:
        self.store = store or MemoryStore()
        self.faults = faults

    async def _at(self, moment: Moment, operation: str) -> None:
        waiting = self.faults(moment, operation) if self.faults else None
        if waiting is not None:
            await waiting

    async def open_data_set(self, *, slots: int, instance: str, run: str) -> None:
        """Create the data set, or take its lease."""
        await self._at("before", "open_data_set")
        lease, now = self.store.lease, self.store.clock()
        if lease is not None:
            if lease.slots != slots:
                raise slots_conflict(stored=lease.slots, wanted=slots)
            age_s = now - lease.renewed_at
            if lease.instance != instance and age_s < LEASE_S:
                self.store.lease = lease._replace(renewed_at=min(now, lease.renewed_at))
                raise lease_conflict(instance=lease.instance, age_s=max(0.0, age_s))
        self.store.lease = _Lease(slots, instance, run, now, lease.plan if lease else None)
        await self._at("after", "open_data_set")

    async def renew_lease(self, *, run: str) -> bool:
        """Say that the cluster is alive."""
        await self._at("before", "renew_lease")
        lease = self._open_lease()
        held = lease.run == run
        if held:
            self.store.lease = lease._replace(renewed_at=self.store.clock())
        await self._at("after", "renew_lease")
        return held

    def _open_lease(self) -> _Lease:
        if self.store.lease is None:
            raise WipedError
        return self.store.lease

    async def plan(self) -> bytes | None:
        """Return what the cluster is to look like."""
        await self._at("before", "plan")
        plan = self._open_lease().plan
        await self._at("after", "plan")
        return plan

    async def keep_plan(self, plan: bytes, *, run: str) -> bool:
        """Keep what the cluster is to look like."""
        await self._at("before", "keep_plan")
        lease = self._open_lease()
        held = lease.run == run
        if held:
            self.store.lease = lease._replace(plan=plan)
        await self._at("after", "keep_plan")
        return held

    async def fences(self) -> Mapping[int, Fence]:
        """Return the map."""
        await self._at("before", "fences")
        self._open_lease()
        fences = dict(self.store.fences)
        await self._at("after", "fences")
        return fences

    async def claim(self, expected: Mapping[int, int], *, owner: str, after_wipe: bool = False) -> Mapping[int, Claimed]:
        """Take the slots whose epoch is still the expected one."""
        await self._at("before", "claim")
        if not after_wipe:
            self._open_lease()
        claimed = {}
        for slot, epoch in expected.items():
            fence = self.store.fences.get(slot)
            stored = fence.epoch if fence else 0
            if stored == epoch or (after_wipe and stored < epoch):
                self.store.fences[slot] = Fence(epoch + 1, 0, owner)
                claimed[slot] = Claimed(epoch + 1, self.store.alive.get(slot))
        await self._at("after", "claim")
        return claimed

    async def release(self, epochs: Mapping[int, int]) -> None:
        """Give slots up."""
        await self._at("before", "release")
        self._open_lease()
        fences = self.store.fences
        if behind := [slot for slot, epoch in epochs.items() if fences.get(slot, Fence(0, 0, "")).epoch < epoch]:
            raise WipedError(behind)
        for slot, epoch in epochs.items():
            if slot in fences and fences[slot].epoch == epoch:
                fences[slot] = fences[slot]._replace(owner="")
        await self._at("after", "release")

    async def load(self, slot: int) -> StoredSlot:
        """Read one slot at one instant."""
        await self._at("before", "load")
        self._open_lease()
        store = self.store
        stored = StoredSlot(
            fence=store.fences.get(slot, Fence(0, 0, "")),
            record=store.records.get(slot),
            sessions=dict(store.sessions.get(slot, {})),
            set_aside=frozenset(store.aside.get(slot, ())),
        )
        await self._at("after", "load")
        return stored

    async def set_aside(self, slot: int) -> Mapping[str, bytes]:
        """Return what was set aside of a slot."""
        await self._at("before", "set_aside")
        self._open_lease()
        aside = dict(self.store.aside.get(slot, {}))
        await self._at("after", "set_aside")
        return aside

    async def commit(self, writes: Sequence[SlotWrite], *, finished: Sequence[bytes] = (), alive_at: float) -> None:
        """Write the whole batch, or nothing."""
        await self._at("before", "commit")
        check_batch(writes, finished)
        if writes and self._is_new(writes):
            for write in writes:
                self._write(write, alive_at=alive_at)
            self.store.finished.extend(finished)
        await self._at("after", "commit")

    def _is_new(self, writes: Sequence[SlotWrite]) -> bool:
        self._open_lease()
        self._check_epochs({write.slot: write.epoch for write in writes})
        ahead = {write.slot: write.number - self.store.fences[write.slot].number for write in writes}
        if gaps := [slot for slot, steps in ahead.items() if steps > 1]:
            raise WipedError(gaps)
        repeated = [slot for slot, steps in ahead.items() if steps < 1]
        if repeated and len(repeated) < len(writes):
            raise mixed_batch(repeated)
        return not repeated

    def _check_epochs(self, epochs: Mapping[int, int]) -> None:
        fences = self.store.fences
        none = Fence(0, 0, "")
        found = {slot: fences.get(slot, none) for slot in epochs}
        if stale := [slot for slot, epoch in epochs.items() if _is_stale(found[slot], epoch)]:
            raise StaleEpochError(stale)
        if behind := [slot for slot, epoch in epochs.items() if found[slot].epoch < epoch]:
            raise WipedError(behind)

    def _write(self, write: SlotWrite, *, alive_at: float) -> None:
        store = self.store
        fence = store.fences[write.slot]
        store.fences[write.slot] = fence._replace(number=write.number)
        store.records[write.slot] = write.record
        store.alive[write.slot] = alive_at
        if write.replace:
            store.sessions.pop(write.slot, None)
        sessions = store.sessions.setdefault(write.slot, {})
        sessions.update(write.sessions)
        for session_id in (*write.forgotten, *write.set_aside):
            sessions.pop(session_id, None)
        aside = store.aside.setdefault(write.slot, {})
        aside.update(write.set_aside)
        for session_id in write.taken_back:
            aside.pop(session_id, None)

    async def touch(self, epochs: Mapping[int, int], *, alive_at: float) -> None:
        """Mark slots' owner alive."""
        await self._at("before", "touch")
        self._open_lease()
        for slot, epoch in epochs.items():
            fence = self.store.fences.get(slot)
            if fence and fence.epoch == epoch and fence.owner:
                self.store.alive[slot] = alive_at
        self._check_epochs(epochs)
        await self._at("after", "touch")

    async def ping(self) -> None:
        """Return, unless `faults` has it otherwise."""
        await self._at("before", "ping")
        await self._at("after", "ping")

    async def close(self) -> None:
        """Nothing to let go."""


def _is_stale(fence: Fence, epoch: int) -> bool:
    return fence.epoch > epoch or (fence.epoch == epoch and not fence.owner)
