"""
Write the lists of `docs/metrics.md` from the catalog: `python -m metrics.page`. What stands around them is written by hand.

Only metrics are listed here; what the numbers mean is the page's own text.
"""

from pathlib import Path
from textwrap import fill
from typing import Final

from metrics.catalog import CATALOG, DIMENSIONS, PREFIX, Kind, Metric

PAGE: Final = Path(__file__).resolve().parent.parent / "docs/metrics.md"
_BEGIN: Final = "<!-- metrics: written by `make docs` -->"
_END: Final = "<!-- end of metrics -->"
_WIDTH: Final = 138
_TITLES: Final = {Kind.GAUGE: "Gauges", Kind.COUNTER: "Counters", Kind.HISTOGRAM: "Histograms"}


def shown_name(metric: Metric) -> str:
    """Return the name that Prometheus knows."""
    return f"{PREFIX}{metric.name}{'_total' if metric.kind is Kind.COUNTER else ''}"


def tables() -> str:
    """Return one list for each kind of metric, and one of the labels that are bounded."""
    lines: list[str] = []
    for kind, title in _TITLES.items():
        lines += [f"### {title}", "", *(_entry(metric) for metric in CATALOG if metric.kind is kind), ""]
    lines += ["### Labels that players choose", "", "| label | values of its own; the rest are `other` |", "|---|---|"]
    lines += [f"| `{dimension.label}` | {dimension.most:,} |" for dimension in DIMENSIONS.values()]
    return "\n".join(lines)


def filled(page: str) -> str:
    """Return the page with its lists as they should be. Raises `LookupError` if it has no place for them."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise LookupError(f"{PAGE.name} has no place for the lists, between {_BEGIN} and {_END}")
    return f"{before}{_BEGIN}\n{tables()}\n{_END}{after}"


def _entry(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    text = f"- `{shown_name(metric)}`{f' ({labels})' if labels else ''}: {metric.help}"
    return fill(text, width=_WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
