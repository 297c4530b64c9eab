"""
What a player can tell us: one small record per input.

Theory of operation: `serve_app` validates the wire and turns it into these; they cross to the
shard as plain arrays (`actors/messages.py`); `Tracker.receive` takes one with the server's time.
`at` is always the player's own clock, in seconds since the epoch; it never decides liveness.
`None` means that the player did not say. `bytes` fields are opaque here: descriptive data that is
kept and given back (see `storage/codec.py`), never measured. All of them grow as `growing.py` says: at their end, by
fields with a default.
"""

from typing import Final, NamedTuple


class Start(NamedTuple):
    """`session/start`: a player asked for a stream."""

    session_id: str
    at: float
    stream_id: str
    channel_id: str
    creator_id: str
    program_id: str
    platform: str
    """One of `PLATFORMS`, or `other`; so are connection and reason to their lists."""
    country: str
    connection_type: str
    quality: str
    """The initial one, `auto` included; later ones that differ are switches."""
    profile: bytes = b""
    """Who and on what: user, device, app, geo, referrer, titles."""
    dropped: str = ""
    """Fields of it that were dropped or taken as something else, with commas between; here and below."""


class Heartbeat(NamedTuple):
    """`session/heartbeat`: the player is alive, and this is what it is doing."""

    session_id: str
    at: float
    playback: str | None = None
    """`paused`, `rebuffering` or `playing`: the first of its three flags that is true, in this order; `idle`: all were given, none true; else None."""
    stream_id: str | None = None
    channel_id: str | None = None
    creator_id: str | None = None
    program_id: str | None = None
    quality: str | None = None
    bitrate_bps: int | None = None
    """Above 0, at most `limits.BITRATE_BPS_MAX`."""
    latency_us: int | None = None
    """At most `limits.LATENCY_US_MAX`."""
    rebuffer_count: int | None = None
    """The player's own counter of stalls since its start."""
    vitals: bytes = b""
    """The newest engagement, volume, buffer health, DVR offset, program progress."""
    dropped: str = ""
    behind_live: bool = False
    """It plays what was sent some time ago (`limits.DVR_OFFSET_S_MIN`): its latency is no live latency."""


class Happening(NamedTuple):
    """One entry of `events`: something that happened in a session."""

    event_id: str
    type: str
    """One of `EVENT_TYPES`."""
    at: float
    fatal: bool = False
    """`stream_error` only."""
    quality: str | None = None
    """`quality_change` only."""
    program_id: str | None = None
    """`program_change` only."""
    program_title: str | None = None
    """`program_change` only."""


class Happenings(NamedTuple):
    """`live/events`: a list of them, judged one by one."""

    session_id: str
    stream_id: str | None
    creator_id: str | None
    happenings: tuple[Happening, ...] = ()
    dropped: str = ""


class End(NamedTuple):
    """`session/end`: the viewer left."""

    session_id: str
    at: float
    reason: str
    """One of `END_REASONS`."""
    total_watch_s: int | None
    """The player's own total, stored beside ours and given back. None, of this and the next two: it said what cannot be."""
    rebuffer_count: int | None
    quality_switches: int | None
    farewell: bytes = b""
    """The player's own summary, kept for the finished session."""
    dropped: str = ""


class Beacon(NamedTuple):
    """`GET /icon.gif`: a pixel. It carries no time of its own, so the server's is used."""

    session_id: str
    """`beacon_id(...)`: holds NULs, which no posted id may."""
    type: str
    """One of `BEACON_TYPES`."""
    video_id: str
    """The beacon's `v`; it is the session's stream."""
    pullzone: str
    visible: bool = True
    profile: bytes = b""
    """User id and referrer."""
    dropped: str = ""
    network: str = ""
    """The range of addresses that it came from, as `203.0.113.0`; it bounds how many are opened, and is not kept. Empty: not known."""


class Report(NamedTuple):
    """One record of a player that reports by itself, by CMCD's keys (`docs/players.md`)."""

    at: float
    """Its `ts`."""
    kind: str = ""
    """Its `e`, one of `REPORT_KINDS`; empty: it said none, or one that nobody knows."""
    state: str = ""
    """Its `sta`, one of `REPORT_STATES`; empty: it said none."""
    number: int | None = None
    """Its `sn`."""
    stream_id: str | None = None
    has_media: bool = False
    """It knows what it plays: a player without a stream says neither a bitrate nor a format and a type of stream."""
    bitrate_bps: int | None = None
    latency_us: int | None = None
    said: tuple[tuple[int, float | str], ...] = ()
    """What it said of the things in `REPORTED`, by their place there."""


class Reports(NamedTuple):
    """`POST /cmcd`: what one player's target was sent of one session, in any order."""

    session_id: str
    """`reported_id(...)`, which no posted id may be; or a posted one, if the page has a client of ours beside it."""
    target: int
    """Which of a player's targets: each counts its reports for itself."""
    reports: tuple[Report, ...] = ()
    player: str = ""
    """Which player, as far as it is known; it is remembered for the session."""
    channel_id: str | None = None
    """This and the next three: what the page wrote into the target's URL."""
    creator_id: str | None = None
    platform: str | None = None
    country: str | None = None
    profile: bytes = b""
    """Who and on what; likewise."""
    distance_s: int = 0
    """Between two posts, as the page says; 0: it does not."""
    joins: bool = False
    """The session is that of a client of ours, which says by itself what it does."""
    dropped: str = ""


