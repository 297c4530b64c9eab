"""
From a body's bytes to its model, or to what is wrong with it.

Decides what counts as JSON and how a wrong field is named to the player. One decode per request. The models are `wire.py`'s.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from sessions import limits

FIELDS_NAMED_MAX: Final = 20
"""Wrong fields that one answer names."""

_TOO_MANY_HOLDERS: Final = f"must hold at most {limits.BODY_HOLDERS_MAX} objects and lists"
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)

Model = TypeVar("Model")


class BodyFault(StrEnum):
    """What is wrong with a body as a whole. Closed."""

    NOT_JSON = "not_json"
    INVALID_FIELD = "invalid_field"
    TOO_MANY_EVENTS = "too_many_events"


@dataclass(frozen=True, slots=True)
class BadBody:
    """A body that is refused."""

    fault: BodyFault
    problem: str
    """Of NOT_JSON: what, and where."""
    fields: tuple[tuple[str, str], ...] = ()
    """(path of the field, what is wrong with it) of the first `FIELDS_NAMED_MAX` wrong ones."""


def read_body(adapter: TypeAdapter[Model], body: bytes) -> Model | BadBody:
    """Decode and validate in one go; return the adapter's model, or a `BadBody`."""
    has_too_many_holders = _has_too_many_holders(body)
    # pydantic's reader takes NaN and Infinity, which JSON does not have; only a body with such letters pays for a second look.
    if (has_too_many_holders or b"NaN" in body or b"Infinity" in body) and not _is_json(body):
        return BadBody(BodyFault.NOT_JSON, "the body is not JSON")
    if has_too_many_holders:
        return BadBody(BodyFault.INVALID_FIELD, "", (("body", _TOO_MANY_HOLDERS),))
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        # No more of them than the models have fields: what is free, or judged entry by entry, fails with one.
        return _bad_body(error.errors(include_url=False, include_context=False, include_input=False))


def _has_too_many_holders(body: bytes) -> bool:
    """Count what opens objects and lists; only a body with that many such letters pays for telling them from its texts'."""
    if body.count(b"[") + body.count(b"{") <= limits.BODY_HOLDERS_MAX:
        return False
    bare = _STRING.sub(b"", body)
    return bare.count(b"[") + bare.count(b"{") > limits.BODY_HOLDERS_MAX


def _is_json(body: bytes) -> bool:
    """Skim through a body without making anything of it."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _bad_body(errors: list[ErrorDetails]) -> BadBody:
    first = errors[0]
    if first["type"] == "json_invalid":
        return BadBody(BodyFault.NOT_JSON, first["msg"])
    if any(error["type"] == "too_long" and error["loc"] == ("events",) for error in errors):
        return BadBody(BodyFault.TOO_MANY_EVENTS, f"more than {limits.EVENTS_PER_REQUEST_MAX} events in one request")
    problems: dict[str, str] = {}
    for error in errors:
        problems.setdefault(_path(error["loc"]), _problem(error))
        if len(problems) == FIELDS_NAMED_MAX:
            break
    return BadBody(BodyFault.INVALID_FIELD, "", tuple(problems.items()))


def _path(location: tuple[int | str, ...]) -> str:
    """Return where a field is, in its player's words: `playback.quality`."""
    return ".".join(map(str, location)) or "body"


def _problem(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "is required"
    if error["type"] == "string_pattern_mismatch":
        return "must not contain NUL"
    text = error["msg"].removeprefix("Input ").removeprefix("String ")
    return text[0].lower() + text[1:]
