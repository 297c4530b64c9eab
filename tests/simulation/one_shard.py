"""One shard on a journal in memory, in virtual time: what unit tests of the shard and the simulation build on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from actors.messages import NotTaken, decode_reply, encode_batch, encode_item
from actors.shard.outages import RHYTHM, Rhythm
from actors.shard.shard import Shard
from sessions.changes import Policy, Receipt
from sessions.events import Event, Heartbeat, Start
from sessions.routing import slot_of
from storage.codec import SlotRecord, decode_record
from storage.journal import JournalUnavailableError, SlotWrite
from storage.memory_journal import MemoryJournal, MemoryStore
from tests.simulation.virtual_time import VirtualLoop

SLOTS = 4
POLICY = Policy(heartbeat_interval_s=30, expiry_intervals=3, revive_window_s=1_800.0)


def now() -> float:
    """The virtual server's time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.clock()


def start(session_id: str, at: float | None = None) -> Start:
    return Start(session_id, now() if at is None else at, "live-1", "ch-1", "cr-1", "prog-1", "web", "DE", "wifi", "auto")


def beat(session_id: str, at: float | None = None) -> Heartbeat:
    return Heartbeat(session_id, now() if at is None else at, "playing", "live-1")


class RecordingJournal(MemoryJournal):
    """A journal in memory that remembers what was asked, and breaks when it is told to."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        super().__init__(store, faults=self._break)
        self.commits: list[tuple[tuple[SlotWrite, ...], tuple[bytes, ...], float]] = []
        self.touches = 0
        self.away: set[str] = set()
        """Moments ("before", "after") at which nobody answers."""
        self.delay_s = 0.0
        """How long a commit takes."""
        self.touch_delay_s = 0.0
        """How long a sign of life takes."""

    def _break(self, moment: str, operation: str) -> Awaitable[None] | None:
        if moment in self.away:
            raise JournalUnavailableError(f"{operation} {moment}")
        if self.delay_s and moment == "before" and operation == "commit":
            return asyncio.sleep(self.delay_s)
        if self.touch_delay_s and moment == "before" and operation == "touch":
            return asyncio.sleep(self.touch_delay_s)
        return None

    async def commit(self, writes: Sequence[SlotWrite], *, finished: Sequence[bytes] = (), alive_at: float) -> None:
        self.commits.append((tuple(writes), tuple(finished), alive_at))
        await super().commit(writes, finished=finished, alive_at=alive_at)

    async def touch(self, epochs: Mapping[int, int], *, alive_at: float) -> None:
        self.touches += 1
        await super().touch(epochs, alive_at=alive_at)

    def record(self, slot: int) -> SlotRecord:
        return decode_record(self.store.records[slot])


class Bench:
    """Shards on one store, and what a directory would say."""

    def __init__(self, *, slots: int = SLOTS, policy: Policy = POLICY, rhythm: Rhythm = RHYTHM) -> None:
        self.store = MemoryStore(clock=now)
        self.slots = slots
        self.policy = policy
        self.rhythm = rhythm
        self.confirms: list[tuple[str, dict[int, int]]] = []
        self.denied: set[int] = set()
        """Slots that the directory calls somebody else's."""
        self.broken: list[BaseException] = []
        self.asleep_s = 0.0
        """For how long all of it stood still, as by a SIGSTOP, while the world went on."""
        self.clock_ahead_s = 0.0
        """By how much somebody set the server's clock ahead, or back."""
        self._born = 0

    async def open(self) -> None:
        await MemoryJournal(self.store).open_data_set(slots=self.slots, instance="laptop", run="run-1")

    async def confirm(self, shard: str, epochs: Mapping[int, int]) -> Sequence[int]:
        self.confirms.append((shard, dict(epochs)))
        await self.open()
        return [slot for slot in epochs if slot not in self.denied]

    def clock(self) -> float:
        return now() + self.asleep_s + self.clock_ahead_s

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.asleep_s

    def shard(self, name: str = "shard-0", **more: Any) -> tuple[Shard, RecordingJournal]:
        """Give birth to a shard with a journal client of its own."""
        self._born += 1
        journal = RecordingJournal(self.store)
        shard = Shard(
            name,
            incarnation=f"life-{self._born}",
            policy=self.policy,
            journal=journal,
            clock=self.clock,
            monotonic=self.monotonic,
            confirm=self.confirm,
            end=self.broken.append,
            rhythm=self.rhythm,
            **more,
        )
        shard.start()
        return shard, journal

    async def serving(self, name: str = "shard-0", **more: Any) -> tuple[Shard, RecordingJournal]:
        """Give birth to a shard that owns every slot."""
        await self.open()
        shard, journal = self.shard(name, **more)
        fences = self.store.fences
        shard.own({slot: fences[slot].epoch if slot in fences else 0 for slot in range(self.slots)})
        await until(lambda: len(shard.held) == self.slots and not shard.status()["coming"])
        return shard, journal

    def batch(self, events: Iterable[Event], *, waited_s: float = 0.0) -> bytes:
        items = [encode_item(slot_of(event.session_id, slots=self.slots), event) for event in events]
        return encode_batch(items, waited_s=waited_s)

    async def send(self, shard: Shard, *events: Event) -> list[Receipt | NotTaken]:
        return decode_reply(await shard.receive(self.batch(events)))

    def sending(self, shard: Shard, *events: Event) -> "asyncio.Task[list[Receipt | NotTaken]]":
        return asyncio.create_task(self.send(shard, *events))

    def id_in(self, slot: int, nth: int = 0) -> str:
        """Name a session that belongs to a slot."""
        names = (f"session-{number}" for number in range(10_000))
        return [name for name in (next(names) for _ in range(1_000)) if slot_of(name, slots=self.slots) == slot][nth]


async def until(holds: Callable[[], bool], *, within_s: float = 60.0) -> None:
    """Wait in virtual time until something holds."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
