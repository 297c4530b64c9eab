"""
The shell in which a shard lives as a Ray actor, and what it shares with the directory's (`ray_directory.py`).

Nothing is decided here: a `Shard` is built, fed and ended. Two things of Ray shape it. Methods of a concurrency group run
on an event loop, and in a thread, of their own: they hop to the main one, where all state lives (`on`). And a class is pickled by
reference only if its module's name for it is the class itself: so it is wrapped where it is created (`create`), not by a decorator.

What actors call each other with grows as `sessions/growing.py` says. So each method takes `*_more`: what only a newer caller knows to say. An
argument that is added stands before that, with a default.
"""

import asyncio
import gc
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from secrets import token_hex
from typing import Any, Final, TypeVar

import ray
import structlog
from ray.exceptions import ActorDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors import clock, names
from actors.channel import Address, Listener
from actors.config import TrackerConfig
from actors.health import DirectoryAwayError, Health
from actors.logs import write_plainly
from actors.shard.admission import Admission
from actors.shard.shard import Shard
from actors.tasks import end_process
from metrics.reports import Known, ShardReport
from sessions.changes import Policy
from sessions.search import Found, Query
from storage.redis_journal import RedisJournal

log = structlog.get_logger(__name__)
T = TypeVar("T")

CONFIRM_S: Final = 5.0
SHARD_CPUS: Final = 0.001
"""A trace of a processor: nodes without one, as a cluster's head should be, get no shard, and none with shards is taken for idle."""
HEAD_MARK: Final = "node:__internal_head__"
CALLS_MAX: Final = 1_000
"""Calls of replicas in a shard at once; each carries a batch, so this is no bound on requests."""
RAY_ENCRYPTS: Final = os.environ.get("RAY_USE_TLS", "0") in {"1", "true"}
REMOTE: Final[Any] = ray.remote
"""Its type hints leave concurrency groups out."""
OPTIONS: Final[dict[str, Any]] = {
    "num_cpus": 0,
    "max_concurrency": CALLS_MAX,
    "max_restarts": -1,
    "max_task_retries": 0,
    "enable_task_events": False,
}
"""Of every actor of ours."""


class SessionShard:
    """One `Shard` as an actor: `actors.names.shard_name(index)`."""

    def __init__(self, config: TrackerConfig, index: int) -> None:
        write_plainly()
        _calm_collector()
        self._loop = asyncio.get_running_loop()
        self._namespace = config.namespace
        self._directory: Any = None
        self._node = str(ray.get_runtime_context().get_node_id())
        self._shard = Shard(
            names.shard_name(index),
            incarnation=token_hex(8),
            policy=Policy(config.heartbeat_interval_s, config.expiry_intervals, config.revive_window_s),
            journal=RedisJournal(config.journal_url),
            clock=clock.now,
            monotonic=clock.since_boot,
            confirm=self._confirm,
            end=end_process,
            admission=Admission(
                new_per_minute=config.new_sessions_per_minute,
                per_network_per_minute=config.new_pixel_sessions_per_network,
                beacon_bytes_max=config.pixel_megabytes * 1024 * 1024,
            ),
        )
        self._shard.start()
        self._listener = Listener(self._shard.receive)

    async def channel(self, *_more: object) -> Address | None:
        """Return where replicas may send batches without a call of Ray's; None: nowhere, or Ray encrypts, and that would not be encrypted."""
        if RAY_ENCRYPTS:
            return None
        host = ray.util.get_node_ip_address()
        try:
            return await self._listener.address(host)
        except OSError as error:  # the node is known to Ray by an address that is none of its own
            log.warning("no port can be opened here: batches come through Ray", host=host, error=str(error))
            return None

    async def receive(self, batch: bytes, *_more: object) -> bytes:
        """Apply a batch of requests and answer once it is durable (`actors/messages.py`)."""
        return await self._shard.receive(batch)

    async def describe(self, slot: int, session_id: str, *_more: object) -> bytes | None:
        """Return one session with its story as JSON; None: it is not here."""
        return self._shard.describe(slot, session_id)

    async def search(self, query: Query, *_more: object) -> Found | None:
        """Return the sessions here that are looked for; None: too many are looking already."""
        return await self._shard.search(query)

    @ray.method(concurrency_group="collection")
    async def collect(self, known: Known, *_more: object) -> ShardReport:
        """Report to the exporter what it does not know yet."""
        return await on(self._loop, lambda: self._shard.collect(known))

    @ray.method(concurrency_group="health")
    async def watch(self, front_door_up: bool, restarts: int, *_more: object) -> Health:  # noqa: FBT001 - Ray's types know no keyword-only arguments
        """Tell the directory how we are."""
        health = await on(self._loop, lambda: self._shard.watch(front_door_up=front_door_up, restarts=restarts))
        return health._replace(node=self._node)

    @ray.method(concurrency_group="health")
    async def own(self, expected: Mapping[int, int], after_wipe: bool, *_more: object) -> None:  # noqa: FBT001 - as above
        """Begin to take slots."""
        await on(self._loop, lambda: self._shard.own(expected, after_wipe=after_wipe))

    @ray.method(concurrency_group="health")
    async def release(self, slots: Sequence[int], *_more: object) -> None:
        """Give slots up."""
        await await_on(self._loop, self._shard.release(slots))

    @ray.method(concurrency_group="health")
    async def status(self, *_more: object) -> dict[str, object]:
        """Return how the shard is, for people; `pid` is that of its process."""
        return {**await on(self._loop, self._shard.status), "pid": os.getpid()}

    @ray.method(concurrency_group="health")
    async def stop(self, *_more: object) -> None:
        """Write what is left; ready to be killed once this returns."""
        await await_on(self._loop, self._shard.stop())

    async def _confirm(self, shard: str, epochs: Mapping[int, int]) -> Sequence[int]:
        try:
            if self._directory is None:
                self._directory = await asyncio.to_thread(ray.get_actor, names.DIRECTORY, namespace=self._namespace)
            confirmed: list[int] | None = await asyncio.wait_for(self._directory.confirm.remote(shard, epochs), CONFIRM_S)
        except ActorDiedError as error:
            self._directory = None
            raise DirectoryAwayError from error
        except (RayError, ValueError, TimeoutError) as error:
            raise DirectoryAwayError from error
        if confirmed is None:
            raise DirectoryAwayError
        return confirmed


