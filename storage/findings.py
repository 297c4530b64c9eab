"""
What is found about a server, and the one finding that is looked for at every new connection: whether it drops keys when it is full.

Pure: it asks nobody.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NO_EVICTION: Final = "noeviction"


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    UNFIT = "unfit"
    """It cannot be the journal so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    level: Level
    text: str
    remedy: str = ""
    """What to do; empty: nothing."""

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


def policy_of(information: str) -> str:
    """Return the eviction policy that the text of `INFO memory` names."""
    return next((line.partition(":")[2].strip() for line in information.splitlines() if line.startswith("maxmemory_policy:")), NO_EVICTION)


def evicting(policy: str) -> Finding:
    """Return the finding of a server that drops keys when it is full."""
    return Finding(
        "eviction",
        Level.UNFIT,
        f"it would drop sessions without a word when its memory is full (maxmemory-policy {policy})",
        "set maxmemory-policy noeviction",
    )
