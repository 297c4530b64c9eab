"""
The numbers that the live page is pushed, as Server-Sent Events: whoever listens to this replica, and what each is told.

Theory of operation: while there are listeners, one question at a time is with the exporter (`actors/exporter.py`), which answers as soon as
there is news: once a second, and between if the audience changed. A `Mirror` keeps what it said. Whoever comes is told a whole *picture*
first, or, coming back with the id of what it heard last, only the seconds it missed; then everybody is told the same *change*, encoded once.
While the exporter does not answer, that is told once (*away*). Nobody is waited for: a listener with too many messages before it is dropped,
and comes back by itself. It asks no shard, and nobody at all without listeners.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from actors.tasks import Tasks, end_process
from metrics.catalog import STATES
from metrics.live import QUALITY_S, SPARK_S, Line, News
from serve_app.delivery.actor_calls import ActorAwayError
from sessions.limits import LIVE_LISTENERS_MAX, LIVE_MESSAGES_MAX, LIVE_SECONDS_MAX, LIVE_SPARKS_MAX
from sessions.states import WATCHING

RETRY_MS: Final = 1_000
"""After how long whoever lost us comes back."""
COMMENT_EVERY_S: Final = 15.0
"""How long it is ever silent: proxies hang up on who says nothing for half a minute."""
ASK_AGAIN_S: Final = 0.5
"""How soon an exporter that did not answer is asked again."""
PAUSE_S: Final = 0.2
"""Between two questions at least."""

GOODBYE_S: Final = 1.0
"""How long a listener that does not read is given to hear that it is over."""

_encode: Final = msgspec.json.encode


_COMMENT: Final = b": still here\n\n"
_AWAY: Final = b"event: away\ndata: {}\n\n"


class Ask(Protocol):
    """`Backstage.live`."""

    def __call__(self, life: str, version: int, newest: int) -> Awaitable[News]:
        """Return what is new. Raises `ActorAwayError`."""


def event(name: str, data: object, *, id_: str) -> bytes:
    """Return one event as it goes over the wire; JSON is one line, which is all that the form asks for."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (id_.encode(), name.encode(), _encode(data))


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of now has changed; of streams those that did, and which are `gone`. Courses are left to whoever draws them."""
    changed = {name: value for name, value in after.items() if name not in {"streams", "sparks"} and before.get(name) != value}
    were, are = before.get("streams", {}), after.get("streams", {})
    streams = {label: row for label, row in are.items() if were.get(label) != row}
    gone = [label for label in were if label not in are]
    return {**changed, **({"streams": streams} if streams else {}), **({"gone": gone} if gone else {})}


class Mirror:
    """What a replica knows of the exporter's hour and now. Pure."""

    def __init__(self) -> None:
        self.life = ""
        self.version = 0
        self.newest = 0
        """The second of the newest line."""
        self._since = 0
        self._lines: deque[Line] = deque(maxlen=LIVE_SECONDS_MAX)
        self._now: Mapping[str, Any] = {}

    def take(self, news: News) -> bytes | None:
        """Take news in; return the event that tells listeners who know what was here before. None: nothing changed."""
        if news.life != self.life:
            self._lines.clear()
            self.life, self.newest = news.life, 0
            self._learn(news)
            return self.picture("")
        changed = changes(self._now, news.now)
        self._learn(news)
        if not (changed or news.lines):
            return None
        return event("change", {"lines": news.lines, **changed}, id_=self._id())

    def picture(self, last_id: str) -> bytes:
        """Return the event that tells everything: the lines after `last_id`, if that is of this life, or the whole hour."""
        life, _, said = last_id.rpartition(".")
        resumed = life == self.life and said.isdecimal() and len(said) < 16  # noqa: PLR2004 - no second has as many digits
        lines = [line for line in self._lines if (line[0] or 0) > int(said)] if resumed else list(self._lines)
        told = {
            "life": self.life,
            "since": self._since,
            "resumed": resumed,
            "states_in_order": STATES,
            "watching_states": [state for state in STATES if state in WATCHING],
            "spark_s": SPARK_S,
            "sparks_max": LIVE_SPARKS_MAX,
            "seconds_max": LIVE_SECONDS_MAX,
            "quality_s": QUALITY_S,
            "lines": lines,
            "now": self._now,
        }
        return event("picture", told, id_=self._id())

    def _learn(self, news: News) -> None:
        self.version, self._since, self._now = news.version, news.since, news.now
        self._lines.extend(news.lines)
        if self._lines:
            self.newest = self._lines[-1][0] or 0

    def _id(self) -> str:
        return f"{self.life}.{self.newest}"


