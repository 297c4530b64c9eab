"""
Players' requests, straight from a replica's HTTP server to its ingest.

Serve keeps books of every request that it hands to an application: an id, its metadata, two tasks that wait for each other and for a
disconnect, counters and time series. That took more of a replica's time than all of our own steps, and nobody reads it: we shed,
count and time requests ourselves, and the number of replicas is fixed. So the player endpoints are answered by an ASGI middleware in
front of it, which Serve takes from `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` (`docs/decisions/0006-the-way-of-a-heartbeat.md`).

Without that variable, and in a process that is no replica of ours, everything goes the long way, with the same answers. It imports
nothing of the tracker: Serve's own proxy loads it too.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any, ClassVar, Final

from starlette.middleware import Middleware

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_REQUEST_ID: Final = b"x-request-id"


def middlewares() -> list[Middleware]:
    """Return what Serve is to put in front of its own application; it asks in every process that serves HTTP."""
    return [Middleware(Shortcut)]


class Shortcut:
    """ASGI middleware: answers players' paths itself, passes all else on. `open` and `close` act on the whole process, as Serve makes the instances."""

    _routes: ClassVar[Mapping[str, Asgi]] = {}

    def __init__(self, app: Asgi) -> None:
        self._app = app

    @classmethod
    def open(cls, ingest: Asgi, *, paths: Collection[str]) -> None:
        """Let this process's `ingest` answer requests to these paths."""
        cls._routes = dict.fromkeys(paths, ingest)

    @classmethod
    def close(cls) -> None:
        """Send everything the long way again."""
        cls._routes = {}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve a player here, and everybody else the long way."""
        ingest = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if ingest is None:
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == _REQUEST_ID:
                send = _with_request_id(send, value)
                break
        await ingest(scope, receive, send)


def _with_request_id(send: Send, request_id: bytes) -> Send:
    """Give a request's own id back with the answer, as Serve does."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = (*message["headers"], (_REQUEST_ID, request_id))
        await send(message)

    return sending
