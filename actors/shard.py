"""
One shard: it owns slots, applies what players send, and acknowledges once that is durable.

Theory of operation. Everything that changes a tracker happens in one *lane*, one after the other: apply, encode, commit, then
acknowledge. Batches that arrive while a commit is under way wait, and go together into the next. Time enters in one place,
`_enter`, which first pauses every slot for an outage that has just ended (`wakefulness.py`); expiry runs a few times a second,
in slices. While the journal is away the lane stands still, and whoever waits is told so (`writing.py`).

A shard recovers by itself: at birth it claims the slots that the journal says are its own. Others it takes when the directory
orders it. If anything unforeseen is raised the shard is broken: it acknowledges nothing more and asks to be ended, to
start again from its journal. It runs on asyncio alone: Ray is in `ray_actors.py`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from actors.held_slot import HeldSlot
from actors.messages import NotTaken, decode_batch, encode_reply
from actors.recovery import outage_s, restore
from actors.reporting import Reports
from actors.wakefulness import RHYTHM, Rhythm, Wakefulness
from actors.writing import Confirm, Writer
from metrics.reports import Known, ShardReport
from sessions.changes import Policy, Reason, Receipt
from sessions.events import Event
from sessions.limits import (
    BEACON_SESSIONS_PER_SHARD_MAX,
    EXPIRIES_PER_COMMIT_MAX,
    GROUP_ITEMS_MAX,
    SESSIONS_PER_SHARD_MAX,
    SHARD_WAITING_ITEMS_MAX,
)
from sessions.story import describe
from storage.codec import unpack_opaque
from storage.journal import Claimed, Journal, JournalUnavailableError, WipedError

log = structlog.get_logger(__name__)

SLOTS_PER_LOAD: Final = 16
"""Slots that are loaded side by side, and served together."""
STOP_S: Final = 2.0
"""How long a stopping shard tries to write what is left."""


class BrokenShardError(Exception):
    """The shard's state is not to be built on; it is about to start again from its journal."""


class Health(NamedTuple):
    """What a shard tells the directory, every second."""

    incarnation: str
    serving: Mapping[int, int]
    """Epoch by slot."""
    coming: Sequence[int]
    """Slots that are being claimed and loaded."""
    recovered: bool
    """It has claimed all that the journal called its own at its birth."""
    sessions: int
    journal_up: bool
    unwritten_sessions: int
    behind_s: float
    """Time since the last sign of life that the journal took."""


@dataclass(slots=True, eq=False)
class _Waiting:
    items: list[tuple[int, Event]]
    reply: "asyncio.Future[bytes]"
    outcomes: list[Receipt | NotTaken]

    def answer(self) -> None:
        if not self.reply.done():
            self.reply.set_result(encode_reply(self.outcomes))

    def refuse(self, why: NotTaken) -> None:
        """Answer that nothing can be acknowledged; what the shard does not own at all keeps its own answer."""
        outcomes = self.outcomes or [why] * len(self.items)
        if not self.reply.done():
            self.reply.set_result(encode_reply([each if isinstance(each, NotTaken) else why for each in outcomes]))


