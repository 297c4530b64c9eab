"""
Reads CMCD out of access logs: what players say with each request for media, to a CDN that we never see.

Three kinds of logs, told apart line by line: JSON lines, W3C (whose `#Fields` say what is where) and combined. The keys are in the query (`CMCD=`),
or in the four headers where a log holds those. Each request is a report of its session at the time of the log, which is as late as the log is. It does
not know who is told.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

import msgspec

from serve_app.cmcd.reader import Record, read_records, text_of

_QUERY: Final = re.compile(r"[?&]CMCD=([^&\s\"#]+)", re.IGNORECASE)
_BARE_QUERY: Final = re.compile(r"(?:^|&)CMCD=([^&\s\"#]+)", re.IGNORECASE)
_COMBINED_TIME: Final = re.compile(r"\[(\d{2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4})\]")
_HEADERS: Final = ("cmcdrequest", "cmcdobject", "cmcdstatus", "cmcdsession")
_TIMES: Final = ("timestamp", "time", "@timestamp", "ts", "time_iso8601", "msec", "datetime", "date")
_NOT_VIDEO: Final = frozenset({"a", "i", "c", "tt", "k", "o"})
"""Types of an object whose bitrate is not what is seen."""
_TIME_MAX: Final = 1e14
_MS_FROM: Final = 1e11
"""A number of a time from here on is in milliseconds."""


class Logged(NamedTuple):
    """One request for media."""

    at: float
    sid: str
    line: str
    """As a record of CMCD's event mode."""


def read_log(lines: Iterable[str]) -> Iterator[Logged | None]:
    """Yield what each line says; None: it holds no CMCD, or no session's id, or no time."""
    fields: Sequence[str] = ()
    for raw in lines:
        line = raw.strip()
        if line.startswith("#"):
            fields = line[8:].split() if line.lower().startswith("#fields:") else fields
        elif line.startswith("{"):
            yield _of_json(line)
        elif line and fields:
            yield _of_w3c(line, fields)
        elif line:
            yield _of_combined(line)


def _of_combined(line: str) -> Logged | None:
    found, time = _QUERY.search(line), _COMBINED_TIME.search(line)
    if found is None or time is None:
        return None
    try:
        at = datetime.strptime(time[1], "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        return None
    return _logged(at, [found[1]])


def _of_w3c(line: str, fields: Sequence[str]) -> Logged | None:
    values = dict(zip((field.lower() for field in fields), line.split("\t") if "\t" in line else line.split(), strict=False))
    at = _moment(f"{values['date']}T{values['time']}Z") if {"date", "time"} <= values.keys() else _first_time(values)
    query = _BARE_QUERY.search(values.get("cs-uri-query", "")) or _QUERY.search(line)
    return _logged(at, [query[1]] if query is not None else _of_headers(values))


def _of_json(line: str) -> Logged | None:
    try:
        said: Any = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None
    values = _flat(said)
    query = next((found[1] for value in values.values() if isinstance(value, str) and (found := _QUERY.search(value))), None)
    query = query or next((found[1] for value in values.values() if isinstance(value, str) and (found := _BARE_QUERY.search(value))), None)
    return _logged(_first_time(values), [query] if query is not None else _of_headers(values))


def _flat(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return all fields by their last name, those of objects inside too."""
    flat: dict[str, Any] = {}
    for name, value in said.items():
        if isinstance(value, dict):
            flat |= {inner.lower(): found for inner, found in value.items()}
        else:
            flat[name.lower()] = value
    return flat


def _of_headers(values: Mapping[str, Any]) -> list[str]:
    named = {re.sub(r"[^a-z]", "", name): value for name, value in values.items() if "cmcd" in name}
    parts = [value for name, value in named.items() if isinstance(value, str) and value != "-" and name.endswith(_HEADERS)]
    return [part.replace('\\"', '"') for part in parts]


def _first_time(values: Mapping[str, Any]) -> float | None:
    return next((at for name in _TIMES if name in values and (at := _moment(values[name])) is not None), None)


def _moment(value: object) -> float | None:
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
        else:
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _TIME_MAX:
        return None
    return value / 1_000 if value >= _MS_FROM else float(value)


def _logged(at: float | None, parts: Sequence[str]) -> Logged | None:
    if at is None or not parts:
        return None
    said = ",".join(unquote_plus(part) if "%" in part else part for part in parts)
    (record,) = read_records(said.replace("\n", " ").replace("\r", " ").encode()) or [None]
    sid = None if record is None else text_of(record.get("sid"))
    return None if record is None or sid is None else Logged(at, sid, _as_report(record, at))


def _as_report(record: Record, at: float) -> str:
    """Write a request as a report that its session is there; of other objects than video without their bitrate."""
    not_video = record.get("ot", "") in _NOT_VIDEO
    kept = {key: raw for key, raw in record.items() if key not in {"e", "ts", "sn"} and not (not_video and key == "br")}
    return ",".join([f"{key}={raw}" if raw else key for key, raw in kept.items()] + ["e=t", f"ts={round(at * 1_000)}"])
