"""
Which processes belong to a run of `headcount up`, and their end.

Ray starts processes that start processes, and a `kill -9` of the first leaves some of the others behind for minutes. A
process belongs to a run if it carries the run's id in its environment, which all of Ray inherits, or if the run's
record names its pid *and* the kernel still gives it the start time recorded there. Two of Ray's agents overwrite their
environment with their title, which is why both are needed. A pid alone is never enough: the kernel gives pids out again.
The embedded journal carries no id and is recorded nowhere here: it answers for itself (`storage/embedded.py`).

Linux only: it reads `/proc`.
"""

import json
import os
import select
import signal
import threading
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from serve_app.settings import RUN_VARIABLE
from sessions.growing import fit, names_of
from storage.processes import ProcessName, is_alive, parents
from storage.whole_file import write_whole

RECORD_NAME: Final = "up.json"
_POLL_MS: Final = 50
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What the next `up` must know to clean up behind this one: kept by name, and grows by fields with a default, as it may be of another build."""

    run: str
    """The id in the environment of this run's processes."""
    boot: str
    """The kernel's boot id: after a reboot start times mean nothing, and nothing of the run is left."""
    folder: str
    """Ray's and HAProxy's temporary folder."""
    address: str = ""
    """Ray's address, once it is up: for tools that look at or break the run."""
    processes: tuple[ProcessName, ...] = ()
    after: str = ""
    """What died, and when, so that everything had to be started again, in words; empty: an operator started it."""
    restart: int = 0
    """Which restart of the last ten minutes that was."""
    ready: bool = False
    """It was, at least once."""


def boot_id() -> str:
    """Return the id of this boot of the kernel."""
    return _BOOT_ID.read_text().strip()


def save(record: RunRecord, data_dir: Path) -> None:
    """Write the record, whole or not at all."""
    write_whole(data_dir / RECORD_NAME, json.dumps(asdict(record)))


def load(data_dir: Path) -> RunRecord | None:
    """Return the record of the run that used this folder last; None if it ended in order, or left no readable one."""
    try:
        values = json.loads((data_dir / RECORD_NAME).read_text())
        values["processes"] = tuple(fit(ProcessName, process) for process in values.get("processes", ()))
        return RunRecord(**{name: values[name] for name in names_of(RunRecord) if name in values})
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None


def forget(data_dir: Path) -> None:
    """Remove the record: the run ended in order."""
    (data_dir / RECORD_NAME).unlink(missing_ok=True)


def _carries(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def survivors(record: RunRecord) -> set[ProcessName]:
    """Return the living processes of a run, and all that they started; never this process."""
    if record.boot != boot_id():
        return set()
    mark = f"{RUN_VARIABLE}={record.run}".encode()
    recorded = set(record.processes)
    everyone = parents()
    children: dict[int, list[ProcessName]] = {}
    for process, parent in everyone.items():
        children.setdefault(parent, []).append(process)
    found: set[ProcessName] = set()
    waiting = [process for process in everyone if process in recorded or _carries(process.pid, mark)]
    while waiting:
        process = waiting.pop()
        if process not in found and process.pid != os.getpid():
            found.add(process)
            waiting.extend(children.get(process.pid, ()))
    return found


def children_named(names: Collection[str], *, of: int) -> dict[str, ProcessName]:
    """Return the living processes that this one (`of`: its id) started and that run one of these programs, by its name."""
    found = {}
    for process, parent in parents().items():
        with suppress(OSError):
            if parent == of and (name := Path(f"/proc/{process.pid}/comm").read_text().strip()) in names:
                found[name] = process
    return found


def kill(processes: Iterable[ProcessName], *, timeout_s: float) -> set[ProcessName]:
    """
    Kill processes with SIGKILL and wait until they are gone; return those that are not after `timeout_s`.

    A descriptor of each process is taken first and its start time compared after that, so that no stranger who
    got the pid meanwhile is ever hit.
    """
    waiting: dict[int, ProcessName] = {}
    poll = select.poll()
    for process in processes:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(process.pid)
            if not is_alive(process):
                os.close(descriptor)
                continue
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            waiting[descriptor] = process
            poll.register(descriptor, select.POLLIN)
    left_ms = timeout_s * 1000
    while waiting and left_ms > 0:
        ended = poll.poll(_POLL_MS)
        for descriptor, _ in ended:
            poll.unregister(descriptor)
            os.close(descriptor)
            del waiting[descriptor]
        left_ms -= 0 if ended else _POLL_MS
    for descriptor in waiting:
        os.close(descriptor)
    return set(waiting.values())


class Recorder:
    """Keeps a run's record up to date while it lives: workers come and go."""

    def __init__(self, record: RunRecord, data_dir: Path, *, interval_s: float = 0.5) -> None:
        self.record = record
        self._data_dir = data_dir
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="run-record", daemon=True)

    def start(self) -> None:
        """Write the first record, and go on writing."""
        save(self.record, self._data_dir)
        self._thread.start()

    def slow_down(self, *, interval_s: float) -> None:
        """Look less often from now on: starting is over."""
        self._interval_s = interval_s

    def note_address(self, address: str) -> None:
        """Record where Ray answers."""
        with self._lock:
            self.record = replace(self.record, address=address)
            save(self.record, self._data_dir)

    def note_ready(self) -> None:
        """Record that players are answered."""
        with self._lock:
            self.record = replace(self.record, ready=True)
            save(self.record, self._data_dir)

    def refresh(self) -> None:
        """Record who lives now."""
        with self._lock:
            living = tuple(sorted(survivors(self.record)))
            if living != self.record.processes:
                self.record = replace(self.record, processes=living)
                save(self.record, self._data_dir)

    def stop(self) -> None:
        """Stop writing; the record stays as it is."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            self.refresh()
