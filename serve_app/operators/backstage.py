"""
Where the operators' answers come from: the exporter, the directory, the shards and the journal.

Decides whom to ask, and whom to ask again. It knows neither what "ready" means (`readiness.py` does) nor how an answer is served.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from actors import names
from metrics.live import News
from serve_app.delivery.actor_calls import ActorAwayError, ActorGoneError, Actors
from serve_app.delivery.slotmap import SlotMap
from serve_app.operators.readiness import Look, Readiness, Seen, judge
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
OWNER_KNOWN_S: Final = 3.0
"""How long a question about a session waits for a slot that is just being handed over."""
LOOK_AGAIN_S: Final = 0.1
"""Before the map is read again to see who has such a slot now."""
_Answer = TypeVar("_Answer")


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
        self._seen = Seen()
        self._ready_until = 0.0
        self._asking = asyncio.Lock()

    async def scrape(self, *, openmetrics: bool) -> bytes:
        """See `Backstage`."""
        rendered: bytes | None = await self._ask(names.EXPORTER, "render", openmetrics, within_s=ANSWER_S)
        return _known(rendered)

    async def concurrency(self, stream_id: str | None) -> Mapping[str, object]:
        """See `Backstage`."""
        answer: Mapping[str, object] | None = await self._ask(names.EXPORTER, "concurrency", stream_id, within_s=ANSWER_S)
        return _known(answer)

    async def players(self) -> Sequence[Mapping[str, object]]:
        """See `Backstage`."""
        answer: Sequence[Mapping[str, object]] | None = await self._ask(names.EXPORTER, "players", within_s=ANSWER_S)
        return _known(answer)

    async def live(self, life: str, version: int, newest: int) -> News:
        """See `Backstage`."""
        news: News | None = await self._ask(names.EXPORTER, "live", life, version, newest, within_s=ANSWER_S)
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
            found: Found | None = await self._ask(shard, "search", query, within_s=SEARCH_S)
        except ActorAwayError:
            return None
        return found

    async def status(self) -> Mapping[str, object]:
        """See `Backstage`."""
        answer: Mapping[str, object] = await self._ask(names.DIRECTORY, "status", within_s=ANSWER_S)
        return answer

    async def describe(self, session_id: str) -> bytes | None:
        """
        See `Backstage`.

        The map may be old: a shard that does not know the session may have given up its slot, and one that does not answer
        may be gone for good. Then the new owner is asked; a slot that is just being handed over has one in a moment.
        """
        slot = slot_of(session_id, slots=self._slots)
        asked = self._map.owner(slot)
        away: ActorAwayError | None = None
        if asked is not None:
            try:
                if (described := await self._describe(asked, slot, session_id)) is not None:
                    return described
            except ActorAwayError as error:
                away = error
        owner = await self._owner_now(slot)
        if owner is None:
            raise away or ActorAwayError(f"slot {slot} has no owner")
        if owner != asked:
            return await self._describe(owner, slot, session_id)
        if away is not None:
            raise away
        return None

    async def _owner_now(self, slot: int) -> str | None:
        """Return who owns a slot by a fresh map; None: nobody, although one that was given up got some time."""
        until = self._monotonic() + OWNER_KNOWN_S
        await self._map.refresh()
        while (owner := self._map.owner(slot)) is None and slot in self._map.given_up() and self._monotonic() < until:
            await asyncio.sleep(LOOK_AGAIN_S)
            await self._map.refresh()
        return owner

    async def _describe(self, shard: str, slot: int, session_id: str) -> bytes | None:
        described: bytes | None = await self._ask(shard, "describe", slot, session_id, within_s=ANSWER_S)
        return described

    async def readiness(self) -> Readiness:
        """See `Backstage`. Asked for at most once a second, however many want to know."""
        async with self._asking:
            if self._monotonic() >= self._ready_until:
                self._ready, self._seen = await self._judge()
                self._ready_until = self._monotonic() + READY_CACHED_S
            return self._ready

    async def _judge(self) -> tuple[Readiness, Seen]:
        began_at = self._monotonic()
        looks = [await self._look()]
        judged = judge(self._seen, looks, slots=self._slots, now=self._monotonic())
        if not judged[0].ready and self._monotonic() - began_at < READY_S:
            # Else somebody was waited for in vain, and the caller has waited long enough.
            looks.append(await self._look())
            judged = judge(self._seen, looks, slots=self._slots, now=self._monotonic())
        return judged

    async def _look(self) -> Look:
        try:
            await self._journal.ping()
        except JournalError:
            journal_answers = False
        else:
            journal_answers = True
            await self._map.refresh()
        given_up, owners = self._map.given_up(), sorted(self._map.owners())
        statuses = dict(zip(owners, await asyncio.gather(*map(self._status_of, owners)), strict=True))
        return Look(journal_answers, given_up, statuses)

    async def _status_of(self, shard: str) -> Mapping[str, Any] | None:
        """Return how a shard is; None: it does not answer."""
        try:
            status: Mapping[str, Any] = await self._ask(shard, "status", within_s=READY_S)
        except ActorAwayError:
            return None
        return status

    async def _ask(self, name: str, method: str, *arguments: object, within_s: float) -> Any:  # noqa: ANN401 - as the method says
        """Call a method that may run twice. Whoever had a name may be gone, and another have it by now: a rollout does that."""
        try:
            return await self._actors.call(name, method, *arguments, within_s=within_s)
        except ActorGoneError:
            return await self._actors.call(name, method, *arguments, within_s=within_s)


def _known(answer: _Answer | None) -> _Answer:
    """Return what the exporter answered; raises `ActorAwayError` if it has just begun, and does not know yet."""
    if answer is None:
        msg = "the exporter has not heard of every slot yet"
        raise ActorAwayError(msg)
    return answer
