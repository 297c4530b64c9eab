"""
The demo's side of HTTP: it carries what players say, as a real player would, and looks at what the tracker counts.

A real player sends again what was not acknowledged. How often it had to is noted, because what was sent twice may have
been taken twice. Nothing here decides what is said, or whether counts agree.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from actors import clock
from metrics import scrape
from serve_app.demo.player import Player, Request, request_of
from serve_app.demo.said import Said, Sending
from sessions.changes import Key

REQUESTS_AT_ONCE: Final = 16
"""Enough for a thousand a second; httpx looks at every connection for each request, so that 64 took most of a core."""
RETRY_S: Final = 1.0
"""Pause before a request is sent again, unless the answer names one."""
RETRY_S_MAX: Final = 5.0
ANSWER_S: Final = 15.0
GIVE_UP_S: Final = 120.0
"""How long a request is sent again and again."""
KEEP_ALIVE_S: Final = 2.0
"""Less than the server's own, so that no request meets a connection that is being closed."""

_AGAIN: Final = frozenset({404, 408, 429, 500, 502, 503, 504})
"""Not now. 404 and 500 are what HAProxy says while it restarts."""


class StageError(Exception):
    """The tracker cannot be played against; the message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the tracker says at one moment."""

    began_at: float
    """When we began to ask."""
    age_s: float
    """Of the oldest report in it."""
    everyone: int
    """Active sessions, whosever they are."""
    watching: Mapping[tuple[str, str], int]
    """Ours, by (stream, state)."""
    counters: Mapping[Key, float]


class Stage:
    """One tracker, seen from outside. Belongs to one event loop."""

    def __init__(self, url: str, *, ingest_token: str, ops_token: str) -> None:
        limits = httpx.Limits(max_connections=REQUESTS_AT_ONCE + 8, keepalive_expiry=KEEP_ALIVE_S)
        self._client = httpx.AsyncClient(base_url=url, limits=limits, timeout=httpx.Timeout(ANSWER_S, pool=None), trust_env=False)
        # The second header spares the server two tasks per request.
        self._players = {"authorization": f"Bearer {ingest_token}", "x-request-disconnect-disabled": "?1"}
        self._operators = {"authorization": f"Bearer {ops_token}"}
        self._turns = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self._idle = asyncio.Event()
        self._under_way = 0
        self._failing_since: float | None = None
        self._outages_s = 0.0
        self.retries = 0

    @property
    def outages_s(self) -> float:
        """How long requests have been failing, in all."""
        now_failing_s = 0.0 if self._failing_since is None else clock.now() - self._failing_since
        return self._outages_s + now_failing_s

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def tell(self, said: Said, player: Player) -> tuple[Sending, float | None]:
        """Send what a player says until it is acknowledged; return how that went, and the interval that was promised."""
        request = request_of(said, player.viewer)
        self._under_way += 1
        self._idle.clear()
        try:
            async with self._turns:
                return await self._send(request, player)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def drained(self) -> None:
        """Wait until no request is under way."""
        if self._under_way:
            await self._idle.wait()

    async def _send(self, request: Request, player: Player) -> tuple[Sending, float | None]:
        sent_at, tries = clock.now(), 0
        while True:
            tries += 1
            answer = await self._try(request)
            now = clock.now()
            if isinstance(answer, httpx.Response):
                if self._failing_since is not None:
                    self._outages_s += now - self._failing_since
                    self._failing_since = None
                interval_s = _promised(answer)
                alive_s = player.alive_s if interval_s is None else interval_s * player.expiry_intervals
                return Sending(sent_at, now, alive_s, tries), interval_s
            if self._failing_since is None:
                self._failing_since = now
            if now - sent_at > GIVE_UP_S:
                raise StageError(f"{request.method} {request.path.partition('?')[0]} was not acknowledged in {GIVE_UP_S:.0f} s")
            self.retries += 1
            await asyncio.sleep(answer)

    async def _try(self, request: Request) -> httpx.Response | float:
        """Return the acknowledgement, or the seconds to wait before the next try."""
        try:
            answer = await self._client.request(request.method, request.path, json=request.body, headers=self._players)
        except httpx.TransportError:
            return RETRY_S
        if answer.is_success:
            return answer
        if answer.status_code not in _AGAIN:
            raise StageError(f"{request.method} {request.path.partition('?')[0]} got {answer.status_code}: {answer.text[:500]}")
        wanted = answer.headers.get("retry-after", "")
        return min(float(wanted), RETRY_S_MAX) if wanted.isdigit() else RETRY_S

    async def look(self, streams: tuple[str, ...]) -> Look | None:
        """Ask the tracker what it counts; None: it does not answer now."""
        began_at = clock.now()
        try:
            body, everyone, *each = await asyncio.gather(
                self._ask("/metrics"), self._ask("/v1/concurrency"), *(self._ask("/v1/concurrency", stream_id=stream) for stream in streams)
            )
        except httpx.TransportError:
            return None
        if not all(answer.is_success for answer in (body, everyone, *each)):
            denied = {answer.status_code for answer in (body, everyone, *each)} & {401, 403}
            if denied:
                raise StageError(f"the ops token is not accepted ({denied.pop()})")
            return None
        watching = {
            (said["stream_id"], state): count for answer in each for said in [answer.json()] for state, count in said["states"].items()
        }
        total: dict[str, Any] = everyone.json()
        samples = scrape.read(body.text)
        counted = {**scrape.counters(samples), **scrape.observed(samples)}
        return Look(began_at, total["age_seconds"], total["sessions"], watching, counted)

    async def ready(self) -> str | None:
        """Return None if the tracker takes players, else what is wrong."""
        try:
            answer = await self._client.get("/readyz")
        except httpx.TransportError as error:
            return f"nothing answers at {self._client.base_url}: {error}"
        return None if answer.is_success else f"the tracker is not ready: {answer.text[:500]}"

    async def _ask(self, path: str, **parameters: str) -> httpx.Response:
        return await self._client.get(path, params=parameters, headers=self._operators)


def _promised(answer: httpx.Response) -> float | None:
    """Return the heartbeat interval of an acknowledgement, if it names one."""
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return None
    told: dict[str, Any] = answer.json()["data"]
    interval_s: float | None = told.get("next_heartbeat_seconds") or told.get("heartbeat_interval_seconds")
    return interval_s
