"""
Which shard owns a slot, as a replica knows it: the journal's map, cached.

The journal's fences are the map (`storage/journal.py`); nobody tells a replica that it changed. It finds out from a shard
that says *moved*, or from one that does not answer, and reads again. While the journal is away the cached map stands.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from storage.journal import Fence, JournalError

READ_EVERY_S_MIN: Final = 0.05
"""Time between the beginnings of two readings, however many ask."""

ReadFences = Callable[[], Awaitable[Mapping[int, Fence]]]

_log = structlog.get_logger(__name__)


class SlotMap:
    """The cached map. Belongs to one event loop."""

    def __init__(self, read_fences: ReadFences) -> None:
        self._read_fences = read_fences
        self._owners: dict[int, str] = {}
        self._given_up: frozenset[int] = frozenset()
        self._reading: asyncio.Task[None] | None = None
        self._not_before = 0.0

    def owner(self, slot: int) -> str | None:
        """Return the shard that owned a slot when the map was last read; None: nobody did."""
        return self._owners.get(slot)

    def owners(self) -> frozenset[str]:
        """Return every shard that owns a slot."""
        return frozenset(self._owners.values())

    def given_up(self) -> frozenset[int]:
        """Return the slots that their owner gave up, and that nobody had claimed since when the map was last read."""
        return self._given_up

    async def refresh(self) -> None:
        """Read the map again; callers that come meanwhile wait for the same reading. Never raises."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._read_done)
        # Shielded: one caller that leaves must not take the reading from the others.
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._not_before - loop.time())
        self._not_before = loop.time() + READ_EVERY_S_MIN
        try:
            fences = await self._read_fences()
        except JournalError as error:
            _log.warning("the map cannot be read; the last one stays in use", error=str(error))
            return
        self._owners = {slot: fence.owner for slot, fence in fences.items() if fence.owner}
        self._given_up = frozenset(slot for slot, fence in fences.items() if not fence.owner)

    def _read_done(self, _reading: asyncio.Task[None]) -> None:
        self._reading = None
