"""
Whether a shard has room for one more session.

Decides by how many are remembered, and by how many came lately: a purse fills with a minute's worth of new sessions, evenly, and each that
is opened takes one out. So a minute's worth may come at once, as it does when something begins, and not again at once. Both bounds are
kept for posts and for pixels apart, because strangers can send pixels. It counts what is opened one by one, and hears of what was
forgotten when it is told to count again. It knows no clock.
"""

from collections.abc import Iterable

from actors.config import NEW_SESSIONS_PER_MINUTE
from sessions.limits import BEACON_SESSIONS_PER_SHARD_MAX, BEACON_SHARE, SESSIONS_PER_SHARD_MAX
from sessions.tracker import Tracker


class Room:
    """See the module."""

    def __init__(
        self,
        *,
        sessions_max: int = SESSIONS_PER_SHARD_MAX,
        beacons_max: int = BEACON_SESSIONS_PER_SHARD_MAX,
        new_per_minute: float = NEW_SESSIONS_PER_MINUTE,
    ) -> None:
        self._sessions = _Part(sessions_max, new_per_minute)
        self._beacons = _Part(beacons_max, max(1.0, new_per_minute * BEACON_SHARE))

    def count(self, trackers: Iterable[Tracker]) -> None:
        """Count all that is remembered, in any state."""
        counts = [(len(tracker.sessions), tracker.beacons) for tracker in trackers]
        self._beacons.count = sum(beacons for _, beacons in counts)
        self._sessions.count = sum(sessions for sessions, _ in counts) - self._beacons.count

    def admits(self, session_id: str, *, now: float) -> bool:
        """Tell whether a session that is not known yet may be opened."""
        return self._part(session_id).admits(now)

    def fill(self, session_id: str) -> None:
        """Hear that a session was opened."""
        part = self._part(session_id)
        part.count += 1
        part.purse -= 1

    def _part(self, session_id: str) -> "_Part":
        return self._beacons if session_id.startswith("\0") else self._sessions


class _Part:
    """One kind of session."""

    def __init__(self, most: int, new_per_minute: float) -> None:
        self.count = 0
        self._most = most
        self._purse_max = new_per_minute
        self.purse = new_per_minute
        self._filled_at: float | None = None

    def admits(self, now: float) -> bool:
        """Tell whether one more may be opened."""
        if self.count >= self._most:
            return False
        if self._filled_at is None or now < self._filled_at:
            # The first one, or the clock was set back.
            self._filled_at = now
        self.purse = min(self._purse_max, self.purse + (now - self._filled_at) * self._purse_max / 60)
        self._filled_at = now
        return self.purse >= 1
