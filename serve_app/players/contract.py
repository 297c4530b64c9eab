"""
The page of the fields, written from the models that judge them: `python -m serve_app.players.contract` puts it into `docs/players.md`.

Decides only how it reads. What a field may hold is `values.py`'s, what a wrong one costs `mending.py`'s.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill
from typing import Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from serve_app.players.fields import CLOSED, NOT_SAID, count_max, kind_of, model_in, walk, written
from serve_app.players.fields import Path as FieldPath
from serve_app.players.pixel import OPTIONAL, REQUIRED
from serve_app.players.routes import POSTS
from serve_app.players.wire import EventBody, EventsBody
from sessions.events import EVENT_TYPES

BEGIN: Final = "<!-- Written from the code: make docs -->"
END: Final = "<!-- So far -->"

Row = tuple[str, bool, str, str]
"""Of a table: the field, whether it is required, what it holds, and what happens otherwise."""

_PIXEL: Final = {
    "type": ("`view`, `play` or `check`", "400"),
    "v": ("id of 1 to 256 characters, no NUL, no placeholder", "400"),
    "p": ("the same", "400"),
    "u": ("the same", "400"),
    "referrer": ("text, no NUL", "dropped"),
    "visibility": ("`true`, `false`, `1` or `0`, in any letters", "dropped: `true`"),
}


LISTED_MAX: Final = 8
"""So many words of a closed list stand in the table itself."""
_WIDTH: Final = 138


def tables() -> str:
    """Return the tables of all endpoints as Markdown."""
    parts = [_table("GET /icon.gif", [(name, name in REQUIRED, *_PIXEL[name]) for name in (*REQUIRED, *OPTIONAL)])]
    for route in POSTS.values():
        rows = list(_rows(route.model))
        if route.model is EventsBody:
            rows += [(f"events[].{row[0]}", *row[1:]) for row in _rows(EventBody, of_event=True)]
        parts.append(_table(f"POST {route.path}", rows))
        if route.model is EventsBody:
            parts.append(fill(f"`events[].event_type` is one of {_named(EVENT_TYPES)}.", width=_WIDTH, break_on_hyphens=False))
    return "\n\n".join(parts)


def _table(title: str, rows: list[Row]) -> str:
    lines = [f"### `{title}`", "", "| field | required | holds | otherwise |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {'yes' if required else ''} | {holds} | {otherwise} |" for name, required, holds, otherwise in rows]
    return "\n".join(lines)


def _named(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _rows(model: type[BaseModel], *, of_event: bool = False) -> Iterator[Row]:
    for path, field in walk(model):
        required = field.is_required()
        if model_in(field) is not None and required:
            continue
        yield written(path), required, _holds(field), _otherwise(model, path, required=required, of_event=of_event)


def _holds(field: FieldInfo) -> str:
    if model_in(field) is not None:
        return "object"
    kind = kind_of(field)
    if kind is not None:
        return kind.words
    if get_origin(field.annotation) is Literal:
        values = get_args(field.annotation)
        return _named(values) if len(values) <= LISTED_MAX else "one of the words below the table"
    return "list of at most 500 events"


def _otherwise(model: type[BaseModel], path: FieldPath, *, required: bool, of_event: bool) -> str:
    if not required:
        return "dropped"
    refused = "the event is rejected" if of_event else "422"
    if path in CLOSED.get(model, {}):
        empty = "; empty: `unknown`" if path in NOT_SAID.get(model, {}) else ""
        return f"another text: `other`{empty}; else {refused}"
    if path in NOT_SAID.get(model, {}):
        return f"empty or a placeholder: `unknown`; else {refused}"
    return refused if count_max(model, path) is None else f"above: unknown; else {refused}"


def page(text: str) -> str:
    """Return the page with its tables written anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(page(file.read_text()))
