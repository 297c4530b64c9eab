"""
Kept connections that carry one request each at a time, as cheaply as Python can: raw bytes out, a status and a body back.

A request waits while every connection is busy, and whoever measures from when it was *due* sees that. What was sent on a
connection that the server was just closing is sent once more, as every client does; it is safe to.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final, Protocol

TIMEOUT_S: Final = 15.0
BROKEN: Final = 0
"""In place of a status: the connection broke, or no answer came in time."""


class Request(Protocol):
    """One request and what is to happen with its answer."""

    content: bytes
    tries: int

    def answered(self, status: int, body: bytes) -> None:
        """Take the answer; `BROKEN` and nothing if there was none."""


class Pool:
    """Connections to one server, opened as they are needed, `connections` at most."""

    def __init__(self, host: str, port: int, *, connections: int) -> None:
        self._host = host
        self._port = port
        self._connections_max = connections
        self._open = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._idle: list[_Connection] = []
        self.waiting: deque[Request] = deque()
        self.opened = 0
        self.resent = 0
        self.under_way = 0
        self._drained = asyncio.Event()

    async def drained(self, *, within_s: float) -> None:
        """Wait until nothing is under way, but no longer than that; call it once nothing more is submitted."""
        if self.under_way:
            self._drained.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), within_s)

    def submit(self, request: Request) -> None:
        """Send a request, now or as soon as a connection is free."""
        self.under_way += 1
        if self._idle:
            self._idle.pop().send(request)
            return
        self.waiting.append(request)
        self._grow()

    def _grow(self) -> None:
        if self._open < self._connections_max:
            self._open += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _grow_for_waiting(self) -> None:
        """Open another connection in place of one that is gone: nobody else would, for those who wait already."""
        if self.waiting:
            self._grow()

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Connection(self), self._host, self._port)
            self.opened += 1
        except OSError:
            self._open -= 1
            if self.waiting:
                self.finish(self.waiting.popleft(), BROKEN, b"")
            self._grow_for_waiting()

    def finish(self, request: Request, status: int, body: bytes) -> None:
        """Hand an answer over."""
        self.under_way -= 1
        if not self.under_way:
            self._drained.set()
        request.answered(status, body)

    def freed(self, connection: "_Connection") -> None:
        """Take a connection that has nothing to do."""
        if self.waiting:
            connection.send(self.waiting.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: "_Connection", request: Request | None, *, heard: bool) -> None:
        """Take note that a connection is gone, and of what it carried."""
        self._open -= 1
        if request is None:
            if connection in self._idle:
                self._idle.remove(connection)
            self._grow_for_waiting()
            return
        request.tries += 1
        if heard or request.tries > 1:
            self.finish(request, BROKEN, b"")
            self._grow_for_waiting()
            return
        self.resent += 1
        self.waiting.appendleft(request)
        self._grow()


class _Connection(asyncio.Protocol):
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._request: Request | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._heard = b""
        self._wanted = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._pool.freed(self)

    def send(self, request: Request) -> None:
        self._request = request
        self._transport.write(request.content)  # type: ignore[union-attr]
        self._deadline = asyncio.get_running_loop().call_later(TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        self._heard = b"too late"
        self._transport.abort()  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        if self._request is None:
            # An answer to nothing: HAProxy says 408 to a connection that was opened and then not used for 10 s.
            self._transport.close()  # type: ignore[union-attr]
            return
        self._heard += data
        if self._wanted < 0:
            end = self._heard.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._heard[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else 0
            self._wanted = end + 4 + length
        if len(self._heard) < self._wanted:
            return
        request, heard, wanted = self._request, self._heard, self._wanted
        self._request, self._heard, self._wanted = None, b"", -1
        self._deadline.cancel()  # type: ignore[union-attr]
        if b"\r\nconnection: close" in heard[:wanted].lower():
            self._transport.close()  # type: ignore[union-attr]
        else:
            self._pool.freed(self)
        self._pool.finish(request, int(heard[9:12]), heard[heard.find(b"\r\n\r\n") + 4 : wanted])

    def connection_lost(self, _: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._pool.lost(self, self._request, heard=bool(self._heard))


class Ask:
    """A request that somebody awaits."""

    __slots__ = ("content", "future", "tries")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.tries = 0
        self.future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def answered(self, status: int, body: bytes) -> None:
        """Wake who awaits it."""
        if not self.future.done():
            self.future.set_result((status, body))


async def ask(pool: Pool, content: bytes) -> tuple[int, bytes]:
    """Send, and return status and body."""
    request = Ask(content)
    pool.submit(request)
    return await request.future
