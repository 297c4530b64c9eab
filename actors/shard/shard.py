"""
One shard: it owns slots, applies what players send, and acknowledges once that is durable.

Theory of operation. Everything that changes a tracker happens in one *lane*, one after the other: apply, encode, commit, then
acknowledge. Batches that arrive while a commit is under way wait, and go together into the next. Time enters in one place,
`_enter`, which first pauses every slot for an outage that has just ended (`outages.py`); expiry runs a few times a second,
in slices. While the journal is away the lane stands still, and whoever waits is told so (`writing.py`).

A shard recovers by itself: at birth it claims the slots that the journal says are its own. Others it takes when the directory
orders it. If anything unforeseen is raised the shard is broken: it acknowledges nothing more and asks to be ended, to
start again from its journal. It runs on asyncio alone: Ray is in `ray_actors.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import structlog

from actors.clock import SteadyClock
from actors.health import Confirm, Health
from actors.messages import NotTaken, decode_batch, waited_before_s
from actors.shard.admission import Admission
from actors.shard.claims import Taking
from actors.shard.held_slot import HeldSlot
from actors.shard.holdings import Holdings
from actors.shard.intake import Intake
from actors.shard.lever import Lever
from actors.shard.outages import RHYTHM, Outages, Rhythm
from actors.shard.recovery import outage_s
from actors.shard.reporting import Reports
from actors.shard.searching import Searching
from actors.shard.spread import Spread
from actors.shard.waiting import Waiting
from actors.shard.writing import Writer
from actors.tasks import Tasks
from metrics.reports import Known, ShardReport
from sessions.changes import Policy, Reason, Receipt
from sessions.events import Beacon, Event, Heartbeat
from sessions.limits import EXPIRIES_PER_COMMIT_MAX
from sessions.roster import chosen_bytes
from sessions.search import Found, Query
from sessions.story import describe
from storage.codec import unpack_opaque
from storage.journal import Claimed, Journal

log = structlog.get_logger(__name__)

EXPIRY_LATE_S: Final = 0.5
"""Ticks look for who is due twice as often. Where a slow journal keeps them waiting for longer than this, whatever is next in the lane does."""
STOP_S: Final = 2.0
"""How long a stopping shard tries to write what is left."""


class BrokenShardError(Exception):
    """The shard's state is not to be built on; it is about to start again from its journal."""


