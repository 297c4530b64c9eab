"""
A tracker in the test's own process, behind a gate that can be shut: as dead to a page as a machine that is gone, while what it knew stays.

What is looked at is what operators see: the state of each session of a stream while it goes on, and at the end the whole of `/v1/sessions/{id}`.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import httpx
import uvicorn

from actors import clock
from actors.messages import NotTaken
from serve_app.players.ingest import Receive, Scope, Send
from tests.front_door import INGEST, OPS, FrontDoor, ShardInProcess
from tests.haproxy import free_port


class Tracker:
    """One tracker. Its thread is the server's; what is asked here is read from it."""

    token = INGEST

    def __init__(self) -> None:
        self.shard = ShardInProcess(now=clock.now)
        self.port, self._inner = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._app: Any = None
        self._server: uvicorn.Server | None = None
        self._gate: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._up = threading.Event()

    def serve(self) -> None:
        """Run until `close`."""
        asyncio.run(self._serve())

    def close(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.should_exit = True

    def wait(self) -> None:
        """Wait until it serves."""
        assert self._up.wait(20), "the tracker does not come up"

    def shut(self) -> None:
        """Be gone: no connection is taken, those that there are end."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(10)

    def reopen(self) -> None:
        """Be there again."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def refuse(self, reason: NotTaken | None) -> None:
        """Answer 503 to everything; None: no longer."""
        self.shard.refusing = reason

    def sessions(self, stream: str) -> list[Any]:
        """Return the sessions of all streams whose names begin so, as they are now."""
        return [each for tracker in self.shard.trackers for each in list(tracker._sessions.values()) if each.stream_id.startswith(stream)]

    def described(self, session_id: str) -> Any:
        """Return what operators are told of a session."""
        return httpx.get(
            f"http://127.0.0.1:{self._inner}/v1/sessions/{quote(session_id, safe='')}", headers={"authorization": f"Bearer {OPS}"}
        ).json()

    async def _app_of(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, send)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._app = FrontDoor(self.shard).app
        config = uvicorn.Config(self._app_of, host="127.0.0.1", port=self._inner, log_level="warning", lifespan="off", interface="asgi3")
        self._server = uvicorn.Server(config)
        await self._listen()
        ticking = asyncio.create_task(self._tick())
        await self._server.serve()
        ticking.cancel()
        await self._shut()

    async def _tick(self) -> None:
        while True:
            if self._server is not None and self._server.started:
                self._up.set()
            for each in self.shard.trackers:
                each.advance(now=clock.now(), limit=1_000)
            await asyncio.sleep(0.2)

    async def _listen(self) -> None:
        self._gate = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def _shut(self) -> None:
        if self._gate is not None:
            self._gate.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._inner)
            self._open |= {writer, back}
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
            self._open -= {writer, back}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()


@contextmanager
def tracker() -> Iterator[Tracker]:
    """Serve a tracker, and end it."""
    serving = Tracker()
    thread = threading.Thread(target=serving.serve, daemon=True)
    thread.start()
    try:
        serving.wait()
        yield serving
    finally:
        serving.close()
        thread.join(10)


def until(what: Any, *, within_s: float, said: str) -> Any:
    """Wait for something to be so, and return it."""
    end = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < end, said
        time.sleep(0.05)
    return found
