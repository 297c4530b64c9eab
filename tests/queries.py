"""What rules and dashboards ask Prometheus, and which metrics there are to be asked for."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from metrics.catalog import CATALOG, PREFIX, Kind

ROOT = Path(__file__).resolve().parents[1]
GRAFANA = ROOT / "dashboards/grafana"
CHOSEN = {"$stream": ".*", "$channel": ".*", "$shard": ".*"}
"""What Grafana puts in for *All*."""

_SELECTOR = re.compile(r"(?<![:\w])(headcount_[a-z0-9_]+)(?!:)\b(?:\{([^}]*)\})?")
_RECORDING = re.compile(r"\b[a-z_]+:headcount_[a-z0-9_]+:[a-z0-9_]+\b")
_ENDINGS = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}


def rules(name: str) -> list[dict[str, Any]]:
    """Every rule of a file, of all its groups."""
    return [rule for group in yaml.safe_load((ROOT / "dashboards" / name).read_text())["groups"] for rule in group["rules"]]


def boards() -> dict[str, dict[str, Any]]:
    """The committed dashboards, by name."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(GRAFANA.glob("*.json"))}


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The panels of a dashboard that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions(board: Mapping[str, Any]) -> dict[str, str]:
    """Every query of a dashboard by panel and letter, as Grafana sends it with *All* chosen."""
    found = {}
    for panel in panels(board):
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in CHOSEN.items():
                expression = expression.replace(variable, value)
            found[f"{panel['title']} {target['refId']}"] = expression
    return found


def variables(board: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The metric and label of every variable whose values Prometheus is asked for."""
    found = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
            assert match
            found[variable["name"]] = (match[1], match[2])
    return found


def inlined(record: str, *, window: str) -> str:
    """A recorded series as one expression over a window of one's own, whatever it rests on."""
    recorded = {rule["record"]: rule["expr"] for rule in rules("recording.rules.yml")}
    expression = f"({recorded[record]})"
    # An average over time of what is averaged over the window already.
    expression = re.sub(r"avg_over_time\((\S+?)\[\w+\]\)", r"\1", expression)
    while inner := recordings_of(expression):
        for name in inner:
            expression = re.sub(rf"(?<![\w:]){name}(?![\w:])", lambda _, name=name: f"({recorded[name]})", expression)  # type: ignore[misc]
    return re.sub(r"\[[0-9]+m\]", f"[{window}]", expression)


def metrics_of(*queries: str) -> set[tuple[str, frozenset[str]]]:
    """Every series that queries name, with the labels that they select by."""
    return {
        (name, frozenset(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selected)))
        for query in queries
        for name, selected in _SELECTOR.findall(query)
    }


def recordings_of(*queries: str) -> set[str]:
    """Every recorded series that queries name."""
    return {name for query in queries for name in _RECORDING.findall(query)}


def exported() -> dict[str, set[str]]:
    """The names of a scrape's samples with their labels."""
    return {
        PREFIX + metric.name + ending: {*metric.labels, *(("le",) if ending == "_bucket" else ())}
        for metric in CATALOG
        for ending in _ENDINGS[metric.kind]
    }


def unknown(used: set[tuple[str, frozenset[str]]]) -> set[str]:
    """Those that are no metric of ours, or select by a label that theirs has not."""
    there = exported()
    return {name for name, labels in used if name not in there or not labels <= there[name]}


def sources_of(query: str) -> set[str]:
    """The metrics behind a query, through all that is recorded."""
    recorded = {rule["record"]: rule["expr"] for rule in rules("recording.rules.yml")}
    found, waiting = set(), [query]
    while waiting:
        text = waiting.pop()
        found |= {name for name, _ in metrics_of(text)}
        waiting.extend(recorded[name] for name in recordings_of(text))
    return found
