"""
From a body's bytes to its model, or to what is wrong with it.

Decides what counts as JSON and how a wrong field is named to the player. One decode per request that is right; only one that is not is decoded
again, and mended as far as it can be (`mending.py`). The models are `wire.py`'s.
"""

import json
import re
from codecs import BOM_UTF8
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from serve_app.players.mending import Sound, mend, mend_events, mend_free
from serve_app.players.values import PLACEHOLDER_ID
from serve_app.players.wire import EventsBody
from sessions import limits

FIELDS_NAMED_MAX: Final = 20
"""Wrong fields that one answer names."""

_TOO_MANY_HOLDERS: Final = f"must hold at most {limits.BODY_HOLDERS_MAX} objects and lists"
_ESCAPED_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)

Model = TypeVar("Model", bound=BaseModel)


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
    has_placeholder: bool = False
    """One of them is an id that nobody filled in."""


def read_body(model: type[Model], body: bytes) -> Sound[Model] | BadBody:
    """Decode and validate; return the model with what was dropped of it, or a `BadBody`. A byte order mark is skipped."""
    body = body.removeprefix(BOM_UTF8)
    has_too_many_holders = _has_too_many_holders(body)
    # pydantic's reader takes NaN and Infinity, which JSON does not have; only a body with such letters pays for a second look.
    if (has_too_many_holders or b"NaN" in body or b"Infinity" in body) and not _is_json(body):
        return BadBody(BodyFault.NOT_JSON, "the body is not JSON")
    if has_too_many_holders:
        return BadBody(BodyFault.INVALID_FIELD, "", (("body", _TOO_MANY_HOLDERS),))
    try:
        read = Sound(model.model_validate_json(body))
    except ValidationError as error:
        # No more of them than the models have fields: what is free, or judged entry by entry, fails with one.
        mended = _read_again(model, body, error.errors(include_url=False, include_context=False, include_input=False))
        if isinstance(mended, BadBody):
            return mended
        read = mended
    if isinstance(read.body, EventsBody):
        return Sound(read.body, read.dropped + mend_events(read.body))
    return read


def _read_again(model: type[Model], body: bytes, errors: list[ErrorDetails]) -> Sound[Model] | BadBody:
    """Decode what is not right as it is, with half a character wherever it has one, and see what of it need not cost it."""
    is_cut = errors[0]["type"] == "json_invalid"
    if is_cut and not _ESCAPED_SURROGATE.search(body):
        return _bad_body(errors)
    try:
        decoded = json.loads(body.decode(), parse_constant=_no_json)
        if is_cut:
            mend_free(decoded)
    except (ValueError, RecursionError):
        return _bad_body(errors)
    mended = mend(model, decoded, model.model_validate)
    return mended if isinstance(mended, Sound) else _bad_body(mended)


def _no_json(constant: str) -> None:
    raise ValueError(constant)


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
    return BadBody(BodyFault.INVALID_FIELD, "", tuple(problems.items()), any(error["type"] == PLACEHOLDER_ID for error in errors))


def _path(location: tuple[int | str, ...]) -> str:
    """Return where a field is, in its player's words: `playback.quality`."""
    return ".".join(map(str, location)) or "body"


def _problem(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "is required"
    if error["type"] == "string_pattern_mismatch":
        return "must not contain NUL"
    if error["type"] == "string_unicode":
        return "must not contain half a character (a lone surrogate)"
    text = error["msg"].removeprefix("Input ").removeprefix("String ")
    return text[0].lower() + text[1:]
