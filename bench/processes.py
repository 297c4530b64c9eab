"""
What a program's processes use: processor time and memory, added up by what each process is.

A program is the tree below its first process, and whoever carries a mark in its environment (a process whose parent died
belongs to nobody's tree). Linux (`/proc`) only.
"""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

MARK: Final = "BENCH_RUN"
"""In the environment of whatever a benchmark starts: an id of that start."""
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

_KINDS: Final = (
    ("ServeReplica", "replicas"),
    ("HAProxyManager", "rest of Ray"),
    ("haproxy", "haproxy"),
    ("SessionShard", "shards"),
    ("valkey", "valkey"),
    ("Exporter", "exporter"),
    ("Directory", "directory"),
    ("ServeController", "serve controller"),
    ("ProxyActor", "serve proxy"),
    ("headcount up", "up"),
    ("machine.driver", "up"),
    ("nginx", "nginx"),
    ("multiprocessing", "workers"),
    ("ray", "rest of Ray"),
)
"""What stands in a process's title, and what we call it; the first that fits. Anything else is `other`."""


def kind_of(title: str) -> str:
    """Say what a process is by its title."""
    return next((kind for word, kind in _KINDS if word in title), "other")


def family(root: int, *, mark: str) -> dict[int, str]:
    """Return the living processes of a program with what each is: below `root`, or marked."""
    parents, found = {}, {root}
    needle = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError):
                pid = int(folder.name)
                parents[pid] = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                if needle in (folder / "environ").read_bytes().split(b"\0"):
                    found.add(pid)
    grown = True
    while grown:
        below = {pid for pid, parent in parents.items() if parent in found} - found
        found |= below
        grown = bool(below)
    titles = {}
    for pid in found:
        with suppress(OSError):
            titles[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return {pid: kind_of(title) for pid, title in titles.items() if title}


def cpu_s(pids: dict[int, str]) -> Counter[str]:
    """Return the processor seconds that processes have used so far, by kind; children that ended and were waited for are in."""
    spent: Counter[str] = Counter()
    for pid, kind in pids.items():
        with suppress(OSError):
            values = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            spent[kind] += sum(int(value) for value in values[11:15]) / TICKS_PER_S
    return spent


def threads_cpu_s(pid: int) -> dict[int, tuple[str, float]]:
    """Return the processor seconds of each thread of a process, with its name."""
    spent = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            text = (folder / "stat").read_text(errors="replace")
            values = text.rpartition(")")[2].split()
            spent[int(folder.name)] = (text.partition("(")[2].rpartition(")")[0], (int(values[11]) + int(values[12])) / TICKS_PER_S)
    return spent


def memory_bytes(pids: dict[int, str]) -> Counter[str]:
    """Return the proportional set size by kind: memory that processes share is divided among them."""
    used: Counter[str] = Counter()
    for pid, kind in pids.items():
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    used[kind] += int(line.split()[1]) * 1024
    return used
