"""
The local Ray and Serve of one `headcount up`, as their driver starts and ends them.

It knows Ray; of the tracker only the application that it is handed. Its environment is made before (`ray_run.py`): Ray reads it when it is
imported.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from serve_app.machine import ray_run
from serve_app.machine.actors_config import NAMESPACE
from serve_app.settings import Settings

if TYPE_CHECKING:
    from ray.serve import Application

APPLICATION: Final = "headcount"

_LOGICAL_CPUS: Final = 16
"""What Ray schedules by; our actors ask for none, so it only has to be more than Serve's own."""
_OBJECT_STORE_BYTES: Final = 100 * 1024 * 1024


class ClusterError(Exception):
    """Ray or Serve did not start; the message is one line for the operator."""


class Cluster:
    """One run's Ray and Serve. The kernel ends Ray's processes with the *thread* that started them: it must stay."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder

    def start_ray(self) -> str:
        """Start Ray on this machine and connect to it; about 4 s. Return its address. Raises `ClusterError`."""
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
                _temp_dir=str(self._folder / "ray"),  # Ray opens this one to everybody; ours around it is private
            )
        except Exception as error:  # Ray raises the bare class for most of what can go wrong
            raise self._failure("Ray does not start", error) from error
        return str(ray.get_runtime_context().gcs_address)

    def start_serve(self) -> None:
        """Start Serve's controller and HAProxy; about 3 s. Raises `ClusterError`."""
        import ray
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
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

    def stop_serve(self) -> None:
        """End the ingress: from now on nothing comes in. About 1 s."""
        from ray import serve

        serve.shutdown()

    def stop_ray(self) -> None:
        """End Ray. About 1 s."""
        import ray

        ray.shutdown()

    def _failure(self, what: str, error: Exception) -> ClusterError:
        """Return what to tell the operator. Ray's logs are kept in the data folder: the temporary one goes with the run."""
        kept = ray_run.keep_logs(self._folder, self._settings.data_dir)
        return ClusterError(f"{what}: {_last_line(error)} (Ray's logs: {kept})")


def _last_line(error: BaseException) -> str:
    """Return the line of a (remote) error that says what happened."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
