"""
What every actor and ingest replica is told at its birth; picklable, and free of Ray.

Ray keeps it for those that it starts anew, perhaps of a newer build: it grows as `sessions/growing.py` says, at its end, by fields with a default.
"""

from dataclasses import dataclass
from typing import Final

from sessions.growing import grows

NEW_SESSIONS_PER_MINUTE: Final = 60_000
"""What a shard opens, unless it is set otherwise."""
NEW_PIXEL_SESSIONS_PER_NETWORK: Final = 1_000
"""What a shard opens in a minute for the pixels of one range of addresses, unless it is set otherwise."""
PIXEL_MEGABYTES: Final = 256
"""What a shard keeps of what pixels say, unless it is set otherwise."""


@grows
@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerConfig:
    """The part of the settings that actors need. Holds the journal's password: never log it."""

    journal_url: str
    """`redis://…` of the one primary."""
    namespace: str
    """Ray namespace of the actors."""
    instance_id: str
    """Random id of this installation, kept in the data folder: tells a restart from a second cluster."""
    shards: int
    """How many a new data set begins with; see `shards_are_set`."""
    slots: int
    heartbeat_interval_s: int
    expiry_intervals: int
    revive_window_s: float
    shards_are_set: bool = True
    """True: the number counts for this run, whatever the data set had. False: an existing data set keeps its own."""
    new_sessions_per_minute: int = NEW_SESSIONS_PER_MINUTE
    """What one shard opens, a minute's worth of it at once."""
    front_door_url: str | None = None
    """`http://host:port` of the ingress, watched so that its outage costs nobody; None: not watched."""
    new_pixel_sessions_per_network: int = NEW_PIXEL_SESSIONS_PER_NETWORK
    """What one shard opens in a minute for the pixels of one range of addresses."""
    pixel_megabytes: int = PIXEL_MEGABYTES
    """What one shard keeps of what pixels say."""

    def __repr__(self) -> str:
        """Leave the journal's password out."""
        return f"TrackerConfig(namespace={self.namespace!r}, shards={self.shards}, slots={self.slots})"
