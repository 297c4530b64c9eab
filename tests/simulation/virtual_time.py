"""
An asyncio event loop whose time passes only when nobody has anything to do: hours in milliseconds, always in the same order.

No threads and no sockets: what waits for either waits for ever, and `VirtualLoop` says so instead of hanging.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

BEGAN_AT = 1_700_000_000.0
"""What a clock reads when the loop's time is 0."""


class NothingLeftToDoError(Exception):
    """Everybody waits for somebody: a deadlock, or a coroutine that waits for the outside world."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop that jumps to the next thing that is due."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self
        self._passed_s = 0.0

    def time(self) -> float:
        return self._passed_s

    def clock(self) -> float:
        """The server's time, in seconds since the epoch."""
        return BEGAN_AT + self._passed_s

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None:
            raise NothingLeftToDoError
        self._passed_s += timeout
        return ()

    def _process_events(self, events: tuple[()]) -> None:
        """There are none: nothing comes from outside."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time; then cancel what it left behind."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(coroutine)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
