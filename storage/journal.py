"""
What a journal promises, whoever keeps it.

The journal holds one data set: for every slot a *fence* (epoch, commit number, owner), a *record*
(ledger, pauses, increments not yet delivered; opaque bytes, see `codec.py`), the time when its owner was last
alive, and its sessions (opaque bytes by session id). Beside them: what of a slot was *set aside* because its owner could not read it, and
a capped stream of finished sessions.

- `claim` is compare-and-set: it raises the epoch, so that whoever owned the slot before can write nothing more.
- `commit` writes a whole batch, over many slots, or nothing. Each slot's write carries (epoch, number). A number
  already written is ignored, so that the identical batch may be sent again after a time-out. The journal's own
  client never retries.
- Nobody may write a slot that was released, until somebody claims it.
- A data set that vanished under its owners is told from one that never was: `WipedError`.

Every method raises `JournalUnavailableError` if the journal did not answer: what was asked may or may not have happened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import msgspec

from sessions.errors import InvariantError

LEASE_S: Final = 15.0
"""A cluster that has not renewed its lease for so long is taken for gone."""


class JournalError(Exception):
    """The journal could not do what it was asked."""


class JournalUnavailableError(JournalError):
    """No answer, or not now (down, loading, full, read-only). It may or may not have been done; sending the same again is safe."""


class WipedError(JournalError):
    """The data set is gone, or older than what its owner wrote: the owners must write back all that they hold."""

    def __init__(self, slots: Sequence[int] = ()) -> None:
        super().__init__(f"the journal lost the data set, or what was written last; slots concerned: {list(slots) or 'all'}")
        self.slots = tuple(slots)


class StaleEpochError(JournalError):
    """Somebody else owns these slots now; nothing of the batch was written."""

    def __init__(self, slots: Sequence[int]) -> None:
        super().__init__(f"slots owned elsewhere by now: {sorted(slots)}")
        self.slots = tuple(slots)


class DataSetConflictError(JournalError):
    """The data set cannot be used so: another cluster is alive on it, or its number of slots differs. The message says which."""


RECORD_ASIDE: Final = ""
"""What a slot's own record is filed under when it is set aside; no session has this id."""


class Fence(NamedTuple):
    """Who may write a slot."""

    epoch: int
    """0: never owned."""
    number: int
    """Of the last commit in this epoch; a claim sets it to 0."""
    owner: str


class Claimed(NamedTuple):
    """What a successful claim tells of one slot."""

    epoch: int
    """The new one."""
    alive_at: float | None
    """When the previous owner last said that it was alive (server time, seconds); None: never."""


@dataclass(frozen=True, slots=True)
class StoredSlot:
    """A slot as it is in the journal at one instant."""

    fence: Fence
    record: bytes | None
    sessions: Mapping[str, bytes]
    """By id. An id whose bytes are not UTF-8, because they were damaged, has surrogate escapes."""
    set_aside: frozenset[str] = frozenset()
    """Ids of what was set aside; `RECORD_ASIDE` stands for the record."""


class SlotWrite(msgspec.Struct, frozen=True):
    """One slot's part of a batch."""

    slot: int
    epoch: int
    number: int
    """One more than the slot's last commit in this epoch; the first is 1."""
    record: bytes
    sessions: Mapping[str, bytes] = {}
    """Written in full, by session id."""
    forgotten: Sequence[str] = ()
    set_aside: Mapping[str, bytes] = {}
    """By session id: kept under a key of their own, and no longer among the slot's sessions."""
    taken_back: Sequence[str] = ()
    """Ids that are no longer set aside."""
    replace: bool = False
    """True: the slot's sessions in the journal are dropped first (an owner that writes back all that it holds)."""


