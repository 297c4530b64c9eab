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
from serve_app.players.values import BITRATE_KBPS_MAX, BITRATE_KBPS_MIN, LATENCY_MS_MAX, MACRO_BEGINS, PLACEHOLDERS, judge_free
from sessions import limits

_Id = Annotated[str, Meta(min_length=1, max_length=limits.ID_CHARS_MAX)]
_Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
_DvrOffset = Annotated[float, Meta(ge=0, le=limits.DVR_OFFSET_S_MAX)]
_Bitrate = Annotated[float, Meta(ge=BITRATE_KBPS_MIN, le=BITRATE_KBPS_MAX)]
_Latency = Annotated[float, Meta(ge=0, le=LATENCY_MS_MAX)]
_Count = Annotated[int, Meta(ge=0, le=limits.PLAYER_COUNTER_MAX)]


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
    dvr_offset_seconds: _DvrOffset | None = None


class QuickPerformance(_Quick):
    """`wire.HeartbeatPerformance`."""

    buffer_health_seconds: _Finite | None = None
    rebuffer_count: _Count | None = None
    bitrate_kbps: _Bitrate | None = None
    latency_ms: _Latency | None = None


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
        program_id = None if self.epg is None else self.epg.current_program_id
        for name in (self.session_id, self.user_id, self.device_id, self.stream_id, self.channel_id, self.creator_id, program_id):
            if name is not None and (name in PLACEHOLDERS or name[0] in MACRO_BEGINS):
                raise ValueError
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
