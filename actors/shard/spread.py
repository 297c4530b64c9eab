"""
How players that were brought together are spread again: who begins at kick-off would beat in the same second for ever.

Theory of operation: beats are counted as a rate, which forgets with `REMEMBERED_S`. While it is more than `CROWDED` times the mean, the active
sessions over the interval, the interval that a beat is promised is jittered by a hash of its session: by a tenth either way at the least,
and by more the more crowded it is, up to half, which is what it takes to spread a whole audience over a whole interval at once. What was
jittered most lately holds for a second more, so that the end of a crowd is spread as its middle. Starts are promised what is configured.

It knows no clock, and no player.
"""

from math import exp
from typing import Final
from zlib import crc32

CROWDED: Final = 1.5
"""Times the mean, above which beats are crowded."""
CROWDED_MOST: Final = 3.0
"""Times the mean, from which on the jitter is the greatest."""
SESSIONS_MIN: Final = 1_000
"""Active sessions of one shard, below which it does not matter when they beat, and chance alone would crowd them."""
JITTER_MIN: Final = 0.1
JITTER_MAX: Final = 0.5
"""Of the interval, either way."""
REMEMBERED_S: Final = 0.5
HELD_S: Final = 1.0


class Spread:
    """Measures how crowded one shard's beats are, and varies the interval that each is promised. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._mean = 0.0
        self._rate = 0.0
        self._counted_at = 0.0
        self._held_until = 0.0
        self.jitter = 0.0
        """How much of an interval is added or taken away now, at most; 0: nothing."""

    def expect(self, sessions: int, *, interval_s: float) -> None:
        """Hear how many sessions are active, and how often each of them beats."""
        self._mean = sessions / interval_s if sessions >= SESSIONS_MIN else 0.0

    def count(self, beats: int, *, now: float) -> None:
        """Hear of so many beats."""
        self._rate = self._rate * exp((self._counted_at - now) / REMEMBERED_S) + beats / REMEMBERED_S
        self._counted_at = now
        jitter = self._wanted()
        if jitter >= self.jitter or now >= self._held_until:
            self.jitter, self._held_until = jitter, now + HELD_S

    def _wanted(self) -> float:
        if not self._mean or self._rate <= CROWDED * self._mean:
            return 0.0
        beyond = (self._rate / self._mean - CROWDED) / (CROWDED_MOST - CROWDED)
        return min(JITTER_MIN + (JITTER_MAX - JITTER_MIN) * beyond, JITTER_MAX)

    def jittered(self, interval_s: int, session_id: str) -> int:
        """Return what to promise to this session's beat instead of an interval: always the same, while the jitter is."""
        place = (crc32(session_id.encode()) >> 16) / 0xFFFF * 2 - 1
        return max(1, round(interval_s * (1 + self.jitter * place)))
