"""
Whether a shard has room for one more session.

Decides by how many sessions are remembered, and by how many came lately: a token bucket holds a minute's worth of new sessions and fills
evenly. So a minute's worth may come at once, as it does when something begins, but not twice in a row. Both bounds are kept for posts
and for pixels apart, because strangers can send pixels. Of pixels, the bytes that strangers chose are bounded too, and each range of
addresses has a token bucket of its own, so that one of them cannot use up what is there for all. Viewers of one range are never taken
for one. What is opened is counted one by one; what was forgotten shows when `count` is called. It knows no clock.
"""

from collections import OrderedDict
from collections.abc import Iterable

from actors.config import NEW_PIXEL_SESSIONS_PER_NETWORK, NEW_SESSIONS_PER_MINUTE
from sessions.limits import (
    BEACON_BYTES_PER_SHARD_MAX,
    BEACON_NETWORKS_MAX,
    BEACON_SESSIONS_PER_SHARD_MAX,
    BEACON_SHARE,
    SESSIONS_PER_SHARD_MAX,
)
from sessions.tracker import Tracker


class Admission:
    """Counts the sessions of one shard, and says whether one more may be opened. `now` is the server's time in seconds."""

    def __init__(
        self,
        *,
        sessions_max: int = SESSIONS_PER_SHARD_MAX,
        beacons_max: int = BEACON_SESSIONS_PER_SHARD_MAX,
        new_per_minute: float = NEW_SESSIONS_PER_MINUTE,
        beacon_bytes_max: int = BEACON_BYTES_PER_SHARD_MAX,
        per_network_per_minute: float = NEW_PIXEL_SESSIONS_PER_NETWORK,
    ) -> None:
        self._sessions = _Part(sessions_max, new_per_minute)
        self._beacons = _Part(beacons_max, max(1.0, new_per_minute * BEACON_SHARE))
        self._beacon_bytes_max = beacon_bytes_max
        self._beacon_bytes = 0
        self._per_network = per_network_per_minute
        self._networks: OrderedDict[str, _Part] = OrderedDict()

    def count(self, trackers: Iterable[Tracker]) -> None:
        """Count all that is remembered, in any state."""
        counts = [(len(tracker.sessions), tracker.beacons, tracker.beacon_bytes) for tracker in trackers]
        self._beacons.count = sum(beacons for _, beacons, _ in counts)
        self._beacon_bytes = sum(chosen for _, _, chosen in counts)
        self._sessions.count = sum(sessions for sessions, _, _ in counts) - self._beacons.count

    def admits(self, session_id: str, *, now: float, network: str = "") -> bool:
        """Tell whether a session that is not known yet may be opened. `network`: the range of addresses of a pixel, if it is known."""
        if session_id.startswith("\0") and not (self._beacon_bytes < self._beacon_bytes_max and self._has_room_for(network, now)):
            return False
        return self._part(session_id).admits(now)

    def fill(self, session_id: str, *, network: str = "", chosen_bytes: int = 0) -> None:
        """Hear that a session was opened."""
        part = self._part(session_id)
        part.count += 1
        part.tokens -= 1
        self._beacon_bytes += chosen_bytes
        if network in self._networks:
            self._networks[network].tokens -= 1

    def _has_room_for(self, network: str, now: float) -> bool:
        if not network:
            return True
        part = self._networks.get(network)
        if part is None:
            part = self._networks[network] = _Part(1, self._per_network)
            if len(self._networks) > BEACON_NETWORKS_MAX:
                self._networks.popitem(last=False)
        self._networks.move_to_end(network)
        return part.admits(now)

    def _part(self, session_id: str) -> "_Part":
        return self._beacons if session_id.startswith("\0") else self._sessions


class _Part:
    """One kind of session."""

    def __init__(self, most: int, new_per_minute: float) -> None:
        self.count = 0
        self._most = most
        self._capacity = new_per_minute
        self.tokens = new_per_minute
        self._filled_at: float | None = None

    def admits(self, now: float) -> bool:
        """Tell whether one more may be opened."""
        if self.count >= self._most:
            return False
        if self._filled_at is None or now < self._filled_at:
            # The first one, or the clock was set back.
            self._filled_at = now
        self.tokens = min(self._capacity, self.tokens + (now - self._filled_at) * self._capacity / 60)
        self._filled_at = now
        return self.tokens >= 1
