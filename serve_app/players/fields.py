"""
What the fields of the contract's bodies are: a walk over the models of `wire.py`, for whoever needs one by its path.

Decides which part of a body a wrong value costs, and the closed list of what may be dropped. It judges no value.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from serve_app.players.values import Kind, Whole
from serve_app.players.wire import EndBody, EventBody, EventsBody, HeartbeatBody, StartBody

Path = tuple[str | int, ...]

CLOSED: Final[Mapping[type[BaseModel], Mapping[Path, str]]] = {
    StartBody: {("platform",): "web", ("playback", "latency_mode"): "normal", ("device", "connection_type"): "wifi"},
    EndBody: {("watch_summary", "end_reason"): "user_exit"},
}
"""The contract's closed lists, and of each one member, which stands in while a body is judged that says something else."""
NOT_SAID: Final[Mapping[type[BaseModel], Mapping[Path, str]]] = {
    StartBody: {("device", "connection_type"): "wifi", ("geo", "country"): "-"},
}
"""What browsers do not know: an empty text says so."""


def walk(model: type[BaseModel], prefix: Path = ()) -> Iterator[tuple[Path, FieldInfo]]:
    """Yield every field of a body with its path; groups come before what is in them."""
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        yield path, field
        inner = model_in(field)
        if inner is not None:
            yield from walk(inner, path)


def model_in(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a group, be it optional; None: the field is no group."""
    for each in (field.annotation, *get_args(field.annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


@lru_cache(maxsize=512)
def field_at(model: type[BaseModel], path: Path) -> FieldInfo | None:
    """Return the field that a path leads to."""
    return dict(walk(model)).get(path)


@lru_cache(maxsize=512)
def optional_part(model: type[BaseModel], path: Path) -> Path | None:
    """Return the innermost optional field on a path, as a path; None: all of it is required."""
    parts = [path[:length] for length in range(len(path), 0, -1)]
    return next((part for part in parts if (field := field_at(model, part)) is not None and not field.is_required()), None)


def kind_of(field: FieldInfo) -> Kind | None:
    """Return what a field may hold, in words."""
    marks = (*field.metadata, *(mark for each in get_args(field.annotation) for mark in getattr(each, "__metadata__", ())))
    return next((mark for mark in marks if isinstance(mark, Kind)), None)


def is_text(model: type[BaseModel], path: Path) -> bool:
    """Tell whether a path leads to a text that describes something, and names nothing."""
    field = field_at(model, path)
    kind = None if field is None else kind_of(field)
    return kind is not None and kind.is_text


@lru_cache(maxsize=512)
def count_max(model: type[BaseModel], path: Path) -> int | None:
    """Return what a required count is at most, beyond which it is unknown; None: the field is none."""
    field = field_at(model, path)
    if field is None or not field.is_required():
        return None
    return next((mark.maximum for mark in field.metadata if isinstance(mark, Whole)), None)


def written(path: Path) -> str:
    """Return a path in its player's words: `playback.quality`."""
    return ".".join(map(str, path))


def _may_be_dropped(model: type[BaseModel]) -> Iterator[str]:
    for path, field in walk(model):
        is_known = path in CLOSED.get(model, {}) or path in NOT_SAID.get(model, {}) or count_max(model, path) is not None
        if is_known or not field.is_required():
            yield written(path)


DROPPABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "start": tuple(_may_be_dropped(StartBody)),
    "heartbeat": tuple(_may_be_dropped(HeartbeatBody)),
    "end": tuple(_may_be_dropped(EndBody)),
    "events": (*_may_be_dropped(EventsBody), *(f"events.{name}" for name in _may_be_dropped(EventBody))),
    "icon": ("referrer", "visibility"),
}
"""By endpoint, every field whose wrong value costs only itself."""
