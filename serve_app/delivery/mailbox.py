"""
Batches on their way to the shards: one in flight per shard carries all that waited for it.

Theory of operation: a request becomes a `Letter` (its slot, its encoded item, a future, a deadline) in the mailbox of the shard
that the map names. While a call is under way the next batch grows; when its reply comes, each outcome goes to its letter
and the next call leaves, once those who were just answered had a moment to speak again. What a shard did not take (*moved*,
*recovering*), or did not answer, is sorted again by a fresh map after a pause that grows, until the letter's deadline;
everything that is sent is safe to send twice.
A letter whose sender has left is dropped silently and disturbs nobody else.

It knows neither Ray nor HTTP: `send` is told a shard's name and a batch, and raises `ShardAwayError` for whatever went wrong.
Anything else that is raised in here is our mistake: whom it concerns is answered, and `on_broken` is told.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final

import msgspec
import structlog

from actors.messages import NotTaken, decode_reply, encode_batch
from actors.tasks import Tasks
from serve_app.delivery.slotmap import SlotMap
from sessions import limits
from sessions.changes import Receipt
from storage.backoff import pause_s

PAUSE_S_MIN: Final = 0.02
PAUSE_S_MAX: Final = 0.5
"""The longest that a pause may last doubles with every try of the same letter, from one to the other."""
GATHER_S: Final = 0.002
"""How long a mailbox waits, at most, for those who were just answered to speak again."""
SWEEP_S: Final = 0.25
"""How exactly deadlines are kept."""

_log = structlog.get_logger(__name__)


class ShardAwayError(Exception):
    """A shard gave no answer to a batch: dead, gone, stuck or full. It may or may not have applied it."""


class Undelivered(StrEnum):
    """Why a letter was given up. Closed; the names are error codes of `answers.Code`."""

    OVERLOADED = "overloaded"
    RECOVERING = "recovering"
    NO_JOURNAL = "no_journal"
    UNAVAILABLE = "unavailable"


Outcome = Receipt | Undelivered
Send = Callable[[str, bytes], Awaitable[bytes]]


@dataclass(slots=True, eq=False)
class Letter:
    """One request on its way."""

    slot: int
    item: bytes
    deadline: float
    """In the event loop's time."""
    answer: asyncio.Future[Outcome]
    since: float
    """When it came to the front door, in the event loop's time; set again after a shard was away, because that is no sign of load."""
    placed_at: float = 0.0
    """When it was put into its mailbox; set again in the same way."""
    tries: int = 0
    last: Undelivered = Undelivered.UNAVAILABLE
    """What its sender is told if the deadline passes."""

    def settle(self, outcome: Outcome) -> None:
        """Give the outcome to whoever still waits for it."""
        if not self.answer.done():
            self.answer.set_result(outcome)


