"""What our actors are called inside a Ray namespace."""

from typing import Final

DIRECTORY: Final = "headcount-directory"
EXPORTER: Final = "headcount-exporter"
SHARD_PREFIX: Final = "headcount-shard-"


def shard_name(index: int) -> str:
    """Return the name under which shard `index` (from 0) is registered, and by which it owns slots in the journal."""
    return f"{SHARD_PREFIX}{index}"