def create_shard(config: TrackerConfig, index: int, *, node: str | None = None) -> Any:  # noqa: ANN401 - Ray makes the methods of handles up
    """Create a shard actor, on a node if that can take it. Blocks for as long as Ray takes to register its name."""
    groups = {"health": 16, "collection": 4}
    where = {} if node is None else {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True)}
    return create(SessionShard, names.shard_name(index), config, index, groups=groups, num_cpus=SHARD_CPUS, **where)


def create(actor: type, name: str, config: TrackerConfig, *more: object, groups: Mapping[str, int], **options: object) -> Any:  # noqa: ANN401 - as above
    """
    Create one of our actors under its name, told `config` and more. Raises `ValueError` if the name is taken.

    `groups`: calls at once by concurrency group. `options` of Ray's, beside those that all of ours have.
    """
    remote = REMOTE(concurrency_groups=dict(groups), **OPTIONS | options)(actor)
    return remote.options(name=name, namespace=config.namespace, lifetime="detached").remote(config, *more)


def find_shards(namespace: str, held: Mapping[str, Any]) -> dict[str, Any]:
    """Return the handles of all living shards, looking only new ones up. Blocks: not for the event loop."""
    found = {
        entry["name"]
        for entry in ray.util.list_named_actors(all_namespaces=True)
        if entry["namespace"] == namespace and entry["name"].startswith(names.SHARD_PREFIX)
    }
    return {name: held.get(name) or ray.get_actor(name, namespace=namespace) for name in sorted(found)}


def on_head() -> dict[str, Any]:
    """
    Return the options that put an actor beside Ray's head.

    Where that dies nothing can be created anyway; a worker that is lost, or stopped, takes nothing along but its shards. By the head's
    own resource, not by its id: a head that comes back has another id, and Ray passes over a node without processors otherwise.
    """
    marked = any(node["Alive"] and HEAD_MARK in node["Resources"] for node in ray.nodes())
    return {"resources": {HEAD_MARK: 0.001}} if marked else {}


async def on(loop: asyncio.AbstractEventLoop, look: Callable[[], T]) -> T:
    """Call a function on the actor's main loop, from the loop of a concurrency group."""

    async def looking() -> T:
        return look()

    return await await_on(loop, looking())


async def await_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine on the actor's main loop, as above."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


def _calm_collector() -> None:
    # A million sessions are no garbage, and to look through them takes a second that players wait for. The youngest two generations are
    # collected as ever; the oldest practically never: what lives long here is freed by its reference count.
    gc.freeze()
    gc.set_threshold(20_000, 2, 100_000)
