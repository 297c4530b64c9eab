"""
Which processes are there, told apart for certain. Linux (`/proc`) only.

A process id alone proves nothing: ids are used again. With the kernel's start time beside it, it does.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class ProcessStat(NamedTuple):
    """What `/proc/PID/stat` tells."""

    state: str
    """`Z` is a zombie: dead, but not yet buried."""
    group: int
    started: int
    """Kernel ticks since boot."""


class ProcessName(NamedTuple):
    """One process of this boot, and no other."""

    pid: int
    started: int


def stat_of(pid: int) -> ProcessStat | None:
    """Return what the kernel knows of a process; None: there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in brackets and may hold anything, brackets and spaces too.
    values = text.rpartition(")")[2].split()
    return ProcessStat(state=values[0], group=int(values[2]), started=int(values[19]))


def name_of(pid: int) -> ProcessName | None:
    """Return the certain name of a process that lives."""
    stat = stat_of(pid)
    return ProcessName(pid, stat.started) if stat and stat.state != "Z" else None


def is_alive(process: ProcessName) -> bool:
    """Tell whether this very process lives."""
    return name_of(process.pid) == process


def send(process: ProcessName, number: signal.Signals) -> None:
    """Send a signal to this very process, if it lives; to no other that has its id by now."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(process.pid)
        try:
            if is_alive(process):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def holders_of(path: Path) -> list[ProcessName]:
    """Return the processes that have a file open, as far as we may see."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return []
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid() and _has_open(folder / "fd", wanted):
            process = name_of(int(folder.name))
            if process:
                found.append(process)
    return found


def _has_open(descriptors: Path, wanted: os.stat_result) -> bool:
    with suppress(OSError):
        for descriptor in descriptors.iterdir():
            with suppress(OSError):
                if os.path.samestat(descriptor.stat(), wanted):
                    return True
    return False
