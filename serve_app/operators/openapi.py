"""
The OpenAPI 3.1 document of every route, from the same tables and models that serve them.

Decides only how they are told. The seed's bodies are its examples, verbatim.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serve_app.cmcd.mapper import PARAMETERS
from serve_app.operators.paths import LIVE_PATH
from serve_app.operators.search import CURSOR_PATTERN
from serve_app.operators.session_schema import SESSION
from serve_app.players.answers import DROPPED_NAMED_MAX, RETRY_AFTER_S, STATUSES, Code
from serve_app.players.fields import CLOSED, NOT_SAID, count_max, field_at, model_in, walk
from serve_app.players.pixel import VISIBILITIES
from serve_app.players.routes import CMCD_PATH, EPAS_PATH, PIXEL_PATH, POSTS, PostRoute
from serve_app.players.script import HASHED_PATH, SCRIPT_PATH
from serve_app.players.wire import EventBody, EventFault, EventsBody
from serve_app.settings import VERSION
from sessions import limits
from sessions.changes import Reason
from sessions.events import BEACON_TYPES, END_REASONS
from sessions.search import SORTS
from sessions.states import PLAYBACKS

Json = dict[str, Any]

_ID: Final[Json] = {"type": "string", "minLength": 1, "maxLength": limits.ID_CHARS_MAX, "pattern": r"^[^\u0000]*$"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_TIME: Final[Json] = {"type": "string", "format": "date-time"}
_ERROR_REFERENCE: Final[Json] = {"$ref": "#/components/schemas/Error"}

_PLAYER_ERRORS: Final = (
    Code.BAD_JSON,
    Code.BAD_ENCODING,
    Code.UNAUTHORIZED,
    Code.METHOD_NOT_ALLOWED,
    Code.REQUEST_TIMEOUT,
    Code.BODY_TOO_LARGE,
    Code.UNSUPPORTED_ENCODING,
    Code.INVALID_FIELD,
    Code.TOO_MANY_SESSIONS,
    Code.OVERLOADED,
    Code.RECOVERING,
    Code.NO_JOURNAL,
    Code.UNAVAILABLE,
)
_PIXEL_ERRORS: Final = (
    Code.BAD_PARAMETER,
    Code.METHOD_NOT_ALLOWED,
    Code.TOO_MANY_SESSIONS,
    Code.OVERLOADED,
    Code.RECOVERING,
    Code.NO_JOURNAL,
    Code.UNAVAILABLE,
)
_OPERATOR_ERRORS: Final = (Code.UNAUTHORIZED, Code.METHOD_NOT_ALLOWED, Code.UNAVAILABLE)


def document() -> Json:
    """Return the whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headcount",
            "version": VERSION,
            "description": "How many people are watching right now, and is it going well for them? "
            "Everything that players send is safe to send again; answers with `Retry-After` ask for exactly that.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": "players"}, {"name": "operators"}, {"name": "health"}],
        "paths": {
            PIXEL_PATH: {
                "get": _pixel("beacon", "Send beacon"),
                "post": _pixel("beaconPosted", "The same, as `navigator.sendBeacon` sends it"),
            },
            SCRIPT_PATH: {"get": _script("script", "The client library for web pages, kept for five minutes")},
            HASHED_PATH: {"get": _script("scriptForGood", "The same, kept for good: the name says which version it is")},
            **{route.path: {"post": _post(route)} for route in POSTS.values()},
            CMCD_PATH: {"post": _reported("cmcd", "Report by CMCD, version 2, in event mode", *_CMCD)},
            EPAS_PATH: {"post": _reported("epas", "Report as Eyevinn's player analytics SDK does", *_EPAS)},
            **_operators(),
            **_health(),
        },
        "components": {"schemas": _schemas(), "securitySchemes": _SECURITY, "headers": _HEADERS},
    }


_SECURITY: Final[Json] = {
    "ingest": {
        "type": "http",
        "scheme": "bearer",
        "description": "The ingest token (`data/ingest.token`), or a JWT where those are set up.",
    },
    "ingestParameter": {
        "type": "apiKey",
        "in": "query",
        "name": "access_token",
        "description": "The same, for `navigator.sendBeacon`, which cannot send headers.",
    },
    "ops": {"type": "http", "scheme": "bearer", "description": "The ops token (`data/ops.token`)."},
}
_HEADERS: Final[Json] = {
    "RetryAfter": {"description": "Seconds to wait before sending it again.", "schema": {"type": "integer", "minimum": 1}},
    "Allow": {"description": "The methods that are allowed here.", "schema": {"type": "string"}},
    "WwwAuthenticate": {"description": "The scheme that is asked for.", "schema": {"type": "string"}},
}


