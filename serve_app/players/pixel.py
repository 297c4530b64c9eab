"""
The beacon: from a query string to a record, and the picture that answers it.

Decides which parameters are good. A parameter that is missing, twice there, too long, badly encoded or holds a NUL is
named in the refusal; parameters that we do not know are ignored. It does not know HTTP beyond the query.
"""

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote_to_bytes

from serve_app.players.answers import Code, Refusal
from serve_app.players.records import packed_pixel_profile
from sessions import limits
from sessions.events import BEACON_TYPES, Beacon, beacon_id

GIF: Final = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b")
"""One transparent point, 42 bytes."""

REQUIRED: Final = ("type", "v", "p", "u")
OPTIONAL: Final = ("referrer", "visibility")
VISIBILITIES: Final = {"true": True, "1": True, "false": False, "0": False}

_KNOWN: Final = frozenset(REQUIRED + OPTIONAL)
_ESCAPES: Final = re.compile(rb"(?:[^%]|%[0-9A-Fa-f]{2})*")
_BAD_TEXT: Final = "must be percent-encoded UTF-8"


def read_pixel(query: bytes, *, pullzones: Collection[str] = ()) -> Beacon | Refusal:
    """Return the beacon that a query string describes. `pullzones`: the only ones allowed; empty: any."""
    parameters = read_query(query, known=_KNOWN)
    if isinstance(parameters, Refusal):
        return parameters
    problems = [(name, problem) for name in REQUIRED if (problem := _problem_of(name, parameters.get(name)))]
    referrer = parameters.get("referrer")
    visibility = parameters.get("visibility", "true")
    if not problems and pullzones and parameters["p"] not in pullzones:
        problems.append(("p", "is not an allowed pullzone"))
    if referrer is not None and "\0" in referrer:
        problems.append(("referrer", "must not contain NUL"))
    if visibility not in VISIBILITIES:
        problems.append(("visibility", "must be true, false, 1 or 0"))
    if problems:
        return bad_parameters(problems)
    video_id, pullzone, user_id = parameters["v"], parameters["p"], parameters["u"]
    return Beacon(
        session_id=beacon_id(pullzone=pullzone, video_id=video_id, user_id=user_id),
        type=parameters["type"],
        video_id=video_id,
        pullzone=pullzone,
        visible=VISIBILITIES[visibility],
        profile=packed_pixel_profile(user_id=user_id, referrer=referrer or None),
    )


def _problem_of(name: str, value: str | None) -> str | None:
    """Return what is wrong with a required parameter."""
    if not value:
        return "is required"
    if name == "type":
        return None if value in BEACON_TYPES else f"must be one of {', '.join(BEACON_TYPES)}"
    if len(value) > limits.ID_CHARS_MAX:
        return f"must have at most {limits.ID_CHARS_MAX} characters"
    return "must not contain NUL" if "\0" in value else None


def read_query(query: bytes, *, known: Collection[str]) -> dict[str, str] | Refusal:
    """Return the known parameters, decoded; others are skipped without a look at their values."""
    parameters: dict[str, str] = {}
    problems: list[tuple[str, str]] = []
    for part in query.split(b"&"):
        raw_name, _, raw_value = part.partition(b"=")
        try:
            name = raw_name.decode("ascii") if b"%" not in raw_name else unquote_to_bytes(raw_name).decode()
        except UnicodeDecodeError:
            continue
        if name not in known:
            continue
        if name in parameters:
            problems.append((name, "must not be repeated"))
            continue
        value = _decoded(raw_value)
        if value is None:
            problems.append((name, _BAD_TEXT))
        parameters[name] = value or ""
    return bad_parameters(problems) if problems else parameters


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
