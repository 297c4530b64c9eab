"""
The beacon: from a query string to a record, and the picture that answers it.

Decides which parameters are good. A required one that is missing, twice there, too long, badly encoded, holds a NUL or was never filled
in is named in the refusal; an optional one that cannot be read is left out; others are ignored. It does not know HTTP beyond the query.
"""

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Final
from urllib.parse import unquote_to_bytes

from serve_app.players.answers import Code, Refusal
from serve_app.players.records import packed_pixel_profile
from serve_app.players.values import PLACEHOLDER_ID, is_placeholder
from sessions import limits
from sessions.events import BEACON_TYPES, Beacon, beacon_id

GIF: Final = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b")
"""One transparent point, 42 bytes."""

REQUIRED: Final = ("type", "v", "p", "u")
OPTIONAL: Final = ("referrer", "visibility")
VISIBILITIES: Final = {"true": True, "1": True, "false": False, "0": False}

_KNOWN: Final = frozenset(REQUIRED + OPTIONAL)
_ESCAPES: Final = re.compile(rb"(?:[^%]|%[0-9A-Fa-f]{2})*")
_PLACEHOLDER: Final = "is a placeholder that nobody filled in"
_BAD_TEXT: Final = "must be percent-encoded UTF-8"


def read_pixel(query: bytes, *, pullzones: Collection[str] = (), network: str = "") -> Beacon | Refusal:
    """Return the beacon that a query string describes. `pullzones`: the only ones allowed; empty: any."""
    parameters, wrong = _parameters(query, known=_KNOWN)
    dropped = [name for name in OPTIONAL if name in wrong]
    problems = [(name, problem) for name in REQUIRED if (problem := wrong.get(name) or _problem_of(name, parameters.get(name)))]
    if not problems and pullzones and parameters["p"] not in pullzones:
        problems.append(("p", "is not an allowed pullzone"))
    if problems:
        has_placeholder = any(problem == _PLACEHOLDER for _, problem in problems)
        return replace(bad_parameters(problems), counted_as=PLACEHOLDER_ID if has_placeholder else "")
    referrer = parameters.get("referrer", "")
    if "\0" in referrer:
        referrer = ""
        dropped.append("referrer")
    visible = VISIBILITIES.get(parameters.get("visibility", "true").lower())
    if visible is None:
        dropped.append("visibility")
    video_id, pullzone, user_id = parameters["v"], parameters["p"], parameters["u"]
    return Beacon(
        session_id=beacon_id(pullzone=pullzone, video_id=video_id, user_id=user_id),
        type=parameters["type"],
        video_id=video_id,
        pullzone=pullzone,
        visible=visible is not False,
        profile=packed_pixel_profile(user_id=user_id, referrer=referrer[: limits.BEACON_REFERRER_CHARS_MAX] or None),
        dropped=",".join(dict.fromkeys(dropped)),
        network=network,
    )


def _problem_of(name: str, value: str | None) -> str | None:
    """Return what is wrong with a required parameter."""
    if not value:
        return "is required"
    if name == "type":
        return None if value in BEACON_TYPES else f"must be one of {', '.join(BEACON_TYPES)}"
    if len(value) > limits.ID_CHARS_MAX:
        return f"must have at most {limits.ID_CHARS_MAX} characters"
    if is_placeholder(value):
        return _PLACEHOLDER
    return "must not contain NUL" if "\0" in value else None


def read_query(query: bytes, *, known: Collection[str]) -> dict[str, str] | Refusal:
    """Return the known parameters, decoded; others are skipped without a look at their values."""
    parameters, wrong = _parameters(query, known=known)
    return bad_parameters(list(wrong.items())) if wrong else parameters


def read_parameters(query: bytes, *, known: Collection[str]) -> dict[str, str]:
    """Return those of the known parameters that can be read, decoded: each costs only itself."""
    parameters, wrong = _parameters(query, known=known)
    return {name: value for name, value in parameters.items() if name not in wrong}


def _parameters(query: bytes, *, known: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the known parameters, and what is wrong with those that cannot be read."""
    parameters: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for part in query.split(b"&"):
        raw_name, _, raw_value = part.partition(b"=")
        try:
            name = raw_name.decode("ascii") if b"%" not in raw_name else unquote_to_bytes(raw_name).decode()
        except UnicodeDecodeError:
            continue
        if name not in known:
            continue
        if name in parameters:
            wrong[name] = "must not be repeated"
            continue
        value = _decoded(raw_value)
        if value is None:
            wrong[name] = _BAD_TEXT
        parameters[name] = value or ""
    return parameters, wrong


def _decoded(raw: bytes) -> str | None:
    raw = raw.replace(b"+", b" ")
    try:
        if b"%" not in raw:
            return raw.decode()
        return unquote_to_bytes(raw).decode() if _ESCAPES.fullmatch(raw) else None
    except UnicodeDecodeError:
        return None


def bad_parameters(problems: list[tuple[str, str]]) -> Refusal:
    """Refuse a query; the message names the first parameter, `fields` all of them."""
    name, problem = problems[0]
    return Refusal(Code.BAD_PARAMETER, f"{name} {problem}", tuple(problems))
