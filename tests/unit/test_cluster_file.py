"""cluster.yaml is what `ray up` takes, and names Serve's variables on every node alike."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
VARIABLE = re.compile(r"\b(RAY_\w+=\S+)")


@pytest.fixture
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


def test_ray_takes_the_cluster_file(cluster: dict[str, Any]) -> None:
    ray = find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    schema = json.loads((Path(ray.origin).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)


def test_every_node_gets_the_same_variables_and_ray_authenticates(cluster: dict[str, Any]) -> None:
    head, worker = (VARIABLE.findall(" ".join(cluster[f"{kind}_start_ray_commands"])) for kind in ("head", "worker"))
    assert head == worker
    assert {"RAY_AUTH_MODE=token", "RAY_SERVE_ENABLE_HA_PROXY=1"} <= set(head)


def test_the_head_runs_no_work_and_shows_its_dashboard_to_nobody(cluster: dict[str, Any]) -> None:
    assert cluster["available_node_types"][cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])


def test_the_cluster_runs_the_ray_that_the_project_pins(cluster: dict[str, Any]) -> None:
    assert any('"ray[default,serve]==2.60.0"' in command for command in cluster["setup_commands"])
    assert '"ray[serve]==2.60.0"' in (ROOT / "pyproject.toml").read_text()
