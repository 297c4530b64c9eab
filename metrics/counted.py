"""
The counters and histograms that increments add up to, by metric and labels.

Labels that players choose get a place with the first increment, while there is room, and are put into it, or into `other`, when
the increment comes: every amount lands in exactly one series, so that rates add up, and `other` never jumps when a label loses
its place. The series that lost its place is dropped; should it come back, it begins at zero, which Prometheus takes as the reset
that it is. A label that is given a place gets all its counters at zero there and then: to `rate()` a series that is first seen at
five has not grown by five.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from metrics.catalog import BOUNDED, CATALOG, DIMENSIONS, INCREMENTS, Kind, Metric, labels_of
from metrics.labels import OTHER, Labels
from sessions.changes import Key
from sessions.histograms import BOUNDS

SHARD: Final = "shard"
"""The label that no key carries: the adder knows it."""


def _keys_of(metric: Metric) -> list[Key]:
    """Return every combination of the labels after the first: their closed list, or nothing."""
    return [(value,) for value in metric.values] if metric.values else [()]


_BEGINS_WITH: Final[dict[str, list[tuple[str, Key]]]] = {
    name: [
        (metric.increments, key)
        for metric in CATALOG
        if metric.kind is Kind.COUNTER and metric.increments and metric.labels[:1] == (dimension.label,)
        for key in _keys_of(metric)
    ]
    for name, dimension in DIMENSIONS.items()
}
"""What a label of a dimension counts, and with which other labels."""
_HISTOGRAMS_OF: Final[dict[str, list[str]]] = {
    name: [metric.increments for metric in CATALOG if metric.kind is Kind.HISTOGRAM and metric.labels == (dimension.label,)]
    for name, dimension in DIMENSIONS.items()
}


class Counted:
    """Running sums of everything that the catalog takes increments of."""

    def __init__(self, labels: Mapping[str, Labels]) -> None:
        self._labels = labels
        self._counters: dict[str, dict[Key, float]] = {name: {} for name in INCREMENTS}
        """Sums by the labels' values."""
        self._histograms: dict[str, dict[Key, list[float]]] = {name: {} for name in INCREMENTS}
        """Observations by bucket, then the sum of what was observed."""
        self.whole: dict[str, float] = {}
        """Sums of the counters over all labels: they do not fall when a label loses its place."""
        for dimension in DIMENSIONS:
            self.begin(dimension, (OTHER,))

    def add(self, key: Key, amount: float, *, now: float, shard: str = "") -> None:
        """Add one increment; raises `InvariantError` if the catalog does not take it."""
        metric, values = labels_of(key)
        places = tuple(
            shard if label == SHARD else self._labels[BOUNDED[label]].claim(value, now=now) if label in BOUNDED else value
            for label, value in zip(metric.labels, (*values, ""), strict=False)
        )
        if metric.kind is Kind.HISTOGRAM:
            sums = self._histograms[key[0]].get(places)
            if sums is None:
                sums = self._histograms[key[0]][places] = [0.0] * (len(BOUNDS[key[0]]) + 2)
            sums[int(key[2]) if key[1] == "le" else -1] += amount
        else:
            counters = self._counters[key[0]]
            counters[places] = counters.get(places, 0) + amount
            self.whole[key[0]] = self.whole.get(key[0], 0.0) + amount

    def begin(self, dimension: str, granted: Iterable[str]) -> None:
        """Show the counters of labels that were given a place, at zero."""
        for label in granted:
            for name, values in _BEGINS_WITH[dimension]:
                self._counters[name].setdefault((label, *values), 0.0)
            for name in _HISTOGRAMS_OF[dimension]:
                self._histograms[name].setdefault((label,), [0.0] * (len(BOUNDS[name]) + 2))

    def forget(self, dimension: str, lost: Collection[str]) -> None:
        """Drop the series of labels that lost their place."""
        place = DIMENSIONS[dimension].label
        for name, metric in INCREMENTS.items():
            if place in metric.labels:
                at = metric.labels.index(place)
                series: dict[str, dict[Key, float]] | dict[str, dict[Key, list[float]]]
                for series in (self._counters, self._histograms):
                    for places in [places for places in series[name] if places[at] in lost]:
                        del series[name][places]

    def counters(self, metric: Metric) -> Mapping[Key, float]:
        """Return a counter's sums by its labels' values; those of a closed list are there from the beginning."""
        sums = self._counters[metric.increments]
        if not metric.labels:
            return {(): sums.get((), 0)}
        if metric.values and len(metric.labels) == 1:
            return {(value,): sums.get((value,), 0) for value in metric.values}
        return sums

    def histograms(self, metric: Metric) -> Iterator[tuple[Key, list[float], float]]:
        """Yield (labels' values, observations in each bucket, +Inf last; sum of what was observed); a closed list from the beginning."""
        series = self._histograms[metric.increments]
        at_once = [(value,) for value in metric.values] if len(metric.labels) == 1 else [] if metric.labels else [()]
        nothing = [0.0] * (len(BOUNDS[metric.increments]) + 2)
        for places in dict.fromkeys((*at_once, *series)):
            sums = series.get(places, nothing)
            yield places, sums[:-1], sums[-1]
