"""
The one actor that adds up what all shards and replicas counted, and renders it for a scrape.

It asks every shard twice a second, each on its own: one call in flight per shard, so that a dead one delays nobody. What
is added up and how is `metrics.totals`; here is only what Ray needs. Everything runs on one event loop in short
pieces: a scrape never waits for a collection, it shows what is known. After a restart nothing is shown before every slot was heard
of, or a shard must be taken for lost: half of the audience would look like a fall. The counters that come from increments then begin
at zero, once; the ledger's are absolute, and are there again with the last slot. Methods grow as in `ray_actors.py`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable
from datetime import UTC, datetime
from itertools import count
from secrets import token_hex
from typing import Any, Final

import structlog
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError

from actors import clock, names
from actors.config import TrackerConfig
from actors.logs import write_plainly
from actors.ray_actors import create, find_shards, on_head
from actors.tasks import Tasks
from metrics import players
from metrics.collector import render
from metrics.live import Live, News
from metrics.reports import ReplicaReport, ShardReport
from metrics.totals import LOST_S, Totals, Watched
from sessions.errors import InvariantError
from sessions.states import WATCHING

COLLECT_EVERY_S: Final = 0.5
"""Twice a second: a session that expires is to leave what we show within one."""
COLLECTIONS_PER_TICK: Final = 2
"""Peaks have a resolution of one second."""
ANSWERS_WITHIN_S: Final = 0.25
"""How long the sums wait for slow shards; what comes later counts in the next."""
CALL_S_MAX: Final = 30.0
"""After this a call counts as lost; its report will be sent again."""
HEARD_WITHIN_S: Final = LOST_S
"""After a start: slots that were not heard of by then have no owner."""
PATIENCE_S: Final = 2.0
"""How long a question waits for them."""
NEWS_WITHIN_S: Final = 1.5
"""How long a replica's question waits for news; there is some every second."""
LOOK_UP_EVERY_S: Final = 2.0
BIGGEST_STREAMS: Final = 20

_log = structlog.get_logger(__name__)


