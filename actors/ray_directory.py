"""The shell in which the directory lives as a Ray actor. Nothing is decided here: a `Steward` is built, driven and asked. Methods grow as in `ray_actors.py`."""

import asyncio
import os
from collections.abc import Awaitable, Mapping
from typing import Any, Final, NamedTuple

import ray
import structlog

from actors import clock, names
from actors.config import TrackerConfig
from actors.directory.front_door import FrontDoor, probe_of
from actors.directory.plan import PlanRefusedError
from actors.directory.steward import BUSY_ROUND_S, ROUND_S, LeaseLostError, Steward
from actors.health import DirectoryAwayError
from actors.logs import write_plainly
from actors.ray_actors import await_on, create, on, on_head
from actors.ray_shards import RayShards
from actors.tasks import Tasks
from sessions.growing import grows
from storage.journal import DataSetConflictError, JournalError, JournalUnavailableError, WipedError
from storage.redis_journal import RedisJournal

log = structlog.get_logger(__name__)

TAKEN_OVER: Final = "another run of this installation uses the data set now"


@grows
class Answer(NamedTuple):
    """What an operator hears to an order."""

    problem: str | None
    """The line that says why nothing was changed; None: it is kept, and the rounds do the rest."""
    value: object = None
    """What the order itself returns."""


class Directory:
    """One `Steward` as an actor: `actors.names.DIRECTORY`. After its own death Ray starts it anew, with the same `run`."""

    def __init__(self, config: TrackerConfig, run: str) -> None:
        write_plainly()
        self._config = config
        self._shards = RayShards(config)
        probe = probe_of(config.front_door_url) if config.front_door_url else None
        steady = clock.SteadyClock()
        self._steward = Steward(
            journal=RedisJournal(config.journal_url),
            shards=config.shards,
            shards_are_set=config.shards_are_set,
            slots=config.slots,
            instance=config.instance_id,
            run=run,
            port=self._shards,
            clock=steady,
            front_door=FrontDoor(probe, now=steady()),
        )
        self._problem: str | None = None
        self._settled = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._work = Tasks().start(self._run())

    async def settled(self, *_more: object) -> str | None:
        """Return once every slot is served, or with the line that says why that cannot be."""
        await self._settled.wait()
        return self._problem

    async def confirm(self, shard: str, epochs: Mapping[int, int], *_more: object) -> list[int] | None:
        """Say which slots are still a shard's after the journal lost the data set; None: that cannot be said yet."""
        try:
            return await self._steward.confirm(shard, epochs)
        except (DirectoryAwayError, LeaseLostError):
            return None

    async def scale(self, shards: int, *_more: object) -> Answer:
        """Have another number of shards."""
        return await _heard(self._steward.scale(shards))

    async def drain(self, node: str, *_more: object) -> Answer:
        """Have no shard on a node."""
        return await _heard(self._steward.drain(node))

    async def undrain(self, node: str, *_more: object) -> Answer:
        """Let shards live on a node again."""
        return await _heard(self._steward.undrain(node))

    async def rollout(self, *_more: object) -> Answer:
        """Have every shard replaced by a new one."""
        return await _heard(self._steward.rollout())

    @ray.method(concurrency_group="health")
    async def status(self, *_more: object) -> dict[str, object]:
        """Return how the cluster is, for people; `pid` is that of the directory's process."""
        return {**await on(self._loop, self._steward.status), "pid": os.getpid()}

    @ray.method(concurrency_group="health")
    async def stop(self, *_more: object) -> None:
        """Let every shard write what is left, and look after nothing any more."""
        await await_on(self._loop, self._stop())

    async def _stop(self) -> None:
        self._work.cancel()
        await self._shards.stop_all(self._steward.shards())

    async def _run(self) -> None:
        while True:
            try:
                await self._steward.open()
                break
            except (JournalUnavailableError, WipedError) as error:
                log.warning("the journal does not answer: the directory waits", error=str(error))
                await asyncio.sleep(ROUND_S)
            except (LeaseLostError, JournalError) as error:
                # Another cluster's data set, or a server that will not do what it is asked, however often.
                self._give_up(str(error) or TAKEN_OVER)
                return
        while True:
            try:
                busy = await self._steward.look()
            except (LeaseLostError, DataSetConflictError) as error:
                problem = str(error) or TAKEN_OVER
                log.critical("the directory stops, and its shards with it", problem=problem)
                self._give_up(problem)
                await self._shards.kill_all(self._steward.shards())
                return
            if not self._settled.is_set() and self._steward.is_settled():
                self._settled.set()
            await asyncio.sleep(BUSY_ROUND_S if busy else ROUND_S if self._settled.is_set() else ROUND_S / 5)

    def _give_up(self, problem: str) -> None:
        self._problem = problem
        self._settled.set()


def create_directory(config: TrackerConfig, *, run: str) -> Any:  # noqa: ANN401 - Ray makes the methods of handles up
    """Create the directory actor; there must be none yet. Blocks as `create_shard` does. Raises `ValueError` if there is one."""
    return create(Directory, names.DIRECTORY, config, run, groups={"health": 8}, **on_head())


async def _heard(order: Awaitable[object]) -> Answer:
    try:
        return Answer(None, await order)
    except PlanRefusedError as error:
        return Answer(str(error))
    except JournalError:
        return Answer("nothing was changed, because the journal does not answer: try again")
