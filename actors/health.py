"""
What a shard and the directory tell each other: the shard its health, the directory whether the shard is still an owner.

It grows as `sessions/growing.py` says: at its end, by fields with a default.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from sessions.growing import grows


@grows
class Health(NamedTuple):
    """What a shard tells the directory, every second."""

    incarnation: str
    serving: Mapping[int, int]
    """Epoch by slot."""
    coming: Sequence[int]
    """Slots that are being claimed and loaded."""
    recovered: bool
    """It has claimed all that the journal called its own at its birth."""
    sessions: int
    journal_up: bool
    unwritten_sessions: int
    behind_s: float
    """Time since the last sign of life that the journal took."""
    commits_refused: int = 0
    """Commits that came too late: a slot of theirs was somebody else's by then."""
    write_backs: int = 0
    """How often all that is held was written back into a data set that had lost it."""
    node: str = ""
    """Where it runs, by Ray's id."""
    clock_step_s: float = 0.0
    """By how much its machine's clock was set ahead since it began; less than none: back."""


class DirectoryAwayError(Exception):
    """The directory cannot say, for now; ask again."""


class Confirm(Protocol):
    """How a shard asks the directory whether it is still the owner, after the journal lost the data set."""

    async def __call__(self, shard: str, epochs: Mapping[int, int]) -> Sequence[int]:
        """Return those of the slots that are still the shard's. Raises `DirectoryAwayError`."""
