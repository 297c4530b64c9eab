"""
Whether players can reach us: the front door, looked at from outside.

Decides what counts as an open door: a 200 on its health route, in time. And, before it was ever seen open, that players
cannot reach us yet, for a while: a start takes seconds, and must cost nobody. It knows nothing of sessions.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

PROBE_S: Final = 1.0
OPENING_S: Final = 600.0
"""
How long a door that was never seen open is believed to be opening; after that it is not watched until it is seen open.

Long, because a directory that begins anew during an outage has not seen it open either; bounded, because a wrong address
must not keep sessions for ever.
"""
HEALTH_PATH: Final = "/healthz"

Probe = Callable[[], Awaitable[bool]]


class FrontDoor:
    """What is known of the front door; `now` in seconds since the epoch."""

    def __init__(self, probe: Probe | None, *, now: float, opening_s: float = OPENING_S) -> None:
        """Without a probe the door is not watched, and taken for open."""
        self._probe = probe
        self._began_at = now
        self._opening_s = opening_s
        self._seen_open = False
        self._open = False

    async def look(self) -> None:
        """Look at it once."""
        if self._probe is not None:
            self._open = await self._probe()
            self._seen_open = self._seen_open or self._open

    def is_open(self, now: float) -> bool:
        """Tell whether players can reach us, as of the last look."""
        if self._probe is None:
            return True
        if self._seen_open:
            return self._open
        return now - self._began_at > self._opening_s


def probe_of(url: str) -> Probe:
    """Return how to look at the front door at `http://host:port`."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    request = f"GET {HEALTH_PATH} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode()

    async def probe() -> bool:
        try:
            async with asyncio.timeout(PROBE_S):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(request)
                    status_line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return status_line.split(b" ")[1:2] == [b"200"]

    return probe
