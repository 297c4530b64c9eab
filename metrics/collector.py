"""
One scrape: the totals in the words of the catalog, as Prometheus text or as OpenMetrics.

Every metric of the catalog is in every scrape from the first on, at zero where a zero is true; a metric by stream or
shard has samples once there is one. It adds nothing up.
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST as TEXT_TYPE
from prometheus_client.exposition import generate_latest as text
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS_TYPE
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from metrics import catalog
from metrics.catalog import CATALOG, PREFIX, Kind, Metric
from metrics.totals import Totals
from sessions.changes import Key
from sessions.histograms import BOUNDS

__all__ = ["OPENMETRICS_TYPE", "TEXT_TYPE", "TotalsCollector", "render"]

Samples = Iterable[tuple[Key, float]]


class TotalsCollector(Collector):
    """What `prometheus_client` asks for its families; it sees the totals as they are at `now`."""

    def __init__(self, totals: Totals, *, now: float) -> None:
        self._totals = totals
        self._now = now

    def collect(self) -> Iterable[Family]:
        """Yield one family for each row of the catalog, in its order."""
        shown = self._gauges()
        for metric in CATALOG:
            if metric.kind is Kind.HISTOGRAM:
                yield self._histogram(metric)
            elif metric.ledger:
                yield _family(metric, self._ledger(metric))
            elif metric.increments:
                yield _family(metric, self._totals.counted.counters(metric).items())
            else:
                yield _family(metric, shown[metric.name])

    def _gauges(self) -> Mapping[str, Samples]:
        totals, now = self._totals, self._now
        shards = list(totals.shards(now=now))
        streams = list(totals.streams())
        gauges: dict[str, Samples] = {
            catalog.SESSIONS.name: [((state,), count) for state, count in totals.states().items()],
            catalog.STREAM_SESSIONS.name: [((label, state), count) for label, states in streams for state, count in states.items()],
            catalog.STREAM_PEAK.name: [((label,), totals.recent_peak(label)) for label, _ in streams],
            catalog.SHARD_SESSIONS.name: [((report.shard,), report.sessions) for report in shards],
            catalog.SHARD_PENDING.name: [((report.shard,), report.pending_calls) for report in shards],
            catalog.SHARD_MAP.name: [((report.shard,), report.map_version) for report in shards],
            catalog.SHARD_RESTARTS.name: [((report.shard,), totals.restarts(report.shard)) for report in shards],
            catalog.JOURNAL_UP.name: [((), bool(shards) and all(report.journal_up for report in shards))],
            catalog.UNWRITTEN.name: [((), sum(report.unwritten_sessions for report in shards))],
            catalog.SNAPSHOT_AGE.name: [((), totals.age_s(now=now))],
        }
        for metric in CATALOG:
            if metric.audience and metric.name not in gauges:
                gauges[metric.name] = [((label,), count) for label, count in totals.dimension(metric.audience)]
        return gauges

    def _ledger(self, metric: Metric) -> Samples:
        sums = self._totals.ledgers.sums
        keys: list[Key] = [(value,) for value in metric.values] or [()]
        return [(key, sums.get((metric.ledger, *key), 0)) for key in keys]

    def _histogram(self, metric: Metric) -> Family:
        family = HistogramMetricFamily(PREFIX + metric.name, metric.help, labels=metric.labels, unit=metric.unit)
        bounds = [*map(floatToGoString, BOUNDS[metric.increments]), "+Inf"]
        for labels, counts, total in self._totals.counted.histograms(metric):
            family.add_metric(labels, buckets=list(zip(bounds, accumulate(counts), strict=True)), sum_value=total)
        return family


def render(totals: Totals, *, openmetrics: bool, now: float) -> bytes:
    """Return the body of a scrape: OpenMetrics 1.0, or Prometheus text 0.0.4; the media types stand beside this function."""
    collector = TotalsCollector(totals, now=now)
    # "allow-utf-8" changes nothing of names that are plain already, as ours are, and spares the check of every letter.
    if openmetrics:
        body: bytes = openmetrics_text(collector, escaping=ALLOWUTF8)  # type: ignore[no-untyped-call]  # theirs has no annotations
        return body
    return text(collector, escaping=ALLOWUTF8)


def _family(metric: Metric, samples: Samples) -> Family:
    family: GaugeMetricFamily | CounterMetricFamily
    if metric.kind is Kind.COUNTER:
        family = CounterMetricFamily(PREFIX + metric.name, metric.help, labels=metric.labels, unit=metric.unit)
    else:
        family = GaugeMetricFamily(PREFIX + metric.name, metric.help, labels=metric.labels, unit=metric.unit)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
