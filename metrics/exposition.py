"""
How samples are written for a scrape: Prometheus text 0.0.4, or OpenMetrics 1.0.

`prometheus_client` writes the very same bytes, and a test holds us to them; but it spells every label of every series out
anew, 8 µs for each of the 48,000 that 1,000 streams have, on the exporter's one thread. A series' name never changes, so
here it is spelled once. It knows no metric.
"""

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import NamedTuple

from prometheus_client.utils import floatToGoString

from metrics.catalog import PREFIX, Kind, Metric
from sessions.limits import SERIES_MAX


class Sample(NamedTuple):
    """One line."""

    name: str
    """In full."""
    labels: tuple[str, ...]
    values: tuple[str, ...]
    """Of the labels, in their order."""
    value: float


def write(families: Iterable[tuple[Metric, Iterable[Sample]]], *, openmetrics: bool) -> bytes:
    """Return the body of a scrape."""
    lines: list[str] = []
    for metric, samples in families:
        lines.append(_head(metric, openmetrics=openmetrics))
        lines += [f"{_series(name, labels, values)} {_number(value)}\n" for name, labels, values, value in samples]
    if openmetrics:
        lines.append("# EOF\n")
    return "".join(lines).encode()


def _head(metric: Metric, *, openmetrics: bool) -> str:
    name = PREFIX + metric.name
    if metric.kind is Kind.COUNTER and not openmetrics:
        name += "_total"
    told = metric.help.replace("\\", r"\\").replace("\n", r"\n")
    unit = f"# UNIT {name} {metric.unit}\n" if openmetrics and metric.unit else ""
    return f"# HELP {name} {told}\n# TYPE {name} {metric.kind}\n{unit}"


@lru_cache(maxsize=SERIES_MAX)
def _series(name: str, labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Spell a series: its name, and its labels in the order of the alphabet."""
    if not labels:
        return name
    if len(labels) == 1:
        return f"{name}{{{_pair(labels[0], values[0])}}}"
    told = ",".join([_pair(labels[place], values[place]) for place in _alphabetical(labels)])
    return f"{name}{{{told}}}"


@lru_cache(maxsize=SERIES_MAX)
def _pair(label: str, value: str) -> str:
    """Spell a label: one stream's stands in dozens of series, and the first scrape spells them all."""
    value = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{label}="{value}"'


@cache
def _alphabetical(labels: tuple[str, ...]) -> tuple[int, ...]:
    """Return the places of a metric's labels in the order of the alphabet."""
    return tuple(sorted(range(len(labels)), key=labels.__getitem__))


_number = lru_cache(maxsize=SERIES_MAX)(floatToGoString)
"""Most are small counts, and zero above all."""
