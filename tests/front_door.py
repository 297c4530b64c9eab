"""
A replica's application without Ray: the real ingest, mailboxes and operators' routes before shards that live in this process.

Decides nothing of its own: what is behind the mailboxes are real trackers, told the time by the test. `python -m uvicorn
--factory tests.front_door:local` serves it for a look by hand, or for a load generator.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec

from actors import clock
from actors.messages import NotTaken, decode_batch, encode_reply
from actors.shard.searching import Searching
from metrics.live import News
from serve_app.access.auth import Doorkeeper
from serve_app.access.tokens import Tokens
from serve_app.cmcd.endpoint import Reported
from serve_app.delivery.actor_calls import ActorAwayError
from serve_app.delivery.mailbox import PostRoom
from serve_app.delivery.slotmap import SlotMap
from serve_app.delivery.tallies import Tallies
from serve_app.operators import openapi
from serve_app.operators.live import Broadcast
from serve_app.operators.ops import operators_app
from serve_app.operators.readiness import Readiness
from serve_app.operators.search import joined
from serve_app.players.arrival import SECRET_CHARS
from serve_app.players.body import Receive
from serve_app.players.ingest import Asgi, Ingest, Rules, Scope, Send
from sessions.changes import Policy, Receipt
from sessions.routing import slot_of
from sessions.search import Query
from sessions.story import describe
from sessions.tracker import Tracker
from storage.codec import unpack_opaque
from storage.journal import Fence

SLOTS = 8
NOW = 1_730_484_900.0
"""2024-11-01T18:15:00Z, the seed's own time."""
INGEST = "ingest-token"
OPS = "ops-token"
SECRET = "5" * SECRET_CHARS
"""With which the front door says when, and from where, a request came."""
DOCUMENT = openapi.document()


@dataclass
class ShardInProcess:
    """Every slot's tracker, behind one shard's `receive`. `refusing`: what it says instead, while it is set."""

    now: Callable[[], float] = lambda: NOW
    refusing: NotTaken | None = None
    batches: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trackers = [Tracker(slot, policy=Policy()) for slot in range(SLOTS)]

    async def send(self, _shard: str, batch: bytes) -> bytes:
        items = decode_batch(batch)
        self.batches.append(len(items))
        if self.refusing is not None:
            return encode_reply([self.refusing] * len(items))
        return encode_reply([self.trackers[slot].receive(event, now=self.now()) for slot, event in items])

    def get(self, session_id: str) -> Any:
        return self.trackers[slot_of(session_id, slots=SLOTS)].get(session_id)


@dataclass
class BackstageInProcess:
    """What operators ask, answered from the trackers; `away`: nobody answers."""

    shard: ShardInProcess
    away: bool = False
    problems: tuple[str, ...] = ()
    slow: bool = False

    async def scrape(self, *, openmetrics: bool) -> bytes:
        self._answer()
        return b"# EOF\n" if openmetrics else b"headcount_sessions 1\n"

    async def concurrency(self, stream_id: str | None) -> Mapping[str, object]:
        self._answer()
        return {"stream_id": stream_id, "sessions": sum(tracker.ledger.active for tracker in self.shard.trackers)}

    async def describe(self, session_id: str) -> bytes | None:
        self._answer()
        session = self.shard.get(session_id)
        if session is None:
            return None
        return msgspec.json.encode(unpack_opaque(describe(session, now=self.shard.now(), remaining_s=0.0)))

    async def live(self, life: str, version: int, newest: int) -> News:
        self._answer()
        if version:
            await asyncio.sleep(1)
        now = {"sessions": sum(tracker.ledger.active for tracker in self.shard.trackers)}
        return News("life", version + 1, 1_000, [] if version else [(1_000, *range(8), 1, 0)], now)

    async def players(self) -> Sequence[Mapping[str, object]]:
        self._answer()
        return []

    async def search(self, query: Query) -> Mapping[str, Any]:
        self._answer()
        held = {tracker.slot: SimpleNamespace(tracker=tracker) for tracker in self.shard.trackers}
        return joined({"shard-0": await Searching(held, clock=self.shard.now).search(query)}, query)  # type: ignore[arg-type]

    async def status(self) -> Mapping[str, object]:
        self._answer()
        return {"shards": 1}

    async def readiness(self) -> Readiness:
        return Readiness(SLOTS, SLOTS, self.problems, journal_is_slow=self.slow)

    def _answer(self) -> None:
        if self.away:
            raise ActorAwayError("away")


