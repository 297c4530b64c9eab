"""
A cluster out of the cluster files, as far as one machine goes: two Ray nodes of `ray start`, then `serve deploy`.

A head, and one worker that is both kinds. Unlike `headcount up`'s, this Ray listens on the machine's own address too, not on loopback
alone: what keeps Ray to loopback (`RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0`) refuses a second `ray start`. Its token guards it, as on a cluster.
"""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from serve_app import node
from serve_app.machine import haproxy, runs
from serve_app.machine.ports import choose
from serve_app.machine.ray_run import GUEST_FILE, new_folder
from serve_app.machine.runs import RunRecord
from serve_app.players import examples
from serve_app.settings import RUN_VARIABLE, Settings
from storage.embedded import EmbeddedValkey
from tests.integration.installation import READY_WITHIN_S, free_port, wait_until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CLUSTER: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
INGEST, OPS = "ingest-token-of-the-cluster", "ops-token-of-the-cluster"
BEAT = {"session_id": examples.START["session_id"], "timestamp": examples.START["timestamp"]}
STREAM = examples.START["stream"]["stream_id"]


def command_of(kind: str) -> tuple[dict[str, str], list[str]]:
    """Return (environment, words) of the command of cluster.yaml that starts Ray on a node."""
    words = shlex.split(CLUSTER[f"{kind}_start_ray_commands"][-1].rpartition(";")[2])
    variables = dict(word.split("=", 1) for word in words if re.fullmatch(r"RAY_\w+=.*", word))
    return variables, words[words.index("ray") :]