Event = Start | Heartbeat | Happenings | End | Beacon | Reports

PLATFORMS: Final = ("web", "ios", "android", "roku", "firetv", "appletv")
LATENCY_MODES: Final = ("low", "normal")
CONNECTION_TYPES: Final = ("wifi", "cellular", "ethernet")
OTHER: Final = "other"
"""Whatever a player says outside a closed list."""
COMPLETED: Final = "completed"
"""The stream was over: only players that report by themselves say it."""
END_REASONS: Final = ("user_exit", "error", "timeout", "inactivity", OTHER, COMPLETED)
"""In this order for ever: sessions are stored with their places. New ones are added at the end."""
REPORT_KINDS: Final = (
    "", "ps", "t", "e", "b", "bc", "pr", "c", "h", "m", "um", "pc", "pe", "sk", "as", "ae", "abs", "abe", "rr", "ce",
)  # fmt: skip
RESUMED: Final = "resumed"
"""No state of CMCD's: what it waited for, or sought, is there, and it is again what it was before."""
REPORT_STATES: Final = ("", "d", "s", "p", "r", "w", "k", "a", "e", "q", "f", RESUMED)
"""These three in this order for ever: what is stored of a report names its place in them. New ones are added at the end."""
REPORTED: Final = ("buffer_ms", "throughput_kbps", "dropped_frames", "playback_rate", "cdn", "background", "muted", "playhead_ms")
"""What of a report is an attribute of its session: its last known value."""
BEACON_TYPES: Final = ("view", "play", "check")
EVENT_TYPES: Final = (
    "stream_start",
    "stream_buffer_start",
    "stream_buffer_end",
    "stream_reconnect",
    "stream_reconnect_success",
    "stream_error",
    "program_change",
    "quality_change",
    "fullscreen_enter",
    "fullscreen_exit",
    "mute",
    "unmute",
    "dvr_seek",
    "dvr_resume_live",
    "reaction",
    "share",
    "follow",
    "subscribe",
    "tip",
    "ad_break_start",
    "ad_break_end",
    "ad_start",
    "ad_end",
    "ad_error",
)
DROPPABLE_FIELDS: Final = (
    "app_version", "channel_id", "creator_id", "device.browser", "device.browser_version", "device.connection_type", "device.os",
    "device.os_version", "device.screen_resolution", "device.type", "device_id", "engagement", "engagement.total_chat_messages_sent",
    "engagement.total_reactions_sent", "epg", "epg.current_program_id", "epg.current_program_title", "epg.program_elapsed_seconds",
    "epg.program_position_seconds", "epg.program_progress_percent", "events.metadata", "events.metadata.fatal",
    "events.metadata.program_id", "events.metadata.program_title", "events.metadata.quality", "geo.city", "geo.country", "geo.state",
    "geo.timezone", "performance", "performance.bitrate_kbps", "performance.buffer_health_seconds", "performance.latency_ms",
    "performance.quality_switches", "performance.rebuffer_count", "performance.total_rebuffer_count", "platform", "playback",
    "playback.dvr_offset_seconds", "playback.is_buffering", "playback.is_paused", "playback.is_playing", "playback.latency_mode",
    "playback.quality", "playback.volume_level", "referrer", "referrer.page", "referrer.section", "referrer.source",
    "stream.creator_name", "stream_id", "user_id", "visibility", "watch_summary.end_reason", "watch_summary.total_watch_seconds",
)  # fmt: skip
"""Fields of the requests whose wrong value costs only itself, of all endpoints: the wire's own list."""


REPORT_OUTCOMES: Final = ("taken", "repeated", "late", "without_sid", "unknown_token", "newer_version", "unreadable", "overloaded")
"""What becomes of a report."""
REPORT_KEYS: Final = ("ts", "sn", "br", "ltc", "bl", "mtp", "dfa", "pr", "pt")
"""Keys of a report whose wrong value costs only itself, and is counted."""
REPORTED_ID: Final = "cmcd:\0"
"""How the id of a session begins that lives on reports: it holds a NUL, so no post can reach it."""
SHOWN_ID: Final = "cmcd:"
"""The same as people read and write it."""


def reported_id(sid: str) -> str:
    """Name the session that a player calls by this id in its reports."""
    return REPORTED_ID + sid


def shown_id(session_id: str) -> str:
    """Return a session's id as people read it."""
    return SHOWN_ID + session_id.removeprefix(REPORTED_ID) if session_id.startswith(REPORTED_ID) else session_id


def beacon_id(*, pullzone: str, video_id: str, user_id: str) -> str:
    """Name the one session of one viewer of one video; NUL keeps it out of reach of every POST."""
    return f"\0{pullzone}\0{video_id}\0{user_id}"
