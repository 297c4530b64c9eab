"""What a result of `bench/ingest.py` says: medians, ratios, tables, targets. Pure; it measures nothing."""

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import plots
from bench.contenders import CONTENDERS

MANY: Final = 1_000
SESSIONS: Final = 20_000
_TITLES: Final = {each.name: each.title for each in CONTENDERS}
_TARGETS: Final = (
    ("redis", 256, 2.0),
    ("redis", 64, 1.3),
    ("stateless", 256, 3.0),
    ("floor", 256, 0.85),
    ("tutorial", 256, 15.0),
)
"""Whom we are to beat, at how many connections, and how many times its rate."""
_CPU_TARGETS: Final = ((256, 300), (16, 500))
"""Connections, and the µs of processor time that a heartbeat may cost there."""


def is_right(turn: dict[str, Any]) -> bool | None:
    """Tell whether the answer to how many are watching was right; None: it had none, or the truth is not known."""
    if turn["watching"] is None or turn["must_be"] is None:
        return None
    low, high = turn["must_be"]
    return bool(low <= turn["watching"] <= high)


def failed(point: dict[str, Any]) -> int:
    """Return the requests of a point that were not taken."""
    return int(point["refused"] + point["timeouts"] + point["broken"])


Points = dict[tuple[str, str, int, int], dict[str, Any]]


def medians(result: dict[str, Any]) -> Points:
    """Return the median over the rounds of each figure, by (contender, kind, connections, sessions); of failures the sum."""
    runs: dict[tuple[str, str, int, int], list[dict[str, Any]]] = defaultdict(list)
    for turn in result["turns"]:
        for point in turn["points"]:
            runs[turn["contender"], point["kind"], point["connections"], point["sessions"]].append(point)
    return {
        key: {
            **{name: median(run[name] for run in points) for name in ("accepted_per_s", "p50_ms", "p99_ms", "p999_ms", "cpu_us_total")},
            "cpu_us": {kind: median(run["cpu_us"].get(kind, 0.0) for run in points) for kind in points[0]["cpu_us"]},
            "tcp": {name: sum(run["tcp"][name] for run in points) for name in points[0]["tcp"]},
            "failed": sum(failed(run) for run in points),
            "runs": [run["accepted_per_s"] for run in points],
        }
        for key, points in runs.items()
    }


_REPORTS_AT: Final = 256
"""Connections at which reports are held against heartbeats."""
_REPORT_TARGETS: Final = (("reports", 1, 0.9), ("batches", 5, 1.5))
"""By kind of load: how many reports a post holds, and how many times the heartbeats of a second they must be."""


def _order(contender: str) -> int:
    return list(_TITLES).index(contender)


def table(result: dict[str, Any]) -> str:
    """Return the tables as markdown: rates and ratios, tails, processor time, the number, the targets."""
    points = medians(result)
    kinds = {kind for _, kind, _, _ in points}
    parts = [_rates(points, kind) for kind in ("heartbeats", "pixels", "reports", "batches") if kind in kinds]
    return "\n\n".join(part for part in [*parts, _kinds(points), _wire(points), _number(result), targets(result)] if part)


