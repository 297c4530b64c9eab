"""What an overload is made of, and what those who ask meanwhile are told; the short form and the long one build on it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tests.integration.installation import Installation

HEARTBEAT = "/analytics/live/session/heartbeat"
SESSIONS = 100
CONNECTIONS_MAX = 6_000
"""What this machine's limit of open files lets HAProxy hold, and some."""
PROBES = 8
EVERY_S = 0.2
PERIOD_S = 0.05
"""Of the turns in which `weakened` lets replicas run."""


@dataclass(frozen=True, slots=True)
class Told:
    """One answer to one who asks politely; `status` 0: there was none."""

    asked_at: float
    took_s: float
    status: int
    code: str = ""
    """Of a refusal in our shape."""
    retry_after_s: int = 0
    interval_s: int = 0

    @property
    def told_at(self) -> float:
        return self.asked_at + self.took_s


@dataclass
class Probes:
    """A few polite players, and an operator, who ask at a steady pace on connections of their own, whatever the flood does."""

    tracker: Installation
    players: list[Told] = field(default_factory=list)
    operators: list[Told] = field(default_factory=list)

    @contextmanager
    def asking(self) -> Iterator["Probes"]:
        over = threading.Event()
        threads = [threading.Thread(target=self._play, args=(number, over)) for number in range(PROBES)]
        threads.append(threading.Thread(target=self._watch, args=(over,)))
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def since(self, asked_at: float) -> list[Told]:
        return [each for each in self.players if each.asked_at >= asked_at]

    def _play(self, number: int, over: threading.Event) -> None:
        while not over.wait(EVERY_S):
            body = {"session_id": f"probe-{number}", "stream_id": "probe", "timestamp": datetime.now(UTC).isoformat()}
            self.players.append(_told(self.tracker, "POST", HEARTBEAT, self.tracker.ingest_token, body))

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(EVERY_S):
            self.operators.append(_told(self.tracker, "GET", "/v1/concurrency", self.tracker.ops_token, None))


def _told(tracker: Installation, method: str, path: str, token: str, body: Any) -> Told:
    asked_at = time.monotonic()
    try:
        answer = tracker.request(method, path, body=body, token=token)
    except (OSError, HTTPException):
        return Told(asked_at, time.monotonic() - asked_at, 0)
    took_s = time.monotonic() - asked_at
    said = answer.json()
    return Told(
        asked_at,
        took_s,
        answer.status,
        code=said["error"]["code"] if answer.status != 200 else "",
        retry_after_s=int(answer.headers.get("retry-after", 0)),
        interval_s=said["data"]["next_heartbeat_seconds"] if answer.status == 200 and "data" in said else 0,
    )


@contextmanager
def weakened(tracker: Installation, *, share: float) -> Iterator[None]:
    """Let the replicas run for a share of the time only, so that one machine can send several times what they serve."""
    replicas = [process.pid for process in tracker.processes() if "ray::ServeReplica:headcount:ingest" in _title(process.pid)]
    assert replicas
    over = threading.Event()

    def all_get(signal_number: int) -> None:
        for pid in replicas:
            os.kill(pid, signal_number)

    def hold_back() -> None:
        while not over.is_set():
            all_get(signal.SIGSTOP)
            over.wait(PERIOD_S * (1 - share))
            all_get(signal.SIGCONT)
            over.wait(PERIOD_S * share)

    holding = threading.Thread(target=hold_back)
    holding.start()
    try:
        yield
    finally:
        over.set()
        holding.join()


class Flood:
    """`tests/flood.py` against a tracker."""

    def __init__(self, tracker: Installation, *, sessions: int = SESSIONS) -> None:
        program = Path(__file__).with_name("flood.py")
        self._process = subprocess.Popen(
            [sys.executable, program, str(tracker.port), tracker.ingest_token, str(sessions)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.connections = 0

    def rise_to(self, connections: int) -> None:
        """Have so many connections from now on."""
        assert self._process.stdin is not None
        self.connections = min(connections, CONNECTIONS_MAX)
        self._process.stdin.write(f"{self.connections}\n")
        self._process.stdin.flush()

    def stop(self) -> dict[str, int]:
        """Break all connections off, and return how often which status was answered."""
        said, _ = self._process.communicate(timeout=30)
        answers: dict[str, int] = json.loads(said)
        return answers

    def kill(self) -> None:
        """Leave nothing running, whatever the test did."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def memory_mb(tracker: Installation) -> dict[str, int]:
    """Return the resident memory of those who could fill it, by what they are."""
    found: dict[str, int] = {}
    for process in tracker.processes():
        try:
            title = _title(process.pid)
            resident = Path(f"/proc/{process.pid}/status").read_text().split("VmRSS:")[1].split()[0]
        except (OSError, IndexError):
            continue
        for kind in ("ServeReplica", "haproxy", "SessionShard", "valkey-server"):
            if kind in title:
                found[kind] = found.get(kind, 0) + int(resident) // 1_024
    return found


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def percentile(told: Sequence[Told], share: float) -> float:
    """Return how long all but the slowest took."""
    took = sorted(each.took_s for each in told)
    return took[min(len(took) - 1, int(len(took) * share))]
