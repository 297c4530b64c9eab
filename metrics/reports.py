"""
What shards and ingest replicas tell the exporter: plain data, no Ray.

The exporter asks each shard twice a second, and says which report of that shard it added last (`Known`). A shard sends all of a slot
once, and from then on what has changed since the report that the exporter names; so what was in a lost report is in the next one. A
replica sends what it counted once a second, of its own accord.

All of it grows as `sessions/growing.py` says: at its end, by fields with a default. What a newer build counts under a name that the
exporter's catalog does not have, the exporter leaves out.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sessions.changes import Key, Ledger
from sessions.growing import grows


@grows
class SlotReport(NamedTuple):
    """One slot, as of its last successful commit or later."""

    slot: int
    epoch: int
    full: bool
    """True: `audience` is all there is; False: only the keys that changed, with their new values (0: gone)."""
    audience: Mapping[Key, int]
    ledger: Ledger
    batch: int
    """Number of the handed increments, growing over the life of the data set; 0: none are handed."""
    increments: Mapping[Key, float] = {}


@grows
class ShardReport(NamedTuple):
    """Everything new in one shard."""

    shard: str
    incarnation: str
    """Differs after each restart of the shard."""
    number: int
    """Counts the reports of this incarnation, from 1."""
    epochs: Mapping[int, int]
    """Every slot that the shard serves, with its epoch; it holds no other."""
    slots: Sequence[SlotReport]
    """Those that changed since the report that the exporter knows."""
    sessions: int
    """Remembered, in any state."""
    restarts: int
    pending_calls: int
    journal_up: bool
    unwritten_sessions: int
    """Applied, but not yet in the journal."""
    map_version: int
    """Sum of the epochs owned: grows with every change of ownership."""
    increments: Mapping[Key, float] = {}
    """The shard's own that the exporter has not confirmed, such as ("batch_events", "le", "3"). Lost if the shard dies."""
    stretch: float = 1.0
    """How many times the configured heartbeat interval it promises now."""
    set_aside: int = 0
    """Stored sessions and records of its slots that could not be read, and are kept apart."""
    mismatched_slots: int = 0
    """Slots whose record did not match the sessions that were there when they were loaded."""


@grows
class Known(NamedTuple):
    """What the exporter has of one shard, sent with each collection."""

    incarnation: str = ""
    number: int = 0
    batches: Mapping[int, int] = {}
    """The last batch of increments added, by slot: an acknowledgement."""


@grows
class ReplicaReport(NamedTuple):
    """What an ingest replica counted; the same report, by its number, is sent until the exporter has added it."""

    replica: str
    number: int
    increments: Mapping[Key, float] = {}
    """As ("rejected", endpoint, reason), ("ingest_seconds", "le", "4", endpoint), ("ingest_seconds", "sum", endpoint)."""
