"""
How what crosses between processes may grow, so that an older and a newer build read each other: one rule for all of it.

A field keeps its place and its meaning for ever; a new one is added at the end, with a default. So what is too long was written by a newer
build, and what this one does not know is cut off; what is too short was written by an older build, and what it lacks has its default. A field
holds plain values, or records that keep this rule too. What must change its meaning is a new field beside the old one.

Records that we write as bytes are read by `fit`. Those that Ray carries are pickled, and pickle knows no such rule: `grows` teaches it.
"""

import copyreg
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeVar

Record = TypeVar("Record")


def names_of(record: type[Any]) -> tuple[str, ...]:
    """Return the fields of a named tuple, or of a dataclass, in their order."""
    names: tuple[str, ...] = getattr(record, "_fields", ()) or tuple(field.name for field in fields(record))
    return names


def fit(record: type[Record], values: Iterable[Any]) -> Record:
    """Make a record of what another build may have written. Raises `TypeError` if even what has no default is missing."""
    return record(**dict(zip(names_of(record), values, strict=False)))


def grows(record: type[Record]) -> type[Record]:
    """Have a record pickled as its values alone, so that whoever unpickles it fits them into the fields that it knows."""
    copyreg.pickle(record, _taken_apart)
    return record


def _taken_apart(record: object) -> tuple[Any, ...]:
    kind = type(record)
    return fit, (kind, tuple(getattr(record, name) for name in names_of(kind)))
