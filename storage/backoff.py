"""
Exponential backoff with jitter: how long to wait before something is tried again.

Each pause may last twice as long as the one before, up to a bound. It lasts for between half of that and all of it, as chance has it: those
who lost the same thing at the same moment do not come back at the same moment. Whoever asks does the waiting.
"""

from collections.abc import Callable
from random import Random


def pause_s(failures: int, *, first_s: float, most_s: float, chance: Callable[[], float]) -> float:
    """Return how long to wait after so many failures in a row before this one; `chance` gives numbers from 0 to 1."""
    longest_s = min(first_s * 2.0 ** min(failures, 64), most_s)
    return longest_s * (0.5 + 0.5 * chance())


class Backoff:
    """The pauses of one thing that is tried until it is done."""

    def __init__(self, *, first_s: float, most_s: float, seed: str | None = None) -> None:
        """`seed`: the same pauses each time, and others than another seed's; None: chance."""
        self._first_s = first_s
        self._most_s = most_s
        self._chance = Random(seed).random  # noqa: S311 - no secret
        self._failures = 0

    def next_s(self) -> float:
        """Return how long to wait after one more failure."""
        pause = pause_s(self._failures, first_s=self._first_s, most_s=self._most_s, chance=self._chance)
        self._failures += 1
        return pause
