"""A cluster out of the cluster files, as far as one machine goes: two Ray nodes of `ray start`, then `serve deploy`."""

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app import examples, ingress, node, runs
from serve_app.ports import choose
from serve_app.runs import RunRecord
from serve_app.settings import RUN_VARIABLE, Settings
from storage.embedded import EmbeddedValkey
from tests.integration.installation import free_port, wait_until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CLUSTER: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
TOKENS = {"HEADCOUNT_INGEST_TOKEN": "ingest-token-of-the-cluster", "HEADCOUNT_OPS_TOKEN": "ops-token-of-the-cluster"}


def command_of(kind: str) -> tuple[dict[str, str], list[str]]:
    """Return (environment, words) of the command of cluster.yaml that starts Ray on a node."""
    words = shlex.split(CLUSTER[f"{kind}_start_ray_commands"][-1].rpartition(";")[2])
    variables = dict(word.split("=", 1) for word in words if re.fullmatch(r"RAY_\w+=.*", word))
    return variables, words[words.index("ray") :]


class TwoNodes:
    """The head and one worker that is both kinds, on ports of their own, with Ray's token."""

    def __init__(self, folder: Path, journal: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.ports = choose(Settings(data_dir=folder, port=self.port), data_dir=folder)
        self.run = secrets.token_hex(8)
        self.folder.joinpath("ray.token").write_text(secrets.token_hex(32))
        node.prepare(folder / "node", statistics=self.ports.haproxy_statistics, metrics=self.ports.haproxy_metrics)
        folder.joinpath("h").mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADCOUNT_", "RAY_")) and name != "PYTHONPATH"}
        ours = ingress.variables(Settings(data_dir=folder), self.ports, folder=folder, descriptors=4_000)
        apart = {
            name: value
            for name, value in ours.items()
            if name.endswith(("_PORT", "_LOC", "_PATH", "_BASE", "_FILE", "MAXCONN", "PERIOD_S"))
        }
        self.environment = {
            **kept,
            **command_of("head")[0],
            **apart,
            **TOKENS,
            "HEADCOUNT_REDIS_URL": journal,
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(folder / "node/haproxy"),
            "RAY_AUTH_TOKEN_PATH": str(folder / "ray.token"),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            RUN_VARIABLE: self.run,
        }
        self.gcs, self.dashboard = self.ports.first + 190, self.ports.first + 191

    def do(self, *words: str) -> None:
        done = subprocess.run(
            [BIN / words[0], *words[1:]], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]

    def start(self) -> None:
        """Start both nodes by the commands of cluster.yaml; only ports, addresses and folders are this machine's."""
        resources = {kind: dict(CLUSTER["available_node_types"][kind]["resources"]) for kind in ("head", "shard", "ingest")}
        own = ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"]
        head = [word for word in command_of("head")[1] if not word.startswith(("--port", "--object-manager-port", "--autoscaling-config"))]
        worker = [word for word in command_of("worker")[1] if not word.startswith(("--address", "--object-manager-port"))]
        marks = {name: amount for kind in ("shard", "ingest") for name, amount in resources[kind].items() if name != "CPU"}
        ports = [
            f"--port={self.gcs}",
            f"--dashboard-port={self.dashboard}",
            f"--ray-client-server-port={self.ports.first + 192}",
            f"--temp-dir={self.folder}/ray",
        ]
        self.do(*head, *ports, *own, f"--num-cpus={resources['head']['CPU']}")
        self.do(
            *worker,
            f"--address=127.0.0.1:{self.gcs}",
            *own,
            f"--num-cpus={resources['shard']['CPU']}",
            f"--resources={json.dumps(marks)}",
        )

    def deploy(self, **arguments: str) -> None:
        """`serve deploy` of deploy/serve.yaml, two shards and two replicas of it, at this test's port."""
        configuration = yaml.safe_load((ROOT / "deploy/serve.yaml").read_text())
        configuration["proxy_location"] = "HeadOnly"  # two nodes are one machine here, and have one port 8000
        configuration["http_options"] |= {"host": "127.0.0.1", "port": self.port}
        (application,) = configuration["applications"]
        application["args"] |= {"host": "127.0.0.1", "port": self.port, "shards": 2, "replicas": 2, **arguments}
        application["deployments"][0]["num_replicas"] = 2
        file = self.folder / "serve.yaml"
        file.write_text(yaml.safe_dump(configuration))
        self.do("serve", "deploy", "--address", f"http://127.0.0.1:{self.dashboard}", str(file))

    def ask(self, method: str, path: str, *, token: str | None = None, body: object = None) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"} | ({} if token is None else {"authorization": f"Bearer {token}"})
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            try:
                connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except OSError:
                return 0, b""

    @property
    def record(self) -> RunRecord:
        return RunRecord(run=self.run, boot=runs.boot_id(), folder=str(self.folder))

    def processes(self, title: str) -> set[int]:
        living = {process.pid for process in runs.survivors(self.record)}
        return {pid for pid in living if Path(f"/proc/{pid}/cmdline").read_text(errors="replace").startswith(title)}

    def kill(self) -> None:
        assert not runs.kill(runs.survivors(self.record), timeout_s=10)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[TwoNodes]:
    from serve_app.cluster import new_folder

    folder = new_folder()  # a short path: Ray's sockets are below it
    valkey = EmbeddedValkey(tmp_path / "valkey")
    cluster = TwoNodes(folder, valkey.start())
    try:
        yield cluster
    finally:
        cluster.kill()
        valkey.stop()
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def logs_of(cluster: TwoNodes) -> Mapping[str, bytes]:
    return {
        str(file): file.read_bytes()
        for file in cluster.folder.rglob("*")
        if file.is_file() and file.suffix in {".log", ".out", ".err", ".cfg"}
    }


def test_the_cluster_files_start_a_cluster_that_takes_heartbeats(nodes: TwoNodes) -> None:
    nodes.start()
    nodes.deploy()
    wait_until(lambda: nodes.ask("GET", "/readyz")[0] == 200, within_s=90, what="ready through the front door")
    ingest, ops = TOKENS["HEADCOUNT_INGEST_TOKEN"], TOKENS["HEADCOUNT_OPS_TOKEN"]
    assert nodes.ask("POST", "/analytics/live/session/start", token=ingest, body=examples.START)[0] == 200
    beat = {"session_id": examples.START["session_id"], "timestamp": examples.START["timestamp"]}
    assert nodes.ask("POST", "/analytics/live/session/heartbeat", token=ingest, body=beat)[0] == 200
    assert nodes.ask("POST", "/analytics/live/session/heartbeat", token=ops, body=beat)[0] == 401
    stream = examples.START["stream"]["stream_id"]
    path = f"/v1/concurrency?stream_id={stream}"
    wait_until(lambda: json.loads(nodes.ask("GET", path, token=ops)[1])["sessions"] == 1, within_s=5, what="the session is counted")
    status = json.loads(nodes.ask("GET", "/v1/status", token=ops)[1])
    assert sorted(status["shards"]) == ["headcount-shard-0", "headcount-shard-1"]
    shards = nodes.processes("ray::SessionShard")
    assert len(shards) == 2
    # A later deployment replaces the replicas, finds the actors that run, and leaves them alone.
    nodes.deploy(beacon_pullzones="zone-1")
    stranger = "/icon.gif?type=play&v=video-1&p=another&u=me"
    wait_until(lambda: [nodes.ask("GET", stranger)[0] for _ in range(4)] == [400] * 4, within_s=60, what="every replica has the new rule")
    wait_until(lambda: nodes.ask("GET", "/readyz")[0] == 200, within_s=10, what="ready again")
    assert nodes.processes("ray::SessionShard") == shards
    assert json.loads(nodes.ask("GET", path, token=ops)[1])["sessions"] == 1
    for name, text in logs_of(nodes).items():
        assert ingest.encode() not in text, name
        assert ops.encode() not in text, name
