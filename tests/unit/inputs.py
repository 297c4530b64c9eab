"""
What a player says, in few words: inputs with literal defaults for the tests of `sessions/`.

`at` is the player's clock; the tests tell the tracker the server's `now` beside it. Every default is what the seed's player says.
"""

from sessions.account import Account
from sessions.events import Beacon, End, Happening, Happenings, Heartbeat, Start, beacon_id
from sessions.session import Session
from sessions.tracker import Tracker

PIXEL = beacon_id(pullzone="zone", video_id="video", user_id="viewer")


def start(at: float, *, session_id: str = "s", stream_id: str = "stream", quality: str = "auto", profile: bytes = b"") -> Start:
    return Start(session_id, at, stream_id, "channel", "creator", "program", "web", "US", "wifi", quality, profile)


def beat(
    at: float,
    playback: str | None = None,
    *,
    session_id: str = "s",
    stream_id: str | None = None,
    quality: str | None = None,
    bitrate_bps: int | None = None,
    latency_us: int | None = None,
    rebuffer_count: int | None = None,
    vitals: bytes = b"",
) -> Heartbeat:
    return Heartbeat(
        session_id,
        at,
        playback,
        stream_id=stream_id,
        quality=quality,
        bitrate_bps=bitrate_bps,
        latency_us=latency_us,
        rebuffer_count=rebuffer_count,
        vitals=vitals,
    )


def events(*happenings: Happening, session_id: str = "s", stream_id: str | None = None, creator_id: str | None = None) -> Happenings:
    return Happenings(session_id, stream_id, creator_id, happenings)


def event(
    kind: str,
    at: float,
    *,
    event_id: str = "",
    fatal: bool = False,
    quality: str | None = None,
    program_id: str | None = None,
    program_title: str | None = None,
) -> Happening:
    """One happening; its id is its type and time, unless the test says otherwise."""
    return Happening(event_id or f"{kind}@{at}", kind, at, fatal, quality, program_id, program_title)


def end(
    at: float,
    *,
    session_id: str = "s",
    reason: str = "user_exit",
    total_watch_s: int = 0,
    rebuffer_count: int = 0,
    farewell: bytes = b"",
) -> End:
    return End(session_id, at, reason, total_watch_s, rebuffer_count, 0, farewell)


def pixel(kind: str, *, visible: bool = True) -> Beacon:
    return Beacon(PIXEL, kind, "video", "zone", visible)


def known(tracker: Tracker, session_id: str = "s") -> Session:
    session = tracker.get(session_id)
    assert session is not None
    return session


def account(tracker: Tracker, session_id: str = "s") -> Account:
    """The account with what is provisional."""
    return known(tracker, session_id).settled()


def ledger(tracker: Tracker) -> dict[str, int]:
    """Every count of the ledger that is not zero; the ends of all reasons as one."""
    counts = tracker.ledger
    every = {
        "active": counts.active,
        "started": counts.started,
        "provisional": counts.provisional,
        "promoted": counts.promoted,
        "revived": counts.revived,
        "expired": counts.expired,
        "ended": sum(counts.ended.values()),
    }
    return {name: count for name, count in every.items() if count}
