"""
One scrape: the totals in the words of the catalog, as Prometheus text or as OpenMetrics.

Every metric of the catalog is in every scrape from the first on, at zero where a zero is true; a metric by stream or
shard has samples once there is one. It adds nothing up. `exposition.py` writes it down.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.utils import floatToGoString

from metrics import catalog, exposition
from metrics.catalog import CATALOG, PREFIX, Kind, Metric
from metrics.exposition import Sample
from metrics.totals import Totals
from sessions.changes import Key
from sessions.histograms import BOUNDS

Values = Iterable[tuple[Key, float]]
"""Of one metric, by the values of its labels."""


def render(totals: Totals, *, openmetrics: bool, now: float) -> bytes:
    """Return the body of a scrape: OpenMetrics 1.0, or Prometheus text 0.0.4."""
    return exposition.write(_collect(totals, now=now), openmetrics=openmetrics)


def _collect(totals: Totals, *, now: float) -> Iterator[tuple[Metric, Iterable[Sample]]]:
    """Yield the samples of each row of the catalog, in its order."""
    shown = _gauges(totals, now=now)
    for metric in CATALOG:
        if metric.kind is Kind.HISTOGRAM:
            yield metric, _histogram(totals, metric)
        elif metric.ledger:
            yield metric, _samples(metric, _ledger(totals, metric))
        elif metric.increments:
            yield metric, _samples(metric, totals.counted.counters(metric).items())
        else:
            yield metric, _samples(metric, shown[metric.name])


def _gauges(totals: Totals, *, now: float) -> Mapping[str, Values]:
    shards = list(totals.shards(now=now))
    streams = list(totals.streams())
    gauges: dict[str, Values] = {
        catalog.SESSIONS.name: [((state,), count) for state, count in totals.states().items()],
        catalog.STREAM_SESSIONS.name: [((label, state), count) for label, states in streams for state, count in states.items()],
        catalog.STREAM_PEAK.name: [((label,), totals.recent_peak(label)) for label, _ in streams],
        catalog.SHARD_SESSIONS.name: [((report.shard,), report.sessions) for report in shards],
        catalog.SHARD_PENDING.name: [((report.shard,), report.pending_calls) for report in shards],
        catalog.SHARD_MAP.name: [((report.shard,), report.map_version) for report in shards],
        catalog.SHARD_STRETCH.name: [((report.shard,), report.stretch) for report in shards],
        catalog.SHARD_RESTARTS.name: [((report.shard,), totals.restarts(report.shard)) for report in shards],
        catalog.JOURNAL_UP.name: [((), bool(shards) and all(report.journal_up for report in shards))],
        catalog.UNWRITTEN.name: [((), sum(report.unwritten_sessions for report in shards))],
        catalog.SET_ASIDE.name: [((), sum(report.set_aside for report in shards))],
        catalog.MISMATCHED.name: [((), sum(report.mismatched_slots for report in shards))],
        catalog.SNAPSHOT_AGE.name: [((), totals.age_s(now=now))],
    }
    for metric in CATALOG:
        if metric.audience and metric.name not in gauges:
            gauges[metric.name] = [((label,), count) for label, count in totals.dimension(metric.audience)]
    return gauges


def _ledger(totals: Totals, metric: Metric) -> Values:
    if not totals.ledgers.complete:
        return []
    sums = totals.ledgers.sums
    keys: list[Key] = [(value,) for value in metric.values] or [()]
    return [(key, sums.get((metric.ledger, *key), 0)) for key in keys]


def _samples(metric: Metric, values: Values) -> Iterator[Sample]:
    name = PREFIX + metric.name + ("_total" if metric.kind is Kind.COUNTER else "")
    return (Sample(name, metric.labels, labels, value) for labels, value in values)


def _histogram(totals: Totals, metric: Metric) -> Iterator[Sample]:
    name, by_bound = PREFIX + metric.name, (*metric.labels, "le")
    bounds = [*map(floatToGoString, BOUNDS[metric.increments]), "+Inf"]
    for labels, counts, total in totals.counted.histograms(metric):
        observed = 0.0
        for bound, observed in zip(bounds, accumulate(counts), strict=True):
            yield Sample(f"{name}_bucket", by_bound, (*labels, bound), observed)
        yield Sample(f"{name}_count", metric.labels, labels, observed)
        yield Sample(f"{name}_sum", metric.labels, labels, total)
