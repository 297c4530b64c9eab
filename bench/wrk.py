"""
One round of load by `wrk`: closed loop, keep-alive, real bodies, on the same machine.

Decides what is sent so that the number of sessions that must exist afterwards is known (`Walk`). It does not know who answers.
"""

import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import tools

THREADS: Final = 2
TIMEOUT_S: Final = 15
FOLDER: Final = Path(__file__).with_name("load")
_COUNTED: Final = (
    "OutSegs",
    "RetransSegs",
    "TCPLossProbes",
    "TCPDSACKRecv",
    "TCPTimeouts",
    "TCPLostRetransmit",
    "TCPSynRetrans",
    "ListenDrops",
    "ListenOverflows",
    "TCPBacklogDrop",
)
"""What the kernel sent, sent again, sent again only to probe, was told had arrived twice, waited for in vain, and dropped."""


class LoadError(Exception):
    """wrk did not say what it measured."""


@dataclass
class Walk:
    """How far an id space has been walked through, over all rounds against one tracker."""

    space: str
    sessions: int
    walked: list[int] = field(default_factory=lambda: [0] * THREADS)
    uncertain: int = 0
    """Requests that were sent and not acknowledged: each may or may not have made its session."""

    def took(self, result: dict[str, Any]) -> None:
        """Note what a round sent, and what of it was acknowledged."""
        self.walked = [before + sent for before, sent in zip(self.walked, result["sent"], strict=True)]
        self.uncertain += sum(result["sent"]) - result["requests"] + result["refused"]

    @property
    def bounds(self) -> tuple[int, int]:
        """Return how many sessions there must be, at least and at most."""
        at_most = sum(min(self.sessions // THREADS, walked) for walked in self.walked)
        return max(0, at_most - self.uncertain), at_most


def tcp_counters() -> dict[str, int]:
    """Return what the kernel counted of TCP so far, on the whole machine: what was sent again, and what was dropped before it was accepted."""
    counters: dict[str, int] = {}
    for file in ("snmp", "netstat"):
        lines = Path(f"/proc/net/{file}").read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            counters |= {name: int(value) for name, value in zip(names.split()[1:], values.split()[1:], strict=True) if name in _COUNTED}
    return counters


def load(url: str, walk: Walk, *, kind: str, token: str, connections: int, seconds: float, streams: int = 100) -> dict[str, Any]:
    """
    Drive `url` for some seconds with `kind` ("heartbeats", "pixels", "reports" or "batches" of five of these; of so many streams); return wrk's figures, and TCP's.

    `refused` are answers other than 2xx and 3xx, `timeouts` what took longer than 15 s, `broken` failed connects, reads and writes.
    """
    command = [tools.find("wrk"), f"-t{THREADS}", f"-c{max(THREADS, connections)}", f"-d{seconds:.0f}s", "--timeout", f"{TIMEOUT_S}s"]
    command += ["-s", str(FOLDER / f"{kind}.lua"), url, "--", token, str(walk.sessions), walk.space, *map(str, walk.walked)]
    environment = tools.environment() | {"BENCH_WALK": str(FOLDER / "walk.lua"), "BENCH_STREAMS": str(streams)}
    before, used_before = tcp_counters(), os.times()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    after, used = tcp_counters(), os.times()
    found = re.search(r"RESULT (\{.*\})", done.stdout)
    if found is None:
        message = f"wrk: {done.stdout[-500:]} {done.stderr[-500:]}"
        raise LoadError(message)
    result: dict[str, Any] = json.loads(found[1])
    walk.took(result)
    generator_s = used.children_user + used.children_system - used_before.children_user - used_before.children_system
    return {
        "kind": kind,
        "connections": connections,
        "sessions": walk.sessions,
        **result,
        "accepted_per_s": round((result["requests"] - result["refused"]) / result["seconds"], 1),
        "generator_cores": round(generator_s / result["seconds"], 3),
        "tcp": {name: after[name] - before[name] for name in after},
    }
