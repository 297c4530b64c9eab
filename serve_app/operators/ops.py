"""
The operators' routes, health and documentation: everything that is not hot, as a FastAPI application.

Decides how questions are asked and answered over HTTP. Where the answers come from is `backstage.py`'s business.
Whatever goes wrong here, FastAPI's own errors too, has the one error shape of `answers.py`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response, params
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.types import ExceptionHandler

import live as live_page
from serve_app.access.auth import Doorkeeper
from serve_app.delivery.actor_calls import ActorAwayError
from serve_app.operators.backstage import Backstage
from serve_app.operators.live import Broadcast, LiveStream
from serve_app.operators.paths import LIVE_PATH
from serve_app.operators.search import CURSOR_CHARS_MAX, CURSOR_PATTERN, place_of
from serve_app.players.answers import Code, Refusal
from serve_app.settings import VERSION
from sessions import limits, search
from sessions.events import SHOWN_ID, beacon_id, reported_id
from sessions.states import Playback
from sessions.words import counted

TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
ASSETS_PATH: Final = "/docs/assets"
PAGE_ASSETS_PATH: Final = "/page"
PAGE_HEADERS: Final = {
    # Nothing from elsewhere, nothing inline, and nobody's frame: the page holds the ops token.
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
SEARCH_ROWS: Final = 50
"""Sessions in an answer that asks for no number."""
READ_METHODS: Final = ["GET", "HEAD"]

_OPENMETRICS_ACCEPTED: Final = re.compile(r"application/openmetrics-text(?![^,]*;\s*q=0(?:\.0*)?\s*(?:[,;]|$))")
_NO_NUL: Final = r"^[^\x00]*$"

Id = Annotated[str, Query(min_length=1, max_length=limits.ID_CHARS_MAX, pattern=_NO_NUL)]


class _Any(Convertor[str]):
    """A rest of the path with slashes and line breaks in it; Starlette's `path` ends at the latter."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any", _Any())


class _AlwaysFresh(StaticFiles):
    """Files that a browser asks for again, so that a page is never of two builds; mostly it hears that it has them."""

    def file_response(self, *what: Any, **more: Any) -> Response:  # noqa: ANN401 - handed on
        answer = super().file_response(*what, **more)
        answer.headers["cache-control"] = "no-cache"
        answer.headers["x-content-type-options"] = "nosniff"
        return answer