class Listener:
    """One who listens: the messages that wait for it."""

    def __init__(self, *, admitted: Callable[[], bool]) -> None:
        self.admitted = admitted
        """Whether what it showed at the door is still good."""
        self._waiting: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self.over = asyncio.Event()
        """It was dropped, or everything ends."""

    def tell(self, message: bytes) -> None:
        """Leave a message; too many, and it is dropped."""
        if len(self._waiting) >= LIVE_MESSAGES_MAX:
            self.over.set()
            return
        self._waiting.append(message)
        self._arrived.set()

    async def next(self) -> bytes:
        """Wait for the next messages, and return them together."""
        await self._arrived.wait()
        self._arrived.clear()
        together = b"".join(self._waiting)
        self._waiting.clear()
        return together


class Broadcast:
    """Everybody who listens to one replica. Belongs to one event loop."""

    def __init__(self, ask: Ask, *, monotonic: Callable[[], float], on_broken: Callable[[BaseException], None] = end_process) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._on_broken = on_broken
        self._mirror = Mirror()
        self._listeners: set[Listener] = set()
        self._newcomers: dict[Listener, str] = {}
        """Those who were told no picture yet, with the id of what they heard last."""
        self._tasks: Tasks | None = None
        self._is_fresh = False
        """The mirror holds what the exporter said just now."""
        self._is_away = False
        self._told_at = -math.inf

    @property
    def is_full(self) -> bool:
        """Say whether nobody more may listen."""
        return len(self._listeners) + len(self._newcomers) >= LIVE_LISTENERS_MAX

    @contextmanager
    def listen(self, last_id: str, *, admitted: Callable[[], bool]) -> Iterator[Listener]:
        """Have a listener as long as the block lasts: told the picture as soon as there is one, and then what changes."""
        listener = Listener(admitted=admitted)
        listener.tell(b"retry: %d\n\n" % RETRY_MS)
        self._newcomers[listener] = last_id
        if self._is_fresh:
            self._show_picture()
        elif self._is_away:
            listener.tell(_AWAY)
        if self._tasks is None:
            self._tasks = Tasks(self._on_broken)
            self._tasks.start(self._ask_forever())
            self._tasks.start(self._comment_forever())
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self._newcomers.pop(listener, None)
            if not (self._listeners or self._newcomers) and self._tasks is not None:
                self._tasks.cancel()
                self._tasks, self._is_fresh, self._is_away = None, False, False

    def close(self) -> None:
        """End all listeners; they come back to another replica."""
        for listener in (*self._listeners, *self._newcomers):
            listener.over.set()

    async def _ask_forever(self) -> None:
        mirror = self._mirror
        while True:
            asked_at = self._monotonic()
            try:
                news = await self._ask(mirror.life, mirror.version, mirror.newest)
            except ActorAwayError:
                self._hear_nothing()
                await asyncio.sleep(ASK_AGAIN_S)
                continue
            message = mirror.take(news)
            self._is_fresh, self._is_away = True, False
            if message is not None:
                self._tell(message, self._listeners)
            self._show_picture()
            await asyncio.sleep(max(0.0, asked_at + PAUSE_S - self._monotonic()))

    def _hear_nothing(self) -> None:
        self._is_fresh = False
        if not self._is_away:
            self._is_away = True
            self._tell(_AWAY, (*self._listeners, *self._newcomers))

    def _show_picture(self) -> None:
        for listener, last_id in self._newcomers.items():
            listener.tell(self._mirror.picture(last_id))
            self._listeners.add(listener)
        self._newcomers.clear()

    async def _comment_forever(self) -> None:
        while True:
            await asyncio.sleep(COMMENT_EVERY_S)
            everybody = (*self._listeners, *self._newcomers)
            for listener in everybody:
                if not listener.admitted():
                    listener.over.set()
            if self._monotonic() - self._told_at >= COMMENT_EVERY_S:
                self._tell(_COMMENT, everybody)

    def _tell(self, message: bytes, listeners: Iterable[Listener]) -> None:
        self._told_at = self._monotonic()
        for listener in listeners:
            listener.tell(message)


class LiveStream(Response):
    """The answer to one listener: what it is told, until it leaves, is dropped, or everything ends."""

    media_type = "text/event-stream"

    def __init__(self, broadcast: Broadcast, *, last_id: str, admitted: Callable[[], bool]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._broadcast = broadcast
        self._last_id = last_id
        self._admitted = admitted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. A listener that does not read leaves us waiting in `send`: then it is not waited for."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body"})
            return
        with self._broadcast.listen(self._last_id, admitted=self._admitted) as listener:
            telling = asyncio.create_task(_tell_forever(listener, send))
            ends = [telling, asyncio.create_task(_left(receive)), asyncio.create_task(listener.over.wait())]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for end in ends:
                    end.cancel()
                await asyncio.gather(*ends, return_exceptions=True)
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(GOODBYE_S):
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _tell_forever(listener: Listener, send: Send) -> None:
    while True:
        await send({"type": "http.response.body", "body": await listener.next(), "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
