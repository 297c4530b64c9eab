"""
What we answer: the seed's success bodies, and every error in one shape.

Decides the closed list of error codes, the status and the `Retry-After` of each, and how a receipt reads to a player. It
knows nothing of how an answer is sent. Each ends in a line feed, so that a prompt behind it begins a line of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from serve_app.players.timestamps import written_length, written_utc
from serve_app.players.wire import BadEvent
from sessions.changes import Receipt

Header = tuple[bytes, bytes]

DROPPED_NAMED_MAX: Final = 20
"""Dropped fields that one answer names; all of them are counted."""

_json = msgspec.json.Encoder()


class Code(StrEnum):
    """Why a request is refused: `error.code` of the answer, and the `reason` that it is counted under. Closed."""

    BAD_JSON = "bad_json"
    BAD_PARAMETER = "bad_parameter"
    BAD_ENCODING = "bad_encoding"
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    BODY_TOO_LARGE = "body_too_large"
    TOO_MANY_EVENTS = "too_many_events"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    INVALID_FIELD = "invalid_field"
    TOO_MANY_SESSIONS = "too_many_sessions"
    INTERNAL = "internal"
    OVERLOADED = "overloaded"
    RECOVERING = "recovering"
    NO_JOURNAL = "no_journal"
    UNAVAILABLE = "unavailable"


STATUSES: Final[Mapping[Code, int]] = {
    Code.BAD_JSON: 400,
    Code.BAD_PARAMETER: 400,
    Code.BAD_ENCODING: 400,
    Code.BAD_REQUEST: 400,
    Code.UNAUTHORIZED: 401,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.REQUEST_TIMEOUT: 408,
    Code.BODY_TOO_LARGE: 413,
    Code.TOO_MANY_EVENTS: 413,
    Code.UNSUPPORTED_ENCODING: 415,
    Code.INVALID_FIELD: 422,
    Code.TOO_MANY_SESSIONS: 429,
    Code.INTERNAL: 500,
    Code.OVERLOADED: 503,
    Code.RECOVERING: 503,
    Code.NO_JOURNAL: 503,
    Code.UNAVAILABLE: 503,
}
RETRY_AFTER_S: Final[Mapping[Code, int]] = {
    Code.TOO_MANY_SESSIONS: 30,
    Code.OVERLOADED: 2,
    Code.RECOVERING: 2,
    Code.NO_JOURNAL: 5,
    Code.UNAVAILABLE: 2,
}
MESSAGES: Final[Mapping[Code, str]] = {
    Code.BAD_REQUEST: "this is not a complete HTTP request",
    Code.UNAUTHORIZED: "this route needs a valid bearer token",
    Code.NOT_FOUND: "there is no such route",
    Code.METHOD_NOT_ALLOWED: "this method is not allowed here",
    Code.REQUEST_TIMEOUT: "the body did not arrive in time",
    Code.INTERNAL: "something went wrong here; our log says what",
    Code.TOO_MANY_SESSIONS: "too many new sessions at the moment; send it again later",
    Code.OVERLOADED: "too many requests are waiting; send it again later",
    Code.RECOVERING: "the shard of this session is starting; send it again",
    Code.NO_JOURNAL: "nothing can be stored at the moment; send it again later",
    Code.UNAVAILABLE: "the shard of this session did not answer; send it again",
}
_HEADERS: Final[Mapping[Code, tuple[Header, ...]]] = {
    Code.UNAUTHORIZED: ((b"www-authenticate", b'Bearer realm="headcount"'),),
    Code.UNSUPPORTED_ENCODING: ((b"accept-encoding", b"gzip"),),
    **{code: ((b"retry-after", str(after).encode()),) for code, after in RETRY_AFTER_S.items()},
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is not taken: a value, made where the reason is known."""

    code: Code
    message: str = ""
    """Empty: the usual one of the code."""
    fields: Sequence[tuple[str, str]] = ()
    """(field or parameter, what is wrong with it)."""
    headers: tuple[Header, ...] = ()
    """Beyond those that the code brings."""
    counted_as: str = ""
    """The reason that it is counted under, if not its code."""

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return STATUSES[self.code]

    @property
    def all_headers(self) -> tuple[Header, ...]:
        """Return the headers that this error needs beside those of its body."""
        return (*_HEADERS.get(self.code, ()), *self.headers)

    def body(self) -> bytes:
        """Return the error in the one shape that every endpoint uses."""
        fields = [{"field": field, "problem": problem} for field, problem in self.fields]
        message = self.message or MESSAGES[self.code]
        return _json.encode({"status": "error", "error": {"code": self.code.value, "message": message, "fields": fields}}) + b"\n"


def started(session_id: str, receipt: Receipt, *, at: float, dropped: Sequence[str] = ()) -> bytes:
    """Answer a start. `dropped`, here and below: paths of the fields that cost only themselves."""
    data = _opening(session_id, receipt)
    data["heartbeat_interval_seconds"] = receipt.interval_s
    return _closing(data, at, dropped)


def beaten(session_id: str, receipt: Receipt, *, at: float, dropped: Sequence[str] = ()) -> bytes:
    """Answer a heartbeat."""
    data = _opening(session_id, receipt)
    data["next_heartbeat_seconds"] = receipt.interval_s
    if getattr(receipt, "start_wanted", False):
        data["start_wanted"] = True
    return _closing(data, at, dropped)


def ended(session_id: str, receipt: Receipt, *, at: float, dropped: Sequence[str] = ()) -> bytes:
    """Answer an end with the end that stands."""
    data = _opening(session_id, receipt)
    total_s = receipt.total_watch_s or 0
    data["watch_summary"] = {
        "total_watch_seconds": total_s,
        "total_watch_formatted": written_length(total_s),
        "end_reason": receipt.end_reason,
    }
    return _closing(data, at, dropped)


def taken(session_id: str, receipt: Receipt, bad: Sequence[BadEvent], *, at: float, dropped: Sequence[str] = ()) -> bytes:
    """Answer events; `bad` are those that never reached the session."""
    rejected: list[dict[str, str | None]] = [{"event_id": entry.event_id, "reason": entry.fault.value} for entry in bad]
    rejected += [{"event_id": event_id, "reason": reason} for event_id, reason in receipt.rejected]
    # The contract's answer knows no `accepted` here: it is told only where the session is over and took nothing.
    data: dict[str, object] = {"session_id": session_id} if receipt.reason is None else _opening(session_id, receipt)
    data["accepted_count"] = receipt.accepted_count
    data["rejected_count"] = len(rejected)
    data["rejected_events"] = rejected
    if getattr(receipt, "start_wanted", False):
        data["start_wanted"] = True
    return _closing(data, at, dropped)


def _opening(session_id: str, receipt: Receipt) -> dict[str, object]:
    data: dict[str, object] = {"session_id": session_id, "accepted": receipt.accepted}
    if receipt.reason is not None:
        data["reason"] = receipt.reason
    return data


def _closing(data: dict[str, object], at: float, dropped: Sequence[str]) -> bytes:
    if dropped:
        data["dropped_fields"] = dropped[:DROPPED_NAMED_MAX]
    data["server_timestamp"] = written_utc(at)
    return _json.encode({"status": "success", "data": data}) + b"\n"
