"""Read a scrape back: for those who compare what is shown with what they know. Text format only."""

from collections.abc import Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from metrics.catalog import INCREMENTS, LEDGER, PREFIX
from sessions.changes import Key

Series = tuple[str, frozenset[tuple[str, str]]]
"""A sample's full name and its labels."""
_ENDINGS: Final = ("count", "sum")
Samples = Mapping[Series, float]


def read(body: str) -> Samples:
    """Return every sample of a scrape."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def counters(samples: Samples) -> Mapping[Key, float]:
    """Return the counters of the ledger and of increments by the key that feeds them, as ("events", type) or ("started",)."""
    sources = {f"{PREFIX}{metric.name}_total": (source, metric) for source, metric in (*LEDGER.items(), *INCREMENTS.items())}
    counted = {}
    for (name, labels), value in samples.items():
        if name in sources:
            source, metric = sources[name]
            values = dict(labels)
            counted[(source, *(values[label] for label in metric.labels))] = value
    return counted


def observed(samples: Samples) -> Mapping[Key, float]:
    """Return how much histograms saw, by their labels, as ("startup", "count") and ("startup", "sum")."""
    sources = {f"{PREFIX}{metric.name}_{ending}": (source, metric, ending) for source, metric in INCREMENTS.items() for ending in _ENDINGS}
    seen = {}
    for (name, labels), value in samples.items():
        if name in sources:
            source, metric, ending = sources[name]
            values = dict(labels)
            seen[(source, *(values[label] for label in metric.labels), ending)] = value
    return seen
