"""
The usual heartbeat, read in a fifth of the time.

Four requests in five are heartbeats of well-behaved players. This reads such a one with `msgspec`, and gives up on whatever is in the least
unusual: `None`, and `wire.py`'s model decides then, and says what is wrong. So it takes a part of what that model takes, and to the same
values (`tests/unit/test_quick.py` holds both against each other); it refuses nothing by itself, and describes nothing.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from serve_app.players.timestamps import seconds_of
from serve_app.players.values import judge_free
from sessions import limits

_Id = Annotated[str, Meta(min_length=1, max_length=limits.ID_CHARS_MAX)]
_Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
_Amount = Annotated[float, Meta(ge=0, le=1e300)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]


class _Quick(Struct, forbid_unknown_fields=True):
    """Fields that we do not know are the slow reader's: they may hold what is no JSON."""


class QuickEpg(_Quick):
    """`wire.HeartbeatEpg`."""

    current_program_id: _Id | None = None
    current_program_title: str | None = None
    program_elapsed_seconds: _Finite | None = None
    program_progress_percent: _Finite | None = None


class QuickPlayback(_Quick):
    """`wire.HeartbeatPlayback`."""

    is_playing: bool | None = None
    is_paused: bool | None = None
    is_buffering: bool | None = None
    quality: _Id | None = None
    volume_level: _Finite | None = None
    dvr_offset_seconds: _Finite | None = None


class QuickPerformance(_Quick):
    """`wire.HeartbeatPerformance`."""

    buffer_health_seconds: _Finite | None = None
    rebuffer_count: _Count | None = None
    bitrate_kbps: _Amount | None = None
    latency_ms: _Amount | None = None


class QuickHeartbeat(_Quick):
    """`wire.HeartbeatBody`."""

    session_id: _Id
    timestamp: Any
    """Text on the wire, seconds since the epoch here."""
    user_id: _Id | None = None
    device_id: _Id | None = None
    stream_id: _Id | None = None
    channel_id: _Id | None = None
    creator_id: _Id | None = None
    epg: QuickEpg | None = None
    playback: QuickPlayback | None = None
    performance: QuickPerformance | None = None
    engagement: dict[str, int | float | bool | str | None] | None = None

    def __post_init__(self) -> None:
        """Judge what is not judged by its type. What is raised here is a `ValueError`, and so `msgspec.ValidationError` to the caller."""
        self.timestamp = seconds_of(self.timestamp)
        if self.engagement is not None:
            judge_free(self.engagement)


_decoder: Final = msgspec.json.Decoder(QuickHeartbeat)


def read_heartbeat(body: bytes) -> QuickHeartbeat | None:
    """Return a usual heartbeat; None: it has to be looked at more closely."""
    if b"\\" in body:
        # Escapes may spell a NUL, or half a character.
        return None
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
