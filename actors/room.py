"""
Whether a shard has room for one more session.

Decides by two bounds, one for posts and one for pixels, because strangers can send pixels. It counts what is opened one by one, and
hears of what was forgotten when it is told to count again.
"""

from collections.abc import Iterable

from sessions.tracker import Tracker


class Room:
    """See the module."""

    def __init__(self, *, sessions_max: int, beacons_max: int) -> None:
        self._sessions_max, self._beacons_max = sessions_max, beacons_max
        self._sessions, self._beacons = 0, 0

    def count(self, trackers: Iterable[Tracker]) -> None:
        """Count all that is remembered, in any state."""
        counts = [(len(tracker.sessions), tracker.beacons) for tracker in trackers]
        self._beacons = sum(beacons for _, beacons in counts)
        self._sessions = sum(sessions for sessions, _ in counts) - self._beacons

    def admits(self, session_id: str) -> bool:
        """Tell whether a session that is not known yet may be opened."""
        return self._beacons < self._beacons_max if _is_beacon(session_id) else self._sessions < self._sessions_max

    def fill(self, session_id: str) -> None:
        """Hear that a session was opened."""
        if _is_beacon(session_id):
            self._beacons += 1
        else:
            self._sessions += 1


def _is_beacon(session_id: str) -> bool:
    return session_id.startswith("\0")
