"""
The one place that speaks to our actors over Ray, and knows in how many ways that can fail.

Decides how long a call may take and when a handle is looked up again. Whatever goes wrong becomes `ActorAwayError`: the
callers decide what then. It does not know what the calls mean. Batches have a way of their own (`lines.py`), and take this one if need be.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, Protocol

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, PendingCallsLimitExceeded, RayError

CALL_S: Final = 4.0
"""How long one batch may take. The shard answers sooner if its journal does not."""
LOOK_UP_S: Final = 2.0
"""How long a caller waits for a look-up, which itself may block for a minute."""


class ActorAwayError(Exception):
    """An actor gave no answer in time."""


class ActorGoneError(ActorAwayError):
    """The actor is dead for good. Another may have its name: whoever asks again reaches that one."""


class Call(Protocol):
    """`Actors.call`."""

    def __call__(self, name: str, method: str, *arguments: object, within_s: float) -> Awaitable[Any]:
        """Call a method of a named actor. Raises `ActorAwayError`."""


class Actors:
    """Handles of named actors, looked up when first needed and again when they died. Belongs to one event loop."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._handles: dict[str, ActorHandle[Any]] = {}
        self._lookups: dict[str, asyncio.Task[ActorHandle[Any]]] = {}

    async def call(self, name: str, method: str, *arguments: object, within_s: float) -> Any:  # noqa: ANN401 - as the method says
        """Call a method of a named actor. Raises `ActorAwayError`; it may or may not have run."""
        handle = self._handles.get(name) or await self._look_up(name)
        asked = getattr(handle, method, None)
        if asked is None:
            # While one build follows another; a handle knows the methods that the actor had when it was looked up.
            self._handles.pop(name, None)
            msg = f"{name} is of an older build, and does not know {method}"
            raise ActorAwayError(msg)
        try:
            async with asyncio.timeout(within_s):
                return await asked.remote(*arguments)
        except TimeoutError:
            msg = f"{name} did not answer {method} within {within_s} s"
            raise ActorAwayError(msg) from None
        except (ActorUnavailableError, PendingCallsLimitExceeded) as error:
            # The handle stays good: a restarted actor answers to it.
            raise ActorAwayError(_brief(name, error)) from error
        except RayError as error:
            self._handles.pop(name, None)
            raise ActorGoneError(_brief(name, error)) from error

    async def _look_up(self, name: str) -> ActorHandle[Any]:
        lookup = self._lookups.get(name)
        if lookup is None:
            # In a thread, because it blocks; one per name, because threads that wait pile up.
            lookup = asyncio.create_task(asyncio.to_thread(ray.get_actor, name, namespace=self._namespace))
            lookup.add_done_callback(lambda done: self._looked_up(name, done))
            self._lookups[name] = lookup
        try:
            return await asyncio.wait_for(asyncio.shield(lookup), LOOK_UP_S)
        except (ValueError, TimeoutError, RayError) as error:
            msg = f"{name} cannot be found: {type(error).__name__}"
            raise ActorAwayError(msg) from error

    def _looked_up(self, name: str, lookup: asyncio.Task[ActorHandle[Any]]) -> None:
        del self._lookups[name]
        if not lookup.cancelled() and lookup.exception() is None:
            self._handles[name] = lookup.result()


def _brief(name: str, error: RayError) -> str:
    return f"{name}: {type(error).__name__}"