def _schemas() -> Json:
    models = [(route.model, "validation") for route in POSTS.values()]
    _, generated = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]  # literals, as it asks
    for route in POSTS.values():
        _tell_what_costs_only_itself(route.model, generated["$defs"])
    return {**generated["$defs"], **{_answer_name(route): _answer(route) for route in POSTS.values()}, "Error": _ERROR, "Session": SESSION}


def _tell_what_costs_only_itself(model: type[BaseModel], schemas: Json) -> None:
    """Let every field of a body take what is taken in its place, and say what becomes of that."""
    tops = (model, EventBody) if model is EventsBody else (model,)
    for top in tops:
        for path, field in walk(top):
            holder = top if len(path) == 1 else model_in(field_at(top, path[:-1]))  # type: ignore[arg-type]  # a group, as it has fields
            properties = schemas[holder.__name__]["properties"]  # type: ignore[union-attr]
            more: Json | None = None
            if not field.is_required():
                more = _DROPPED
            elif path in CLOSED.get(top, {}):
                more = _TAKEN_AS_OTHER
            elif path in NOT_SAID.get(top, {}):
                more = _NOT_SAID
            elif count_max(top, path) is not None:
                properties[path[-1]].pop("maximum")
            if more is not None:
                properties[path[-1]] = _or_else(properties[path[-1]], more)


def _or_else(schema: Json, more: Json) -> Json:
    if more in schema.get("anyOf", ()):
        return schema
    outer: Json = {name: schema.pop(name) for name in ("description", "default", "title") if name in schema}
    return {**outer, "anyOf": [*schema.pop("anyOf", [schema]), more]}


_DROPPED: Final[Json] = {"description": "Anything else is dropped, as if it had not been sent, and named in `data.dropped_fields`."}
_TAKEN_AS_OTHER: Final[Json] = {
    "type": "string",
    "description": "Any other text is taken as `other`, and named in `data.dropped_fields`; an empty connection as `unknown`.",
}
_NOT_SAID: Final[Json] = {"const": "", "description": "Not known: taken as `unknown`, and named in `data.dropped_fields`."}


_ERROR: Final[Json] = {
    "type": "object",
    "description": "Every error of every endpoint.",
    "required": ["status", "error"],
    "properties": {
        "status": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["code", "message", "fields"],
            "properties": {
                "code": {"enum": [code.value for code in Code]},
                "message": {"type": "string"},
                "fields": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["field", "problem"],
                        "properties": {"field": {"type": "string"}, "problem": {"type": "string"}},
                    },
                },
            },
        },
    },
    "examples": [
        {
            "status": "error",
            "error": {
                "code": "invalid_field",
                "message": "1 field is wrong",
                "fields": [{"field": "playback.dvr_enabled", "problem": "should be a valid boolean"}],
            },
        }
    ],
}


def _answer_name(route: PostRoute) -> str:
    return f"{route.endpoint.capitalize()}Answer"


def _answer(route: PostRoute) -> Json:
    """Return the schema of a success body, with the seed's as its example."""
    promised = {
        "start": {"heartbeat_interval_seconds": {"type": "integer", "minimum": 1, "description": "Send a heartbeat this often."}},
        "heartbeat": {"next_heartbeat_seconds": {"type": "integer", "minimum": 1, "description": "Send the next one by then."}},
        "end": {"watch_summary": _WATCH_SUMMARY},
        "events": _JUDGEMENTS,
    }[route.endpoint]
    verdict: Json = {
        "accepted": {"type": "boolean", "description": "False: the session has ended; nothing was changed."},
        "reason": {"enum": [Reason.SESSION_ENDED.value], "description": "Present only if not accepted."},
    }
    now_and_then: Json = {
        "dropped_fields": {
            "type": "array",
            "minItems": 1,
            "maxItems": DROPPED_NAMED_MAX,
            "items": {"type": "string"},
            "description": "Present only if something of the request was dropped, or taken as `other` or `unknown`: which fields.",
        }
    }
    if route.endpoint in {"heartbeat", "events"}:
        now_and_then["start_wanted"] = {
            "const": True,
            "description": "Present only as long as the session's start has not arrived: send it.",
        }
    properties = {"session_id": _ID, **verdict, **promised, **now_and_then, "server_timestamp": _TIME}
    optional = {"reason", *now_and_then, *({"accepted"} if route.is_events else ())}
    data = {"type": "object", "required": [name for name in properties if name not in optional], "properties": properties}
    return {
        "type": "object",
        "required": ["status", "data"],
        "properties": {"status": {"const": "success"}, "data": data},
        "examples": [route.example],
    }


