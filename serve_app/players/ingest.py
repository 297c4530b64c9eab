"""
The hot path: the pixel and the four POSTs, as named steps on raw ASGI.

    limit → authenticate → read → inflate → decode and validate → name the slot → submit → answer

Each step returns its result or a `Refusal`, which is counted and answered. Everything that is not a player's request goes to the
operators' application. It does not know shards, Ray or the journal: `submit` is told a slot and an encoded record.
"""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from actors.messages import encode_item
from serve_app.access.auth import Doorkeeper
from serve_app.delivery.mailbox import Undelivered
from serve_app.delivery.tallies import Tallies
from serve_app.players import body as bodies
from serve_app.players import script
from serve_app.players.answers import Code, Header, Refusal
from serve_app.players.arrival import ARRIVAL_HEADER, told_by_haproxy
from serve_app.players.body import Message, Receive
from serve_app.players.cors import VARY, Cors
from serve_app.players.decoding import BadBody, BodyFault, read_body
from serve_app.players.mending import field_of
from serve_app.players.pixel import GIF, read_pixel
from serve_app.players.quick import QuickHeartbeat
from serve_app.players.records import bad_events, record_of
from serve_app.players.routes import (
    ELSEWHERE,
    PIXEL_ENDPOINT,
    PIXEL_PATH,
    PLAYERS_PREFIXES,
    POSTS,
    PostRoute,
)
from serve_app.players.values import PLACEHOLDER_ID
from serve_app.players.wire import BadEvent, Body, EventsBody
from sessions import limits
from sessions.changes import Reason, Receipt
from sessions.events import Beacon, Event
from sessions.routing import slot_of
from sessions.words import counted

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_POST_METHODS: Final = b"POST, OPTIONS"
_PIXEL_METHODS: Final = b"GET, HEAD, POST, OPTIONS"
_JSON: Final[Header] = (b"content-type", b"application/json")
_GIF_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"image/gif"),
    (b"content-length", str(len(GIF)).encode()),
    (b"cache-control", b"no-store"),
    # A page that isolates itself (Cross-Origin-Embedder-Policy: require-corp) shows no picture of others that does not say this.
    (b"cross-origin-resource-policy", b"cross-origin"),
)
_BODY_CODES: Final = {
    BodyFault.NOT_JSON: Code.BAD_JSON,
    BodyFault.TOO_MANY_EVENTS: Code.TOO_MANY_EVENTS,
    BodyFault.INVALID_FIELD: Code.INVALID_FIELD,
}
_WANTED_HEADERS: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"origin",
        b"access-control-request-headers",
        b"accept-encoding",
        b"if-none-match",
        ARRIVAL_HEADER,
    }
)
_BELIEVED_S_MAX: Final = 5.0
"""A longer wait at the front door cannot be: it comes from another clock."""
_MILLISECONDS_CHARS: Final = 13
"""From 2001 to 2286."""
_OVERLOADED: Final = Refusal(Code.OVERLOADED)
_TOO_MANY_SESSIONS: Final = Refusal(Code.TOO_MANY_SESSIONS)
_NOT_FOUND: Final = Refusal(Code.NOT_FOUND)


class Submit(Protocol):
    """Carries one encoded record to the shard of its slot; answers within `within_s` seconds. See `mailbox.PostRoom.post`."""

    def __call__(self, slot: int, item: bytes, *, within_s: float, waited_s: float) -> Awaitable[Receipt | Undelivered]:
        """Return what became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the settings say about players' requests."""

    slots: int
    pullzones: frozenset[str] = frozenset()
    """Allowed for the beacon's `p`; empty: any."""
    cors_origins: tuple[str, ...] = ("*",)
    deadline_s: float = limits.REQUEST_DEADLINE_S
    open_requests_max: int = limits.OPEN_REQUESTS_MAX
    front_door_secret: bytes = field(default=b"", repr=False)
    """With which HAProxy says when, and from where, a request came. Without one nobody is believed."""


