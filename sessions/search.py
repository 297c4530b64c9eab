"""
Which of a shard's sessions somebody looks for, in which order, and what a row of the answer tells.

A `Search` is shown sessions a few at a time, in any order, by whoever has them, and keeps the best `limit`. Ids of users and devices are in
the profile, whose bytes the core does not read: most sessions are passed over because these bytes do not hold the id at all, and
`profile_of` is asked about the others. The cursor is the place of the last row, by its sort key and id: a session that began meanwhile
does not move what comes after it.
"""

from collections.abc import Callable, Mapping, Sequence
from heapq import heappush, heapreplace
from typing import Any, Final, NamedTuple

from sessions.account import FAILURES, Account
from sessions.events import shown_id
from sessions.growing import grows
from sessions.qoe import rebuffer_count, score, watch_time_s
from sessions.session import Session
from sessions.story import explain

SORTS: Final = ("started", "rebuffering", "score")
"""The newest first; the longest stalled first; the worst score first, of those that are over."""
_ATTRIBUTES: Final = ("stream_id", "playback", "liveness", "platform", "country")
"""Of a query, and of a session."""
_OF_PROFILES: Final = ("user_id", "device_id")
Place = tuple[float, str]
"""Sort key and session id: a greater one comes first."""


@grows
class Query(NamedTuple):
    """What is looked for; None: anything."""

    stream_id: str | None = None
    user_id: str | None = None
    device_id: str | None = None
    playback: str | None = None
    liveness: str | None = None
    platform: str | None = None
    country: str | None = None
    failure: str | None = None
    """Start or playback."""
    score_below: float | None = None
    """Of sessions that are over: active ones have no score yet."""
    sort: str = "started"
    limit: int = 50
    after: Place | None = None
    """Where the rows begin: behind this place."""

    @property
    def is_costly(self) -> bool:
        """Tell whether a session's account must be worked out to judge it."""
        return self.sort != "started" or self.failure is not None or self.score_below is not None


@grows
class Found(NamedTuple):
    """What a shard found."""

    rows: list[tuple[Place, dict[str, object]]]
    """The first first: its place, and what is shown of it, as plain values."""
    looked_at: int = 0
    """Sessions that were looked at."""


class Search:
    """One search over the sessions of a shard: what is wanted, and the best that were seen so far."""

    def __init__(self, query: Query, *, profile_of: Callable[[bytes], Mapping[str, Any]]) -> None:
        self._query = query
        self._profile_of = profile_of
        self._is = [(name, value) for name in _ATTRIBUTES if (value := getattr(query, name)) is not None]
        self._says = [(name, value, value.encode()) for name in _OF_PROFILES if (value := getattr(query, name)) is not None]
        self._best: list[tuple[Place, int, Session]] = []
        """A heap: the one that is the first to go stands first."""
        self.looked_at = 0

    def look(self, sessions: Sequence[Session], *, slot: int) -> None:
        """Take some more sessions of a slot into account, each of which is shown once."""
        self.looked_at += len(sessions)
        for name, value in self._is:
            sessions = [session for session in sessions if getattr(session, name) == value]
        for name, value, coded in self._says:
            sessions = [
                session for session in sessions if coded in session.profile and self._profile_of(session.profile).get(name) == value
            ]
        best, limit, after, is_costly = self._best, self._query.limit, self._query.after, self._query.is_costly
        for session in sessions:
            key = self._key(session, session.settled()) if is_costly else session.created_at
            if key is None:
                continue
            place = (key, session.session_id)
            if after is not None and place >= after:
                continue
            if len(best) < limit:
                heappush(best, (place, slot, session))
            elif place > best[0][0]:
                heapreplace(best, (place, slot, session))

    def best(self) -> list[tuple[Place, int, Session]]:
        """Return what was found, the first first: its place, its slot, and itself."""
        return sorted(self._best, reverse=True)

    def row(self, session: Session, *, now: float, remaining_s: float) -> dict[str, object]:
        """Return what is shown of one, as plain values; `remaining_s`: until its next deadline."""
        account, profile = session.settled(), self._profile_of(session.profile)
        return {
            "session_id": shown_id(session.session_id),
            "stream_id": session.stream_id,
            "user_id": profile.get("user_id"),
            "device_id": profile.get("device_id"),
            "platform": session.platform,
            "country": session.country,
            "liveness": str(session.liveness),
            "state": str(session.playback),
            "since": session.created_at,
            "seen_at": session.seen_at,
            "watch_time_s": round(watch_time_s(account), 3),
            "rebuffering_time_s": round(account.rebuffering_s, 3),
            "stalls": rebuffer_count(session, account),
            "score": score(session, account),
            "failure": _failure(session, account),
            "why": explain(session, now=now, remaining_s=remaining_s),
        }

    def _key(self, session: Session, account: Account) -> float | None:
        """Return by what it is sorted, the greatest first; None: it is not wanted after all."""
        query = self._query
        if query.failure is not None and _failure(session, account) != query.failure:
            return None
        scored = score(session, account) if query.score_below is not None or query.sort == "score" else None
        if query.score_below is not None and (scored is None or scored >= query.score_below):
            return None
        if query.sort == "score":
            return None if scored is None else -scored
        return account.rebuffering_s if query.sort == "rebuffering" else session.created_at


def _failure(session: Session, account: Account) -> str | None:
    return FAILURES[session.tallies.failures or account.failure]
