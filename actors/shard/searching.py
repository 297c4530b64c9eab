"""
Looking for sessions in a shard without keeping anybody waiting: a slice of them at a time, and one search at a time.

It decides how much is looked at before the players' requests have their turn. What is looked for is `sessions/search.py`'s business.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from actors.shard.held_slot import HeldSlot
from sessions.limits import SEARCHES_WAITING_MAX
from sessions.search import Found, Query, Search
from storage.codec import UnreadableError, unpack_profile

SLICE: Final = 1_000
"""Sessions of which a glance says whether they are wanted: a millisecond or two."""
COSTLY_SLICE: Final = 50
"""Sessions whose account must be worked out: the same."""


class Searching:
    """The searches of one shard. `held`: its slots, as they are at any time."""

    def __init__(self, held: Mapping[int, HeldSlot], *, clock: Callable[[], float]) -> None:
        self._held = held
        self._clock = clock
        self._lane = asyncio.Lock()
        self._waiting = 0

    async def search(self, query: Query) -> Found | None:
        """Return what the shard has; a session that comes while it looks may be missing. None: too many are looking already."""
        if self._waiting >= SEARCHES_WAITING_MAX:
            return None
        self._waiting += 1
        try:
            async with self._lane:
                return await self._search(query)
        finally:
            self._waiting -= 1

    async def _search(self, query: Query) -> Found:
        search = Search(query, profile_of=_profile_of)
        turn = _Turn(COSTLY_SLICE if query.is_costly else SLICE)
        for slot, held in list(self._held.items()):
            sessions = list(held.tracker.sessions.values())
            for first in range(0, len(sessions), turn.most):
                some = sessions[first : first + turn.most]
                search.look(some, slot=slot)
                await turn.took(len(some))
        rows = []
        turn = _Turn(COSTLY_SLICE)
        for place, slot, session in search.best():
            owner, now = self._held.get(slot), self._clock()
            remaining_s = 0.0 if owner is None else owner.tracker.remaining_s(session, now=now)
            rows.append((place, search.row(session, now=now, remaining_s=remaining_s)))
            await turn.took(1)
        return Found(rows, search.looked_at)


class _Turn:
    """Lets others have theirs after so many sessions."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken = 0

    async def took(self, sessions: int) -> None:
        self._taken += sessions
        if self._taken >= self.most:
            self._taken = 0
            await asyncio.sleep(0)


def _profile_of(packed: bytes) -> Mapping[str, Any]:
    """Return what is known of who watches; nothing, if that is damaged: one bad record is no reason to find nobody."""
    try:
        return unpack_profile(packed)
    except UnreadableError:
        return {}
