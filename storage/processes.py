"""
Which processes are there, told apart for certain. Linux (`/proc`) only.

A process id alone proves nothing: ids are used again. With the kernel's start time beside it, it does. Why not by `psutil`:
`docs/decisions/0004-one-run-and-its-processes.md`.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

_LISTENS: Final = "0A"
"""State of a TCP socket that listens, in the kernel's table."""


_DEAD: Final = frozenset({"Z", "X"})
"""States of those that are dead; zombies only wait for their parent to collect them."""


class ProcessStat(NamedTuple):
    """What `/proc/PID/stat` tells."""

    state: str
    """See `_DEAD`."""
    parent: int
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
    return ProcessStat(state=values[0], parent=int(values[1]), group=int(values[2]), started=int(values[19]))


def name_of(pid: int) -> ProcessName | None:
    """Return the certain name of a process that lives."""
    stat = stat_of(pid)
    return ProcessName(pid, stat.started) if stat and stat.state not in _DEAD else None


def parents() -> dict[ProcessName, int]:
    """Return every process that lives, with the id of its parent."""
    return {
        ProcessName(pid, stat.started): stat.parent for pid in _pids() if (stat := stat_of(pid)) is not None and stat.state not in _DEAD
    }


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
    holders = [pid for pid in _pids() if pid != os.getpid() and _has_open(Path(f"/proc/{pid}/fd"), wanted)]
    return [process for pid in holders if (process := name_of(pid))]


def listener_on(port: int) -> str | None:
    """Return the program that listens on a TCP port of this machine, with its process id; None: nobody, or nobody whom we may see."""
    wanted = {f"socket:[{line[9]}]" for line in _sockets() if line[3] == _LISTENS and int(line[1].rpartition(":")[2], 16) == port}
    for pid in _pids():
        if wanted & _opened(Path(f"/proc/{pid}/fd")):
            with suppress(OSError):
                return f"{Path(f'/proc/{pid}/comm').read_text().strip()}, process {pid}"
    return None


def _pids() -> Iterator[int]:
    yield from (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())


def _opened(descriptors: Path) -> set[str]:
    """Return what a process has open, in the kernel's words; nothing, if we may not look."""
    found = set()
    with suppress(OSError):
        for descriptor in descriptors.iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found


def _sockets() -> Iterator[list[str]]:
    """Yield the columns of the kernel's tables of TCP sockets."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(FileNotFoundError):
            yield from (line.split() for line in table.read_text().splitlines()[1:])


def _has_open(descriptors: Path, wanted: os.stat_result) -> bool:
    with suppress(OSError):
        for descriptor in descriptors.iterdir():
            with suppress(OSError):
                if os.path.samestat(descriptor.stat(), wanted):
                    return True
    return False
