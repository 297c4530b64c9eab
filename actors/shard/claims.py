"""
How a shard comes by its slots: claimed, loaded, and handed over to be served, some at a time.

Decides what is claimed (at birth whatever the journal calls ours, later what the directory orders) and what becomes of
slots that were claimed but could not be loaded: they are let be, and ordered again. It does not know how a slot is served.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

import structlog

from actors.shard.held_slot import HeldSlot
from actors.shard.outages import Rhythm
from actors.shard.recovery import restore
from sessions.changes import Policy
from storage.journal import Claimed, Journal, JournalUnavailableError, WipedError

log = structlog.get_logger(__name__)

SLOTS_PER_LOAD: Final = 16
"""Slots that are loaded side by side, and served together."""

Serve = Callable[[Sequence[HeldSlot], Mapping[int, Claimed]], Awaitable[None]]
"""Takes slots that were loaded, and what their claims said."""


class Taking:
    """Claims and loads slots for one shard, and gives them to `serve`, at most `SLOTS_PER_LOAD` at a time."""

    def __init__(
        self,
        name: str,
        *,
        journal: Journal,
        policy: Policy,
        clock: Callable[[], float],
        rhythm: Rhythm,
        held: Collection[int],
        serve: Serve,
    ) -> None:
        """`held`: the slots that are served now; `serve` adds to it."""
        self._name = name
        self._journal = journal
        self._policy = policy
        self._clock = clock
        self._rhythm = rhythm
        self._held = held
        self._serve = serve
        self._one_at_a_time = asyncio.Lock()
        self._recovered = asyncio.Event()
        self.coming: set[int] = set()
        """Slots that are being claimed and loaded."""
        self.waits_for_journal = False
        """The journal did not answer when we asked what is ours."""

    @property
    def recovered(self) -> bool:
        """Tell whether all that the journal called ours at our birth has been taken."""
        return self._recovered.is_set()

    async def recover(self) -> None:
        """Claim and load what the journal calls ours, however long it takes to answer."""
        backoff, began_at = self._rhythm.backoff(self._name), self._clock()
        while True:
            try:
                fences = await self._journal.fences()
                mine = {slot: fence.epoch for slot, fence in fences.items() if fence.owner == self._name and slot not in self._held}
                self.coming |= mine.keys()
                await self._take(mine)
            except WipedError:
                # Nothing is ours where there is nothing; the directory will say what to take.
                break
            except JournalUnavailableError as error:
                self.waits_for_journal = True
                log.warning("the journal does not answer: recovery waits", shard=self._name, error=str(error))
                await asyncio.sleep(backoff.next_s())
            else:
                log.info("recovered", shard=self._name, slots=len(mine), took_s=round(self._clock() - began_at, 3))
                break
        self.waits_for_journal = False
        self._recovered.set()

    def accept(self, expected: Mapping[int, int]) -> dict[int, int]:
        """Return what of an order is new; it is coming from now on, and has to be obeyed."""
        wanted = {slot: epoch for slot, epoch in expected.items() if slot not in self._held and slot not in self.coming}
        self.coming |= wanted.keys()
        return wanted

    async def obey(self, expected: Mapping[int, int], *, after_wipe: bool) -> None:
        """Take what was ordered, if its epochs still stand; an order that fails is forgotten, and given again."""
        try:
            await self._recovered.wait()
            await self._take(expected, after_wipe=after_wipe)
        except (JournalUnavailableError, WipedError) as error:
            log.warning("slots not taken", shard=self._name, slots=len(expected), error=str(error))

    async def _take(self, expected: Mapping[int, int], *, after_wipe: bool = False) -> None:
        try:
            async with self._one_at_a_time:
                claimed = await self._journal.claim(expected, owner=self._name, after_wipe=after_wipe) if expected else {}
                slots = sorted(claimed)
                for first in range(0, len(slots), SLOTS_PER_LOAD):
                    await self._load({slot: claimed[slot] for slot in slots[first : first + SLOTS_PER_LOAD]})
        finally:
            self.coming -= expected.keys()

    async def _load(self, claimed: Mapping[int, Claimed]) -> None:
        loaded = await asyncio.gather(*(self._journal.load(slot) for slot in claimed))
        restored = [
            await restore(slot, stored, policy=self._policy, now=self._clock())
            for slot, stored in zip(claimed, loaded, strict=True)
            # Else another shard has claimed it since, and has it now.
            if stored.fence.epoch == claimed[slot].epoch
        ]
        await self._serve(restored, claimed)
        self.coming -= claimed.keys()
