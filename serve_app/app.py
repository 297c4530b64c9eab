"""
The Serve application: what one ingest replica is made of, and how Serve is to run it.

Decides which part gets which, and every option of the deployment (`docs/architecture.md`, and what was measured of Ray
Serve). It knows no request. `build` is for whoever deploys: `headcount up`, or `serve deploy` on a cluster.
"""

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog
from ray import get_runtime_context, serve

from actors import clock, names
from actors.config import TrackerConfig
from actors.logs import write_plainly
from actors.tasks import Tasks, end_process
from metrics.reports import ReplicaReport
from serve_app.access.auth import Doorkeeper
from serve_app.access.tokens import Tokens, follow
from serve_app.cmcd.endpoint import Reported
from serve_app.delivery.actor_calls import Actors
from serve_app.delivery.lines import Lines
from serve_app.delivery.mailbox import PostRoom
from serve_app.delivery.own_answers import count_own_answers
from serve_app.delivery.slotmap import SlotMap
from serve_app.delivery.tallies import Tallies, report_forever
from serve_app.operators import openapi
from serve_app.operators.backstage import ANSWER_S, ActorsBackstage
from serve_app.operators.live import Broadcast
from serve_app.operators.ops import operators_app
from serve_app.operators.paths import LIVE_PATH
from serve_app.players.arrival import shared_secret
from serve_app.players.body import Receive
from serve_app.players.ingest import Asgi, Ingest, Rules, Scope, Send
from serve_app.players.routes import CMCD_PATH, EPAS_PATH, PIXEL_PATH, POSTS
from serve_app.players.script import HASHED_PATH, SCRIPT_PATH
from serve_app.settings import Settings
from serve_app.shortcut import Shortcut
from sessions import limits
from storage.redis_journal import RedisJournal

if TYPE_CHECKING:
    from storage.journal import Journal

DEPLOYMENT: Final = "ingest"
ONGOING_REQUESTS_MAX: Final = 2 * limits.OPEN_REQUESTS_MAX
"""More than we take ourselves, so that it is we who shed, in our own words."""
GARBAGE_THRESHOLDS: Final = (20_000, 20, 50)
"""New containers before the collector looks at the youngest; how often that before it looks at the next generation, and the last."""

_log = structlog.get_logger(__name__)


class Replica:
    """One ingest replica as an ASGI application. Made inside its event loop; the parts start with the `lifespan`."""

    def __init__(self, settings: Settings, config: TrackerConfig, tokens: Tokens) -> None:
        _log_past_serve()
        self._journal: Journal = RedisJournal(config.journal_url)
        self._map = SlotMap(self._journal.fences)
        self._actors = Actors(config.namespace)
        self._lines = Lines(self._actors.call)
        self._room = PostRoom(self._map, self._lines.deliver, on_broken=end_process)
        self._tallies = Tallies(uuid4().hex)
        self._background = Tasks()
        self._settings = settings
        self._doorkeeper = Doorkeeper(tokens, now=clock.now)
        if settings.auth == "off":
            _log.warning("HEADCOUNT_AUTH is off: anybody may send sessions and read everything")
        backstage = ActorsBackstage(self._actors, self._map, self._journal, slots=config.slots, monotonic=clock.monotonic)
        self._broadcast = Broadcast(backstage.live, monotonic=clock.monotonic)
        self._ingest = assemble(
            settings,
            config,
            doorkeeper=self._doorkeeper,
            room=self._room,
            tallies=self._tallies,
            backstage=backstage,
            broadcast=self._broadcast,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "http":
            await self._ingest(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _start(self) -> None:
        """Begin what goes on beside the requests. Waits for nobody: replicas start beside the shards."""
        for work in (
            report_forever(self._tallies, self._report),
            self._map.refresh(),
            follow(self._settings, self._doorkeeper.adopt),
            count_own_answers(self._tallies, haproxy_socket()),
        ):
            self._background.start(work)
        Shortcut.open(self._ingest, paths={PIXEL_PATH, LIVE_PATH, CMCD_PATH, EPAS_PATH, SCRIPT_PATH, HASHED_PATH, *POSTS})
        # What was made so far stays, and requests leave hardly any cycles: the collector took a seventh of the replica's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GARBAGE_THRESHOLDS)

    async def _stop(self) -> None:
        Shortcut.close()
        self._broadcast.close()
        self._background.cancel()
        self._room.close()
        self._lines.close()
        await self._journal.close()

    async def _report(self, report: ReplicaReport) -> int:
        number: int = await self._actors.call(names.EXPORTER, "report", report, within_s=ANSWER_S)
        return number


def haproxy_socket() -> Path:
    """Return where the HAProxy of this node answers its operators: by Serve's variable or its default, in a folder for each node."""
    socket = Path(os.environ.get("RAY_SERVE_HAPROXY_SOCKET_PATH", "/tmp/haproxy-serve/admin.sock"))  # noqa: S108 - Serve's
    return socket.parent / get_runtime_context().get_node_id() / socket.name


def _log_past_serve() -> None:
    """Send this process's log to where the actors' logs are: what a replica prints is INFO to Serve, and dropped; warnings it holds back."""
    write_plainly(sys.__stderr__)


def assemble(
    settings: Settings,
    config: TrackerConfig,
    *,
    doorkeeper: Doorkeeper,
    room: PostRoom,
    tallies: Tallies,
    backstage: "ActorsBackstage",
    broadcast: Broadcast,
) -> Reported:
    """Return the application that answers every HTTP request of a replica."""
    rules = Rules(
        slots=config.slots,
        pullzones=frozenset(settings.beacon_pullzones),
        cors_origins=settings.cors_origins,
        front_door_secret=shared_secret(os.environ, journal_url=config.journal_url),
    )
    operators = operators_app(backstage, doorkeeper=doorkeeper, broadcast=broadcast, openapi=openapi.document())
    ingest = Ingest(
        rules,
        doorkeeper=doorkeeper,
        submit=room.post,
        tallies=tallies,
        operators=operators,
        now=clock.now,
        monotonic=clock.monotonic,
    )
    return Reported(
        rules,
        doorkeeper=doorkeeper,
        submit=room.post,
        tallies=tallies,
        otherwise=ingest,
        now=clock.now,
        monotonic=clock.monotonic,
    )


def build(settings: Settings, config: TrackerConfig, tokens: Tokens) -> serve.Application:
    """Return the application for `serve.run`, with a fixed number of replicas: each change reloads HAProxy."""

    def replica() -> Asgi:
        return Replica(settings, config, tokens)

    return deployment(replica, replicas=settings.replicas).bind()


def deployment(builder: Callable[[], Asgi], *, replicas: int) -> serve.Deployment:
    """Return how Serve is to run what `builder` makes; `bench/` measures it with an application that does nothing."""
    deployed = serve.deployment(
        name=DEPLOYMENT,
        num_replicas=replicas,
        max_ongoing_requests=ONGOING_REQUESTS_MAX,
        max_queued_requests=-1,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=5,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=1,
        graceful_shutdown_wait_loop_s=0.1,
        # The access log is off by its level too: switched off alone, each record would still be made.
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    made: serve.Deployment = deployed(serve.ingress(builder)())
    return made