class TwoNodes:
    """A Ray, a HAProxy and a Serve of this test's own, on ports and in a folder of their own."""

    def __init__(self, folder: Path, journal: str) -> None:
        self.folder = folder
        self.port = free_port()
        here = Settings(data_dir=folder, port=self.port)
        self.ports = ports = choose(here, data_dir=folder)
        self.gcs, self.dashboard, self.client = ports.replicas_grpc[-3:]  # of those that nobody uses
        self.record = RunRecord(run=secrets.token_hex(8), boot=runs.boot_id(), folder=str(folder))
        token = secrets.token_hex(32)
        self.secrets = {INGEST, OPS, token, str(urlsplit(journal).password)}
        folder.joinpath(GUEST_FILE).write_text(token)
        folder.joinpath("h").mkdir()
        node.prepare(folder / "node", statistics=ports.haproxy_statistics, metrics=ports.haproxy_metrics)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADCOUNT_", "RAY_")) and name != "PYTHONPATH"}
        # What two clusters on one machine would share; and nobody waits here for a replica to drain.
        apart = {
            name: value
            for name, value in haproxy.variables(here, ports, folder=folder, descriptors=4_000).items()
            if str(folder) in value or name.endswith(("_PORT", "_MAXCONN", "_DRAINING_PERIOD_S"))
        }
        self.environment = {
            **kept,
            **command_of("head")[0],
            **apart,
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(folder / "node/haproxy"),
            "RAY_AUTH_TOKEN_PATH": str(folder / GUEST_FILE),
            "RAY_USAGE_STATS_ENABLED": "0",
            "HEADCOUNT_REDIS_URL": journal,
            "HEADCOUNT_INGEST_TOKEN": INGEST,
            "HEADCOUNT_OPS_TOKEN": OPS,
            RUN_VARIABLE: self.record.run,
        }

    def do(self, *words: str) -> None:
        done = subprocess.run(
            [BIN / words[0], *words[1:]], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]

    def start(self) -> None:
        """Start both nodes by the commands of cluster.yaml; only ports, folders and how much a node has are this machine's."""
        kinds = {name: kind["resources"] for name, kind in CLUSTER["available_node_types"].items()}
        marks = {name: amount for kind in ("shard", "ingest") for name, amount in kinds[kind].items() if name != "CPU"}
        elsewhere = ("--port", "--object-manager-port", "--autoscaling-config", "--address")
        head, worker = ([word for word in command_of(kind)[1] if not word.startswith(elsewhere)] for kind in ("head", "worker"))
        own = ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"]
        head += [f"--port={self.gcs}", f"--dashboard-port={self.dashboard}", f"--ray-client-server-port={self.client}"]
        self.do(*head, *own, f"--temp-dir={self.folder}/ray", f"--num-cpus={kinds['head']['CPU']}")
        self.do(*worker, *own, f"--address=127.0.0.1:{self.gcs}", "--num-cpus=2", f"--resources={json.dumps(marks)}")

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

    def ask(self, method: str, path: str, *, token: str | None = None, body: object = None, port: int | None = None) -> tuple[int, bytes]:
        """Return (status, body); status 0 while nobody listens."""
        headers = {"content-type": "application/json"} | ({} if token is None else {"authorization": f"Bearer {token}"})
        with closing(HTTPConnection("127.0.0.1", port or self.port, timeout=10)) as connection:
            try:
                connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except OSError:
                return 0, b""

    def play(self, what: str, body: object) -> int:
        return self.ask("POST", f"/analytics/live/session/{what}", token=INGEST, body=body)[0]

    def watching(self) -> int | None:
        status, told = self.ask("GET", f"/v1/concurrency?stream_id={STREAM}", token=OPS)
        return json.loads(told)["sessions"] if status == 200 else None

    def pids(self, title: str) -> set[int]:
        """Return the processes that call themselves so; those of Ray's actors begin with `ray::`."""
        found = set()
        for process in runs.survivors(self.record):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                if Path(f"/proc/{process.pid}/cmdline").read_text(errors="replace").startswith(title):
                    found.add(process.pid)
        return found

    def node_of(self, title: str) -> set[int]:
        """Return the raylets whose children call themselves so."""
        return {int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in self.pids(title)}

    def tellers(self) -> list[str]:
        """Return the files of this cluster, logs and configurations, that hold a secret."""
        files = [file for file in self.folder.rglob("*") if file.is_file() and file.suffix in {".log", ".out", ".err", ".cfg"}]
        assert any(file.name == "haproxy.cfg" for file in files)
        return [str(file) for file in files if any(secret.encode() in file.read_bytes() for secret in self.secrets)]

    def kill(self) -> None:
        while left := runs.survivors(self.record):
            assert not runs.kill(left, timeout_s=10)
        if self.ports.guard is not None:
            self.ports.guard.close()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[TwoNodes]:
    folder = new_folder()  # a short path: Ray's sockets are below it
    valkey = EmbeddedValkey(tmp_path / "valkey")
    try:
        cluster = TwoNodes(folder, valkey.start())
        try:
            yield cluster
        finally:
            cluster.kill()
    finally:
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_the_cluster_files_start_a_cluster_that_takes_heartbeats_and_can_be_deployed_to_again(nodes: TwoNodes) -> None:
    nodes.start()
    assert nodes.ask("GET", "/api/serve/applications/", port=nodes.dashboard)[0] == 401  # whoever has not Ray's token deploys nothing
    nodes.deploy()
    wait_until(lambda: nodes.ask("GET", "/readyz")[0] == 200, within_s=READY_WITHIN_S, what="ready through the front door")
    assert nodes.play("start", examples.START) == 200
    assert nodes.play("heartbeat", BEAT) == 200
    assert nodes.ask("POST", "/analytics/live/session/heartbeat", token=OPS, body=BEAT)[0] == 401
    wait_until(lambda: nodes.watching() == 1, within_s=10, what="the session is counted")
    # Players are served as soon as one replica is there; the other follows.
    wait_until(lambda: len(nodes.pids("ray::ServeReplica:headcount:ingest")) == 2, within_s=READY_WITHIN_S, what="both replicas are there")
    shards, replicas = nodes.pids("ray::SessionShard"), nodes.pids("ray::ServeReplica:headcount:ingest")
    assert (len(shards), len(replicas)) == (2, 2)
    (head,), (worker,) = nodes.node_of("ray::ServeController"), nodes.node_of("ray::SessionShard")
    assert nodes.node_of("ray::Directory") == nodes.node_of("ray::Exporter") == {head}
    assert nodes.node_of("ray::ServeReplica") == {worker} != {head}

    nodes.deploy(beacon_pullzones="zone-1")
    stranger = "/icon.gif?type=play&v=video-1&p=another&u=me"
    wait_until(
        lambda: len(now := nodes.pids("ray::ServeReplica:headcount:ingest")) == 2 and not now & replicas,
        within_s=READY_WITHIN_S,
        what="new replicas",
    )
    wait_until(lambda: nodes.ask("GET", stranger)[0] == 400, within_s=60, what="they have the new rule")
    assert nodes.pids("ray::SessionShard") == shards
    assert nodes.play("heartbeat", BEAT) == 200
    wait_until(lambda: nodes.watching() == 1, within_s=10, what="the session is still counted")
    assert nodes.tellers() == []
