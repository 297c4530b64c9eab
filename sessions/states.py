"""
The two machines of a session, never mixed: liveness (the server's clock) and playback (the player's own).

Theory of operation: `transitions.py` holds both as literal tables. Liveness says whether a session is counted and
moves the ledger; playback says in which state, and whose time an interval is.
"""

from enum import IntEnum, StrEnum


class Liveness(StrEnum):
    """Is the viewer there? Decided by the server's clock alone."""

    UNKNOWN = "unknown"
    """Never heard of, or forgotten after the revive window."""
    ACTIVE = "active"
    EXPIRED = "expired"
    """Its deadline passed; an input inside the revive window brings it back."""
    ENDED = "ended"
    """The player said so; only a start stamped after it begins anew."""


class Playback(StrEnum):
    """What the player is doing, by its own clock (CMCD's playback states, see `docs/metrics.md`)."""

    SHOWN = "shown"
    """A beacon's view: a player is there, nobody asked to play."""
    STARTING = "starting"
    """Asked to play, no frame yet."""
    PLAYING = "playing"
    REBUFFERING = "rebuffering"
    """Stalled mid-play."""
    PAUSED = "paused"
    FAILED = "failed"
    """A fatal error, and nothing since that says that it plays."""
    STALLED = "stalled"
    """Waiting for longer than anybody watches a wheel turn: still a session, no longer watching."""
    AD = "ad"
    """An advertisement, or a break of several."""


PLAYBACKS: tuple[Playback, ...] = tuple(Playback)
"""In this order for ever: sessions are stored with their numbers. New ones are added at the end."""
WATCHING: frozenset[Playback] = frozenset({Playback.STARTING, Playback.PLAYING, Playback.REBUFFERING, Playback.AD})
"""The states in which somebody watches, or waits to."""


class Input(StrEnum):
    """What moves liveness."""

    START = "start"
    START_AFTER_END = "start stamped after the end"
    """The page came back: a new viewing under the same id."""
    HEARTBEAT = "heartbeat"
    EVENT = "event"
    END = "end"
    BEACON = "beacon"
    REPORT = "report"
    """Of a player that reports by itself."""
    DEADLINE = "deadline"


class Cue(IntEnum):
    """What moves playback: one byte in the reordering window."""

    START = 0
    BEAT = 1
    """A heartbeat of which no flag was true, and one was missing."""
    BEAT_PLAYING = 2
    BEAT_REBUFFERING = 3
    BEAT_PAUSED = 4
    STREAM_START = 5
    BUFFER_START = 6
    BUFFER_END = 7
    RECONNECT = 8
    RECONNECT_SUCCESS = 9
    ERROR = 10
    FATAL_ERROR = 11
    QUALITY_CHANGE = 12
    PROGRAM_CHANGE = 13
    DVR_SEEK = 14
    DVR_RESUME_LIVE = 15
    ENGAGED = 16
    """Fullscreen, mute, reaction, share, follow, subscribe, tip: counted by type, moves nothing."""
    END = 17
    VIEW = 18
    PLAY = 19
    CHECK = 20
    FIRST_CHECK = 21
    """A check that is its session's first input: it was playing before we knew of it."""
    END_FOR_ERROR = 22
    """An end whose reason is `error`."""
    BEAT_IDLE = 23
    """A heartbeat whose three flags were all given, and all false."""
    AD_BREAK_START = 24
    AD_BREAK_END = 25
    AD_START = 26
    AD_END = 27
    MOVED = 28
    """Another stream is loaded: whatever follows has a startup of its own."""
