"""
Where each histogram's buckets end, and how one observation becomes increments.

Here, and not in the metrics catalog, because trackers, shards and replicas observe and know nothing of scrapes. An
observation adds one to a single bucket, named by its index; running sums over the buckets are the renderer's business.
Changing the bounds of a histogram is a counter reset for it: a sender and the exporter must agree on them.
"""

from bisect import bisect_left
from itertools import accumulate, repeat
from operator import mul
from typing import Final

from sessions.changes import Increments


def _doubling(first: float, count: int) -> tuple[float, ...]:
    return tuple(accumulate(repeat(2.0, count - 1), mul, initial=first))


_DURATIONS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

BOUNDS: Final[dict[str, tuple[float, ...]]] = {
    "clock_skew": (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0),
    "startup": (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 30.0, 60.0),
    "live_latency": (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0),
    "session": (1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 86_400.0),
    "experience_score": (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 100.0),
    "stream_startup": (0.5, 1.0, 2.0, 4.0, 8.0, 20.0),
    "stream_live_latency": (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0),
    "stream_experience_score": (25.0, 50.0, 75.0, 90.0),
    "player_watch_difference": (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 3_600.0, 14_400.0),
    "player_count_difference": (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 1_000.0),
    "batch_events": _doubling(1.0, 11),
    "commit_seconds": _DURATIONS_S,
    "ingest_seconds": _DURATIONS_S,
}
"""
Upper bounds, inclusive, ascending; one more bucket, +Inf, follows the last. Seconds, but for score and batch_events.

Those by stream are coarse: each bucket is a thousand series.
"""


def bucket(name: str, value: float) -> str:
    """Return the index of the bucket that `value` falls into, as it stands in a key: "0" for the first bound."""
    return str(bisect_left(BOUNDS[name], value))


def observe(increments: Increments, name: str, value: float, *labels: str) -> None:
    """
    Add one observation to `increments`, in place.

    `value` must be finite and not negative (of a clock's skew, the absolute value): the sum is a counter.
    """
    for key, amount in (((name, "le", bucket(name, value), *labels), 1), ((name, "sum", *labels), value)):
        increments[key] = increments.get(key, 0) + amount
