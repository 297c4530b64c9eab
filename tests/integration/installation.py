"""A real `headcount up`: the installed command, in a folder of its own, from somewhere else than the checkout."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve_app.machine import runs
from serve_app.machine.runs import RunRecord
from storage.processes import ProcessName, name_of

COMMAND = Path(sys.executable).parent / "headcount"
READY_WITHIN_S = 180.0
"""Generous: two instances and a compiler may share the two cores."""
POLL_S = 0.05


def wait_until(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    """Wait for a condition, and fail with `what` if it does not come."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(POLL_S)


def free_port() -> int:
    """Return a port that nobody listens on, outside the range of outgoing connections, and of this worker of the test run alone."""
    first = 9_000 + 500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for port in range(first + os.getpid() % 400, first + 500):
        with closing(socket.socket()) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Installation:
    """One data folder and its settings; started and stopped at will."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None
    packages: Path | None = None
    """Where our packages are instead of where they were installed."""

    def __post_init__(self) -> None:
        assert COMMAND.exists(), f"{COMMAND} is not installed: run `make test`"
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def ingest_token(self) -> str:
        return (self.data / "ingest.token").read_text().strip()

    @property
    def ops_token(self) -> str:
        return (self.data / "ops.token").read_text().strip()

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADCOUNT_", "RAY_")) and name != "PYTHONPATH"}
        if self.packages is not None:
            kept["PYTHONPATH"] = str(self.packages)
        mine = {"PORT": str(self.port), "DATA_DIR": str(self.data), **self.settings}
        return kept | {f"HEADCOUNT_{name}": value for name, value in mine.items()}

    @property
    def output(self) -> str:
        return (self.folder / "up.log").read_text()

    @property
    def record(self) -> RunRecord:
        record = runs.load(self.data)
        assert record is not None
        return record

    def start(self) -> None:
        """Run `headcount up` until it says that it is up; fail with its output if it does not."""
        with (self.folder / "up.log").open("w") as log:
            self.process = subprocess.Popen(
                [COMMAND, "up"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        process = self.process
        wait_until(
            lambda: "Try it:" in self.output or process.poll() is not None, within_s=READY_WITHIN_S, what=f"see {self.folder}/up.log"
        )
        assert self.process.poll() is None, self.output

    def run(self, *arguments: str, within_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run another `headcount` command with the same settings."""
        return subprocess.run(
            [COMMAND, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=within_s, check=False
        )

    def assert_ledgers_hold(self) -> None:
        """Have every slot recounted, as whatever was done to a tracker should end."""
        audit = self.run("audit")
        assert audit.returncode == 0, audit.stdout + audit.stderr

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within_s: float = 15.0) -> int:
        """Ask it to stop, and return its exit code. SIGINT comes as from a terminal: to all of the process group."""
        assert self.process is not None
        if number is signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.process.wait(within_s)

    def processes(self) -> set[ProcessName]:
        """Return every living process of this installation: `up`, all of Ray, HAProxy, the journal."""
        found = runs.survivors(self.record) if runs.load(self.data) else set()
        if self.process is not None and self.process.poll() is None and (up := name_of(self.process.pid)):
            found.add(up)
        return found | self.journal()

    def journal(self) -> set[ProcessName]:
        """Return the journal's process, found by the folder that it works in."""
        home = self.data / "valkey"
        found = set()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    at_home = (folder / "cwd").readlink() == home
                except OSError:
                    continue
                if at_home and (process := name_of(int(folder.name))):
                    found.add(process)
        return found

    def kill_everything(self) -> set[ProcessName]:
        """Send SIGKILL to every process at once; return who they were."""
        victims = self.processes()
        runs.kill(victims, timeout_s=10)
        if self.process is not None:
            self.process.wait(10)
        return victims

    def clean_up(self) -> None:
        """Leave nothing running, whatever the test did."""
        if self.process is not None and self.process.poll() is None:
            self.stop(within_s=30)
        runs.kill(self.processes(), timeout_s=10)

    def request(
        self, method: str, path: str, *, body: object = None, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask through the front door. `body`: bytes as they are, anything else as JSON."""
        sent = dict(headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def get(self, path: str) -> Answer:
        """Ask as an operator."""
        return self.request("GET", path, token=self.ops_token)

    def post(self, path: str, body: object) -> Answer:
        """Send as a player."""
        return self.request("POST", path, body=body, token=self.ingest_token)
