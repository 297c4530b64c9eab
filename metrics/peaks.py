"""
The greatest audience of each stream: in the last 60 s, and since the exporter began, with its time.

Totals over all shards are sampled once a second, so a peak is a peak of sums. Only what changed since the last sample
costs anything: between two changes a value stands. It knows names and numbers, no metric and no clock.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sessions.limits import PEAKS_MAX

PEAK_WINDOW_S: Final = 60.0


class Peak(NamedTuple):
    """The greatest number of active sessions, and when it was first reached (server's time)."""

    sessions: int
    at: float


class _Stood(NamedTuple):
    value: int
    until: float
    """The last sample at which it stood."""


@dataclass(slots=True)
class _Course:
    now: int
    peak: Peak
    past: deque[_Stood] = field(default_factory=deque)
    """Earlier values, each greater than all that came after it."""


class Peaks:
    """The course of every name's total."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course] = {}
        self._leaving: deque[tuple[float, str]] = deque()
        """When each value in some `past` stops to matter, in order of time."""
        self._sampled_at = float("-inf")
        self._room = 0
        """How many courses there may be before the idle ones are looked for: that look costs O(courses)."""

    def sample(self, totals: Iterable[tuple[str, int]], *, now: float) -> None:
        """Take the totals of all names that changed since the last sample; the others stand."""
        for name, total in totals:
            course = self._courses.get(name)
            if course is None:
                if total:
                    self._courses[name] = _Course(now=total, peak=Peak(total, now))
                continue
            if total < course.now:
                course.past.append(_Stood(course.now, self._sampled_at))
                self._leaving.append((self._sampled_at + PEAK_WINDOW_S, name))
            else:
                while course.past and course.past[-1].value <= total:
                    course.past.pop()
            course.now = total
            if total > course.peak.sessions:
                course.peak = Peak(total, now)
        self._sampled_at = now
        self._forget(now=now)

    def recent(self, name: str) -> int:
        """Return the greatest total of the `PEAK_WINDOW_S` that end at the last sample."""
        course = self._courses.get(name)
        if course is None:
            return 0
        return course.past[0].value if course.past else course.now

    def all_time(self, name: str) -> Peak | None:
        """Return the greatest total ever sampled; None: nobody was there, or it was forgotten."""
        course = self._courses.get(name)
        return course.peak if course else None

    def _forget(self, *, now: float) -> None:
        while self._leaving and self._leaving[0][0] <= now:
            leaves_at, name = self._leaving.popleft()
            course = self._courses.get(name)
            while course and course.past and course.past[0].until + PEAK_WINDOW_S <= leaves_at:
                course.past.popleft()
        if len(self._courses) > max(self._room, PEAKS_MAX):
            idle = sorted((course.peak.sessions, name) for name, course in self._courses.items() if not course.now and not course.past)
            for _, name in idle[: len(self._courses) - PEAKS_MAX * 9 // 10]:
                del self._courses[name]
            self._room = len(self._courses) * 11 // 10
