"""Rules and alerts name metrics that exist, with labels that they have; and every alert is explained, and proved both ways."""

import re
from pathlib import Path

import pytest
import yaml

from tests import queries

ROOT = Path(__file__).resolve().parents[2]
ALERTS = {rule["alert"]: rule for rule in queries.rules("alerting.rules.yml")}
RECORDED = {rule["record"]: rule["expr"] for rule in queries.rules("recording.rules.yml")}
USED = queries.metrics_of(*RECORDED.values(), *(rule["expr"] for rule in ALERTS.values()))
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def cases() -> dict[str, set[bool]]:
    """Whether promtool's cases see each alert fire (True), and see it silent (False)."""
    seen: dict[str, set[bool]] = {}
    for file in (ROOT / "dashboards/tests").glob("*.yml"):
        for case in yaml.safe_load(file.read_text())["tests"]:
            for expected in case.get("alert_rule_test", ()):
                seen.setdefault(expected["alertname"], set()).add(bool(expected["exp_alerts"]))
    return seen


def test_rules_use_metrics_that_exist_and_labels_that_they_have() -> None:
    assert USED
    assert queries.unknown(USED) == set()


def test_rules_read_only_what_is_recorded() -> None:
    assert queries.recordings_of(*RECORDED.values(), *(rule["expr"] for rule in ALERTS.values())) <= set(RECORDED)


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_every_alert_has_a_summary_a_severity_and_a_runbook(alert: str) -> None:
    annotations = ALERTS[alert]["annotations"]
    assert annotations["summary"]
    assert ALERTS[alert]["labels"]["severity"] in {"critical", "warning"}
    assert annotations["runbook_url"] == f"docs/operations.md#{alert.lower()}"
    section = OPERATIONS.split(f"### {alert}\n")[1].split("\n### ")[0]
    for part in ("**Means:**", "**Look at:**", "**Do:**"):
        assert section.count(part) == 1


def test_no_section_is_about_an_alert_that_is_gone() -> None:
    assert set(re.findall(r"^### (.*)$", OPERATIONS, re.MULTILINE)) == set(ALERTS)


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_every_alert_is_seen_to_fire_and_to_be_silent(alert: str) -> None:
    assert cases()[alert] == {True, False}


def test_titles_that_a_runbook_points_at_are_on_a_dashboard() -> None:
    titles = {panel["title"] for board in queries.boards().values() for panel in board["panels"]}
    named = set(re.findall(r"“([A-Z][^”]*)”", OPERATIONS))
    assert named
    assert named <= titles
