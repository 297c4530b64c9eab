"""
The only reader of time. Everything else is told what time it is.

Two kinds: the wall's, which an operator or NTP may set at any moment, and the machine's, which only grows. `SteadyClock` is what whoever
decides by time is given: the wall's time as it was at the beginning, carried on by the machine's.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_STEP_FILE: Final = os.environ.get("HEADCOUNT_TEST_CLOCK_STEP_FILE")
"""Tests step the wall's clock of all processes of a run by what this file holds, in seconds."""


def now() -> float:
    """Return the server's time by the wall, in seconds since the epoch. It may be set, ahead or back."""
    return time.time() if _STEP_FILE is None else time.time() + float(Path(_STEP_FILE).read_text())


def monotonic() -> float:
    """Return seconds that only grow, for measuring how long something took."""
    return time.monotonic()


def since_boot() -> float:
    """Return seconds that only grow, those in which the machine slept among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """
    The server's time as it would be had nobody set the clock since this one began; seconds since the epoch.

    A step of the wall's clock must cost nobody and keep nobody: deadlines, peaks and ages are told this time. Whoever comes
    after us begins with the wall's time again, and carries on from our last sign of life.
    """

    def __init__(self, wall: Callable[[], float] = now, grows: Callable[[], float] = since_boot) -> None:
        self._wall = wall
        self._grows = grows
        self._ahead_s = wall() - grows()

    def __call__(self) -> float:
        """Return the time."""
        return self._ahead_s + self._grows()

    def step_s(self) -> float:
        """Return by how much the wall's clock has been set ahead (or back: less than none) since this one began."""
        return self._wall() - self()
