"""
HTTP as a player's own stack speaks it: kept-alive connections, one request at a time on each, and nothing sent twice by itself.

Raw, because the crowd shares two cores with the tracker that it watches: httpx takes a millisecond for each request.
"""

import asyncio
import time
from collections import deque

from tests.integration.installation import Answer

IDLE_S_MAX = 2.0
"""Less than the server's own 5 s, so that no request meets a connection that is being closed for its age."""
ANSWER_S = 15.0


class UnansweredError(Exception):
    """No answer: the connection was refused or broke, or nothing came in time. The text says which."""


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Wire:
    """Connections to one front door. Belongs to one event loop."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[tuple[float, Connection]] = deque()

    async def request(self, method: str, path: str, *, token: str, body: bytes = b"") -> Answer:
        """Ask once. Raises `UnansweredError`."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = connection = await self._connect()
                try:
                    writer.write(head.encode() + body)
                    answer = await _read(reader)
                except BaseException:
                    writer.close()
                    raise
        except TimeoutError:
            raise UnansweredError(f"no answer in {ANSWER_S:.0f} s") from None
        except ConnectionRefusedError:
            raise UnansweredError("refused") from None
        except (OSError, EOFError):
            raise UnansweredError("broken off") from None
        if answer.headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append((time.monotonic(), connection))
        return answer

    async def _connect(self) -> Connection:
        while self._idle:
            since, (reader, writer) = self._idle.pop()
            if time.monotonic() - since < IDLE_S_MAX and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)

    def close(self) -> None:
        """Let the connections go."""
        for _, (_, writer) in self._idle:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Answer(int(head[0].split(" ")[1]), headers, body)
