"""
The shells in which shards and the directory live as Ray actors, and how the directory reaches shards.

Nothing is decided here: `Shard` and `Steward` are built, fed and ended. Two things of Ray shape it. Methods of a concurrency group run
on an event loop, and in a thread, of their own: they hop to the main one, where all state lives (`_on`). And a class is pickled by
reference only if its module's name for it is the class itself: so it is wrapped where it is created (`shard_class`), not by a decorator.
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

from actors import clock, names
from actors.channel import Address, Listener
from actors.config import TrackerConfig
from actors.front_door import FrontDoor, probe_of
from actors.health import Health
from actors.logs import write_plainly
from actors.shard import Shard
from actors.steward import ROUND_S, LeaseLostError, Steward
from actors.writing import DirectoryAwayError
from metrics.reports import Known, ShardReport
from sessions.changes import Policy
from storage.journal import DataSetConflictError, JournalUnavailableError
from storage.redis_journal import RedisJournal

log = structlog.get_logger(__name__)
T = TypeVar("T")

CALL_S: Final = 1.0
"""How long a shard may take to say how it is, or to hear an order."""
RELEASE_S: Final = 5.0
CONFIRM_S: Final = 5.0
CALLS_MAX: Final = 1_000
"""Calls of replicas in a shard at once; each carries a batch, so this is no bound on requests."""
RAY_ENCRYPTS: Final = os.environ.get("RAY_USE_TLS", "0") in {"1", "true"}
_REMOTE: Final[Any] = ray.remote
"""Its type hints leave concurrency groups out."""
OPTIONS: Final[dict[str, Any]] = {
    "num_cpus": 0,
    "max_restarts": -1,
    "max_task_retries": 0,
    "enable_task_events": False,
}


class SessionShard:
    """One `Shard` as an actor: `actors.names.shard_name(index)`."""

    def __init__(self, config: TrackerConfig, index: int) -> None:
        write_plainly()
        _calm_collector()
        self._loop = asyncio.get_running_loop()
        self._namespace = config.namespace
        self._directory: Any = None
        self._shard = Shard(
            names.shard_name(index),
            incarnation=token_hex(8),
            policy=Policy(config.heartbeat_interval_s, config.expiry_intervals, config.revive_window_s),
            journal=RedisJournal(config.journal_url),
            clock=clock.now,
            monotonic=clock.monotonic,
            confirm=self._confirm,
            end=_end_process,
        )
        self._shard.start()
        self._listener = Listener(self._shard.receive)

    async def channel(self) -> Address | None:
        """Return where replicas may send batches without a call of Ray's; None: Ray encrypts, and that would not be encrypted."""
        return None if RAY_ENCRYPTS else await self._listener.address(ray.util.get_node_ip_address())

    async def receive(self, batch: bytes) -> bytes:
        """Apply a batch of requests and answer once it is durable (`actors/messages.py`)."""
        return await self._shard.receive(batch)

    async def describe(self, slot: int, session_id: str) -> bytes | None:
        """Return one session with its story as JSON; None: it is not here."""
        return self._shard.describe(slot, session_id)

    @ray.method(concurrency_group="collection")
    async def collect(self, known: Known) -> ShardReport:
        """Report to the exporter what it does not know yet."""
        return await _on(self._loop, lambda: self._shard.collect(known))

    @ray.method(concurrency_group="health")
    async def watch(self, front_door_up: bool, restarts: int) -> Health:  # noqa: FBT001 - Ray's types know no keyword-only arguments
        """Tell the directory how we are."""
        return await _on(self._loop, lambda: self._shard.watch(front_door_up=front_door_up, restarts=restarts))

    @ray.method(concurrency_group="health")
    async def own(self, expected: Mapping[int, int], after_wipe: bool) -> None:  # noqa: FBT001 - as above
        """Begin to take slots."""
        await _on(self._loop, lambda: self._shard.own(expected, after_wipe=after_wipe))

    @ray.method(concurrency_group="health")
    async def release(self, slots: Sequence[int]) -> None:
        """Give slots up."""
        await _await_on(self._loop, self._shard.release(slots))

    @ray.method(concurrency_group="health")
    async def status(self) -> dict[str, object]:
        """Return how the shard is, for people; `pid` is that of its process."""
        return {**await _on(self._loop, self._shard.status), "pid": os.getpid()}

    @ray.method(concurrency_group="health")
    async def stop(self) -> None:
        """Write what is left; ready to be killed once this returns."""
        await _await_on(self._loop, self._shard.stop())

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