_WATCH_SUMMARY: Final[Json] = {
    "type": "object",
    "description": "From the first end, which is the one that counts.",
    "required": ["total_watch_seconds", "total_watch_formatted", "end_reason"],
    "properties": {
        "total_watch_seconds": _COUNT,
        "total_watch_formatted": {"type": "string", "pattern": r"^([0-9]+:)?[0-9]{2}:[0-9]{2}$"},
        "end_reason": {"enum": list(END_REASONS)},
    },
}
_JUDGEMENTS: Final[Json] = {
    "accepted_count": {**_COUNT, "description": "Includes duplicates."},
    "rejected_count": _COUNT,
    "rejected_events": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["event_id", "reason"],
            "properties": {
                "event_id": {"type": ["string", "null"], "description": "null: the event had no readable id."},
                "reason": {"enum": [*(fault.value for fault in EventFault), Reason.SESSION_ENDED.value]},
            },
        },
    },
}


def _pixel(operation: str, summary: str) -> Json:
    required = {
        "type": ({"enum": list(BEACON_TYPES)}, "view: the player is shown; play: playback began; check: it is still there."),
        "v": (_ID, "External ID of the video: the session's stream."),
        "p": (_ID, "Pullzone name."),
        "u": (_ID, "User ID."),
    }
    optional = {
        "referrer": ({"type": "string"}, "Referrer URL; one that cannot be read is left out."),
        "visibility": (
            {"type": "string", "examples": list(VISIBILITIES), "default": "true"},
            f"Whether the beacon is visible: {', '.join(VISIBILITIES)}, in any letters; anything else is left out.",
        ),
    }
    parameters = [
        {"name": name, "in": "query", "required": group is required, "schema": schema, "description": description}
        for group in (required, optional)
        for name, (schema, description) in group.items()
    ]
    return {
        "tags": ["players"],
        "operationId": operation,
        "summary": summary,
        "description": "One viewer of one video (`p`, `v`, `u`) is one session. Needs no token.",
        "parameters": parameters,
        "security": [],
        "responses": {
            "200": {
                "description": "Taken.",
                "headers": {"Cache-Control": {"schema": {"const": "no-store"}}},
                "content": {"image/gif": {"schema": {"type": "string", "contentMediaType": "image/gif"}}},
            },
            **_errors(_PIXEL_ERRORS),
        },
    }


_CMCD: Final[tuple[Json, Json, Json]] = (
    {"application/cmcd": {"schema": {}}, "text/plain": {"schema": {}}},
    {
        "204": {
            "description": "Whatever could be heard, refusals included: what became of it is in `X-Headcount`.",
            "headers": {"X-Headcount": {"schema": {"type": "string", "examples": ["taken=3;repeated=1;ignored=0"]}}},
        }
    },
    {
        "security": [],
        "description": "One record a line. Needs the ingest token, or a JWT; without it nothing is counted, and that is said.",
    },
)
_EPAS: Final[tuple[Json, Json, Json]] = (
    {"application/json": {"schema": {}}},
    {
        "200": {
            "description": "Heard. Of events that name a session, and of every `init`, with the id of the session.",
            "content": {"application/json": {"schema": {"type": "object", "properties": {"sessionId": {"type": "string"}}}}},
        }
    },
    {"security": [{"ingest": []}, {"ingestParameter": []}], "description": "One event, or a list of them."},
)


def _reported(operation: str, summary: str, content: Json, answers: Json, more: Json) -> Json:
    errors = (Code.METHOD_NOT_ALLOWED,) if operation == "cmcd" else (Code.UNAUTHORIZED, Code.METHOD_NOT_ALLOWED)
    return {
        "tags": ["players"],
        "operationId": operation,
        "summary": summary,
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in PARAMETERS],
        "requestBody": {"content": content},
        "responses": {**answers, **_errors(errors)},
        **more,
    }


def _script(operation: str, summary: str) -> Json:
    return {
        "tags": ["players"],
        "operationId": operation,
        "summary": summary,
        "description": "An ES module that exports `Headcount`. Needs no token; `Content-Location` names the path that is kept for good.",
        "security": [],
        "responses": {
            "200": {"description": "The module.", "content": {"text/javascript": {"schema": {"type": "string"}}}},
            "304": {"description": "It is the one that `If-None-Match` names."},
            **_errors((Code.METHOD_NOT_ALLOWED,)),
        },
    }


