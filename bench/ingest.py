"""
Load a tracker of its own with heartbeats and say what one costs.

    python -m bench.ingest [--connections 16,64,256] [--seconds 10] [--sessions 20000]

Starts `headcount up` (defaults, journal on, acknowledged after the commit) in a temporary folder on a free port, drives it with `wrk`
(Debian's package; keep-alive, real bodies, on the same machine: take ratios, not absolutes), and afterwards asks how many are
watching. CPU is that of every process of the run, HAProxy and Valkey included, per accepted request.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from bench.results import machine, write_result
from serve_app.runs import load, survivors

SCRIPT = Path(__file__).with_name("heartbeats.lua")
READY_S = 90.0
STOP_S = 20.0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _get(url: str, *, token: str = "") -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310 - our own URL
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return bytes(answer.read())


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> float:
    begun = time.monotonic()
    while time.monotonic() - begun < READY_S:
        if process.poll() is not None:
            sys.exit(f"`headcount up` ended with {process.returncode}")
        try:
            _get(f"{url}/readyz")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
        else:
            return time.monotonic() - begun
    sys.exit(f"not ready after {READY_S} s")


def _cpu_s(data_dir: Path) -> dict[str, float]:
    """CPU seconds spent so far by the run's processes, by what they are; the bench's own load generator is not among them."""
    record = load(data_dir)
    if record is None:
        sys.exit("the run left no record")
    spent: dict[str, float] = {}
    ticks = os.sysconf("SC_CLK_TCK")
    pids = [process.pid for process in survivors(record)]
    pids += [int(pid) for pid in subprocess.run(["pgrep", "-f", str(data_dir)], capture_output=True, text=True, check=False).stdout.split()]  # noqa: S603,S607
    for pid in set(pids) - {os.getpid()}:
        try:
            title = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        spent[_kind(title)] = spent.get(_kind(title), 0.0) + (int(values[11]) + int(values[12])) / ticks
    return spent


def _kind(title: str) -> str:
    for mark, kind in (
        ("ServeReplica", "replicas"),
        ("haproxy", "haproxy"),
        ("SessionShard", "shard"),
        ("valkey", "valkey"),
        ("headcount up", "up"),
        ("Exporter", "exporter"),
        ("Directory", "directory"),
    ):
        if mark in title:
            return kind
    return "rest of Ray"


def _load(url: str, *, token: str, connections: int, seconds: int, sessions: int) -> dict[str, Any]:
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--timeout", "15s", "-s", str(SCRIPT), url, "--", token, str(sessions)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own arguments
    found = re.search(r"RESULT (\{.*\})", output)
    if found is None:
        sys.exit(output)
    result: dict[str, Any] = json.loads(found[1])
    return result


def measure(url: str, data_dir: Path, *, connections: int, seconds: int, sessions: int) -> dict[str, Any]:
    """Run one round; return rate, latencies, errors and the CPU per request, by kind of process, in µs."""
    token = (data_dir / "ingest.token").read_text().strip()
    before = _cpu_s(data_dir)
    result = _load(url, token=token, connections=connections, seconds=seconds, sessions=sessions)
    after = _cpu_s(data_dir)
    accepted = max(1, result["requests"] - result["refused"])
    cpu_us = {kind: round((spent - before.get(kind, 0.0)) / accepted * 1e6, 1) for kind, spent in sorted(after.items())}
    return {
        "connections": connections,
        "accepted_per_s": round(accepted / result["seconds"]),
        **result,
        "cpu_us": cpu_us,
        "cpu_us_total": round(sum(cpu_us.values())),
    }


def main() -> None:
    """Start, measure, ask, stop; print one line a round and write a result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", default="16,64,256")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="headcount-bench-") as folder:
        data_dir, port = Path(folder) / "data", _free_port()
        environment = os.environ | {"HEADCOUNT_DATA_DIR": str(data_dir), "HEADCOUNT_PORT": str(port)}
        headcount = Path(sys.executable).with_name("headcount")
        with subprocess.Popen([headcount, "up"], env=environment, cwd=folder, stdout=subprocess.DEVNULL) as process:  # noqa: S603
            url = f"http://127.0.0.1:{port}"
            try:
                ready_s = _wait_until_ready(url, process)
                rounds = [
                    measure(url, data_dir, connections=int(connections), seconds=arguments.seconds, sessions=arguments.sessions)
                    for _ in range(arguments.rounds)
                    for connections in arguments.connections.split(",")
                ]
                time.sleep(2)  # the freshness that is promised
                ops = (data_dir / "ops.token").read_text().strip()
                counted = json.loads(_get(f"{url}/v1/concurrency", token=ops))
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=STOP_S)
    for each in rounds:
        print(json.dumps(each))
    print(json.dumps({"ready_s": round(ready_s, 1), "counted": counted}, default=str)[:400])
    print("written:", write_result("ingest", {"machine": machine(), "ready_s": ready_s, "rounds": rounds}))


if __name__ == "__main__":
    main()