class RefusedError(Exception):
    """Ends a request with a refusal, from wherever it is found out."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


def operators_app(backstage: Backstage, *, doorkeeper: Doorkeeper, broadcast: Broadcast, openapi: Mapping[str, Any]) -> FastAPI:
    """Return the application. `openapi`: the document to serve, made once."""
    app = FastAPI(title="Headcount", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)

    def operators_only(request: Request) -> None:
        authorization = request.headers.get("authorization")
        shown = None if authorization is None else authorization.encode("latin-1")
        if not doorkeeper.admits_operator(shown):
            raise RefusedError(Refusal(Code.UNAUTHORIZED, doorkeeper.why_no_operator(shown)))

    guarded = [Depends(operators_only)]

    @app.api_route("/metrics", methods=READ_METHODS, dependencies=guarded)
    async def metrics(request: Request) -> Response:
        openmetrics = _OPENMETRICS_ACCEPTED.search(request.headers.get("accept", "")) is not None
        body = await backstage.scrape(openmetrics=openmetrics)
        return Response(body, headers={"content-type": OPENMETRICS_TYPE if openmetrics else TEXT_TYPE, "vary": "accept"})

    @app.api_route("/v1/concurrency", methods=READ_METHODS, dependencies=guarded)
    async def concurrency(stream_id: Id | None = None) -> Response:
        return _json(msgspec.json.encode(await backstage.concurrency(stream_id)))

    @app.api_route("/v1/sessions/{session_id:any}", methods=READ_METHODS, dependencies=guarded)
    async def session(session_id: str) -> Response:
        return await _described(backstage, session_id)

    @app.api_route("/v1/beacon-session", methods=READ_METHODS, dependencies=guarded)
    async def beacon_session(p: Id, v: Id, u: Id) -> Response:
        return await _described(backstage, beacon_id(pullzone=p, video_id=v, user_id=u))

    @app.api_route("/v1/players", methods=READ_METHODS, dependencies=guarded)
    async def players() -> Response:
        return _json(msgspec.json.encode({"players": await backstage.players()}))

    @app.api_route("/v1/status", methods=READ_METHODS, dependencies=guarded)
    async def status() -> Response:
        return _json(msgspec.json.encode({"version": VERSION, **await backstage.status()}))

    _add_search(app, backstage, guarded)

    @app.api_route(LIVE_PATH, methods=READ_METHODS, dependencies=guarded)
    async def live(request: Request) -> Response:
        if broadcast.is_full:
            raise RefusedError(Refusal(Code.OVERLOADED, "too many live pages are open here; this one tries again by itself"))
        shown = request.headers.get("authorization", "").encode("latin-1") or None
        admitted = partial(doorkeeper.admits_operator, shown)
        return LiveStream(broadcast, last_id=request.headers.get("last-event-id", ""), admitted=admitted)

    _add_page(app, doorkeeper)
    _add_health(app, backstage)
    _add_documentation(app, msgspec.json.encode(openapi))
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


def _add_search(app: FastAPI, backstage: Backstage, guarded: Sequence[params.Depends]) -> None:
    @app.api_route("/v1/sessions", methods=READ_METHODS, dependencies=guarded)
    async def sessions(  # noqa: PLR0913 - a parameter each
        *,
        stream_id: Id | None = None,
        user_id: Id | None = None,
        device_id: Id | None = None,
        state: Playback | None = None,
        liveness: Literal["active", "expired", "ended"] | None = None,
        platform: Id | None = None,
        country: Id | None = None,
        failure: Literal["start", "playback"] | None = None,
        score_below: Annotated[float | None, Query(ge=0, le=100)] = None,
        sort: Literal["started", "rebuffering", "score"] = "started",
        limit: Annotated[int, Query(ge=1, le=limits.SEARCH_ROWS_MAX)] = SEARCH_ROWS,
        cursor: Annotated[str | None, Query(max_length=CURSOR_CHARS_MAX, pattern=CURSOR_PATTERN)] = None,
    ) -> Response:
        query = search.Query(
            stream_id=stream_id,
            user_id=user_id,
            device_id=device_id,
            playback=None if state is None else str(state),
            liveness=liveness,
            platform=platform,
            country=country,
            failure=failure,
            score_below=score_below,
            sort=sort,
            limit=limit,
            after=None if cursor is None else place_of(cursor),
        )
        return _json(msgspec.json.encode(await backstage.search(query)))


def _add_page(app: FastAPI, doorkeeper: Doorkeeper) -> None:
    page = (live_page.FOLDER / "index.html").read_text()
    open_page = page.replace(live_page.LOCKED, live_page.OPEN)

    @app.api_route("/", methods=READ_METHODS)
    async def index() -> Response:
        return HTMLResponse(open_page if doorkeeper.admits_operator(None) else page, headers=PAGE_HEADERS)

    app.mount(PAGE_ASSETS_PATH, _AlwaysFresh(directory=live_page.FOLDER))


def _add_health(app: FastAPI, backstage: Backstage) -> None:
    @app.api_route("/healthz", methods=READ_METHODS)
    async def healthz() -> Response:
        return _json(b'{"status":"ok"}')

    @app.api_route("/readyz", methods=READ_METHODS)
    async def readyz() -> Response:
        readiness = await backstage.readiness()
        if readiness.ready:
            slow = {"journal": "slow"} if readiness.journal_is_slow else {}
            return _json(msgspec.json.encode({"status": "ready", "slots": readiness.slots, "served": readiness.served, **slow}))
        raise RefusedError(Refusal(Code.RECOVERING, "; ".join(readiness.problems)))


def _add_documentation(app: FastAPI, document: bytes) -> None:
    @app.api_route("/openapi.json", methods=READ_METHODS)
    async def openapi_json() -> Response:
        return _json(document)

    @app.api_route("/docs", methods=READ_METHODS)
    async def docs() -> Response:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="Headcount",
            swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS_PATH}/favicon.png",
        )

    # From a package, not from a content delivery network: operators' machines may not reach one.
    app.mount(ASSETS_PATH, StaticFiles(packages=[("fastapi_offline", "static")]))


async def _described(backstage: Backstage, session_id: str) -> Response:
    described = None
    if session_id.startswith(SHOWN_ID):
        # Of a player that reports by itself; but a client may have posted an id that begins like that.
        described = await backstage.describe(reported_id(session_id.removeprefix(SHOWN_ID)))
    described = described or await backstage.describe(session_id)
    if described is None:
        raise RefusedError(Refusal(Code.NOT_FOUND, "no session has this id: there never was one, or its revive window is over"))
    return _json(described)


def _json(body: bytes) -> Response:
    return Response(body + b"\n", media_type="application/json", headers={"cache-control": "no-store"})


def _refused(refusal: Refusal) -> Response:
    headers = {name.decode(): value.decode() for name, value in refusal.all_headers}
    return Response(refusal.body(), refusal.status, media_type="application/json", headers=headers)


def _on_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)  # noqa: S101 - as registered below
    return _refused(error.refusal)


def _on_actor_away(_request: Request, error: Exception) -> Response:
    return _refused(Refusal(Code.UNAVAILABLE, f"{error}; ask again"))


def _on_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as registered below
    headers = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
    codes = {HTTPStatus.NOT_FOUND: Code.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED: Code.METHOD_NOT_ALLOWED}
    return _refused(Refusal(codes.get(HTTPStatus(error.status_code), Code.BAD_PARAMETER), headers=headers))


def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as registered below
    fields = tuple((".".join(map(str, each["loc"][1:])), str(each["msg"])) for each in error.errors())
    return _refused(Refusal(Code.INVALID_FIELD, f"{counted(len(fields), 'parameter is', 'parameters are')} wrong", fields))


def _on_our_fault(_request: Request, _error: Exception) -> Response:
    """Answer without a trace of what happened; Starlette raises the error again behind this answer, and Serve logs it."""
    return _refused(Refusal(Code.INTERNAL))


_HANDLERS: Final[Mapping[type[Exception], ExceptionHandler]] = {
    RefusedError: _on_refused,
    ActorAwayError: _on_actor_away,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
    Exception: _on_our_fault,
}