def _post(route: PostRoute) -> Json:
    errors = (*_PLAYER_ERRORS, Code.TOO_MANY_EVENTS) if route.is_events else _PLAYER_ERRORS
    reference = {"$ref": f"#/components/schemas/{route.model.__name__}"}
    content: Json = {"schema": reference}
    return {
        "tags": ["players"],
        "operationId": route.endpoint,
        "summary": route.title,
        "description": f"{route.model.__doc__} The body is JSON in UTF-8 of at most {limits.BODY_BYTES_MAX} bytes, "
        "whatever its Content-Type says, and may be sent with `Content-Encoding: gzip`. "
        f"It holds at most {limits.BODY_HOLDERS_MAX} objects and lists.",
        "security": [{"ingest": []}, {"ingestParameter": []}],
        "requestBody": {"required": True, "content": {"application/json": content, "text/plain": content}},
        "responses": {
            "200": {
                "description": "Durable, and counted.",
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_answer_name(route)}"}}},
            },
            **_errors(errors),
        },
    }


def _operators() -> Json:
    stream = {
        "name": "stream_id",
        "in": "query",
        "schema": _ID,
        "description": "One stream; without it the totals and the biggest streams.",
    }
    session = {"name": "session_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    viewer = [{"name": name, "in": "query", "required": True, "schema": _ID} for name in ("p", "v", "u")]
    last = {
        "name": "Last-Event-ID",
        "in": "header",
        "schema": {"type": "string"},
        "description": "The id of the last event that was heard.",
    }
    stream_of_events: Json = {"text/event-stream": {"schema": {"type": "string"}}}
    any_object: Json = {"application/json": {"schema": {"type": "object"}}}
    one_session: Json = {"application/json": {"schema": {"$ref": "#/components/schemas/Session"}}}
    scrape: Json = {media: {"schema": {"type": "string"}} for media in ("text/plain", "application/openmetrics-text")}
    return {
        "/metrics": {"get": _question("metrics", "What Prometheus scrapes, as text or OpenMetrics by `Accept`", scrape)},
        "/v1/concurrency": {"get": _question("concurrency", "Who is watching now", any_object, [stream], errors=(Code.INVALID_FIELD,))},
        "/v1/sessions": {
            "get": {
                **_question("sessions", "Live and lately finished sessions", _FOUND, _SEARCH, errors=(Code.INVALID_FIELD,)),
                "description": "The newest first, or by `sort` those that stalled longest, or those that are over with the worst score. `next` is "
                "the `cursor` of the next page. A session whose place changes in between may be on both pages or on none, unless sorted by `started`.",
            }
        },
        "/v1/sessions/{session_id}": {
            "get": _question(
                "session", "One session in full, and why it is or is not counted", one_session, [session], errors=(Code.NOT_FOUND,)
            )
        },
        "/v1/beacon-session": {
            "get": _question(
                "beaconSession", "The same for a session of pixels", one_session, viewer, errors=(Code.NOT_FOUND, Code.INVALID_FIELD)
            )
        },
        "/v1/players": {"get": _question("players", "Which players report by themselves, and what to do about each", any_object)},
        "/v1/status": {"get": _question("status", "The state of shards, slots and journal", any_object)},
        LIVE_PATH: {
            "get": {**_question("live", "What the live page is pushed", stream_of_events, [last], errors=(Code.OVERLOADED,)), **_LIVE}
        },
    }


def _wanted(name: str, schema: Json, description: str = "") -> Json:
    return {"name": name, "in": "query", "schema": schema, **({"description": description} if description else {})}


_SEARCH: Final = (
    *(_wanted(name, _ID) for name in ("stream_id", "user_id", "device_id", "platform", "country")),
    _wanted("state", {"enum": [str(each) for each in PLAYBACKS]}, "Of playback."),
    _wanted("liveness", {"enum": ["active", "expired", "ended"]}),
    _wanted("failure", {"enum": ["start", "playback"]}, "It failed before its first frame, or after it."),
    _wanted("score_below", {"type": "number", "minimum": 0, "maximum": 100}, "Of sessions that are over: active ones have no score yet."),
    _wanted("sort", {"enum": list(SORTS), "default": "started"}),
    _wanted("limit", {"type": "integer", "minimum": 1, "maximum": limits.SEARCH_ROWS_MAX, "default": 50}),
    _wanted("cursor", {"type": "string", "pattern": CURSOR_PATTERN}, "`next` of the answer before."),
)
_ROW: Final[Json] = {
    "type": "object",
    "required": ["session_id", "stream_id", "liveness", "state", "since", "watch_time_s", "stalls", "score", "why"],
    "properties": {
        **{key: {"type": "string"} for key in ("session_id", "stream_id", "platform", "country", "why")},
        **{key: {"type": ["string", "null"]} for key in ("user_id", "device_id")},
        **{key: {"type": "number"} for key in ("since", "seen_at", "watch_time_s", "rebuffering_time_s")},
        "liveness": {"enum": ["active", "expired", "ended"]},
        "state": {"enum": [str(each) for each in PLAYBACKS]},
        "stalls": _COUNT,
        "score": {"type": ["number", "null"]},
        "failure": {"enum": ["start", "playback", None]},
    },
}
_FOUND: Final[Json] = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["sessions", "next", "looked_at"],
            "properties": {
                "sessions": {"type": "array", "maxItems": limits.SEARCH_ROWS_MAX, "items": _ROW},
                "next": {"type": ["string", "null"], "description": "The cursor of what follows; null: nothing does."},
                "looked_at": {**_COUNT, "description": "Sessions that were looked at."},
                "without_shards": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Present only if some shards did not answer: their sessions are missing.",
                },
            },
        }
    }
}
_LIVE: Final[Json] = {
    "description": "An answer that does not end. Event `picture`: the last hour, a line for each second (when, sessions in each of "
    "`states_in_order`, joined, left; null where that is not known), and `now`. Event `change`: the lines since then, and what of `now` is "
    "new; of `streams` those that changed, and which are `gone`. Event `away`: the numbers stand, as whoever adds them up does not answer. "
    "A comment comes where nothing else has for 15 s. Who comes back with `Last-Event-ID` is told the seconds that it missed. Who does not "
    "read is hung up on.",
}


