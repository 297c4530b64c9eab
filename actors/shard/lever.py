"""
How far the heartbeat interval is stretched: the server's lever on what players send.

Theory of operation: a few times a second `feel` hears how long the slowest batch of that moment waited, from the front door to its
acknowledgement: the mean of its requests. It is smoothed over a second. Above `EASE_S` the interval stretches, as far as `STRETCH_MAX` at `STRAIN_S`, at once and
long before anything is refused (`limits.SHARD_WAITING_S_MAX`, `limits.FRONT_DOOR_WAITING_S_MAX`); it holds until the wait is below `CALM_S`,
and then comes back slowly, because those who were promised a longer interval are away for as long, and return together.

It knows no clock, and not what waits.
"""

from math import exp
from typing import Final

from sessions.limits import STRETCH_MAX

CALM_S: Final = 0.15
"""Below this the interval comes back."""
EASE_S: Final = 0.3
"""Above this it stretches; a tracker that is busy but well stays below."""
STRAIN_S: Final = 0.9
"""Here it is stretched as far as it may be."""
SMOOTH_S: Final = 1.0
FALL_PER_S: Final = 0.2
"""How much of the stretch is given back in a second of calm: all of it in 15 s."""
_BELIEVED_S: Final = 1.5
"""A longer wait counts as this: it was an outage, and must not be remembered for long."""
_PASSED_S_MAX: Final = 1.0


class Lever:
    """Makes of how long batches wait the heartbeat interval that is promised. Times are monotonic seconds."""

    def __init__(self, *, interval_s: int) -> None:
        self._configured_s = interval_s
        self._wait_s = 0.0
        self._felt_at: float | None = None
        self.stretch = 1.0
        """How many times the configured interval is promised, 1 at rest."""

    def feel(self, longest_wait_s: float, *, now: float) -> None:
        """Hear how long the slowest batch waited since the last time, the mean of its requests; 0.0: there was none."""
        passed = 0.0 if self._felt_at is None else min(now - self._felt_at, _PASSED_S_MAX)
        self._felt_at = now
        self._wait_s += (min(longest_wait_s, _BELIEVED_S) - self._wait_s) * (1 - exp(-passed / SMOOTH_S))
        if self._wait_s > EASE_S:
            wanted = 1 + (STRETCH_MAX - 1) * (self._wait_s - EASE_S) / (STRAIN_S - EASE_S)
            self.stretch = max(self.stretch, min(wanted, STRETCH_MAX))
        elif self._wait_s < CALM_S:
            self.stretch = max(1.0, self.stretch - FALL_PER_S * passed)

    @property
    def interval_s(self) -> int:
        """Return what to promise now, in whole seconds, never less than what is configured."""
        return round(self._configured_s * self.stretch)
