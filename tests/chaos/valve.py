"""
What stands between the tracker and its journal's server: a TCP proxy that holds up, swallows or cuts what passes.

A reply that is swallowed is one to a command that was executed: its connection says nothing more.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from storage.redis_journal import _Script

T = TypeVar("T")

CHUNK = 64 * 1024
COMMIT = _Script("commit").sha.encode()


class Valve:
    """A proxy to one port of this machine, in a thread of its own. Open when it is made; a context manager."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="valve", daemon=True)
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._delay_s = 0.0
        self._answer_delay_s = 0.0
        self._swallows = False
        self.swallowed = 0
        """Replies to commits so far."""
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self) -> None:
        """Take connections (again), on the same port as ever."""
        self._wait(self._open())

    def close(self) -> None:
        """Refuse connections, and cut those that there are."""
        self._wait(self._close())

    def delay(self, seconds: float) -> None:
        """Hold up whatever is sent to the server for so long, from now on."""
        self._delay_s = seconds

    def delay_answers(self, seconds: float) -> None:
        """Hold up whatever the server answers for so long, from now on: as a slow disk does."""
        self._answer_delay_s = seconds

    def swallow(self, swallows: bool) -> None:
        """Keep the replies to commits, from now on, or let them through again."""
        self._swallows = swallows

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for end in self._ends:
            end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
            ends.add(up_writer)
            self._ends |= ends
            mute = asyncio.Event()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry_commands(reader, up_writer, mute))
                both.create_task(self._carry_replies(up_reader, writer, mute))
        except (OSError, ExceptionGroup):
            pass  # one end is gone: the other is closed below, which is what a proxy has to say about it
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()

    async def _carry_commands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mute: asyncio.Event) -> None:
        while chunk := await reader.read(CHUNK):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if self._swallows and COMMIT in chunk:
                mute.set()
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError

    async def _carry_replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mute: asyncio.Event) -> None:
        while chunk := await reader.read(CHUNK):
            if mute.is_set():
                self.swallowed += 1
                continue
            if self._answer_delay_s:
                await asyncio.sleep(self._answer_delay_s)
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError
