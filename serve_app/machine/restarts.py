"""
How often everything is started again by itself.

Ray's own processes die seldom, and for a reason that a new start does away with. Where they die again and again, something else is wrong
with the machine, and whoever looks after it must hear of that. Knows nothing of what is started.
"""

from collections import deque
from typing import Final

RESTARTS_MAX: Final = 3
RESTARTS_WITHIN_S: Final = 600.0


class Restarts:
    """Those of the last ten minutes; times are of a clock that only grows."""

    def __init__(self, *, most: int = RESTARTS_MAX, within_s: float = RESTARTS_WITHIN_S) -> None:
        self._most = most
        self._within_s = within_s
        self._times: deque[float] = deque()

    def again(self, *, now: float) -> int | None:
        """Return the number, among the last ten minutes' restarts, of the one that may begin now; None: there were too many, give up."""
        while self._times and now - self._times[0] >= self._within_s:
            self._times.popleft()
        if len(self._times) == self._most:
            return None
        self._times.append(now)
        return len(self._times)