class Ingest:
    """An ASGI application for `http` scopes. `operators` gets what no player asks for."""

    def __init__(
        self,
        rules: Rules,
        *,
        doorkeeper: Doorkeeper,
        submit: Submit,
        tallies: Tallies,
        operators: Asgi,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._doorkeeper = doorkeeper
        self._submit = submit
        self._tallies = tallies
        self._operators = operators
        self._now = now
        self._monotonic = monotonic
        self._cors = Cors(rules.cors_origins)
        self._open_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        route = POSTS.get(path)
        if route is None and path != PIXEL_PATH and not path.startswith(PLAYERS_PREFIXES):
            await self._operators(scope, receive, send)
            return
        headers = {name: value for name, value in scope["headers"] if name in _WANTED_HEADERS}
        arrival = told_by_haproxy(headers.get(ARRIVAL_HEADER), self._rules.front_door_secret)
        began_at = self._monotonic() - self._waited_s(arrival)
        origin = headers.get(b"origin")
        method = scope["method"]
        if method == "OPTIONS":
            await self._answer_preflight(path, headers, send)
            return
        if route is None and path.startswith(script.SCRIPT_PREFIX):
            await self._serve_script(path, method, headers, send)
            return
        if route is None and path != PIXEL_PATH:
            await self._refuse(ELSEWHERE, _NOT_FOUND, origin, send)
            return
        endpoint = PIXEL_ENDPOINT if route is None else route.endpoint
        if self._open_requests >= self._rules.open_requests_max:
            await self._refuse(endpoint, _OVERLOADED, origin, send)
            return
        self._open_requests += 1
        try:
            if route is None:
                await self._serve_pixel(scope, headers, arrival, began_at, send)
            elif method == "POST":
                await self._serve_post(route, scope, headers, began_at, receive, send)
            else:
                await self._refuse(endpoint, _not_allowed(_POST_METHODS), origin, send)
        finally:
            self._open_requests -= 1

    async def _serve_post(
        self, route: PostRoute, scope: Scope, headers: dict[bytes, bytes], began_at: float, receive: Receive, send: Send
    ) -> None:
        origin = headers.get(b"origin")
        body = await self._take_body(scope, headers, receive)
        if body is bodies.GONE:
            return
        parsed = body if isinstance(body, Refusal) else _parse(route, body)
        if isinstance(parsed, Refusal):
            await self._refuse(route.endpoint, parsed, origin, send)
            return
        said, dropped = parsed
        bad = bad_events(said) if isinstance(said, EventsBody) else ()
        receipt = await self._deliver(record_of(said, dropped), began_at)
        if isinstance(receipt, Refusal):
            await self._refuse(route.endpoint, receipt, origin, send)
            return
        self._count_rejected(route.endpoint, receipt, bad)
        self._tallies.acknowledged(route.endpoint, self._monotonic() - began_at)
        if dropped:
            self._tallies.dropped(route.endpoint, map(field_of, dropped))
        more = (bad,) if route.is_events else ()
        answer = route.answer(said.session_id, receipt, *more, at=self._now(), dropped=dropped)
        await _send(send, 200, (_JSON, (b"content-length", b"%d" % len(answer)), *self._cors.headers(origin)), answer)

    def _count_rejected(self, endpoint: str, receipt: Receipt, bad: Sequence[BadEvent]) -> None:
        """Count each event that was not taken, or else the request as a whole."""
        for entry in bad:
            self._tallies.rejected(endpoint, entry.fault)
        for _, reason in receipt.rejected:
            self._tallies.rejected(endpoint, reason)
        if receipt.reason is not None and not receipt.rejected:
            self._tallies.rejected(endpoint, receipt.reason)

    async def _take_body(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> bytes | Refusal | None:
        """Authenticate, then read, then inflate: no byte of a stranger's body is looked at."""
        if not self._doorkeeper.admits_player(headers.get(b"authorization"), scope["query_string"]):
            return Refusal(Code.UNAUTHORIZED, self._doorkeeper.why_no_player(headers.get(b"authorization"), scope["query_string"]))
        body = await bodies.read(receive, content_length=headers.get(b"content-length"), within_s=self._rules.deadline_s)
        if isinstance(body, bytes):
            return bodies.inflate(body, headers.get(b"content-encoding"))
        return body

    async def _serve_pixel(self, scope: Scope, headers: dict[bytes, bytes], arrival: bytes, began_at: float, send: Send) -> None:
        origin = headers.get(b"origin")
        method = scope["method"]
        # A POST is what `navigator.sendBeacon` makes of it; whatever its body says is not read.
        if method not in {"GET", "HEAD", "POST"}:
            await self._refuse(PIXEL_ENDPOINT, _not_allowed(_PIXEL_METHODS), origin, send)
            return
        beacon = read_pixel(scope["query_string"], pullzones=self._rules.pullzones, network=_network(arrival))
        # A HEAD asks whether the pixel would be taken; only a GET says that somebody watches.
        outcome = beacon if isinstance(beacon, Refusal) or method == "HEAD" else await self._deliver(beacon, began_at)
        if isinstance(outcome, Refusal):
            await self._refuse(PIXEL_ENDPOINT, outcome, origin, send)
            return
        if method != "HEAD":
            self._tallies.acknowledged(PIXEL_ENDPOINT, self._monotonic() - began_at)
            if isinstance(beacon, Beacon) and beacon.dropped:
                self._tallies.dropped(PIXEL_ENDPOINT, beacon.dropped.split(","))
        await _send(send, 200, (*_GIF_HEADERS, *self._cors.headers(origin)), GIF)

    async def _serve_script(self, path: str, method: str, headers: dict[bytes, bytes], send: Send) -> None:
        """Nobody's session: it costs no shard, and is not shed."""
        origin = headers.get(b"origin")
        outcome = script.answer(path, method, headers)
        if isinstance(outcome, Refusal):
            await self._refuse(ELSEWHERE, outcome, origin, send)
            return
        status, said, body = outcome
        await _send(send, status, (*said, *(header for header in self._cors.headers(origin) if header != VARY)), body)

    async def _deliver(self, event: Event, began_at: float) -> Receipt | Refusal:
        """Name the slot, submit, and wait for the receipt, for what is left of the request's time."""
        slot = slot_of(event.session_id, slots=self._rules.slots)
        waited_s = self._monotonic() - began_at
        outcome = await self._submit(slot, encode_item(slot, event), within_s=self._rules.deadline_s - waited_s, waited_s=waited_s)
        if isinstance(outcome, Undelivered):
            return Refusal(Code(outcome.value))
        if outcome.reason == Reason.TOO_MANY_SESSIONS:
            return _TOO_MANY_SESSIONS
        return outcome

    def _waited_s(self, arrival: bytes) -> float:
        """Return how long a request waited at the front door, by the front door's clock, which is this machine's or kept like it."""
        arrived_ms = arrival[:_MILLISECONDS_CHARS]
        if not arrived_ms.isdigit():
            return 0.0
        waited_s = self._now() - int(arrived_ms) / 1_000
        return waited_s if 0.0 < waited_s < _BELIEVED_S_MAX else 0.0

    async def _refuse(self, endpoint: str, refusal: Refusal, origin: bytes | None, send: Send) -> None:
        self._tallies.rejected(endpoint, refusal.counted_as or refusal.code)
        body = refusal.body()
        length = (b"content-length", b"%d" % len(body))
        await _send(send, refusal.status, (_JSON, length, *refusal.all_headers, *self._cors.headers(origin)), body)

    async def _answer_preflight(self, path: str, headers: dict[bytes, bytes], send: Send) -> None:
        allowed = self._cors.preflight(
            headers.get(b"origin"),
            asked_headers=headers.get(b"access-control-request-headers"),
            methods=_methods_of(path),
        )
        await _send(send, 204, allowed, b"")


def _parse(route: PostRoute, body: bytes) -> tuple[Body | QuickHeartbeat, tuple[str, ...]] | Refusal:
    """Decode and validate a body; return the route's model, and what was dropped of the body."""
    if route.quick is not None and (usual := route.quick(body)) is not None:
        return usual, ()
    read = read_body(route.model, body)
    if not isinstance(read, BadBody):
        return read.body, read.dropped
    message = read.problem or f"{counted(len(read.fields), 'field is', 'fields are')} wrong"
    return Refusal(_BODY_CODES[read.fault], message, read.fields, counted_as=PLACEHOLDER_ID if read.has_placeholder else "")


def _methods_of(path: str) -> bytes:
    if path.startswith(script.SCRIPT_PREFIX):
        return script.SCRIPT_METHODS
    return _PIXEL_METHODS if path.startswith(PIXEL_PATH) else _POST_METHODS


def _network(arrival: bytes) -> str:
    """Return the range of addresses that HAProxy saw; a name that is not ASCII is none."""
    return arrival[_MILLISECONDS_CHARS + 1 :].decode("ascii", "ignore")


def _not_allowed(methods: bytes) -> Refusal:
    return Refusal(Code.METHOD_NOT_ALLOWED, headers=((b"allow", methods),))


async def _send(send: Send, status: int, headers: tuple[Header, ...], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