async def every_slot_is_here() -> Mapping[int, Fence]:
    return {slot: Fence(1, 0, "shard-0") for slot in range(SLOTS)}


@dataclass
class FrontDoor:
    """One replica; made inside a running loop."""

    shard: ShardInProcess = field(default_factory=ShardInProcess)
    tokens: Tokens = field(default_factory=lambda: Tokens(ingest=INGEST, ops=OPS))
    rules: Rules = field(default_factory=lambda: Rules(slots=SLOTS, front_door_secret=SECRET.encode()))
    submit: Any = None

    def __post_init__(self) -> None:
        self.tallies = Tallies("replica")
        self.backstage = BackstageInProcess(self.shard)
        self.broadcast = Broadcast(self.backstage.live, monotonic=clock.monotonic)
        self.slot_map = SlotMap(every_slot_is_here)
        self.room = PostRoom(self.slot_map, self.shard.send)
        doorkeeper = Doorkeeper(self.tokens, now=self.shard.now)
        submit = self.submit or self.room.post
        self.ingest = Ingest(
            self.rules,
            doorkeeper=doorkeeper,
            submit=submit,
            tallies=self.tallies,
            operators=operators_app(self.backstage, doorkeeper=doorkeeper, broadcast=self.broadcast, openapi=DOCUMENT),
            now=self.shard.now,
            monotonic=clock.monotonic,
        )
        self.app = Reported(
            self.rules,
            doorkeeper=doorkeeper,
            submit=submit,
            tallies=self.tallies,
            otherwise=self.ingest,
            now=self.shard.now,
            monotonic=clock.monotonic,
        )


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.body.endswith(b"}\n"), "an answer ends its line"
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Return the error's code, having seen that the error has the one shape."""
        answer = self.json
        assert set(answer) == {"status", "error"}, answer
        assert answer["status"] == "error"
        assert set(answer["error"]) == {"code", "message", "fields"}, answer
        assert answer["error"]["message"]
        assert all(set(entry) == {"field", "problem"} and entry["problem"] for entry in answer["error"]["fields"])
        assert self.headers["content-type"] == "application/json"
        code: str = answer["error"]["code"]
        return code

    @property
    def fields(self) -> list[str]:
        return [entry["field"] for entry in self.json["error"]["fields"]]


async def ask(
    app: Asgi,
    method: str,
    path: str,
    body: bytes | Sequence[bytes] = b"",
    *,
    query: bytes = b"",
    headers: Mapping[str, str] | None = None,
    token: str | None = INGEST,
    leaves: bool = False,
) -> Answer | None:
    """Send one request; None: the application did not answer. A sequence is a body in parts; `leaves`: the client goes after them."""
    given = {"host": "localhost", **(headers or {})}
    if token is not None:
        given["authorization"] = f"Bearer {token}"
    parts = [body] if isinstance(body, bytes) else list(body)
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": leaves or index < len(parts) - 1} for index, part in enumerate(parts)
    ]
    if leaves:
        messages.append({"type": "http.disconnect"})
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    if not sent:
        return None
    assert sent[0]["type"] == "http.response.start"
    names = [name for name, _ in sent[0]["headers"]]
    assert len(names) == len(set(names)), f"a header is there twice: {names}"
    return Answer(
        status=sent[0]["status"],
        headers={name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]},
        body=b"".join(message.get("body", b"") for message in sent[1:]),
    )


class Local:
    """The same as an application with a lifespan, in real time."""

    def __init__(self) -> None:
        self._app: Asgi | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self._app = FrontDoor(ShardInProcess(now=clock.now)).app
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif self._app is not None:
            await self._app(scope, receive, send)


def local() -> Local:
    """Make it for uvicorn."""
    return Local()


def accepted(_event: object = None) -> Receipt:
    """Return the receipt of something that was taken."""
    return Receipt(accepted=True, interval_s=30)
