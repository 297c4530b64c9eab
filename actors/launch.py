"""
Starting and ending the actors of one namespace, from outside: both block.

Decides what a start waits for (every slot is served) and what an end may take. It does not look after anything: the
directory actor does (`ray_directory.Directory`, and what it is made of in `actors/directory/`).
"""

from concurrent.futures import Future, ThreadPoolExecutor
from secrets import token_hex
from typing import Any, Final, TypeVar

import ray
import structlog
from ray.exceptions import GetTimeoutError, RayError

from actors import exporter, names
from actors.config import TrackerConfig
from actors.ray_directory import create_directory

log = structlog.get_logger(__name__)
T = TypeVar("T")

LAUNCH_S: Final = 60.0
"""How long a start may take; a million sessions load in some 15 s."""
STOP_S: Final = 3.0
"""How long shards may take to write what is left."""


class LaunchError(Exception):
    """The actors could not be started; the message is one line for whoever started them."""


def launch(config: TrackerConfig, *, within_s: float = LAUNCH_S) -> None:
    """
    Create the directory (which creates the shards) and the exporter, and return once every slot is served.

    Ray must be initialised. Raises `LaunchError`.
    """
    try:
        directory = create_directory(config, run=token_hex(8))
    except ValueError as error:
        raise LaunchError(f"a directory is running in namespace {config.namespace} already") from error
    try:
        exporter.start(config)
    except ValueError as error:
        raise LaunchError(f"an exporter is running in namespace {config.namespace} already") from error
    try:
        problem = ray.get(directory.settled.remote(), timeout=within_s)
    except GetTimeoutError:
        raise LaunchError(f"not every slot is served after {within_s:.0f} s: {_state_of(directory)}") from None
    except RayError as error:
        raise LaunchError(f"the directory died: {type(error).__name__}") from error
    if problem is not None:
        raise LaunchError(problem)


def shutdown(namespace: str) -> None:
    """Let the shards write what is left, and end all actors of the namespace; takes 4 s at most. Nothing there is no error."""
    pool = ThreadPoolExecutor(thread_name_prefix="headcount-shutdown")
    try:
        ours = _within(pool.submit(_find, namespace), 0.5) or {}
        directory = ours.get(names.DIRECTORY)
        if directory is not None:
            _within(pool.submit(_stop, directory), STOP_S)
        # The directory goes first, or it would create the others again.
        order = sorted(ours, key=lambda name: name != names.DIRECTORY)
        _within(pool.submit(lambda: [ray.kill(ours[name]) for name in order]), 0.5)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _find(namespace: str) -> dict[str, Any]:
    found = {entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True) if entry["namespace"] == namespace}
    ours = {name for name in found if name in (names.DIRECTORY, names.EXPORTER) or name.startswith(names.SHARD_PREFIX)}
    return {name: ray.get_actor(name, namespace=namespace) for name in ours}


def _stop(directory: Any) -> None:  # noqa: ANN401 - Ray makes the methods of handles up
    try:
        ray.get(directory.stop.remote(), timeout=STOP_S)
    except (RayError, GetTimeoutError) as error:
        log.warning("the directory did not stop its shards", error=type(error).__name__)


def _state_of(directory: Any) -> str:  # noqa: ANN401 - Ray makes the methods of handles up
    try:
        status: dict[str, Any] = ray.get(directory.status.remote(), timeout=1.0)
    except (RayError, GetTimeoutError):
        return "the directory does not answer"
    alive = sum(shard["alive"] for shard in status["shards"].values())
    journal = "answers" if status["journal_up"] else "does not answer"
    return f"{status['owned']} of {status['slots']} slots, {alive} of {len(status['shards'])} shards alive, the journal {journal}"


def _within(work: "Future[T]", seconds: float) -> T | None:
    """Return what comes of blocking work in time; None: it did not. Ray's look-ups have no time-out of their own."""
    try:
        return work.result(seconds)
    except TimeoutError:
        return None
    except RayError as error:
        log.warning("an actor could not be ended", error=type(error).__name__)
        return None
