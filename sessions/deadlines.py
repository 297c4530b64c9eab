"""
Deadlines of many sessions, at a cost per tick of those that are due, whatever their number.

A timer wheel of no fixed size: buckets a quarter of a second wide, by number, and a heap of the numbers. Setting and moving a deadline
is O(1) but for a bucket's first entry; the caller keeps each item's number. It knows no clock and not what an item is.
"""

from collections.abc import Hashable, Iterator
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

BUCKETS_PER_S: Final = 4
"""A deadline is noticed at most this fraction of a second late, never early."""

T = TypeVar("T", bound=Hashable)


def bucket_of(due_at: float) -> int:
    """Return the number of the bucket that is due once `due_at` has passed."""
    return int(due_at * BUCKETS_PER_S) + 1


def due_at_of(bucket: int) -> float:
    """Return when a bucket is due."""
    return bucket / BUCKETS_PER_S


class Deadlines(Generic[T]):
    """Items by the bucket in which they fall due."""

    __slots__ = ("_buckets", "_numbers")

    def __init__(self) -> None:
        self._buckets: dict[int, tuple[int, dict[T, None]]] = {}
        self._numbers: list[int] = []

    def add(self, item: T, bucket: int) -> int:
        """Set an item's deadline; it must have none. Return the bucket's number, one object for all its items."""
        known = self._buckets.get(bucket)
        if known is None:
            self._buckets[bucket] = (bucket, {item: None})
            heappush(self._numbers, bucket)
            return bucket
        bucket, items = known
        items[item] = None
        return bucket

    def remove(self, item: T, bucket: int) -> None:
        """Take an item's deadline away; `KeyError` if it is not in this bucket."""
        _, items = self._buckets[bucket]
        del items[item]
        if not items:
            del self._buckets[bucket]

    def next_due_at(self) -> float | None:
        """Return when the earliest bucket is due; None: there is none."""
        self._drop_empty()
        return due_at_of(self._numbers[0]) if self._numbers else None

    def pop_due(self, *, now: float, limit: int) -> Iterator[T]:
        """Yield at most `limit` items whose buckets are due, earliest bucket first, taking each out."""
        last = int(now * BUCKETS_PER_S)
        while limit > 0:
            self._drop_empty()
            if not self._numbers or self._numbers[0] > last:
                return
            bucket = self._numbers[0]
            _, items = self._buckets[bucket]
            while items and limit > 0:
                # The newest first: taking the oldest would step over all the holes that its forerunners left.
                item, _ = items.popitem()
                limit -= 1
                if not items:
                    del self._buckets[bucket]
                yield item

    def items(self) -> Iterator[tuple[T, int]]:
        """Yield every item with its bucket, for checks."""
        for bucket, items in self._buckets.values():
            for item in items:
                yield item, bucket

    def _drop_empty(self) -> None:
        # A bucket may have been emptied and made anew, and then its number is in the heap twice: harmless.
        while self._numbers and self._numbers[0] not in self._buckets:
            heappop(self._numbers)