class Exporter:
    """Adds up what shards and replicas report, and answers scrapes from it. `start` makes it an actor."""

    async def __init__(self, config: TrackerConfig) -> None:  # type: ignore[misc]  # Ray awaits it
        write_plainly()
        self._config = config
        self._now = clock.SteadyClock()
        self._began_at = self._now()
        self._totals = Totals(now=self._began_at, slots=config.slots)
        self._shows_from = clock.monotonic() + HEARD_WITHIN_S
        self._complete = asyncio.Event()
        """Every slot was heard of."""
        self._live = Live(token_hex(4))
        self._news = asyncio.Event()
        """Set, and replaced, by whatever is worth telling."""
        self._told_left_out: set[str] = set()
        self._shards: dict[str, Any] = {}
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._loops = Tasks()
        for loop in (self._collect_forever(), self._look_up_forever()):
            self._loops.start(loop)

    async def ping(self, *_more: object) -> None:
        """Return if the actor is up."""

    async def render(self, openmetrics: bool, *_more: object) -> bytes | None:  # noqa: FBT001 - an actor call, always by keyword or position alone
        """Return the body of a scrape, OpenMetrics 1.0 or Prometheus text 0.0.4; None: not everybody was heard yet."""
        if not await self._has_heard_all():
            return None
        return render(self._totals, openmetrics=openmetrics, now=self._now())

    async def concurrency(self, stream_id: str | None = None, *_more: object) -> dict[str, object] | None:
        """
        Return who is watching now: one stream, or all together with the biggest streams. None: not everybody was heard yet.

        `peak` is the greatest since `peaks_since`, when this exporter began. Ready for JSON but for its times, which are
        `datetime` in UTC.
        """
        if not await self._has_heard_all():
            return None
        totals, now = self._totals, self._now()
        answer: dict[str, object] = {"peaks_since": _moment(self._began_at), "age_seconds": round(totals.age_s(now=now), 3)}
        if stream_id is not None:
            return {"stream_id": stream_id, **_shown(totals.watched(stream_id)), **answer}
        streams = [{"stream_id": label, **_shown(watched)} for label, watched in totals.biggest(BIGGEST_STREAMS)]
        return {"stream_id": None, **_shown(totals.everyone()), **answer, "streams": streams}

    async def players(self, *_more: object) -> list[dict[str, object]] | None:
        """Return the players that report by themselves, ready for JSON. None: not everybody was heard yet."""
        return players.told(self._totals) if await self._has_heard_all() else None

    async def live(self, life: str = "", version: int = 0, newest: int = 0, *_more: object) -> News | None:
        """
        Return what is new on the live page, as soon as there is something. None: not everybody was heard yet.

        `life`, `version`, `newest`: of the last news that the caller has, and of the last second in it.
        """
        if not await self._has_heard_all():
            return None
        if (life, version) == (self._live.life, self._live.version):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NEWS_WITHIN_S):
                    await self._news.wait()
        return self._live.news(self._totals, now=self._now(), life=life, newest=newest)

    async def report(self, report: ReplicaReport, *_more: object) -> int:
        """
        Add what an ingest replica counted; return the number of its last report that was dealt with.

        A report that cannot be right is dropped and acknowledged: offered for ever, it would hold back all that come after it.
        """
        try:
            return self._totals.add_replica(report, now=self._now())
        except InvariantError as error:
            _log.error("replica's report dropped", replica=report.replica, number=report.number, error=str(error))
            return report.number
        finally:
            self._tell_left_out()

    async def _has_heard_all(self) -> bool:
        """Wait a moment until every slot was heard of. After the first seconds, what is known is shown, even if slots are missing."""
        left_s = self._shows_from - clock.monotonic()
        if left_s > 0 and not self._complete.is_set():
            try:
                async with asyncio.timeout(min(left_s, PATIENCE_S)):
                    await self._complete.wait()
            except TimeoutError:
                return clock.monotonic() >= self._shows_from
        return True

    async def _collect_forever(self) -> None:
        due_at = clock.monotonic()
        for collection in count():
            for name, shard in self._shards.items():
                if name not in self._calls:
                    self._calls[name] = asyncio.create_task(self._collect(name, shard))
            if self._calls:
                await asyncio.wait(set(self._calls.values()), timeout=ANSWERS_WITHIN_S)
            closes_second = collection % COLLECTIONS_PER_TICK == 0
            if closes_second:
                self._totals.tick(now=self._now())
            self._look(closes_second=closes_second)
            due_at = max(due_at + COLLECT_EVERY_S, clock.monotonic())
            await asyncio.sleep(due_at - clock.monotonic())

    def _look(self, *, closes_second: bool) -> None:
        """Keep what the live page shows; before everybody was heard there is nothing to keep."""
        shows = self._complete.is_set() or clock.monotonic() >= self._shows_from
        if shows and self._live.look(self._totals, now=self._now(), closes_second=closes_second):
            told, self._news = self._news, asyncio.Event()
            told.set()

    async def _collect(self, name: str, shard: Any) -> None:  # noqa: ANN401 - Ray makes the methods of handles up
        try:
            call: Awaitable[ShardReport] = shard.collect.remote(self._totals.known(name))
            self._totals.add_shard(await asyncio.wait_for(call, CALL_S_MAX), now=self._now())
            self._tell_left_out()
            if self._totals.ledgers.complete:
                self._complete.set()
        except ActorDiedError:
            self._shards.pop(name, None)
        except (RayError, TimeoutError) as error:
            _log.warning("shard gave no report", shard=name, error=type(error).__name__)
        except InvariantError as error:
            # Refused whole, and asked for again: its gauges grow old, which `headcount_snapshot_age_seconds` shows.
            _log.error("shard's report refused", shard=name, error=str(error))
        finally:
            del self._calls[name]

    def _tell_left_out(self) -> None:
        """Say once of each name that a newer build counts it, and that it is not shown here."""
        for name in sorted(self._totals.left_out - self._told_left_out):
            _log.warning("what a newer build counts is not shown: this exporter does not know it", name=name)
        self._told_left_out |= self._totals.left_out

    async def _look_up_forever(self) -> None:
        while True:
            try:
                self._shards = await asyncio.to_thread(find_shards, self._config.namespace, dict(self._shards))
                # A shard that died keeps its name, and starts again under it: one without a name has left.
                for left in self._totals.reporting() - self._shards.keys():
                    self._totals.forget_shard(left)
            except (RayError, ValueError) as error:
                _log.warning("cannot look the shards up", error=type(error).__name__)
            await asyncio.sleep(LOOK_UP_EVERY_S if self._shards else LOOK_UP_EVERY_S / 10)


def start(config: TrackerConfig) -> ActorHandle[Any]:
    """Create the exporter of this namespace; there must be none yet."""
    handle: ActorHandle[Any] = create(Exporter, names.EXPORTER, config, groups={}, **on_head())
    return handle


def _shown(watched: Watched) -> dict[str, object]:
    return {
        "sessions": watched.sessions,
        "watching": sum(watched.states[state] for state in WATCHING),
        "states": dict(watched.states),
        "peak_60s": watched.recent_peak,
        "peak": None if watched.peak is None else {"sessions": watched.peak.sessions, "at": _moment(watched.peak.at)},
    }


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
