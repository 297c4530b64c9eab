"""
The way from another process to the directory of a running tracker: over Ray, with Ray's token.

Decides which Ray is meant: the one that `headcount up` started on the data folder; where there is none, the one that
`RAY_ADDRESS` names. It does not know what is asked for.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from actors import names
from serve_app.machine import data_folder, ray_run, runs
from serve_app.machine.actors_config import NAMESPACE
from serve_app.settings import Settings, typed

ANSWER_S: Final = 5.0
ADDRESS_VARIABLE: Final = "RAY_ADDRESS"

Status = Mapping[str, Any]


class ReachError(Exception):
    """It cannot be asked for now, or was refused; the message is one line."""


class Directory(Protocol):
    """What an operator may ask. All raise `ReachError`."""

    def order(self, what: str, *arguments: object) -> object:
        """Ask for something; return what came of it."""

    def status(self) -> Status:
        """Return how the cluster is."""

    def renew(self) -> None:
        """End the directory's own process; Ray starts it anew, with the installed code."""


class RayDirectory:
    """The directory actor."""

    def __init__(self, handle: Any) -> None:  # noqa: ANN401 - Ray makes the methods of handles up
        self._handle = handle

    def order(self, what: str, *arguments: object) -> object:
        """Ask for something; return what came of it. Raises `ReachError` with the line that says why not."""
        answer = self._ask(what, *arguments)
        if answer.problem is not None:
            raise ReachError(str(answer.problem))
        value: object = answer.value
        return value

    def status(self) -> Status:
        """Return how the cluster is. Raises `ReachError`."""
        status: Status = self._ask("status")
        return status

    def renew(self) -> None:
        """End the directory's own process; Ray starts it anew, with the installed code. Nobody needs it meanwhile."""
        import ray  # noqa: PLC0415 - reads its environment when it is imported

        ray.kill(self._handle, no_restart=False)

    def _ask(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - as the method says
        import ray  # noqa: PLC0415 - reads its environment when it is imported

        try:
            return ray.get(getattr(self._handle, method).remote(*arguments), timeout=ANSWER_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            message = f"the directory does not answer ({type(error).__name__})"
            raise ReachError(message) from None


@contextmanager
def directory(settings: Settings) -> Iterator[Directory]:
    """Connect to the tracker that runs, and leave it as it was. Raises `ReachError`."""
    record = runs.load(settings.data_dir)
    if record is not None and record.address and runs.survivors(record):
        os.environ.update(ray_run.guest_variables(Path(record.folder)))
        address = record.address
    elif process := data_folder.holder(settings.data_dir):
        message = f"headcount is up on {settings.data_dir} (process {process}), and is still starting: ask again in some seconds"
        raise ReachError(message)
    elif not (address := os.environ.get(ADDRESS_VARIABLE, "")):
        message = f"headcount is not up on {settings.data_dir}: start it with {typed('up')}. On a cluster, run this on one of its nodes, with {ADDRESS_VARIABLE}=auto"
        raise ReachError(message)
    import ray  # noqa: PLC0415 - reads its environment when it is imported

    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
        message = f"Ray at {address} cannot be reached: {str(error).splitlines()[0]}"
        raise ReachError(message) from None
    try:
        try:
            handle = ray.get_actor(names.DIRECTORY, namespace=NAMESPACE)
        except ValueError:
            raise ReachError("Ray runs, but the tracker's directory does not: is it still starting?") from None
        yield RayDirectory(handle)
    finally:
        ray.shutdown()
