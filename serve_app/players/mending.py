"""
What a wrong value costs: itself where its field is optional, the request where it is required.

Decides what becomes of values that the models of `wire.py` do not take. An optional one is dropped: the smallest part of the body
that is optional and holds it. A value outside a closed list of the contract is taken as `other`; an empty text where browsers know nothing is
`unknown`; a required count beyond any that can be is unknown too. Each of these is named. Half a character in a text is read as U+FFFD,
which costs nothing. Everything else stays wrong, and costs the request, or the event.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from serve_app.players.fields import CLOSED, NOT_SAID, Path, count_max, is_text, optional_part, written
from serve_app.players.values import PLACEHOLDER_ID, mended_text
from serve_app.players.wire import BadEvent, EventBody, EventsBody
from sessions.errors import InvariantError
from sessions.events import OTHER
from sessions.session import UNKNOWN

_PASSES_MAX: Final = 3
"""A text may hold half a character and a NUL: mended first, then dropped, then right."""
_FREE: Final[tuple[Path, ...]] = (("engagement",), ("watch_summary", "programs_watched"))
_INDEX: Final = re.compile(r"\.[0-9]+")

Model = TypeVar("Model")
Decoded = Any
"""JSON of whatever shape."""


@dataclass(frozen=True, slots=True)
class Sound(Generic[Model]):
    """A body that is taken."""

    body: Model
    dropped: tuple[str, ...] = ()
    """Paths of what was dropped, or taken as something else: `playback.quality`, `events.3.metadata.fatal`."""


def mend(model: type[BaseModel], decoded: Decoded, judge: Callable[[Any], Model]) -> Sound[Model] | list[ErrorDetails]:
    """
    Judge a body with whatever need not cost it out of the way; return it, or what is wrong with it all the same.

    `decoded` is changed. `judge` raises pydantic's `ValidationError`.
    """
    patient = _Patient(model, decoded)
    for _ in range(_PASSES_MAX):
        try:
            body = judge(decoded)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
        else:
            return Sound(patient.finish(body), tuple(patient.named))
        costly = [each for each in wrong if not patient.mends(each["loc"], each["type"])]
        if costly:
            return costly
    raise InvariantError("a body stays wrong, however often it is mended", story=wrong)


class _Patient:
    """A decoded body, and what was done to it."""

    def __init__(self, model: type[BaseModel], decoded: Decoded) -> None:
        self._model = model
        self._decoded = decoded
        self._instead: list[tuple[Path, str | None]] = []
        self.named: dict[str, None] = {}

    def mends(self, path: Path, error: str) -> bool:
        """Get one wrong value out of the way; False: it costs the body."""
        if not path or error == "missing":
            return False
        holder = _at(self._decoded, path[:-1])
        value = holder.get(path[-1])
        most = count_max(self._model, path)
        if error == "string_unicode" and is_text(self._model, path):
            holder[path[-1]] = mended_text(value)
        elif path in NOT_SAID.get(self._model, {}) and (value == "" or error == PLACEHOLDER_ID):
            self._take_as(UNKNOWN, holder, path, NOT_SAID[self._model][path])
        elif path in CLOSED.get(self._model, {}) and isinstance(value, str):
            self._take_as(OTHER, holder, path, CLOSED[self._model][path])
        elif most is not None and _is_whole(value) and value > most:
            self._take_as(None, holder, path, 0)
        elif optional := optional_part(self._model, path):
            _at(self._decoded, optional[:-1]).pop(optional[-1], None)
            self.named[written(optional)] = None
        else:
            return False
        return True

    def _take_as(self, value: str | None, holder: Decoded, path: Path, stand_in: str | int) -> None:
        holder[path[-1]] = stand_in
        self._instead.append((path, value))
        self.named[written(path)] = None

    def finish(self, body: Model) -> Model:
        """Put what values were taken as where something else stood in for it."""
        for path, value in self._instead:
            holder: object = body
            for name in path[:-1]:
                holder = getattr(holder, str(name))
            setattr(holder, str(path[-1]), value)
        return body


def mend_events(body: EventsBody) -> tuple[str, ...]:
    """Take the entries of a list, in place, that are wrong only in what need not cost them; return what was dropped of them."""
    dropped: list[str] = []
    bad = [(number, entry.raw) for number, entry in enumerate(body.events) if isinstance(entry, BadEvent)]
    for number, entry in bad:
        if not isinstance(entry, dict):
            continue
        mended = mend(EventBody, entry, EventBody.model_validate)
        if isinstance(mended, Sound):
            body.events[number] = mended.body
            dropped += [f"events.{number}.{name}" for name in mended.dropped]
    return tuple(dropped)


def mend_free(decoded: Decoded) -> None:
    """Read half a character as U+FFFD in what is free, in place."""
    for path in _FREE:
        holder = decoded
        for name in path[:-1]:
            holder = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and isinstance(holder.get(path[-1]), dict | list):
            holder[path[-1]] = json.loads(mended_text(json.dumps(holder[path[-1]], ensure_ascii=False)))


def field_of(path: str) -> str:
    """Return which of the contract's fields a path names: whatever an entry's number is."""
    return _INDEX.sub("", path, count=1)


def _is_whole(value: object) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def _at(decoded: Decoded, path: Sequence[str | int]) -> Decoded:
    for name in path:
        decoded = decoded[name]
    return decoded