def _question(name: str, summary: str, content: Json, parameters: Iterable[Json] = (), *, errors: tuple[Code, ...] = ()) -> Json:
    return {
        "tags": ["operators"],
        "operationId": name,
        "summary": summary,
        "parameters": list(parameters),
        "security": [{"ops": []}],
        "responses": {"200": {"description": "As asked.", "content": content}, **_errors((*_OPERATOR_ERRORS, *errors))},
    }


def _health() -> Json:
    ok: Json = {"application/json": {"schema": {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}}}
    page: Json = {"text/html": {"schema": {"type": "string"}}}
    questions: Mapping[str, tuple[str, str, Json, tuple[Code, ...]]] = {
        "/healthz": ("healthz", "The process is up", ok, ()),
        "/readyz": ("readyz", "Every slot is served and the journal answers", ok, (Code.RECOVERING,)),
        "/openapi.json": ("openapi", "This document", {"application/json": {"schema": {"type": "object"}}}, ()),
        "/docs": ("docs", "This document, to be read and tried", page, ()),
        "/": ("page", "The live page, which asks for the ops token itself", page, ()),
    }
    return {
        path: {
            "get": {
                "tags": ["health"],
                "operationId": name,
                "summary": summary,
                "security": [],
                "responses": {"200": {"description": "Yes.", "content": content}, **_errors((Code.METHOD_NOT_ALLOWED, *errors))},
            }
        }
        for path, (name, summary, content, errors) in questions.items()
    }


def _errors(codes: Iterable[Code]) -> Json:
    """Return the error responses of an operation, by status."""
    by_status: dict[int, list[Code]] = {}
    for code in codes:
        by_status.setdefault(STATUSES[code], []).append(code)
    return {str(status): _error(status, by_status[status]) for status in sorted(by_status)}


def _error(status: int, codes: list[Code]) -> Json:
    headers: Json = {}
    if any(code in RETRY_AFTER_S for code in codes):
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    if Code.METHOD_NOT_ALLOWED in codes:
        headers["Allow"] = {"$ref": "#/components/headers/Allow"}
    if Code.UNAUTHORIZED in codes:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/WwwAuthenticate"}
    names = ", ".join(f"`{code.value}`" for code in codes)
    return {
        "description": f"{HTTPStatus(status).phrase}: {names}",
        **({"headers": headers} if headers else {}),
        "content": {"application/json": {"schema": _ERROR_REFERENCE}},
    }