def _rates(points: Points, kind: str) -> str:
    mine = {
        connections: each
        for (name, of, connections, sessions), each in points.items()
        if (name, of) == ("headcount", kind) and sessions == SESSIONS
    }
    lines = [
        f"| {kind} by | connections | sessions | accepted/s | Headcount is | p50 ms | p99 ms | p999 ms | failed | CPU µs each |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for key in sorted((key for key in points if key[1] == kind), key=lambda key: (key[2], key[3], _order(key[0]))):
        name, _, connections, sessions = key
        each = points[key]
        ours = points.get(("headcount", kind, connections, sessions)) or mine.get(connections)
        ratio = "" if name == "headcount" or ours is None else f"{ours['accepted_per_s'] / max(1, each['accepted_per_s']):.2f}×"
        counted = f"{sessions:,}" if name in {"headcount", "redis", "redis-always", "stateless"} else ""
        lines.append(
            f"| {_TITLES[name]} | {connections:,} | {counted} | {each['accepted_per_s']:,.0f} | {ratio} | {each['p50_ms']:.1f} | "
            f"{each['p99_ms']:.1f} | {each['p999_ms']:.1f} | {each['failed']} | {each['cpu_us_total']:,.0f} |"
        )
    return "\n".join(lines)


def _kinds(points: Points) -> str:
    """Return what a heartbeat costs Headcount, by kind of process."""
    mine = {
        key[2]: each["cpu_us"]
        for key, each in sorted(points.items())
        if key[0] == "headcount" and key[1] == "heartbeats" and key[3] == SESSIONS
    }
    if not mine:
        return ""
    lines = [
        "| CPU µs of a heartbeat, Headcount | " + " | ".join(f"{connections:,} connections" for connections in mine) + " |",
        "|---|" + "---:|" * len(mine),
    ]
    widest = mine[max(mine)]
    lines += [
        f"| {kind} | " + " | ".join(f"{costs.get(kind, 0.0):.1f}" for costs in mine.values()) + " |"
        for kind in sorted(widest, key=lambda kind: -widest[kind])
    ]
    return "\n".join(lines)


def _wire(points: Points) -> str:
    """Return what TCP did at the most connections that were measured."""
    many = max(key[2] for key in points)
    lines = [
        f"| TCP at {many:,} connections, both sides | segments sent | sent again | of them only to probe | had arrived already | timeouts | dropped |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, kind, _, _ in sorted((key for key in points if key[2] == many), key=lambda key: _order(key[0])):
        tcp = next(each["tcp"] for key, each in points.items() if key[:3] == (name, kind, many))
        dropped = sum(tcp.get(counter, 0) for counter in ("ListenDrops", "ListenOverflows", "TCPBacklogDrop"))
        lines.append(
            f"| {_TITLES[name]}{', pixels' if kind == 'pixels' else ''} | {tcp['OutSegs']:,} | {tcp['RetransSegs']:,} | {tcp['TCPLossProbes']:,} | "
            f"{tcp['TCPDSACKRecv']:,} | {tcp['TCPTimeouts']:,} | {dropped:,} |"
        )
    return "\n".join(lines)


def _number(result: dict[str, Any]) -> str:
    lines = ["| how many are watching? | it says, by round | there must be | right |", "|---|---|---|---|"]
    for name in sorted({turn["contender"] for turn in result["turns"]}, key=_order):
        turns = [turn for turn in result["turns"] if turn["contender"] == name]
        if turns[0]["watching"] is None:
            lines.append(f"| {_TITLES[name]} | it cannot say | | no |")
            continue
        right = [is_right(turn) for turn in turns]
        said = ", ".join(f"{turn['watching']:,}" for turn in turns)
        must = ", ".join("not known" if turn["must_be"] is None else "{:,}-{:,}".format(*turn["must_be"]) for turn in turns)
        lines.append(f"| {_TITLES[name]} | {said} | {must} | {sum(map(bool, right))} of {len(turns)} |")
    return "\n".join(lines)


def targets(result: dict[str, Any]) -> str:
    """Return which targets this result meets; one that was not measured is left out."""
    points = medians(result)

    def point(name: str, connections: int) -> dict[str, Any] | None:
        return points.get((name, "heartbeats", connections, SESSIONS))

    lines = ["| target | measured | |", "|---|---|---|"]

    def judge(what: str, measured: str, *, met: bool) -> None:
        lines.append(f"| {what} | {measured} | {'met' if met else '**missed**'} |")

    for name, connections, times in _TARGETS:
        if (ours := point("headcount", connections)) and (theirs := point(name, connections)):
            ratio = ours["accepted_per_s"] / max(1, theirs["accepted_per_s"])
            judge(f"≥ {times}× {_TITLES[name]} at {connections}", f"{ratio:.2f}×", met=ratio >= times)
    for connections, cpu_us in _CPU_TARGETS:
        if ours := point("headcount", connections):
            judge(
                f"≤ {cpu_us} µs of CPU per durable heartbeat at {connections}",
                f"{ours['cpu_us_total']:.0f} µs",
                met=ours["cpu_us_total"] <= cpu_us,
            )
    for kind, each, times in _REPORT_TARGETS:
        ours, theirs = points.get(("headcount", kind, _REPORTS_AT, SESSIONS)), point("headcount", _REPORTS_AT)
        if ours and theirs:
            ratio = each * ours["accepted_per_s"] / max(1, theirs["accepted_per_s"])
            judge(f"reports (CMCD) in {kind} ≥ {times}× heartbeats at {_REPORTS_AT}", f"{ratio:.2f}×", met=ratio >= times)
    if ours := point("headcount", MANY):
        judge("no failed request at 1,000 connections", f"{ours['failed']}", met=not ours["failed"])
        judge("p99 under 1 s at 1,000 connections", f"{ours['p99_ms']:.0f} ms", met=ours["p99_ms"] < 1_000)
    return "\n".join(lines)


def draw(result: dict[str, Any]) -> list[Path]:
    """Draw rates and processor time beside the peers'."""
    points = medians(result)
    rates: dict[str, dict[str, float]] = {}
    costs: dict[str, dict[str, float]] = {}
    for name, title in _TITLES.items():
        mine = {
            f"{connections:,} connections": each
            for (of, kind, connections, sessions), each in sorted(points.items())
            if of == name and kind == "heartbeats" and sessions == SESSIONS
        }
        if mine:
            short = title.replace("**", "").partition(",")[0]
            rates[short] = {place: each["accepted_per_s"] for place, each in mine.items()}
            costs[short] = {place: each["cpu_us_total"] for place, each in mine.items()}
    return [
        plots.groups("ingest", rates, title="Heartbeats taken in a second", y="accepted/s"),
        plots.groups("ingest-cpu", costs, title="Processor time of one heartbeat, over all serving processes", y="µs"),
    ]


def headlines(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows that the README shows."""
    points, command = medians(result), "python -m bench.ingest"

    def figures(name: str, figure: str) -> str:
        found = [(key[2], each[figure]) for key, each in points.items() if key[0] == name and key[1] == "heartbeats" and key[3] == SESSIONS]
        return " / ".join(f"{value:,.0f}" for _, value in sorted(found))

    counts = " / ".join(f"{key[2]:,}" for key in sorted(points) if key[0] == "headcount" and key[1] == "heartbeats" and key[3] == SESSIONS)
    rows = [(f"durable heartbeats a second at {counts} connections", figures("headcount", "accepted_per_s"), command)]
    rows += [
        (f"… {what}", figures(name, "accepted_per_s"), command)
        for name, what in (
            ("redis", "FastAPI + pydantic + Redis, fsync once a second"),
            ("stateless", "the same doing our work"),
            ("floor", "Serve and HAProxy doing nothing"),
            ("tutorial", "Serve as in its tutorials, doing nothing"),
        )
        if figures(name, "accepted_per_s")
    ]
    rows.append(("… processor time of ours, µs over all serving processes", figures("headcount", "cpu_us_total"), command))
    rows.append(("… p99 of ours, ms", figures("headcount", "p99_ms"), command))
    return rows
