"""
How many sessions there must be, at least and at most, at any moment; pure, and told every time.

An input takes effect somewhere between being sent and being acknowledged, and shows within two seconds of that. So a session
must be counted once its first acknowledgement is two seconds old and may be from its first request on; it must not be counted
once its end was acknowledged two seconds ago, or its last acknowledged sign of life lies an expiry and two seconds back.
"""

from heapq import heappop, heappush
from typing import Final, NamedTuple

VISIBLE_S: Final = 2.0
"""Within this an acknowledged input shows."""


class Bounds(NamedTuple):
    """What a right answer lies between."""

    low: int
    high: int


class _Passed:
    """Counts the times that have passed; asked with times that never go back."""

    def __init__(self) -> None:
        self._coming: list[float] = []
        self._passed = 0

    def add(self, at: float) -> None:
        heappush(self._coming, at)

    def by(self, now: float) -> int:
        while self._coming and self._coming[0] <= now:
            heappop(self._coming)
            self._passed += 1
        return self._passed


class Truth:
    """What was sent and acknowledged, as bounds of the number. Times in seconds of one clock."""

    def __init__(self) -> None:
        self._may_be_in = _Passed()
        self._must_be_in = _Passed()
        self._may_be_out = _Passed()
        self._must_be_out = _Passed()

    def came(self, *, sent_at: float) -> None:
        """Note the first request of a session."""
        self._may_be_in.add(sent_at)

    def was_let_in(self, *, acknowledged_at: float) -> None:
        """Note the first acknowledgement of a session."""
        self._must_be_in.add(acknowledged_at + VISIBLE_S)

    def left(self, *, sent_at: float) -> None:
        """Note that a session's end was sent."""
        self._may_be_out.add(sent_at)

    def was_let_out(self, *, acknowledged_at: float) -> None:
        """Note that its end was acknowledged."""
        self._must_be_out.add(acknowledged_at + VISIBLE_S)

    def fell_silent(self, *, sent_at: float, acknowledged_at: float, expires_after_s: float) -> None:
        """Note when the last sign of life of a session was sent and acknowledged, and what expiry it was promised."""
        self._may_be_out.add(sent_at + expires_after_s)
        self._must_be_out.add(acknowledged_at + expires_after_s + VISIBLE_S)

    def bounds(self, *, asked_at: float, answered_at: float) -> Bounds:
        """Return what an answer must lie between that was asked for and given at these times; they never go back."""
        return Bounds(
            low=max(0, self._must_be_in.by(asked_at) - self._may_be_out.by(answered_at)),
            high=self._may_be_in.by(answered_at) - self._must_be_out.by(asked_at),
        )