class Directory:
    """One `Steward` as an actor: `actors.names.DIRECTORY`. After its own death Ray starts it anew, with the same `run`."""

    def __init__(self, config: TrackerConfig, run: str) -> None:
        write_plainly()
        self._config = config
        self._shards = RayShards(config)
        probe = probe_of(config.front_door_url) if config.front_door_url else None
        self._steward = Steward(
            journal=RedisJournal(config.journal_url),
            shards=[names.shard_name(index) for index in range(config.shards)],
            slots=config.slots,
            instance=config.instance_id,
            run=run,
            port=self._shards,
            clock=clock.now,
            front_door=FrontDoor(probe, now=clock.now()),
        )
        self._problem: str | None = None
        self._settled = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._work = self._loop.create_task(self._run())
        self._work.add_done_callback(_end_with)

    async def settled(self) -> str | None:
        """Return once every slot is served, or with the line that says why that cannot be."""
        await self._settled.wait()
        return self._problem

    async def confirm(self, shard: str, epochs: Mapping[int, int]) -> list[int] | None:
        """Say which slots are still a shard's after the journal lost the data set; None: that cannot be said yet."""
        try:
            return await self._steward.confirm(shard, epochs)
        except (DirectoryAwayError, LeaseLostError):
            return None

    @ray.method(concurrency_group="health")
    async def status(self) -> dict[str, object]:
        """Return how the cluster is, for people."""
        return await _on(self._loop, self._steward.status)

    @ray.method(concurrency_group="health")
    async def stop(self) -> None:
        """Let every shard write what is left, and look after nothing any more."""
        await _await_on(self._loop, self._stop())

    async def _stop(self) -> None:
        self._work.cancel()
        await self._shards.stop_all([names.shard_name(index) for index in range(self._config.shards)])

    async def _run(self) -> None:
        while True:
            try:
                await self._steward.open()
                break
            except JournalUnavailableError as error:
                log.warning("the journal does not answer: the directory waits", error=str(error))
                await asyncio.sleep(ROUND_S)
            except DataSetConflictError as error:
                self._give_up(str(error))
                return
        while True:
            try:
                again_at_once = await self._steward.look()
            except (LeaseLostError, DataSetConflictError) as error:
                problem = str(error) or "another run of this installation has taken the data set over"
                log.critical("the directory stops, and its shards with it", problem=problem)
                self._give_up(problem)
                await self._shards.kill_all([names.shard_name(index) for index in range(self._config.shards)])
                return
            if not self._settled.is_set() and self._steward.is_settled():
                self._settled.set()
            if not again_at_once:
                await asyncio.sleep(ROUND_S if self._settled.is_set() else ROUND_S / 5)

    def _give_up(self, problem: str) -> None:
        self._problem = problem
        self._settled.set()


class RayShards:
    """`steward.Shards`, over Ray."""

    def __init__(self, config: TrackerConfig) -> None:
        self._config = config
        self._handles: dict[str, Any] = {}

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

    async def create(self, shard: str) -> None:
        """Create it, unless it is there; to look is to block, so in a thread."""
        try:
            async with asyncio.timeout(CALL_S * 5):
                self._handles[shard] = await asyncio.to_thread(_get_or_create, shard, self._config)
        except (RayError, ValueError, TimeoutError) as error:
            log.warning("a shard cannot be created", shard=shard, error=type(error).__name__)

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


def create_shard(config: TrackerConfig, index: int) -> Any:  # noqa: ANN401 - Ray makes the methods of handles up
    """Create a shard actor. Blocks for as long as Ray takes to register its name."""
    actor = _REMOTE(concurrency_groups={"health": 16, "collection": 4}, max_concurrency=CALLS_MAX, **OPTIONS)(SessionShard)
    return actor.options(name=names.shard_name(index), namespace=config.namespace, lifetime="detached").remote(config, index)


def create_directory(config: TrackerConfig, *, run: str) -> Any:  # noqa: ANN401 - Ray makes the methods of handles up
    """Create the directory actor; there must be none yet. Blocks as `create_shard` does. Raises `ValueError` if there is one."""
    actor = _REMOTE(concurrency_groups={"health": 8}, max_concurrency=CALLS_MAX, **OPTIONS)(Directory)
    return actor.options(name=names.DIRECTORY, namespace=config.namespace, lifetime="detached").remote(config, run)


def _get_or_create(shard: str, config: TrackerConfig) -> Any:  # noqa: ANN401 - Ray makes the methods of handles up
    try:
        return ray.get_actor(shard, namespace=config.namespace)
    except ValueError:
        log.info("creating a shard", shard=shard)
        return create_shard(config, int(shard.removeprefix(names.SHARD_PREFIX)))


async def _on(loop: asyncio.AbstractEventLoop, look: Callable[[], T]) -> T:
    """Call a function on the actor's main loop, from the loop of a concurrency group."""

    async def looking() -> T:
        return look()

    return await _await_on(loop, looking())


async def _await_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


def _calm_collector() -> None:
    # A million sessions are no garbage, and to look through them takes a second that players wait for. The youngest two generations are
    # collected as ever; the oldest practically never: what lives long here is freed by its reference count.
    gc.freeze()
    gc.set_threshold(20_000, 2, 100_000)


def _end_process(problem: BaseException) -> None:
    """End this process without another word: Ray starts the actor anew."""
    log.critical("ending this process", problem=repr(problem))
    os._exit(1)


def _end_with(work: "asyncio.Task[None]") -> None:
    if not work.cancelled() and (problem := work.exception()) is not None:
        _end_process(problem)
