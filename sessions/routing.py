"""Which slot a session belongs to: the one function that must never change for the life of a data set."""

from zlib import crc32


def slot_of(session_id: str, *, slots: int) -> int:
    """Return the slot, 0 to `slots` - 1, of a session (beacon sessions too)."""
    return crc32(session_id.encode()) % slots
