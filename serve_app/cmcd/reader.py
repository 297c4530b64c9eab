"""
Reads what players report by CMCD: from bytes to records of keys and raw values.

Lenient, key by key: a key that nobody knows or a value that is none costs itself, and the rest of the record is kept. Raw values stand as they
were sent, and the functions at the end take them for what is wanted of them, or for nothing. Records are lines; a body of JSON, as some
connectors send, is read as the same. It does not know what any key means.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from sessions.limits import REPORT_BYTES_MAX, REPORTS_PER_REQUEST_MAX

Record = Mapping[str, str]
"""Raw values by key; a bare key has none: an empty text."""

_QUOTED: Final = r'"(?:[^"\\]|\\.)*+"'
_PAIR: Final = re.compile(rf"(?:^|,)\s*([A-Za-z*][\w.*-]*)(?:=({_QUOTED}|\((?:{_QUOTED}|[^()\"])*+\)|[^,]*))?\s*(?=,|$)")
_ITEM: Final = re.compile(r"(-?\d+(?:\.\d+)?)(?:\s*;\s*([a-z]+))?")
_ESCAPED: Final = re.compile(r'\\(["\\])')
_FALSE: Final = frozenset({"?0", "false", "0"})
_HUGE: Final = 1e15


def read_records(body: bytes) -> list[Record | None]:
    """Return the records of a body, in order; None: one that cannot be read, or that is too long; so is each beyond the bound."""
    if body[:1] in {b"{", b"["}:
        found = _of_json(body)
        if found is not None:
            return [*found[:REPORTS_PER_REQUEST_MAX], *(None for _ in found[REPORTS_PER_REQUEST_MAX:])]
    lines = [line for line in body.splitlines() if line.strip()]
    records: list[Record | None] = [_record(line) for line in lines[:REPORTS_PER_REQUEST_MAX]]
    return records + [None] * (len(lines) - len(records))


def _record(line: bytes) -> Record | None:
    if len(line) > REPORT_BYTES_MAX:
        return None
    return dict(_PAIR.findall(line.decode("utf-8", "replace"))) or None


def _of_json(body: bytes) -> list[Record | None] | None:
    """Return the records of a body of JSON; None: it is none."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return [_of_object(each) for each in (said if isinstance(said, list) else [said])]


def _of_object(said: object) -> Record | None:
    if not isinstance(said, dict):
        return None
    return {str(key): raw for key, value in said.items() if (raw := _raw(value)) is not None} or None


def _raw(value: object) -> str | None:
    """Return a JSON value as it would have been sent in a record."""
    if isinstance(value, bool):
        return "" if value else "?0"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"({' '.join(raw for raw in map(_raw, value) if raw is not None)})"
    return None


def text_of(raw: str | None) -> str | None:
    """Take a raw value for a text or a token; quoted or not, as some quote their tokens. None: there is nothing in it."""
    if not raw:
        return None
    if raw[0] == '"' and raw[-1] == '"' and len(raw) > 1:
        text = raw[1:-1]
        return (_ESCAPED.sub(r"\1", text) if "\\" in text else text) or None
    return raw.strip() or None


def number_of(raw: str | None) -> float | None:
    """Take a raw value for a number: itself, or the first of a list. None: it is none."""
    if not raw:
        return None
    try:
        number = float(raw)
    except ValueError:
        return next((number for number, _ in items_of(raw)), None)
    return number if -_HUGE < number < _HUGE else None


def whole_of(raw: str | None) -> int | None:
    """Take a raw value for a number of things."""
    number = number_of(raw)
    return None if number is None or number < 0 else int(number)


def items_of(raw: str) -> Iterator[tuple[float, str]]:
    """Take a raw value for a list, whose items are numbers with a type each; the type is empty where none is said."""
    if raw[:1] == '"':
        raw = raw[1:-1]
    for number, kind in _ITEM.findall(raw.strip("()")):
        value = float(number)
        if -_HUGE < value < _HUGE:
            yield value, kind


def flag_of(raw: str | None) -> bool | None:
    """Take a raw value for a flag: a bare key is true. None: the key is missing."""
    return None if raw is None else raw not in _FALSE
