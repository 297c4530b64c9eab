"""
From a body's bytes to its model, or to what is wrong with it.

Decides what counts as JSON and how a wrong field is named to the player. One decode per request. The models are `wire.py`'s.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from serve_app.wire import EndEngagement
from sessions import limits

FIELDS_NAMED_MAX: Final = 20
"""Wrong fields that one answer names."""

_PROGRAMS: Final = ("watch_summary", "programs_watched")

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
    # pydantic's reader takes NaN and Infinity, which JSON does not have; only a body with such letters pays for a second look.
    if b"NaN" in body or b"Infinity" in body:
        try:
            msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return BadBody(BodyFault.NOT_JSON, "the body is not JSON")
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        return _bad_body(error.errors(include_url=False, include_input=False))


def _bad_body(errors: list[ErrorDetails]) -> BadBody:
    first = errors[0]
    if first["type"] == "json_invalid":
        return BadBody(BodyFault.NOT_JSON, first["msg"])
    if any(error["type"] == "too_long" and error["loc"] == ("events",) for error in errors):
        return BadBody(BodyFault.TOO_MANY_EVENTS, f"more than {limits.EVENTS_PER_REQUEST_MAX} events in one request")
    problems: dict[str, str] = {}
    for error in errors:
        problems.setdefault(_path(error["loc"]), _problem(error))
    return BadBody(BodyFault.INVALID_FIELD, "", tuple(problems.items())[:FIELDS_NAMED_MAX])


def _path(location: tuple[int | str, ...]) -> str:
    """Return where a field is, in its player's words: `playback.quality`; of what is free only the field that holds it."""
    return ".".join(map(str, _free(location) or location)) or "body"


def _free(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return the path of the free field that a location lies in; empty: in none."""
    if location[:2] == _PROGRAMS and location != _PROGRAMS:
        return location[:2]
    if location[:1] == ("engagement",) and len(location) > 1 and location[1] not in EndEngagement.model_fields:
        return location[:1]
    return ()


def _problem(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "is required"
    if _free(error["loc"]):
        return "must hold no NUL, and only finite numbers"
    if error["type"] == "string_pattern_mismatch":
        return "must not contain NUL"
    text = error["msg"].removeprefix("Input ").removeprefix("String ")
    return text[0].lower() + text[1:]