class Shard:
    """See the module. Times are the server's, from `clock`, in seconds since the epoch."""

    def __init__(  # noqa: PLR0913 - all injected
        self,
        name: str,
        *,
        incarnation: str,
        policy: Policy,
        journal: Journal,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        confirm: Confirm,
        end: Callable[[BaseException], None],
        rhythm: Rhythm = RHYTHM,
        sessions_max: int = SESSIONS_PER_SHARD_MAX,
        beacons_max: int = BEACON_SESSIONS_PER_SHARD_MAX,
    ) -> None:
        """`end` is called, once, with what broke the shard."""
        self.name = name
        self.incarnation = incarnation
        self._policy = policy
        self._journal = journal
        self._clock = clock
        self._end = end
        self._rhythm = rhythm
        self._sessions_max, self._beacons_max = sessions_max, beacons_max
        self._sessions, self._beacons = 0, 0
        """Remembered, as of the last tick, and what was opened since."""
        self._held: dict[int, HeldSlot] = {}
        self._coming: set[int] = set()
        self._recovered = asyncio.Event()
        self._restarts = 0
        self._lane = asyncio.Lock()
        self._sound = True
        self._taking = asyncio.Lock()
        self._queue: deque[_Waiting] = deque()
        self._group: list[_Waiting] = []
        self._waiting_items = 0
        self._arrived = asyncio.Event()
        self._wakefulness = Wakefulness(gap_s=rhythm.gap_s, door_word_s=rhythm.door_word_s)
        self._touched_at = float("-inf")
        self._reports = Reports(shard=name, incarnation=incarnation)
        self._writer = Writer(
            name,
            journal=journal,
            held=self._held,
            confirm=confirm,
            rhythm=rhythm,
            monotonic=monotonic,
            on_away=self._refuse_waiting,
            observe_commit=lambda seconds: self._reports.observe("commit_seconds", seconds),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = False
        """Stopped or broken: nothing is taken any more."""

    def start(self) -> None:
        """Begin to recover, commit and tick, on the running event loop."""
        for part in (self._recover(), self._commit_groups(), self._run_ticks()):
            self._spawn(part)

    # Players.

    async def receive(self, batch: bytes) -> bytes:
        """
        Apply a batch of requests and answer once all of it is durable (`actors/messages.py`, both ways).

        Raises `msgspec.DecodeError` for bytes that are no batch.
        """
        waiting = _Waiting(decode_batch(batch), asyncio.get_running_loop().create_future(), [])
        self._reports.observe("batch_events", len(waiting.items))
        if self._over:
            waiting.refuse(NotTaken.RECOVERING)
        elif not self._writer.journal_up:
            waiting.refuse(NotTaken.NO_JOURNAL)
        elif self._waiting_items + len(waiting.items) > SHARD_WAITING_ITEMS_MAX:
            waiting.refuse(NotTaken.OVERLOADED)
        else:
            self._queue.append(waiting)
            self._waiting_items += len(waiting.items)
            self._arrived.set()
        return await waiting.reply

    async def _commit_groups(self) -> None:
        while True:
            await self._arrived.wait()
            async with self._working():
                await self._commit_group()
            if not self._queue:
                self._arrived.clear()

    async def _commit_group(self) -> None:
        """Apply what waits, make it durable in one commit, and answer."""
        if not self._writer.journal_up:
            self._refuse_waiting()
            return
        now = self._enter()
        touched: dict[int, HeldSlot] = {}
        applied = 0
        while self._queue and (not self._group or applied + len(self._queue[0].items) <= GROUP_ITEMS_MAX):
            waiting = self._queue.popleft()
            self._waiting_items -= len(waiting.items)
            self._group.append(waiting)
            applied += len(waiting.items)
            for slot, event in waiting.items:
                held = self._held.get(slot)
                waiting.outcomes.append(self._absent(slot) if held is None else self._apply(held, event, now=now))
                if held is not None:
                    touched[slot] = held
        await self._write(now=now)
        lost = touched.keys() - self._held.keys()
        for waiting in self._group:
            if lost:
                waiting.outcomes = [
                    NotTaken.MOVED if slot in lost else outcome for (slot, _), outcome in zip(waiting.items, waiting.outcomes, strict=True)
                ]
            waiting.answer()
        self._group = []

    def _absent(self, slot: int) -> NotTaken:
        return NotTaken.RECOVERING if slot in self._coming or not self._recovered.is_set() else NotTaken.MOVED

    def _apply(self, held: HeldSlot, event: Event, *, now: float) -> Receipt:
        tracker = held.tracker
        if event.session_id in tracker.sessions:
            return tracker.receive(event, now=now)
        is_beacon = event.session_id.startswith("\0")
        if self._beacons >= self._beacons_max if is_beacon else self._sessions >= self._sessions_max:
            return Receipt(accepted=False, reason=Reason.TOO_MANY_SESSIONS.value)
        receipt = tracker.receive(event, now=now)
        opened = event.session_id in tracker.sessions
        self._beacons += opened and is_beacon
        self._sessions += opened and not is_beacon
        return receipt

    def _refuse_waiting(self) -> None:
        """Tell everybody that nothing can be acknowledged: the journal is away."""
        for waiting in (*self._group, *self._queue):
            waiting.refuse(NotTaken.NO_JOURNAL)
        self._queue.clear()
        self._waiting_items = 0

    # Time.

    def _enter(self) -> float:
        """Return the time; whoever is about to change a tracker asks here, and outages are paused first."""
        now = self._clock()
        gap = self._wakefulness.arrive(now)
        if gap:
            log.warning("we were away: every slot is paused for as long", shard=self.name, gap_s=round(gap, 3))
            for held in self._held.values():
                held.pause(gap)
        return now

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        """Take the lane. Who leaves it by an exception leaves a state that nobody may build on: the shard is broken."""
        async with self._lane:
            if not self._sound:
                raise BrokenShardError(self.name)
            self._sound = False
            yield
            self._sound = True

    async def _write(self, *, now: float, hand: bool = False) -> None:
        """Commit whatever changed in any slot; `hand`: and the records whose open increments wait. In the lane only."""
        pending = [each.encode() for each in self._held.values() if each.has_changes() or (hand and each.waits_to_hand())]
        if pending:
            alive_at = self._wakefulness.alive_at(now)
            await self._writer.write(pending, alive_at=alive_at)
            self._wakefulness.lived(alive_at)

    async def _run_ticks(self) -> None:
        while True:
            await asyncio.sleep(self._rhythm.tick_s)
            await self._tick()

    async def _tick(self) -> None:
        if self._lane.locked() and not self._writer.journal_up:
            return
        self._count_sessions()
        now = self._clock()
        touch = now - self._touched_at >= self._rhythm.touch_s
        flush = any(each.waits_to_hand() for each in self._held.values())
        if not (touch or flush or self._is_due(now)):
            return
        more = True
        while more:
            more = await self._work_off()
            await asyncio.sleep(0)  # whoever waits for the lane comes before the next slice
        if touch:
            async with self._working():
                await self._touch()

    async def _work_off(self) -> bool:
        """Expire and forget one slice of what is due, and let increments go; True: there is more."""
        async with self._working():
            if not (self._writer.journal_up or await self._writer.look()):
                return False
            now = self._enter()
            if self._wakefulness.door_is_down(now):
                return False
            room = EXPIRIES_PER_COMMIT_MAX
            for held in self._held.values():
                deadline = held.tracker.next_deadline()
                if room and deadline is not None and deadline <= now:
                    room -= held.tracker.advance(now=now, limit=room)
            await self._write(now=now, hand=True)
            return not room

    def _is_due(self, now: float) -> bool:
        deadlines = (each.tracker.next_deadline() for each in self._held.values())
        return any(deadline is not None and deadline <= now for deadline in deadlines)

    async def _touch(self) -> None:
        """Say that we are alive, if we are. In the lane only."""
        if not self._writer.journal_up:
            return
        now = self._enter()
        if self._wakefulness.door_is_down(now):
            return
        # A pause must be durable before the sign of life that would hide it.
        await self._write(now=now)
        if not self._held or await self._writer.touch(alive_at=now):
            self._wakefulness.lived(now)
            self._touched_at = now

    def _count_sessions(self) -> None:
        self._beacons = sum(each.tracker.beacons for each in self._held.values())
        self._sessions = sum(len(each.tracker.sessions) for each in self._held.values()) - self._beacons

    # Ownership.

    async def _recover(self) -> None:
        """Claim and load what the journal calls ours."""
        delay_s = self._rhythm.retry_first_s
        while True:
            try:
                fences = await self._journal.fences()
                mine = {slot: fence.epoch for slot, fence in fences.items() if fence.owner == self.name and slot not in self._held}
                self._coming |= mine.keys()
                await self._take(mine)
            except WipedError:
                # Nothing is ours where there is nothing; the directory will say what to take.
                break
            except JournalUnavailableError as error:
                log.warning("the journal does not answer: recovery waits", shard=self.name, error=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, self._rhythm.retry_most_s)
            else:
                log.info("recovered", shard=self.name, slots=len(mine), sessions=self.sessions)
                break
        self._recovered.set()

    def own(self, expected: Mapping[int, int], *, after_wipe: bool = False) -> None:
        """
        Begin to take slots, whose epochs must still be the expected ones.

        `after_wipe`: the journal lost these slots, and nobody holds them: their epochs go on from the expected ones. What comes
        of it shows in `watch`; an order that failed has to be given again.
        """
        wanted = {slot: epoch for slot, epoch in expected.items() if slot not in self._held and slot not in self._coming}
        if wanted and not self._over:
            self._coming |= wanted.keys()
            self._spawn(self._obey(wanted, after_wipe=after_wipe))

    async def _obey(self, expected: Mapping[int, int], *, after_wipe: bool) -> None:
        try:
            await self._recovered.wait()
            await self._take(expected, after_wipe=after_wipe)
        except (JournalUnavailableError, WipedError) as error:
            log.warning("slots not taken", shard=self.name, slots=len(expected), error=str(error))

    async def _take(self, expected: Mapping[int, int], *, after_wipe: bool = False) -> None:
        """Claim slots and serve them, some at a time. Raises `JournalUnavailableError`, `WipedError`: the rest is not taken."""
        try:
            async with self._taking:
                claimed = await self._journal.claim(expected, owner=self.name, after_wipe=after_wipe) if expected else {}
                slots = sorted(claimed)
                for first in range(0, len(slots), SLOTS_PER_LOAD):
                    await self._adopt({slot: claimed[slot] for slot in slots[first : first + SLOTS_PER_LOAD]})
        finally:
            self._coming -= expected.keys()

    async def _adopt(self, claimed: Mapping[int, Claimed]) -> None:
        """Load slots just claimed, pause them for the time that nobody was there, and serve them."""
        loaded = await asyncio.gather(*(self._journal.load(slot) for slot in claimed))
        restored: list[HeldSlot] = []
        for (slot, claim), stored in zip(claimed.items(), loaded, strict=True):
            if stored.fence.epoch == claim.epoch:
                restored.append(await restore(slot, stored, policy=self._policy, now=self._clock()))
        async with self._working():
            now = self._enter()
            for held in restored:
                held.pause(outage_s(claimed[held.slot].alive_at, now=now, gap_s=self._rhythm.gap_s))
                self._held[held.slot] = held
            self._count_sessions()
            # Only once this is written do we know that the slots are still ours, and that the pause cannot be lost.
            await self._write(now=now)
            self._coming -= claimed.keys()

    async def release(self, slots: Sequence[int]) -> None:
        """
        Give slots up for somebody else to take: what they hold is written, and from then on they are MOVED.

        Whoever stops waiting for it does not stop it: half a write is none.
        """
        await asyncio.shield(self._spawn(self._release(slots)))

    async def _release(self, slots: Sequence[int]) -> None:
        async with self._working():
            now = self._enter()
            await self._write(now=now)
            epochs = {slot: self._held.pop(slot).epoch for slot in slots if slot in self._held}
        try:
            await self._journal.release(epochs)
        except JournalUnavailableError as error:
            # Whether it was done shows in the journal; the directory looks there.
            log.warning("slots given up, but the journal does not answer", shard=self.name, error=str(error))

    # Those who watch.

    def watch(self, *, front_door_up: bool, restarts: int = 0) -> Health:
        """Tell the directory how we are; it tells whether players can reach us, and how often it saw us begin anew."""
        now = self._clock()
        self._restarts = restarts
        self._wakefulness.tell_door(up=front_door_up, now=now)
        return Health(
            incarnation=self.incarnation,
            serving={slot: each.epoch for slot, each in self._held.items()},
            coming=sorted(self._coming),
            recovered=self._recovered.is_set(),
            sessions=self.sessions,
            journal_up=self._writer.journal_up,
            unwritten_sessions=self._writer.unwritten_sessions,
            behind_s=self._wakefulness.behind_s(now),
        )

    def collect(self, known: Known) -> ShardReport:
        """Report to the exporter what it does not know yet."""
        return self._reports.collect(
            known,
            self._held,
            pending_calls=len(self._queue) + len(self._group),
            journal_up=self._writer.journal_up,
            unwritten_sessions=self._writer.unwritten_sessions,
            restarts=self._restarts,
        )

    def describe(self, slot: int, session_id: str) -> bytes | None:
        """Return one session with its story as JSON; None: it is not here."""
        held = self._held.get(slot)
        session = held.tracker.get(session_id) if held else None
        if held is None or session is None:
            return None
        now = self._clock()
        story = describe(session, now=now, remaining_s=held.tracker.remaining_s(session, now=now))
        return msgspec.json.encode({**unpack_opaque(story), "slot": slot, "epoch": held.epoch, "shard": self.name})

    def status(self) -> dict[str, object]:
        """Return how the shard is, for people."""
        now = self._clock()
        return {
            "shard": self.name,
            "incarnation": self.incarnation,
            "recovered": self._recovered.is_set(),
            "epochs": {slot: each.epoch for slot, each in sorted(self._held.items())},
            "coming": sorted(self._coming),
            "sessions": self.sessions,
            "active": sum(each.tracker.ledger.active for each in self._held.values()),
            "journal_up": self._writer.journal_up,
            "unwritten_sessions": self._writer.unwritten_sessions,
            "last_commit_s": self._writer.last_commit_s,
            "behind_s": self._wakefulness.behind_s(now),
            "front_door_down": self._wakefulness.door_is_down(now),
            "lost_slots": self._writer.lost_slots,
            "write_backs": self._writer.write_backs,
        }

    @property
    def sessions(self) -> int:
        """Return how many sessions are remembered, in any state."""
        return sum(len(each.tracker.sessions) for each in self._held.values())

    @property
    def held(self) -> Mapping[int, HeldSlot]:
        """Return the slots that are served, by number; to be read only."""
        return self._held

    # The end.

    async def stop(self) -> None:
        """Write what is left and say a last time that we were alive; the slots stay ours for the next start."""
        self._over = True
        try:
            async with asyncio.timeout(STOP_S), self._working():
                now = self._enter()
                await self._write(now=now, hand=True)
                await self._touch()
        except TimeoutError:
            log.warning("stopped without a last word to the journal", shard=self.name)
        await self.halt()

    async def halt(self) -> None:
        """Stop at once, as a kill would: nothing is written, nobody is answered."""
        self._over = True
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, part: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(part)
        self._tasks.add(task)
        task.add_done_callback(self._look_after)
        return task

    def _look_after(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        problem = None if task.cancelled() else task.exception()
        if problem is None or self._over:
            return
        self._over = True
        log.critical("the shard is broken and starts again from its journal", shard=self.name, exc_info=problem)
        for waiting in (*self._group, *self._queue):
            waiting.refuse(NotTaken.RECOVERING)
        self._end(problem)
