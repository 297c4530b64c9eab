"""
The plots of `docs/performance.md`, as SVG: lines against a size, one bar cut into parts, bars side by side.

Each is a function from data to a file; what is drawn is decided where it was measured. Text stays text, so that a plot is
small, can be searched, and differs in a diff only where its data did.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import ticker
from matplotlib.figure import Figure

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs/plots"
COLOURS: Final = ("#3b6fb6", "#d9822b", "#4f9d69", "#b5485d", "#7b5ea7", "#8c7355", "#d16ba5", "#6f7d8c", "#b3a336", "#3aa6a6", "#a0a0a0")
_MARKED_MAX: Final = 20
"""More places than this get neither a mark nor a tick each."""
_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "headcount",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
}

Series = Mapping[str, Sequence[tuple[float, float]]]


def lines(
    name: str,
    series: Series,
    *,
    title: str,
    x: str,
    y: str,
    limits: Mapping[str, float] | None = None,
    log: str = "x",
    folder: Path = FOLDER,
) -> Path:
    """
    Draw each series of (x, y) as a line; return the file.

    `limits` are dashed lines across, by name; `log` names the axes that are logarithmic: "", "x", "y" or "xy".
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        axes = figure.add_subplot()
        places = sorted({point for points in series.values() for point, _ in points})
        marker = "o" if len(places) <= _MARKED_MAX else ""
        for colour, (label, points) in zip(COLOURS, series.items(), strict=False):
            axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, color=colour, label=label)
        for label, at in (limits or {}).items():
            axes.axhline(at, linestyle="--", linewidth=1, color="#666666")
            axes.annotate(label, (1, at), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8, color="#666666")
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.set_xscale("log" if "x" in log else "linear")
        axes.set_yscale("log" if "y" in log else "linear")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
        if marker:
            axes.set_xticks(places, minor=False)
        axes.minorticks_off()
        if "y" not in log:
            axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8)
        return _save(figure, folder / f"{name}.svg")


def stack(name: str, bars: Mapping[str, Mapping[str, float]], *, title: str, x: str, folder: Path = FOLDER) -> Path:
    """Draw each bar cut into its parts, in the order in which the first has them; return the file."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.0, 1.6 + 0.6 * len(bars)), layout="constrained")
        axes = figure.add_subplot()
        parts = list(dict.fromkeys(part for bar in bars.values() for part in bar))
        lefts = dict.fromkeys(bars, 0.0)
        for number, part in enumerate(parts):
            widths = [bar.get(part, 0.0) for bar in bars.values()]
            drawn = axes.barh(list(bars), widths, left=list(lefts.values()), color=COLOURS[number % len(COLOURS)], label=part, height=0.6)
            total = max(sum(bar.values()) for bar in bars.values())
            axes.bar_label(
                drawn, [f"{width:.0f}" if width > 0.03 * total else "" for width in widths], label_type="center", color="white", fontsize=8
            )
            lefts = {bar: left + width for (bar, left), width in zip(lefts.items(), widths, strict=True)}
        axes.set(title=title, xlabel=x)
        axes.invert_yaxis()
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
        return _save(figure, folder / f"{name}.svg")


def groups(name: str, series: Mapping[str, Mapping[str, float]], *, title: str, y: str, folder: Path = FOLDER) -> Path:
    """Draw a group of bars for each place, one bar for each series, on a logarithmic axis; return the file."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.0, 4.2), layout="constrained")
        axes = figure.add_subplot()
        places = list(dict.fromkeys(place for values in series.values() for place in values))
        width = 0.8 / max(1, len(series))
        for number, (label, values) in enumerate(series.items()):
            at = [index + number * width - 0.4 + width / 2 for index, place in enumerate(places) if place in values]
            drawn = axes.bar(at, list(values.values()), width, label=label, color=COLOURS[number % len(COLOURS)])
            axes.bar_label(drawn, [f"{value:,.0f}" for value in values.values()], rotation=90, padding=2, fontsize=7)
        axes.set(title=title, ylabel=y)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.margins(y=0.2)
        axes.set_xticks(range(len(places)), places)
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        return _save(figure, folder / f"{name}.svg")


def _save(figure: Figure, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    file.write_text("\n".join(line.rstrip() for line in file.read_text().splitlines()) + "\n")
    return file
