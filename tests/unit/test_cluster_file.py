"""cluster.yaml is what `ray up` takes, deploy/ what `serve deploy` and KubeRay do; every node is told the same."""

import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from actors.ray_shards import SHARDS_MARK
from serve_app import app, deploy
from serve_app.machine import haproxy
from serve_app.machine.ports import InternalPorts
from serve_app.players import arrival
from serve_app.settings import Settings

ROOT = Path(__file__).parents[2]
VARIABLE = re.compile(r"^RAY_\w+=.+$")


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def kubernetes() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "deploy/rayservice.yaml").read_text()))


@pytest.fixture(scope="module")
def options() -> set[str]:
    """Every option of `ray start`."""
    from ray.scripts.scripts import start

    return {name for parameter in start.params for name in parameter.opts}


def commands(cluster: dict[str, Any], kind: str) -> str:
    return " ".join(cluster[f"{kind}_start_ray_commands"])


def variables(cluster: dict[str, Any], kind: str) -> list[str]:
    """Every variable of Ray's that a start command sets, as the shell reads it."""
    return [word for word in shlex.split(commands(cluster, kind)) if VARIABLE.match(word)]


def test_ray_takes_the_cluster_file(cluster: dict[str, Any]) -> None:
    ray = find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    schema = json.loads((Path(ray.origin).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)


def test_every_node_gets_the_same_variables_and_ray_authenticates(cluster: dict[str, Any]) -> None:
    head, worker = (variables(cluster, kind) for kind in ("head", "worker"))
    assert head == worker
    assert {"RAY_AUTH_MODE=token", "RAY_SERVE_ENABLE_HA_PROXY=1", "RAY_SERVE_THROUGHPUT_OPTIMIZED=1"} <= set(head)
    assert any(target.endswith("/.ray/auth_token") for target in cluster["file_mounts"])
    assert all("ulimit -n 65536" in commands(cluster, kind) for kind in ("head", "worker"))


def test_the_nodes_are_told_all_of_the_ingress_that_up_tells_one_machine(cluster: dict[str, Any], tmp_path: Path) -> None:
    told = dict(variable.split("=", 1) for variable in variables(cluster, "head"))
    here = haproxy.variables(Settings(data_dir=tmp_path), InternalPorts(20_000), folder=tmp_path, descriptors=65_536)
    apart = {name for name, value in here.items() if str(tmp_path) in value or name.endswith("_PORT")}
    apart |= {
        "RAY_SERVE_HAPROXY_MAXCONN",
        "RAY_SERVE_HAPROXY_NBTHREAD",
        "RAY_enable_metrics_collection",
    }  # as the machine, and its operators, are
    apart |= {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"}  # nobody waits for a cluster's node to end
    apart |= {arrival.SECRET_VARIABLE}  # new with each start of one machine; the nodes of a cluster derive it from the journal's address
    assert {name: told.get(name) for name in here if name not in apart} == {
        name: value for name, value in here.items() if name not in apart
    }


def test_every_option_of_the_start_commands_is_one_of_ray_start(cluster: dict[str, Any], options: set[str]) -> None:
    for kind in ("head", "worker"):
        words = shlex.split(commands(cluster, kind))
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options


def test_the_head_runs_no_work_and_shows_its_dashboard_to_nobody(cluster: dict[str, Any]) -> None:
    assert cluster["available_node_types"][cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert "--dashboard-host=127.0.0.1" in commands(cluster, "head")
    assert "0.0.0.0" not in commands(cluster, "head") + commands(cluster, "worker")


def test_shards_and_replicas_have_nodes_of_their_own(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert set(types) == {"head", "shard", "ingest"}
    assert [name for name, kind in types.items() if SHARDS_MARK in kind["resources"]] == ["shard"]
    (application,) = serve_file()["applications"]
    (deployment,) = application["deployments"]
    (mark,) = deployment["ray_actor_options"]["resources"]
    assert [name for name, kind in types.items() if mark in kind["resources"]] == ["ingest"]
    room = types["ingest"]["resources"][mark] * types["ingest"]["min_workers"]
    assert deployment["num_replicas"] == application["args"]["replicas"] <= room


def test_the_cluster_runs_the_ray_that_the_project_pins(cluster: dict[str, Any], kubernetes: list[dict[str, Any]]) -> None:
    assert any('"ray[default,serve]==2.60.0"' in command for command in cluster["setup_commands"])
    assert '"ray[serve]==2.60.0"' in (ROOT / "pyproject.toml").read_text()
    assert kubernetes[0]["spec"]["rayClusterConfig"]["rayVersion"] == "2.60.0"
    assert "ray:2.60.0-" in (ROOT / "deploy/ray.Dockerfile").read_text()


def serve_file() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "deploy/serve.yaml").read_text())
    return loaded


def test_serve_takes_the_serve_file_and_its_application_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADCOUNT_REDIS_URL", "redis://:hunter2@journal:6379/0")
    said = ServeDeploySchema.model_validate(serve_file())
    (application,) = said.applications
    assert application.import_path == f"{deploy.__name__}:{deploy.application.__name__}"
    assert {deployment.name for deployment in application.deployments} == {app.DEPLOYMENT}
    settings = deploy.settings_of(application.args)
    assert (settings.host, settings.port) == (said.http_options.host, said.http_options.port)
    config = deploy.config_of(settings)
    assert (config.instance_id, config.journal_url, config.shards) == ("production", "redis://:hunter2@journal:6379/0", settings.shards)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "HEADCOUNT_REDIS_URL is not set"),
        ({}, "HEADCOUNT_INSTANCE is not set"),
        ({"redis_url": "redis://:hunter2@h"}, "redis_url is a secret"),
        ({"ops_token": "hunter2"}, "ops_token is a secret"),
        ({"shard": 2}, "shard sets nothing"),
        ({"shards": 0}, "HEADCOUNT_SHARDS: "),
        ({"instance": "a b"}, "HEADCOUNT_INSTANCE: "),
    ],
)
def test_wrong_arguments_of_a_cluster_are_told_by_name_and_never_by_a_secret(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(deploy.SettingsError) as problem:
        deploy.settings_of(arguments)
    assert told in str(problem.value)
    assert "hunter2" not in str(problem.value)


def containers(service: dict[str, Any]) -> list[dict[str, Any]]:
    ray = service["spec"]["rayClusterConfig"]
    return [
        container for group in (ray["headGroupSpec"], *ray["workerGroupSpecs"]) for container in group["template"]["spec"]["containers"]
    ]


def test_kuberay_serves_what_serve_deploy_does(kubernetes: list[dict[str, Any]]) -> None:
    served = yaml.safe_load(kubernetes[0]["spec"]["serveConfigV2"])
    assert served == serve_file()
    ServeDeploySchema.model_validate(served)


def test_kuberay_never_has_two_clusters_on_one_data_set_and_survives_its_head(kubernetes: list[dict[str, Any]]) -> None:
    spec = kubernetes[0]["spec"]
    assert spec["upgradeStrategy"] == {"type": "None"}
    ray = spec["rayClusterConfig"]
    assert ray["authOptions"] == {"mode": "token"}
    tolerance = ray["gcsFaultToleranceOptions"]
    assert set(tolerance) == {"redisAddress", "redisPassword", "externalStorageNamespace"}
    assert tolerance["redisPassword"]["valueFrom"]["secretKeyRef"]["key"] == "gcs-redis-password"


def test_kuberays_groups_are_started_as_ray_start_takes_it(kubernetes: list[dict[str, Any]], options: set[str]) -> None:
    ray = kubernetes[0]["spec"]["rayClusterConfig"]
    groups = {group["groupName"]: group for group in ray["workerGroupSpecs"]}
    for group in (ray["headGroupSpec"], *groups.values()):
        assert {f"--{name}" for name in group["rayStartParams"]} <= options
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert ray["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    marks = {name: json.loads(json.loads(group["rayStartParams"]["resources"])) for name, group in groups.items()}
    assert marks == {"shard": {SHARDS_MARK: 1}, "ingest": {"headcount_ingest": 6}}


def test_kubernetes_names_no_secret_and_tells_every_pod_the_same_as_cluster_yaml(
    kubernetes: list[dict[str, Any]], cluster: dict[str, Any]
) -> None:
    environments = [container["env"] for container in containers(kubernetes[0])]
    assert len(environments) == 3
    assert environments[0] == environments[1] == environments[2]
    plain = {variable["name"]: variable["value"] for variable in environments[0] if "value" in variable}
    assert [variable["name"] for variable in environments[0] if "valueFrom" in variable] == ["HEADCOUNT_REDIS_URL"]
    told = dict(variable.split("=", 1) for variable in variables(cluster, "head"))
    elsewhere = {"RAY_AUTH_MODE", "RAY_SERVE_HAPROXY_BINARY_PATH"}  # KubeRay's own; another folder
    assert {name: plain.get(name) for name in told.keys() - elsewhere} == {
        name: value for name, value in told.items() if name not in elsewhere
    }
    known = {f"HEADCOUNT_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in plain if name.startswith("HEADCOUNT_")} <= known


def test_the_policy_lets_nobody_but_the_operator_near_the_dashboard(kubernetes: list[dict[str, Any]]) -> None:
    policy = kubernetes[1]["spec"]
    open_to_all = [port["port"] for rule in policy["ingress"] if "from" not in rule for port in rule["ports"]]
    assert open_to_all == [8000]


def test_a_node_is_prepared_with_a_haproxy_that_corrects_serves_own_ports(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "serve_app.node", tmp_path / "node"], check=True)
    program = (tmp_path / "node/haproxy").read_text()
    assert "8404" in program
    assert "9101" in program
    assert (tmp_path / "node").stat().st_mode & 0o077 == 0
