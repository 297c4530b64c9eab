"""
How the directory reaches shards, and the nodes they live on, over Ray.

Decides how long each of them may take to answer, and what is made of no answer: none of it is an error. What is asked of Ray's head
blocks, for a minute if the head is away: it is asked in threads, and the rounds go on without it.
"""

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

import ray
import structlog
from ray.exceptions import ActorDiedError, RayError

from actors import names
from actors.config import TrackerConfig
from actors.directory.placement import Node
from actors.health import Health
from actors.ray_actors import HEAD_MARK, create_shard, find_shards

log = structlog.get_logger(__name__)
T = TypeVar("T")

CALL_S: Final = 1.0
"""How long a shard may take to say how it is, or to hear an order."""
RELEASE_S: Final = 5.0
GONE_LOOK_S: Final = 0.05
GONE_LOOKS: Final = 80
"""How often, and how many times, to look whether an actor that was killed is gone."""
SHARDS_MARK: Final = "headcount_shards"
"""A resource of Ray's. If any node has it, only those that do take shards; else all that have processors do."""


class RayShards:
    """`steward.Shards`, over Ray."""

    def __init__(self, config: TrackerConfig) -> None:
        self._config = config
        self._handles: dict[str, Any] = {}
        self._nodes: Sequence[Node] = ()
        self._asking: dict[str, asyncio.Task[Any]] = {}

    async def watch(self, shard: str, *, front_door_up: bool, restarts: int) -> Health | None:
        """Return how it is; None: no answer in time."""
        health: Health | None = await self._call(shard, "watch", CALL_S, front_door_up, restarts)
        return health

    async def own(self, shard: str, expected: Mapping[int, int], *, after_wipe: bool) -> None:
        """Order it to take slots."""
        await self._call(shard, "own", CALL_S, expected, after_wipe)

    async def release(self, shard: str, slots: Sequence[int]) -> None:
        """Order it to give slots up, and wait until it has, or for some seconds."""
        await self._call(shard, "release", RELEASE_S, slots)

    async def create(self, shard: str, *, node: str | None) -> None:
        """Create it, unless it is there; `node`: where, if that node can take it. To look is to block, so in a thread."""
        made = await self._asked(f"create {shard}", lambda: _get_or_create(shard, self._config, node), within_s=CALL_S * 5)
        if made is not None:
            self._handles[shard] = made

    async def end(self, shard: str) -> bool:
        """End it for good; True: it is gone, and its name is free."""
        await self._call(shard, "stop", CALL_S * 3)
        gone = await self._asked(f"end {shard}", lambda: _end(shard, self._config.namespace), within_s=CALL_S * 5)
        if gone:
            self._handles.pop(shard, None)
        return bool(gone)

    async def existing(self) -> Collection[str] | None:
        """Return the shards that there are; None: that cannot be said now."""
        found = await self._asked("find shards", lambda: find_shards(self._config.namespace, {}), within_s=CALL_S * 5)
        if found is None:
            return None
        self._handles |= found
        return list(found)

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes that live, as far as is known: the head may be away, and the last answer stands then."""
        self._nodes = await self._asked("nodes", _find_nodes, within_s=CALL_S / 2) or self._nodes
        return self._nodes

    async def _asked(self, what: str, ask: Callable[[], T], *, within_s: float) -> T | None:
        """
        Ask Ray's head, in a thread, because that blocks; None: no answer in time, or none that helps.

        One thread for each question: while the head is away the answer may take a minute, and threads would pile up.
        """
        asking = self._asking.get(what)
        if asking is None:
            asking = self._asking[what] = asyncio.create_task(asyncio.to_thread(ask))
            asking.add_done_callback(lambda _: self._asking.pop(what, None))
        try:
            answer: T = await asyncio.wait_for(asyncio.shield(asking), within_s)
        except (RayError, ValueError, TimeoutError) as error:
            log.warning("Ray gave no answer", asked=what, error=type(error).__name__)
            return None
        return answer

    async def stop_all(self, shards: Sequence[str]) -> None:
        """Let every shard write what is left."""
        await asyncio.gather(*(self._call(shard, "stop", CALL_S * 3) for shard in shards))

    async def kill_all(self, shards: Sequence[str]) -> None:
        """End every shard for good."""
        for shard in shards:
            if shard in self._handles:
                await asyncio.to_thread(ray.kill, self._handles[shard])

    async def _call(self, shard: str, method: str, within_s: float, *arguments: object) -> Any:  # noqa: ANN401 - as the method says
        handle = self._handles.get(shard)
        if handle is None:
            return None
        try:
            return await asyncio.wait_for(getattr(handle, method).remote(*arguments), within_s)
        except ActorDiedError:
            self._handles.pop(shard, None)
        except (RayError, TimeoutError) as error:
            log.warning("a shard does not answer", shard=shard, method=method, error=type(error).__name__)
        return None


def _get_or_create(shard: str, config: TrackerConfig, node: str | None) -> Any:  # noqa: ANN401 - Ray makes the methods of handles up
    try:
        return ray.get_actor(shard, namespace=config.namespace)
    except ValueError:
        log.info("creating a shard", shard=shard, node=node)
        return create_shard(config, int(shard.removeprefix(names.SHARD_PREFIX)), node=node)


def _end(shard: str, namespace: str) -> bool:
    """Kill an actor, and wait until its name is free; True: it is."""
    pause = threading.Event()
    for _ in range(GONE_LOOKS):
        try:
            ray.kill(ray.get_actor(shard, namespace=namespace))
        except ValueError:
            return True
        pause.wait(GONE_LOOK_S)
    return False


def _find_nodes() -> list[Node]:
    living = [node for node in ray.nodes() if node["Alive"]]
    marked = any(node["Resources"].get(SHARDS_MARK) for node in living)
    mark = SHARDS_MARK if marked else "CPU"
    return [
        Node(
            node["NodeID"],
            node["NodeManagerAddress"],
            takes_shards=node["Resources"].get(mark, 0) > 0,
            is_head=HEAD_MARK in node["Resources"],
        )
        for node in sorted(living, key=lambda node: str(node["NodeID"]))
    ]
