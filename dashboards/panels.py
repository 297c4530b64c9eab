"""
What the three dashboards share: queries, panels, variables and links, in the words of Grafana's own types.

It decides how a panel looks. What it shows, and what that means, is with the dashboards: `audience.py`, `quality.py`,
`tracker.py`. Queries use no `$__…` of Grafana's, so that any Prometheus runs them once the variables are filled in.
"""

from dataclasses import dataclass
from itertools import count
from typing import Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

TAG: Final = "headcount"
"""By which the dashboards find one another."""
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
STREAM: Final = 'stream_id=~"$stream"'
CHANNEL: Final = 'channel=~"$channel"'
SHARD: Final = 'shard=~"$shard"'
LINES_MAX: Final = 20
"""Lines of a chart by stream, or by another label with many values: the biggest."""

_WIDTH: Final = 24
_CHART_HEIGHT: Final = 8
_STAT_HEIGHT: Final = 4

COUNT: Final = "short"
RATIO: Final = "percentunit"
SECONDS: Final = "s"
BITS_PER_SECOND: Final = "bps"
PER_SECOND: Final = "cps"
REQUESTS_PER_SECOND: Final = "reqps"


@dataclass(frozen=True, slots=True)
class Line:
    """One query, and the name of what it returns."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """From where on a value is yellow and red; `falling`: below which, the other way round."""

    yellow: float
    red: float
    falling: bool = False


def biggest(expr: str) -> str:
    """Return a query for the biggest values of another."""
    return f"topk({LINES_MAX}, {expr})"


def percentile(share: float, metric: str, *by: str, where: str = "") -> str:
    """Return a query for a percentile of a histogram over five minutes."""
    labels = ", ".join((*by, "le"))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{where}}}[5m])))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel: what it says it shows, and the queries behind it."""

    title: str
    description: str
    lines: tuple[Line, ...]
    unit: str
    levels: Levels | None = None
    is_number: bool = False
    """One number, the present one; else lines over time."""
    stacked: bool = False
    wide: bool = False


Rows = dict[str, tuple[Panel, ...]]
"""A dashboard's panels, by the row that they stand in."""


def chart(
    title: str, description: str, *lines: Line, unit: str, levels: Levels | None = None, stacked: bool = False, wide: bool = False
) -> Panel:
    """Return a panel of lines over time; `levels` become lines across it."""
    return Panel(title=title, description=description, lines=lines, unit=unit, levels=levels, stacked=stacked, wide=wide)


def number(title: str, description: str, expr: str, *, unit: str, levels: Levels | None = None) -> Panel:
    """Return a panel of one number, the present one."""
    return Panel(title=title, description=description, lines=(Line(expr, title),), unit=unit, levels=levels, is_number=True)


def several(name: str, label: str, description: str, *, metric: str, of: str) -> dashboards.QueryVariable:
    """Return a variable of several values: those that label `of` of a metric has had in the time shown."""
    return (
        dashboards.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(SOURCE)
        .query(f"label_values({metric}, {of})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def stream_variable() -> dashboards.QueryVariable:
    """Return the choice of streams."""
    text = "Streams with a label of their own; `other` is the sum of the rest."
    return several("stream", "Stream", text, metric="headcount_stream_sessions", of="stream_id")


def channel_variable() -> dashboards.QueryVariable:
    """Return the choice of channels."""
    return several(
        "channel", "Channel", "The channels with the most sessions, and `other`.", metric="headcount_channel_sessions", of="channel"
    )


def assemble(
    title: str,
    description: str,
    *,
    variables: tuple[dashboards.QueryVariable, ...],
    rows: Rows,
) -> Dashboard:
    """Return a dashboard of rows of panels, with links to the others."""
    board = (
        dashboards.Dashboard(f"Headcount: {title}")
        .uid(f"headcount-{title.lower()}")
        .description(description)
        .tags([TAG])
        .time("now-1h", "now")
        .refresh("5s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboards.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .link(_links())
    )
    for variable in variables:
        board = board.with_variable(variable)
    ids = count(1)
    for name, panels in rows.items():
        board = board.with_row(dashboards.Row(name).id(next(ids)))
        for panel in panels:
            drawn = _number(panel) if panel.is_number else _chart(panel)
            board = board.with_panel(drawn.id(next(ids)))
    return board.build()


def _chart(panel: Panel) -> timeseries.Panel:
    drawn = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(_WIDTH if panel.wide else _WIDTH // 2)
        .height(_CHART_HEIGHT)
        .line_width(1)
        .fill_opacity(30 if panel.stacked else 8)
        .axis_soft_min(0)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.RIGHT)
            .calcs(["lastNotNull", "max"])
            .show_legend(True)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .thresholds(_thresholds(panel.levels))
    )
    if panel.stacked:
        drawn = drawn.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.levels is not None:
        drawn = drawn.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED))
    for number, line in enumerate(panel.lines):
        drawn = drawn.with_target(_query(line, number))
    return drawn


def _number(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(_WIDTH // 4)
        .height(_STAT_HEIGHT)
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(panel.levels))
        .with_target(_query(panel.lines[0], 0))
    )


def _links() -> dashboards.DashboardLink:
    links = dashboards.DashboardLink("Headcount").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return links.as_dropdown(False).include_vars(True).keep_time(True)


def _query(line: Line, number: int) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(line.expr).legend_format(line.legend).ref_id(chr(ord("A") + number)).range()


def _thresholds(levels: Levels | None) -> dashboards.ThresholdsConfig:
    if levels is None:
        steps = [Threshold(color="blue")]
    elif levels.falling:
        steps = [Threshold(color="red"), Threshold(levels.red, "yellow"), Threshold(levels.yellow, "green")]
    else:
        steps = [Threshold(color="green"), Threshold(levels.yellow, "yellow"), Threshold(levels.red, "red")]
    return dashboards.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
