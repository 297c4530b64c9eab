"""
A search over all shards: each answers with its best rows, and the best of those are the answer.

Decides how answers are put together, and what a cursor looks like. Which session is wanted is `sessions/search.py`'s business.
"""

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Any, Final

from sessions.search import Found, Place, Query

CURSOR_PATTERN: Final = "^[0-9a-f]{16}([0-9a-f]{2})*$"
"""A sort key and a session's id, their bytes in hexadecimal."""
CURSOR_CHARS_MAX: Final = 8_192
_KEY: Final = Struct(">d")


def joined(found: Mapping[str, Found | None], query: Query) -> dict[str, Any]:
    """Return the answer; `found`: by shard, None where one did not answer. A session on its way between two shards is told once."""
    rows: dict[str, tuple[Place, dict[str, object]]] = {}
    for place, shown in _rows(found.values()):
        known = rows.get(place[1])
        if known is None or shown["seen_at"] > known[1]["seen_at"]:  # type: ignore[operator]  # seconds, as the shard says
            rows[place[1]] = (place, shown)
    best = sorted(rows.values(), key=lambda row: row[0], reverse=True)[: query.limit]
    silent = sorted(shard for shard, answer in found.items() if answer is None)
    return {
        "sessions": [shown for _, shown in best],
        "next": cursor_of(best[-1][0]) if len(best) == query.limit else None,
        "looked_at": sum(answer.looked_at for answer in found.values() if answer is not None),
        **({"without_shards": silent} if silent else {}),
    }


def cursor_of(place: Place) -> str:
    """Return a place as text that can be put into an address."""
    key, session_id = place
    return (_KEY.pack(key) + session_id.encode()).hex()


def place_of(cursor: str) -> Place:
    """Return the place of a cursor; whatever keeps to `CURSOR_PATTERN` is one."""
    raw = bytes.fromhex(cursor)
    key: float = _KEY.unpack_from(raw)[0]
    return key, raw[_KEY.size :].decode(errors="replace")


def _rows(found: Iterable[Found | None]) -> Iterable[tuple[Place, dict[str, object]]]:
    return (row for answer in found if answer is not None for row in answer.rows)