class PostRoom:
    """All mailboxes of one replica. Belongs to one event loop."""

    def __init__(
        self,
        slot_map: SlotMap,
        send: Send,
        *,
        on_broken: Callable[[BaseException], None] = lambda error: _log.critical("the mailbox broke", error=repr(error)),
        waiting_max: int = limits.WAITING_ITEMS_MAX,
    ) -> None:
        """`on_broken` is called with what nobody foresaw; it should end the process."""
        self._map = slot_map
        self._send = send
        self._waiting_max = waiting_max
        self._boxes: dict[str, Mailbox] = {}
        self._loop = asyncio.get_running_loop()
        self._chance = Random().random  # noqa: S311 - no secret
        self._tasks = Tasks(on_broken)
        self._unplaced: set[Letter] = set()
        self._sweeping = False

    def post(self, slot: int, item: bytes, *, within_s: float, waited_s: float = 0.0) -> asyncio.Future[Outcome]:
        """Take one encoded request that has waited so long; its outcome comes within `within_s` seconds, give or take `SWEEP_S`."""
        now = self._loop.time()
        letter = Letter(slot, item, now + within_s, self._loop.create_future(), now - waited_s)
        self.place(letter)
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_S, self._sweep)
        return letter.answer

    @property
    def waiting(self) -> int:
        """Return how many letters are anywhere between `post` and their outcome."""
        return len(self._unplaced) + sum(box.held for box in self._boxes.values())

    def place(self, letter: Letter) -> None:
        """Put a letter into the mailbox of its slot's owner."""
        owner = self._map.owner(letter.slot)
        if owner is None:
            self.try_again(letter, Undelivered.RECOVERING)
            return
        box = self._boxes.get(owner)
        if box is None:
            box = self._boxes[owner] = Mailbox(owner, self, self._send)
        now = self._loop.time()
        if box.held >= self._waiting_max or box.is_late(now):
            letter.settle(Undelivered.OVERLOADED)
            return
        letter.placed_at = now
        box.add(letter)

    def try_again(self, letter: Letter, reason: Undelivered) -> None:
        """Place a letter once more, by a fresh map, after a pause."""
        if len(self._unplaced) >= self._waiting_max:
            letter.settle(Undelivered.OVERLOADED)
            return
        letter.last = reason
        pause = self.pause_s(letter.tries)
        letter.tries += 1
        self._unplaced.add(letter)
        if letter.tries == 1:
            self.start(self._refresh_and_place(letter))
        else:
            self._loop.call_later(pause, self._after_pause, letter)

    def pause_s(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row before this one."""
        return pause_s(failures, first_s=PAUSE_S_MIN, most_s=PAUSE_S_MAX, chance=self._chance)

    def owner(self, slot: int) -> str | None:
        """Return who owns a slot, as far as is known."""
        return self._map.owner(slot)

    async def refresh_map(self) -> None:
        """Read the map again."""
        await self._map.refresh()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside everything else, and hold on to it until it is done."""
        self._tasks.start(work)

    def close(self) -> None:
        """Give up all letters and stop."""
        self._tasks.cancel()
        for letter in [*self._unplaced, *(letter for box in self._boxes.values() for letter in box.letters())]:
            letter.settle(Undelivered.UNAVAILABLE)

    def _after_pause(self, letter: Letter) -> None:
        if letter.answer.done():
            self._unplaced.discard(letter)
        else:
            self.start(self._refresh_and_place(letter))

    async def _refresh_and_place(self, letter: Letter) -> None:
        await self._map.refresh()
        self._unplaced.discard(letter)
        if not letter.answer.done():
            letter.since = self._loop.time()
            self.place(letter)

    def _sweep(self) -> None:
        """Answer every letter whose deadline has passed, wherever it is."""
        now = self._loop.time()
        for letter in self._unplaced:
            if letter.deadline <= now:
                letter.settle(letter.last)
        for box in self._boxes.values():
            for letter in box.letters():
                if letter.deadline <= now:
                    letter.settle(letter.last)
        self._sweeping = self.waiting > 0
        if self._sweeping:
            self._loop.call_later(SWEEP_S, self._sweep)


class Mailbox:
    """What waits for one shard, and the one call that is under way to it."""

    def __init__(self, shard: str, room: PostRoom, send: Send) -> None:
        self._shard = shard
        self._room = room
        self._send = send
        self._waiting: deque[Letter] = deque()
        self._under_way: list[Letter] = []
        self._delivering = False
        self._failures = 0
        self._expected = 0
        """Letters whose arrival ends the pause for those who were just answered; 0: there is none."""
        self._enough: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def held(self) -> int:
        """Return how many letters wait here or are under way."""
        return len(self._waiting) + len(self._under_way)

    def is_late(self, now: float) -> bool:
        """Tell whether the shard answers, and yet leaves somebody waiting for too long."""
        return not self._failures and bool(self._waiting) and now - self._waiting[0].placed_at > limits.WAITING_S_MAX

    def letters(self) -> list[Letter]:
        """Return all of them."""
        return [*self._under_way, *self._waiting]

    def add(self, letter: Letter) -> None:
        """Queue a letter; if no call is under way, one leaves as soon as the loop has heard everybody who is ready to speak."""
        self._waiting.append(letter)
        if not self._delivering:
            self._delivering = True
            self._room.start(self._deliver())
        elif self._enough is not None and len(self._waiting) >= self._expected:
            self._stop_gathering()

    async def _deliver(self) -> None:
        try:
            while self._waiting:
                self._under_way = self._take()
                if self._under_way:
                    await self._send_batch(self._under_way)
                    await self._gather(len(self._under_way))
                self._under_way = []
        finally:
            # If this breaks, letters that are still here would be in no list that the sweep looks at.
            for letter in self.letters():
                letter.settle(Undelivered.UNAVAILABLE)
            self._delivering = False
            self._waiting.clear()
            self._under_way = []

    async def _gather(self, answered: int) -> None:
        """
        Wait a moment for as many letters as were just answered.

        Players that were answered together are heard again one by one. Without this the first of them would leave alone, all the others
        would wait for its commit, and so on in turns: more calls and more commits for the same beats.
        """
        self._under_way = []
        if len(self._waiting) >= answered:
            return
        loop = asyncio.get_running_loop()
        self._expected, self._enough = answered, loop.create_future()
        end = loop.call_later(GATHER_S, self._stop_gathering)
        try:
            await self._enough
        finally:
            end.cancel()
            self._enough = None

    def _stop_gathering(self) -> None:
        if self._enough is not None and not self._enough.done():
            self._enough.set_result(None)

    def _take(self) -> list[Letter]:
        """Return the next batch: as much as the bounds allow, at least one, without letters nobody waits for any more."""
        batch: list[Letter] = []
        size = 0
        while self._waiting and len(batch) < limits.BATCH_ITEMS_MAX:
            letter = self._waiting[0]
            if not letter.answer.done():
                if batch and size + len(letter.item) > limits.BATCH_BYTES_MAX:
                    break
                batch.append(letter)
                size += len(letter.item)
            self._waiting.popleft()
        return batch

    async def _send_batch(self, batch: list[Letter]) -> None:
        now = self._loop.time()
        waited_s = sum(now - letter.since for letter in batch) / len(batch)
        try:
            sent = encode_batch([letter.item for letter in batch], waited_s=waited_s)
            outcomes = _read(await self._send(self._shard, sent), len(batch))
        except ShardAwayError as error:
            await self._pause(batch, error)
            return
        if self._failures:
            self._failures = 0
            self._begin_anew()
        for letter, outcome in zip(batch, outcomes, strict=True):
            self._conclude(letter, outcome)

    def _conclude(self, letter: Letter, outcome: Receipt | NotTaken) -> None:
        if letter.answer.done():
            return
        if isinstance(outcome, Receipt):
            letter.answer.set_result(outcome)
        elif outcome is NotTaken.MOVED or outcome is NotTaken.RECOVERING:
            self._room.try_again(letter, Undelivered.RECOVERING)
        elif outcome is NotTaken.NO_JOURNAL:
            letter.answer.set_result(Undelivered.NO_JOURNAL)
        else:
            letter.answer.set_result(Undelivered.OVERLOADED)

    async def _pause(self, batch: list[Letter], error: ShardAwayError) -> None:
        """Wait longer with every failure in a row, then have everything here sorted again: its slots may have a new owner."""
        if self._failures == 0:
            _log.warning("a shard does not answer", shard=self._shard, error=str(error), letters=len(batch))
        pause = self._room.pause_s(self._failures)
        self._failures += 1
        await asyncio.sleep(pause)
        await self._room.refresh_map()
        self._waiting.extendleft(reversed(batch))
        self._under_way = []
        self._begin_anew()
        self._hand_over_moved()

    def _begin_anew(self) -> None:
        """Forget how long everybody waited for a shard that was away: no load, neither here nor where they go next."""
        now = self._loop.time()
        for letter in self._waiting:
            letter.since = letter.placed_at = now

    def _hand_over_moved(self) -> None:
        """Give the letters whose slot has another owner by now to that owner's mailbox."""
        staying: deque[Letter] = deque()
        moving: list[Letter] = []
        for letter in self._waiting:
            (staying if self._room.owner(letter.slot) == self._shard else moving).append(letter)
        self._waiting = staying
        for letter in moving:
            if not letter.answer.done():
                self._room.place(letter)


def _read(reply: bytes, count: int) -> list[Receipt | NotTaken]:
    """Return the outcomes of a batch. A reply that cannot be one is no reply."""
    try:
        outcomes = decode_reply(reply)
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        msg = f"a reply that cannot be read: {error}"
        raise ShardAwayError(msg) from error
    if len(outcomes) != count:
        msg = f"{len(outcomes)} outcomes for {count} items"
        raise ShardAwayError(msg)
    return outcomes
