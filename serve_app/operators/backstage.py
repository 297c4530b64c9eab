"""
Where the operators' answers come from: the exporter, the directory, the shards and the journal.

Decides whom to ask, and what "ready" means. It does not know how an answer is served.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from actors import names
from metrics.live import News
from serve_app.delivery.actor_calls import ActorAwayError, Actors
from serve_app.delivery.slotmap import SlotMap
from serve_app.operators.search import joined
from sessions.routing import slot_of
from sessions.search import Found, Query
from storage.journal import Journal, JournalError

ANSWER_S: Final = 3.0
"""How long an actor may take to answer an operator."""
SEARCH_S: Final = 10.0
"""How long a shard may look: a second or so for each 100,000 sessions where their accounts must be worked out."""
READY_S: Final = 1.5
"""The same for the question whether it is there."""
READY_CACHED_S: Final = 1.0
SLOW_COMMIT_S: Final = 0.5
"""A journal whose last write took longer is called slow."""
_JOURNAL_AWAY: Final = "the journal does not answer"
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether players would be served now, and if not, why."""

    slots: int
    served: int
    """Slots whose owner answers and holds them."""
    problems: tuple[str, ...] = ()
    journal_is_slow: bool = False
    """A write takes longer than `SLOW_COMMIT_S`: players are served, late."""

    @property
    def ready(self) -> bool:
        """Say whether nothing is missing."""
        return not self.problems


class Backstage(Protocol):
    """What the operators' routes need. All but `readiness` raise `ActorAwayError` if the actor that knows does not answer."""

    async def scrape(self, *, openmetrics: bool) -> bytes:
        """Return the body of a scrape."""

    async def concurrency(self, stream_id: str | None) -> Mapping[str, object]:
        """Return who is watching now."""

    async def players(self) -> Sequence[Mapping[str, object]]:
        """Return the players that report by themselves, with what is to be done about each."""

    async def live(self, life: str, version: int, newest: int) -> News:
        """Return what is new on the live page, as soon as there is something; the arguments are those of the last news."""

    async def search(self, query: Query) -> Mapping[str, Any]:
        """Return the sessions that are looked for, of all shards."""

    async def describe(self, session_id: str) -> bytes | None:
        """Return one session and its story as JSON; None: it is not known."""

    async def status(self) -> Mapping[str, object]:
        """Return how the cluster is, for people."""

    async def readiness(self) -> Readiness:
        """Return whether players would be served now."""


class ActorsBackstage:
    """The real one, of one replica."""

    def __init__(self, actors: Actors, slot_map: SlotMap, journal: Journal, *, slots: int, monotonic: Callable[[], float]) -> None:
        self._actors = actors
        self._map = slot_map
        self._journal = journal
        self._slots = slots
        self._monotonic = monotonic
        self._ready = Readiness(slots, 0, ("not asked yet",))
        self._ready_until = 0.0
        self._asking = asyncio.Lock()

    async def scrape(self, *, openmetrics: bool) -> bytes:
        """See `Backstage`."""
        rendered: bytes | None = await self._actors.call(names.EXPORTER, "render", openmetrics, within_s=ANSWER_S)
        return _known(rendered)

    async def concurrency(self, stream_id: str | None) -> Mapping[str, object]:
        """See `Backstage`."""
        answer: Mapping[str, object] | None = await self._actors.call(names.EXPORTER, "concurrency", stream_id, within_s=ANSWER_S)
        return _known(answer)

    async def players(self) -> Sequence[Mapping[str, object]]:
        """See `Backstage`."""
        answer: Sequence[Mapping[str, object]] | None = await self._actors.call(names.EXPORTER, "players", within_s=ANSWER_S)
        return _known(answer)

    async def live(self, life: str, version: int, newest: int) -> News:
        """See `Backstage`."""
        news: News | None = await self._actors.call(names.EXPORTER, "live", life, version, newest, within_s=ANSWER_S)
        return _known(news)

    async def search(self, query: Query) -> Mapping[str, Any]:
        """See `Backstage`. Shards that do not answer are named; raises `ActorAwayError` if none does."""
        await self._map.refresh()
        shards = sorted(self._map.owners())
        found = dict(zip(shards, await asyncio.gather(*(self._search(shard, query) for shard in shards)), strict=True))
        if not any(found.values()):
            raise ActorAwayError("no shard answers, or too many searches are under way")
        return joined(found, query)

    async def _search(self, shard: str, query: Query) -> Found | None:
        try:
            found: Found | None = await self._actors.call(shard, "search", query, within_s=SEARCH_S)
        except ActorAwayError:
            return None
        return found

    async def status(self) -> Mapping[str, object]:
        """See `Backstage`."""
        answer: Mapping[str, object] = await self._actors.call(names.DIRECTORY, "status", within_s=ANSWER_S)
        return answer

    async def describe(self, session_id: str) -> bytes | None:
        """See `Backstage`. A shard that does not know the session may have lost its slot: then the new owner is asked."""
        slot = slot_of(session_id, slots=self._slots)
        asked = self._map.owner(slot)
        described = None if asked is None else await self._describe(asked, slot, session_id)
        if described is None:
            await self._map.refresh()
            owner = self._map.owner(slot)
            if owner is None:
                msg = f"slot {slot} has no owner"
                raise ActorAwayError(msg)
            if owner != asked:
                described = await self._describe(owner, slot, session_id)
        return described

    async def _describe(self, shard: str, slot: int, session_id: str) -> bytes | None:
        described: bytes | None = await self._actors.call(shard, "describe", slot, session_id, within_s=ANSWER_S)
        return described

    async def readiness(self) -> Readiness:
        """See `Backstage`. Asked for at most once a second, however many want to know."""
        async with self._asking:
            if self._monotonic() >= self._ready_until:
                self._ready = await self._ask_all()
                self._ready_until = self._monotonic() + READY_CACHED_S
            return self._ready

    async def _ask_all(self) -> Readiness:
        problems: list[str] = []
        try:
            await self._journal.ping()
        except JournalError:
            problems.append(_JOURNAL_AWAY)
        else:
            await self._map.refresh()
        owners = sorted(self._map.owners())
        statuses = dict(zip(owners, await asyncio.gather(*map(self._status_of, owners)), strict=True))
        served = len({slot for status in statuses.values() if status is not None for slot in status["epochs"]})
        for owner, status in statuses.items():
            if status is None:
                problems.append(f"{owner} does not answer")
            elif not status["journal_up"] and _JOURNAL_AWAY not in problems:
                # The journal answers us, and still nobody can be acknowledged: what is written does not get through.
                problems.append(f"{owner} gets no answer from the journal")
        if served < self._slots:
            problems.append(f"{self._slots - served} of {self._slots} slots are not served")
        slow = any(status["last_commit_s"] > SLOW_COMMIT_S for status in statuses.values() if status is not None)
        return Readiness(self._slots, served, tuple(problems), journal_is_slow=slow)

    async def _status_of(self, shard: str) -> Mapping[str, Any] | None:
        """Return how a shard is; None: it does not answer."""
        try:
            status: Mapping[str, Any] = await self._actors.call(shard, "status", within_s=READY_S)
        except ActorAwayError:
            return None
        return status


def _known(answer: _Answer | None) -> _Answer:
    """Return what the exporter answered; raises `ActorAwayError` if it has just begun, and does not know yet."""
    if answer is None:
        msg = "the exporter has not heard of every slot yet"
        raise ActorAwayError(msg)
    return answer