class Journal(Protocol):
    """Where a data set is kept. All methods are coroutines. Times are our own machines', in seconds since the epoch; the lease goes by the journal's."""

    async def open_data_set(self, *, slots: int, instance: str, run: str) -> None:
        """
        Create the data set, or take its lease for this run of this instance.

        Raises `DataSetConflictError` if it has another number of slots, or if another *instance* renewed its lease
        within the last `LEASE_S` seconds. The same instance takes over at once (its data folder's lock proves that its last run is over).
        A lease is stamped and read by the journal's own clock, whatever those of the clusters say; a stamp that lies in the future (that
        clock was set back) is brought back to now, so that it too holds for `LEASE_S` at most.
        """

    async def renew_lease(self, *, run: str) -> bool:
        """Say that the cluster is alive. False: another run holds the lease; stop. Raises `WipedError` if there is no data set."""

    async def plan(self) -> bytes | None:
        """Return what `keep_plan` kept last; None: nothing was. Raises `WipedError` if there is no data set."""

    async def keep_plan(self, plan: bytes, *, run: str) -> bool:
        """
        Keep what the cluster is to look like (`actors/directory/plan.py`; opaque here) with the data set.

        False: another run holds the lease, and nothing was kept. Raises `WipedError` if there is no data set.
        """

    async def fences(self) -> Mapping[int, Fence]:
        """Return the map: every slot that was ever owned. Raises `WipedError` if there is no data set."""

    async def claim(self, expected: Mapping[int, int], *, owner: str, after_wipe: bool = False) -> Mapping[int, Claimed]:
        """
        Take slots whose epoch is still the expected one (0: never owned); return those taken, with the epoch one higher.

        `after_wipe`: the journal may have lost the fence; then the expected epoch (the claimer's own) is taken as the stored one.
        Creates nothing else; a missing data set raises `WipedError` unless `after_wipe`, where the fence alone is written
        (the directory writes the data set again with `open_data_set`). A stored epoch lower than the expected one is
        taken for what an older copy of the data holds, and overtaken too.
        """

    async def release(self, epochs: Mapping[int, int]) -> None:
        """
        Give slots up: their owner becomes "", their epoch stays. Slots with a later epoch are left alone.

        Raises `WipedError` (no data set, or a slot's epoch is behind): nothing was given up then, and the caller may hold the only copy.
        """

    async def load(self, slot: int) -> StoredSlot:
        """
        Read one slot at one instant: what `audit` and a new owner need. A slot never owned has epoch 0 and is empty.

        Raises `WipedError` if there is no data set.
        """

    async def set_aside(self, slot: int) -> Mapping[str, bytes]:
        """Return what was set aside of a slot, by session id. Raises `WipedError` if there is no data set."""

    async def commit(self, writes: Sequence[SlotWrite], *, finished: Sequence[bytes] = (), alive_at: float) -> None:
        """
        Write the whole batch, or nothing, and mark its slots' owner alive.

        `finished`: JSON summaries for the stream. Raises `StaleEpochError`, `WipedError` (no data set, or a slot's number
        is behind), `JournalUnavailableError`; `InvariantError` if only some of the slots were written before under these
        numbers. So what was asked without an answer is asked again as it was, or without the slots that were lost meanwhile,
        but never mixed with anything new.
        """

    async def touch(self, epochs: Mapping[int, int], *, alive_at: float) -> None:
        """Mark slots' owner alive without writing anything else. Raises as `commit` does; slots still owned are marked all the same."""

    async def ping(self) -> None:
        """Return if the journal answers and takes writes."""

    async def close(self) -> None:
        """Let the connections go."""


def check_batch(writes: Sequence[SlotWrite], finished: Sequence[bytes]) -> None:
    """Raise `InvariantError` if a batch could not be told from its own repetition."""
    if len({write.slot for write in writes}) < len(writes):
        problem = "a batch writes a slot twice"
        raise InvariantError(problem, story=sorted(write.slot for write in writes))
    if finished and not writes:
        problem = "finished sessions without a slot's write: sent again, they would be in the stream twice"
        raise InvariantError(problem)


def mixed_batch(repeated: Sequence[int]) -> InvariantError:
    """Return the error of a batch of which only some slots were written before."""
    return InvariantError("a batch mixes what was written before with what is new; nothing was written", story=sorted(repeated))


def slots_conflict(*, stored: int, wanted: int) -> DataSetConflictError:
    """Return the error of a data set with another number of slots."""
    return DataSetConflictError(
        f"the data set was made with {stored} slots, and HEADCOUNT_SLOTS is {wanted}: the number is fixed for the life of a data set"
    )


def lease_conflict(*, instance: str, age_s: float) -> DataSetConflictError:
    """Return the error of a data set that another cluster uses."""
    return DataSetConflictError(
        f"another cluster (instance {instance}) is alive on this data set: it said so {age_s:.1f} s ago; "
        f"stop it, wait {LEASE_S:.0f} s, and start again"
    )
