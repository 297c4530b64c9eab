"""The committed dashboards are what the code says, explain themselves, and ask only for what there is."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import prometheus, write
from tests import queries

BOARDS = queries.boards()
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in queries.panels(board)]
each_board = pytest.mark.parametrize("name", sorted(BOARDS))
each_panel = pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=[f"{name}: {panel['title']}" for name, panel in PANELS])


def test_the_committed_files_are_what_the_code_writes() -> None:
    written = {name: write.text_of(board) for name, board in write.boards().items()}
    committed = {file.stem: file.read_text() for file in queries.GRAFANA.glob("*.json")}
    assert written == committed, "run `make dashboards`"


@each_board
def test_grafanas_types_read_the_file_and_lose_nothing(name: str) -> None:
    text = (queries.GRAFANA / f"{name}.json").read_text()
    assert write.text_of(Dashboard.from_json(json.loads(text))) == text


@each_board
def test_queries_name_metrics_that_exist_labels_that_they_have_and_rules_that_record(name: str) -> None:
    asked = list(queries.expressions(BOARDS[name]).values())
    assert queries.unknown(queries.metrics_of(*asked)) == set()
    assert queries.recordings_of(*asked) <= {rule["record"] for rule in queries.rules("recording.rules.yml")}
    assert not [query for query in asked if not queries.sources_of(query)]


@each_board
def test_every_variable_of_a_query_is_declared_and_every_declared_one_is_used(name: str) -> None:
    used = set(re.findall(r"\$(\w+)", " ".join(target["expr"] for panel in queries.panels(BOARDS[name]) for target in panel["targets"])))
    assert used == set(queries.variables(BOARDS[name]))
    for metric, label in queries.variables(BOARDS[name]).values():
        assert label in queries.exported()[metric]


def test_every_metric_is_shown_somewhere() -> None:
    asked = {source for board in BOARDS.values() for query in queries.expressions(board).values() for source in queries.sources_of(query)}
    unseen = {name for name in queries.exported() if not name.endswith(("_bucket", "_sum", "_count"))} - asked
    assert unseen == set()
    histograms = {name.removesuffix("_bucket") for name in queries.exported() if name.endswith("_bucket")}
    assert {name for name in histograms if not {name + "_bucket", name + "_sum"} & asked} == set()


@each_panel
def test_every_panel_explains_itself_and_has_a_unit_and_thresholds(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 20
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert all(target["legendFormat"] for target in panel["targets"])


NEUTRAL = {
    "audience": {"Watching", "Sessions", "Watching the chosen streams"},
    "quality": set[str](),
    "tracker": set[str](),
}
"""Numbers that are neither good nor bad."""


@each_board
def test_a_number_that_can_be_bad_turns_red_and_one_that_cannot_has_no_level(name: str) -> None:
    for panel in queries.panels(BOARDS[name]):
        if panel["type"] == "stat":
            colors = {step["color"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]}
            assert colors == ({"blue"} if panel["title"] in NEUTRAL[name] else {"green", "yellow", "red"}), panel["title"]


@pytest.mark.parametrize(
    ("name", "title", "metric"),
    [
        ("tracker", "Refused", "job_endpoint:headcount_refused_ratio:rate5m"),
        ("tracker", "Age of the numbers", "headcount_snapshot_age_seconds"),
        ("quality", "Rebuffering ratio", "job_stream_id:headcount_rebuffering_ratio:rate1m"),
        ("quality", "Start failures", "job_stream_id:headcount_start_failure_ratio:increase5m"),
    ],
)
def test_a_panel_is_red_from_where_its_alert_fires(name: str, title: str, metric: str) -> None:
    (red,) = {
        step["value"]
        for panel in queries.panels(BOARDS[name])
        if panel["title"] == title
        for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        if step["color"] == "red"
    }
    expressions = [rule["expr"] for rule in queries.rules("alerting.rules.yml")]
    (level,) = {float(match[1]) for each in expressions if (match := re.match(rf"{re.escape(metric)} > ([0-9.]+)", each))}
    assert red == level


@each_panel
def test_a_ratio_is_shown_as_one_and_seconds_as_seconds(panel: dict[str, Any]) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    asked = " ".join(target["expr"] for target in panel["targets"])
    assert (unit == "percentunit") == ("_ratio:" in asked)
    if unit == "s":
        assert "_seconds" in asked


@each_board
def test_no_two_panels_share_a_title_an_id_or_a_place(name: str) -> None:
    panels = BOARDS[name]["panels"]
    for key in ("title", "id"):
        assert len({panel[key] for panel in panels}) == len(panels)
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart_x or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


@each_board
def test_every_dashboard_links_to_the_others_and_takes_its_choices_and_time_along(name: str) -> None:
    (link,) = BOARDS[name]["links"]
    assert (link["type"], link["includeVars"], link["keepTime"]) == ("dashboards", True, True)
    assert all(set(link["tags"]) <= set(board["tags"]) for board in BOARDS.values())
    assert BOARDS[name]["uid"] == f"headcount-{name}"


def test_grafana_is_told_where_prometheus_and_the_dashboards_are() -> None:
    folder = Path(prometheus.__file__).parent / "grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/headcount.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    config = yaml.safe_load((folder.parents[1] / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    (provider,) = yaml.safe_load((folder / "dashboards/headcount.yml").read_text())["providers"]
    assert provider["options"]["path"] in (queries.ROOT / "docs/operations.md").read_text()