class Shard:
    """One shard: the slots that it owns, and all that is done to them. Times are the server's, from `clock`, in seconds since the epoch."""

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
        admission: Admission | None = None,
    ) -> None:
        """`end` is called, once, with what broke the shard."""
        self.name = name
        self.incarnation = incarnation
        self._journal = journal
        self._clock = SteadyClock(clock, monotonic)
        self._end = end
        self._rhythm = rhythm
        self._monotonic = monotonic
        self._admission = admission or Admission()
        self._spread = Spread()
        self._holdings = Holdings()
        self._held = self._holdings.by_slot
        self._restarts = 0
        self._lane = asyncio.Lock()
        self._sound = True
        self._intake = Intake(monotonic=monotonic)
        self._lever = Lever(interval_s=policy.heartbeat_interval_s)
        self._outages = Outages(gap_s=rhythm.gap_s, door_word_s=rhythm.door_word_s)
        self._touched_at = float("-inf")
        self._expired_at = float("-inf")
        """When nobody was due any more, or the last slice of them was taken."""
        self._reports = Reports(shard=name, incarnation=incarnation)
        self._writer = Writer(
            name,
            journal=journal,
            holdings=self._holdings,
            confirm=confirm,
            rhythm=rhythm,
            monotonic=monotonic,
            on_away=self._turn_away,
            observe_commit=lambda seconds: self._reports.observe("commit_seconds", seconds),
        )
        self._taking = Taking(
            name, journal=journal, policy=policy, clock=self._clock, rhythm=rhythm, held=self._held.keys(), serve=self._serve
        )
        self._searching = Searching(self._held, clock=self._clock)
        self._tasks = Tasks(self._break)
        self._over = False
        """Stopped or broken: nothing is taken any more."""

    def start(self) -> None:
        """Begin to recover, commit and tick, on the running event loop."""
        for part in (self._taking.recover(), self._commit_groups(), self._run_ticks()):
            self._tasks.start(part)

    # Players.

    async def receive(self, batch: bytes) -> bytes:
        """
        Apply a batch of requests and answer once all of it is durable (`actors/messages.py`, both ways).

        Raises `GarbledError` for bytes that are no batch.
        """
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiting = Waiting(decode_batch(batch), reply, since=self._monotonic(), before_s=waited_before_s(batch))
        self._reports.observe("batch_events", len(waiting.items))
        if self._over:
            waiting.refuse(NotTaken.RECOVERING)
        elif not self._writer.journal_up:
            waiting.refuse(NotTaken.NO_JOURNAL)
        else:
            self._intake.add(waiting)
        return await reply

    async def _commit_groups(self) -> None:
        while True:
            await self._intake.arrived.wait()
            async with self._working():
                await self._commit_group()

    async def _commit_group(self) -> None:
        """Apply what waits, make it durable in one commit, and answer."""
        if not self._writer.journal_up:
            self._intake.refuse_all(NotTaken.NO_JOURNAL)
            return
        now, interval_s = self._enter(), self._lever.interval_s
        self._outages.hear_player(now)
        touched: dict[int, HeldSlot] = {}
        if now - self._expired_at > EXPIRY_LATE_S:
            self._expire(now)
            touched = {slot: held for slot, held in self._held.items() if held.has_changes()}
        for waiting in self._intake.next_group():
            self._spread.count(sum(type(event) is Heartbeat for _, event in waiting.items), now=self._monotonic())
            for slot, event in waiting.items:
                held = self._held.get(slot)
                waiting.outcomes.append(self._absent(slot) if held is None else self._apply(held, event, now, interval_s))
                if held is not None:
                    touched[slot] = held
        await self._write(touched.values(), now=now)
        self._intake.answer(lost=touched.keys() - self._held.keys())

    def _absent(self, slot: int) -> NotTaken:
        return NotTaken.RECOVERING if slot in self._taking.coming or not self._taking.recovered else NotTaken.MOVED

    def _apply(self, held: HeldSlot, event: Event, now: float, interval_s: int) -> Receipt:
        tracker = held.tracker
        if self._spread.jitter and type(event) is Heartbeat:
            interval_s = self._spread.jittered(interval_s, event.session_id)
        if event.session_id in tracker.sessions:
            return tracker.receive(event, now=now, interval_s=interval_s)
        network = event.network if isinstance(event, Beacon) else ""
        if not self._admission.admits(event.session_id, now=now, network=network):
            return Receipt(accepted=False, reason=Reason.TOO_MANY_SESSIONS.value)
        receipt = tracker.receive(event, now=now, interval_s=interval_s)
        if event.session_id in tracker.sessions:
            opened = tracker.sessions[event.session_id]
            self._admission.fill(event.session_id, network=network, chosen_bytes=chosen_bytes(opened))
        return receipt

    # Time.

    def _turn_away(self) -> None:
        """Answer whoever waits that the journal is away: what lasts from now on is an outage."""
        self._outages.refuse()
        self._intake.refuse_all(NotTaken.NO_JOURNAL)

    def _enter(self) -> float:
        """Return the time; whoever is about to change a tracker asks here, and outages are paused first."""
        now = self._clock()
        gap = self._outages.arrive(now)
        if gap:
            log.warning("the shard was out of reach: the deadlines of its sessions move by as much", shard=self.name, gap_s=round(gap, 3))
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

    async def _write(self, slots: Iterable[HeldSlot], *, now: float, hand: bool = False) -> None:
        """Commit whatever changed in these slots; `hand`: and the records whose open increments wait. In the lane only."""
        pending = [each.encode() for each in slots if each.has_changes() or (hand and each.waits_to_hand())]
        if pending:
            alive_at = self._outages.alive_at(now)
            await self._writer.write(pending, alive_at=alive_at)
            self._outages.lived(alive_at)

    async def _run_ticks(self) -> None:
        while True:
            await asyncio.sleep(self._rhythm.tick_s)
            await self._tick()

    async def _tick(self) -> None:
        self._lever.feel(self._intake.longest_wait_s(), now=self._monotonic())
        self._spread.expect(sum(each.tracker.ledger.active for each in self._held.values()), interval_s=self._lever.interval_s)
        if self._lane.locked() and not self._writer.journal_up:
            return
        self._admission.count(held.tracker for held in self._held.values())
        now = self._clock()
        touch = now - self._touched_at >= self._rhythm.touch_s
        flush = any(each.waits_to_hand() or each.has_changes() for each in self._held.values())
        is_due = self._is_due(now)
        self._expired_at = self._expired_at if is_due else now
        if not (touch or flush or is_due):
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
            more = self._expire(now)
            if not self._outages.door_is_down(now):
                await self._write(self._held.values(), now=now, hand=True)
            return more

    def _expire(self, now: float) -> bool:
        """Expire and forget one slice of what is due, unless players cannot reach us; True: there is more. In the lane only."""
        self._expired_at = now
        if self._outages.door_is_down(now):
            return False
        room = EXPIRIES_PER_COMMIT_MAX
        for held in self._held.values():
            deadline = held.tracker.next_deadline()
            if room and deadline is not None and deadline <= now:
                room -= held.tracker.advance(now=now, limit=room)
        return not room

    def _is_due(self, now: float) -> bool:
        deadlines = (each.tracker.next_deadline() for each in self._held.values())
        return any(deadline is not None and deadline <= now for deadline in deadlines)

    async def _touch(self) -> None:
        """Say that we are alive, if we are. In the lane only."""
        if not self._writer.journal_up:
            return
        now = self._enter()
        if self._outages.door_is_down(now):
            return
        if now - self._expired_at > EXPIRY_LATE_S:
            self._expire(now)
        if not self._held or await self._writer.touch(alive_at=now):
            self._outages.lived(now)
            self._touched_at = now

    @property
    def journal_up(self) -> bool:
        """Tell whether the journal answers, as far as we have asked."""
        return self._writer.journal_up and not self._taking.waits_for_journal

    # Ownership.

    def own(self, expected: Mapping[int, int], *, after_wipe: bool = False) -> None:
        """
        Begin to take slots, whose epochs must still be the expected ones.

        `after_wipe`: the journal lost these slots, and nobody holds them: their epochs go on from the expected ones. What comes
        of it shows in `watch`; an order that failed has to be given again.
        """
        wanted = {} if self._over else self._taking.accept(expected)
        if wanted:
            self._tasks.start(self._taking.obey(wanted, after_wipe=after_wipe))

    async def _serve(self, restored: Sequence[HeldSlot], claimed: Mapping[int, Claimed]) -> None:
        """Serve slots just loaded, paused for the time that nobody was there."""
        async with self._working():
            now = self._enter()
            for held in restored:
                held.carry_on(outage_s(claimed[held.slot].alive_at, now=now, gap_s=self._rhythm.gap_s))
                self._holdings.take(held)
            self._admission.count(held.tracker for held in self._held.values())
            # Only once this is written do we know that the slots are still ours, and that the pause cannot be lost.
            await self._write(self._held.values(), now=now)

    async def release(self, slots: Sequence[int]) -> None:
        """
        Give slots up for somebody else to take: what they hold is written, and from then on they are MOVED.

        Whoever stops waiting for it does not stop it: half a write is none.
        """
        await asyncio.shield(self._tasks.start(self._release(slots)))

    async def _release(self, slots: Sequence[int]) -> None:
        async with self._working():
            now = self._enter()
            for held in self._held.values():
                held.must_write = held.must_write or bool(held.unwritten_pause_s)
            await self._write(self._held.values(), now=now)
            if not await self._writer.release(slots, alive_at=self._outages.alive_at(now)):
                log.warning("slots kept: the journal does not answer", shard=self.name, slots=list(slots))

    # Those who watch.

    def watch(self, *, front_door_up: bool, restarts: int = 0) -> Health:
        """Tell the directory how we are; it tells whether players can reach us, and how often it saw us begin anew."""
        now = self._clock()
        self._restarts = restarts
        self._outages.tell_door(up=front_door_up, now=now)
        return Health(
            incarnation=self.incarnation,
            serving={slot: each.epoch for slot, each in self._held.items()},
            coming=sorted(self._taking.coming),
            recovered=self._taking.recovered,
            sessions=self.sessions,
            journal_up=self.journal_up,
            unwritten_sessions=self._writer.unwritten_sessions,
            behind_s=self._outages.behind_s(now),
            commits_refused=self._writer.commits_refused,
            write_backs=self._writer.write_backs,
            clock_step_s=self._clock.step_s(),
        )

    def collect(self, known: Known) -> ShardReport:
        """Report to the exporter what it does not know yet."""
        return self._reports.collect(
            known,
            self._held,
            pending_calls=self._intake.calls,
            journal_up=self.journal_up,
            unwritten_sessions=self._writer.unwritten_sessions,
            restarts=self._restarts,
            stretch=self._lever.stretch,
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

    async def search(self, query: Query) -> Found | None:
        """Return the sessions of this shard that are looked for; None: too many are looking already."""
        return await self._searching.search(query)

    def status(self) -> dict[str, object]:
        """Return how the shard is, for people."""
        now = self._clock()
        return {
            "shard": self.name,
            "incarnation": self.incarnation,
            "recovered": self._taking.recovered,
            "epochs": {slot: each.epoch for slot, each in sorted(self._held.items())},
            "coming": sorted(self._taking.coming),
            "sessions": self.sessions,
            "active": sum(each.tracker.ledger.active for each in self._held.values()),
            "journal_up": self.journal_up,
            "unwritten_sessions": self._writer.unwritten_sessions,
            "last_commit_s": self._writer.last_commit_s,
            "heartbeat_interval_s": self._lever.interval_s,
            "behind_s": self._outages.behind_s(now),
            "front_door_down": self._outages.door_is_down(now),
            "lost_slots": self._writer.lost_slots,
            "set_aside": sum(len(each.set_aside) for each in self._held.values()),
            "mismatched_slots": [slot for slot, each in sorted(self._held.items()) if each.mismatched],
            "write_backs": self._writer.write_backs,
        }

    @property
    def sessions(self) -> int:
        """Return how many sessions are remembered, in any state."""
        return sum(len(each.tracker.sessions) for each in self._held.values())

    @property
    def held(self) -> Mapping[int, HeldSlot]:
        """Return the slots that are served, by number."""
        return self._held

    # The end.

    async def stop(self) -> None:
        """Write what is left and say a last time that we were alive; the slots stay ours for the next start."""
        self._over = True
        try:
            async with asyncio.timeout(STOP_S), self._working():
                now = self._enter()
                await self._write(self._held.values(), now=now, hand=True)
                await self._touch()
        except TimeoutError:
            log.warning("stopped before the rest could be written: the journal did not answer in time", shard=self.name)
        await self.halt()

    async def halt(self) -> None:
        """Stop at once, as a kill would: nothing is written, nobody is answered."""
        self._over = True
        await self._tasks.stop()

    def _break(self, problem: BaseException) -> None:
        if self._over:
            return
        self._over = True
        log.critical("the shard is broken and starts again from its journal", shard=self.name, exc_info=problem)
        self._intake.refuse_all(NotTaken.RECOVERING)
        self._end(problem)
