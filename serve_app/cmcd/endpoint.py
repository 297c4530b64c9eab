"""
`POST /cmcd` and `POST /epas`: where players report by themselves.

    limit → authenticate → read → inflate → read records → map → name the slots → submit → answer

CMCD is answered 204 whatever can be heard, refusals included: the players that there are send again and again whatever is not taken with a 2xx, and
look at nothing else. What became of it is in a header of the answer, for people, and in metrics. It does not know shards, Ray or the journal.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from uuid import uuid4

import msgspec

from actors.messages import encode_item
from serve_app.access.auth import Doorkeeper
from serve_app.cmcd import epas
from serve_app.cmcd.mapper import PARAMETERS, Mapped, Outcome, map_records, target_of
from serve_app.cmcd.reader import read_records
from serve_app.delivery.mailbox import Undelivered
from serve_app.delivery.tallies import Tallies
from serve_app.players import body as bodies
from serve_app.players.answers import Code, Header, Refusal
from serve_app.players.body import Receive
from serve_app.players.cors import Cors
from serve_app.players.ingest import Asgi, Rules, Scope, Send, Submit
from serve_app.players.pixel import read_parameters
from serve_app.players.routes import CMCD_PATH, EPAS_PATH
from sessions.changes import Receipt
from sessions.events import Reports
from sessions.routing import slot_of

CMCD_ENDPOINT: Final = "cmcd"
EPAS_ENDPOINT: Final = "epas"
METHODS: Final = b"POST, OPTIONS"
TOLD_HEADER: Final = b"x-headcount"
UNKNOWN_PLAYER: Final = "unknown"
_PATHS: Final = frozenset({CMCD_PATH, EPAS_PATH})
_JSON: Final[Header] = (b"content-type", b"application/json")
_BEAT_MS: Final = 30_000
_WANTED: Final = frozenset({b"authorization", b"content-encoding", b"content-length", b"origin", b"access-control-request-headers"})


class Reported:
    """An ASGI application for `http` scopes. `otherwise` gets what no player reports to."""

    def __init__(
        self,
        rules: Rules,
        *,
        doorkeeper: Doorkeeper,
        submit: Submit,
        tallies: Tallies,
        otherwise: Asgi,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._doorkeeper = doorkeeper
        self._submit = submit
        self._tallies = tallies
        self._otherwise = otherwise
        self._now = now
        self._monotonic = monotonic
        self._cors = Cors(rules.cors_origins, shows=TOLD_HEADER)
        self._open_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        if path not in _PATHS:
            await self._otherwise(scope, receive, send)
            return
        headers = {name: value for name, value in scope["headers"] if name in _WANTED}
        origin = headers.get(b"origin")
        if scope["method"] == "OPTIONS":
            asked = headers.get(b"access-control-request-headers")
            await _send(send, 204, self._cors.preflight(origin, asked_headers=asked, methods=METHODS))
            return
        if scope["method"] != "POST":
            await self._refuse_whole(Refusal(Code.METHOD_NOT_ALLOWED, headers=((b"allow", METHODS),)), origin, send)
            return
        if path == EPAS_PATH and not self._admits(scope, headers):
            self._tallies.reports(epas.PLAYER, [(Outcome.UNKNOWN_TOKEN, 1)])
            await self._refuse_whole(Refusal(Code.UNAUTHORIZED), origin, send)
            return
        serve = self._serve_epas if path == EPAS_PATH else self._serve_cmcd
        answer = await self._listen(scope, headers, receive, serve)
        if answer is not None and path == EPAS_PATH:
            answer = answer._replace(status=200, body=answer.body or b"{}", is_json=True)
        if answer is not None:
            await _send(send, answer.status, (*self._cors.headers(origin), *answer.headers), answer.body)

    async def _listen(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, serve: "Serve") -> "_Answer | None":
        """Have what may be heard served; None: the client left."""
        query = scope["query_string"]
        if self._open_requests >= self._rules.open_requests_max:
            return self._refuse(Outcome.OVERLOADED)
        if not self._admits(scope, headers):
            return self._refuse(Outcome.UNKNOWN_TOKEN)
        self._open_requests += 1
        try:
            began_at = self._monotonic()
            body = await bodies.read(receive, content_length=headers.get(b"content-length"), within_s=self._rules.deadline_s)
            if isinstance(body, bytes):
                body = bodies.inflate(body, headers.get(b"content-encoding"))
            if body is bodies.GONE:
                return None
            if isinstance(body, Refusal):
                return self._refuse(Outcome.UNREADABLE)
            return await serve(body, query, began_at)
        finally:
            self._open_requests -= 1

    def _admits(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        return self._doorkeeper.admits_player(headers.get(b"authorization"), scope["query_string"])

    async def _refuse_whole(self, refusal: Refusal, origin: bytes | None, send: Send) -> None:
        await _send(send, refusal.status, (*refusal.all_headers, *self._cors.headers(origin), _JSON), refusal.body())

    async def _serve_cmcd(self, body: bytes, query: bytes, began_at: float) -> "_Answer":
        url = read_parameters(query, known=PARAMETERS)
        mapped = map_records(read_records(body), url, target=target_of(query), now=self._now())
        return _Answer(204, await self._hand_on(CMCD_ENDPOINT, mapped, began_at))

    async def _serve_epas(self, body: bytes, query: bytes, began_at: float) -> "_Answer":
        """Answer an `init` with the id of its session, which is all that its player waits for: without it it is silent for ever."""
        url = read_parameters(query, known=PARAMETERS)
        events = epas.read_events(body)
        if events is None:
            return self._refuse(Outcome.UNREADABLE)
        told = await self._hand_on(EPAS_ENDPOINT, epas.map_events(events, url, now=self._now()), began_at)
        named = (sid for event in events if event is not None and (sid := epas.session_of(event, url)))
        session_id = next(named, None) or (uuid4().hex if epas.begins(events) else None)
        answer = {} if session_id is None else {"sessionId": session_id, "heartbeatInterval": _BEAT_MS}
        return _Answer(200, told, msgspec.json.encode(answer), is_json=True)

    async def _hand_on(self, endpoint: str, mapped: Mapped, began_at: float) -> str:
        """Give the sessions what is theirs, and say what became of it."""
        receipts = await asyncio.gather(*(self._deliver(reports, began_at) for reports in mapped.reports))
        self._tallies.acknowledged(endpoint, self._monotonic() - began_at)
        return self._tell(mapped, receipts)

    async def _deliver(self, reports: Reports, began_at: float) -> Receipt | Undelivered:
        slot = slot_of(reports.session_id, slots=self._rules.slots)
        waited_s = self._monotonic() - began_at
        return await self._submit(slot, encode_item(slot, reports), within_s=self._rules.deadline_s - waited_s, waited_s=waited_s)

    def _tell(self, mapped: Mapped, receipts: list[Receipt | Undelivered]) -> str:
        """Count what no session heard of, and say what became of all of it; what a session heard it counts itself."""
        taken = repeated = late = 0
        for reports, receipt in zip(mapped.reports, receipts, strict=True):
            if isinstance(receipt, Undelivered) or not receipt.accepted:
                mapped.count(Outcome.OVERLOADED, len(reports.reports))
                continue
            said = dict(receipt.rejected)
            taken += receipt.accepted_count
            repeated += int(said.get("repeated", "0"))
            late += int(said.get("late", "0"))
        player = mapped.player or UNKNOWN_PLAYER
        self._tallies.reports(player, mapped.outcomes.items())
        self._tallies.dropped_keys(player, mapped.dropped)
        ignored = late + sum(mapped.outcomes.values())
        reasons = {Outcome.LATE: late, **mapped.outcomes}
        return ";".join(
            [f"taken={taken}", f"repeated={repeated}", f"ignored={ignored}", *(f"{why}={n}" for why, n in reasons.items() if n)]
        )

    def _refuse(self, why: Outcome) -> "_Answer":
        """Say that nothing was looked at, and why."""
        self._tallies.reports(UNKNOWN_PLAYER, [(why, 1)])
        return _Answer(204, f"taken=0;repeated=0;ignored=0;{why}=1")


class _Answer(NamedTuple):
    status: int
    told: str
    body: bytes = b""
    is_json: bool = False

    @property
    def headers(self) -> tuple[Header, ...]:
        """Return its own; those of its origin come before."""
        return ((TOLD_HEADER, self.told.encode()), *((_JSON,) if self.is_json else ()))


Serve = Callable[[bytes, bytes, float], Awaitable[_Answer]]
"""Takes a body, the query, and when it began."""


async def _send(send: Send, status: int, headers: tuple[Header, ...], body: bytes = b"") -> None:
    length = ((b"content-length", b"%d" % len(body)),) if body else ()
    await send({"type": "http.response.start", "status": status, "headers": (*headers, *length)})
    await send({"type": "http.response.body", "body": body})
