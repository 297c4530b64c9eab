"""
Which of the values that players choose have a label of their own; the rest are `other`, and the sum stays exact.

The rule, for one dimension with `most` places:

- A value is cut to `LABEL_CHARS_MAX` characters; values that cut to the same label are one label, and are summed. The
  empty value (the player did not say) is `unknown`, together with players who say just that.
- While there are free places, each new label gets one at once: when it has a session, or when something is counted for it, whatever
  comes first. A label keeps its place, at zero too: one that goes and comes back looks like a counter reset.
- When all places are taken, one whose label has had no session for `HOLD_S` is given up to whoever asks.
- Otherwise a newcomer takes the place of the smallest label only when it has been clearly bigger (`BIGGER` times, and
  at least by one) at every look of the last `HOLD_S`, and the smallest has had its place for as long.
- A player's own value `other` never gets a place: it is counted in `other`, where it cannot be told from the rest.

It knows no metric and no clock. Memory: one number per label that has sessions, or a place.
"""

from collections import deque
from collections.abc import Mapping
from heapq import nsmallest
from typing import Final

from sessions.errors import InvariantError
from sessions.limits import LABEL_CHARS_MAX

OTHER: Final = "other"
UNKNOWN: Final = "unknown"
HOLD_S: Final = 60.0
BIGGER: Final = 1.25
LOOK_S: Final = 10.0
"""How often the values without a place are looked at, once there are any: that look costs O(values)."""


def label_of(value: str) -> str:
    """Return the label of a player's value: cut, never empty."""
    return value[:LABEL_CHARS_MAX] or UNKNOWN


class Labels:
    """The labels of one dimension, with their sizes."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._sizes: dict[str, int] = {}
        """Sessions by label, every label that has any."""
        self._granted_at: dict[str, float] = {}
        """Labels with a place."""
        self._empty_since: dict[str, float] = {}
        """Of those, the ones without a session; the longest empty first."""
        self._ahead_since: dict[str, float] = {}
        """Newcomers that are clearly bigger than the smallest label with a place."""
        self._changed: set[str] = set()
        self._granted: list[str] = []
        """Labels that were given a place since `take_granted`."""
        self._looked_at = float("-inf")
        self.total = 0
        """Sessions in all, `other` among them."""

    @property
    def placed(self) -> Mapping[str, float]:
        """Labels with a place of their own, and since when they have it."""
        return self._granted_at

    @property
    def sizes(self) -> Mapping[str, int]:
        """Sessions by label, with a place or without, but for labels that have none."""
        return self._sizes

    def shown(self, value: str) -> str:
        """Return what a scrape calls this value: its label, if it has a place, else `other`."""
        label = label_of(value)
        return label if label in self._granted_at else OTHER

    def claim(self, value: str, *, now: float) -> str:
        """Hear that something is counted for a value, which gets a place while there is room; return what a scrape calls it."""
        label = label_of(value)
        if label in self._granted_at:
            return label
        if label == OTHER or len(self._granted_at) >= self._most:
            return OTHER
        self._grant(label, now=now)
        if label not in self._sizes:
            self._empty_since[label] = now
        return label

    def take_granted(self) -> list[str]:
        """Return the labels that were given a place since the last call."""
        granted, self._granted = self._granted, []
        return granted

    def add(self, value: str, amount: int) -> None:
        """Count so many sessions more (or less) of a value; places change at the next `refresh`."""
        label = label_of(value)
        size = self._sizes.get(label, 0) + amount
        if size < 0:
            raise InvariantError("a label below zero", story=(label, size))
        if size:
            self._sizes[label] = size
        else:
            self._sizes.pop(label, None)
        self.total += amount
        self._changed.add(label)

    def refresh(self, *, now: float) -> list[str]:
        """Grant places and give them up, by the module's rule; return the labels that lost theirs."""
        changed, self._changed = self._changed, set()
        for label in changed & self._granted_at.keys():
            if label in self._sizes:
                self._empty_since.pop(label, None)
            else:
                self._empty_since.setdefault(label, now)
        free = self._most - len(self._granted_at)
        newcomers = [label for label in changed if self._wants(label)]
        if free and len(newcomers) <= free:
            for label in newcomers:
                self._grant(label, now=now)
        elif free or (self._crowded and now - self._looked_at >= LOOK_S):
            return self._contend(now=now)
        if not self._crowded:
            self._ahead_since.clear()
        return []

    @property
    def _crowded(self) -> bool:
        return len(self._sizes) + len(self._empty_since) > len(self._granted_at)

    def _wants(self, label: str) -> bool:
        return label in self._sizes and label not in self._granted_at and label != OTHER

    def _contend(self, *, now: float) -> list[str]:
        """Share the places out among all who want one: free ones, then abandoned ones, then contested ones."""
        self._looked_at = now
        wanting = deque(nsmallest(self._most, filter(self._wants, self._sizes), key=self._rank))
        lost: list[str] = []
        while wanting and (len(self._granted_at) < self._most or self._abandoned(now=now)):
            if len(self._granted_at) == self._most:
                lost.append(self._take_from(next(iter(self._empty_since))))
            self._grant(wanting.popleft(), now=now)
        ahead: dict[str, float] = {}
        holders = sorted(self._granted_at, key=self._rank)
        for label in wanting:
            if not holders or not self._clearly_bigger(label, holders[-1]):
                break
            ahead[label] = since = self._ahead_since.get(label, now)
            if now - since >= HOLD_S and now - self._granted_at[holders[-1]] >= HOLD_S:
                lost.append(self._take_from(holders.pop()))
                self._grant(label, now=now)
                del ahead[label]
        self._ahead_since = ahead
        return lost

    def _rank(self, label: str) -> tuple[int, str]:
        return -self._sizes.get(label, 0), label

    def _clearly_bigger(self, newcomer: str, holder: str) -> bool:
        size, smallest = self._sizes[newcomer], self._sizes.get(holder, 0)
        return size >= smallest + 1 and size >= smallest * BIGGER

    def _abandoned(self, *, now: float) -> bool:
        return bool(self._empty_since) and now - next(iter(self._empty_since.values())) >= HOLD_S

    def _grant(self, label: str, *, now: float) -> None:
        self._granted_at[label] = now
        self._granted.append(label)
        self._ahead_since.pop(label, None)

    def _take_from(self, label: str) -> str:
        del self._granted_at[label]
        self._empty_since.pop(label, None)
        return label
