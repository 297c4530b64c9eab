"""
The contract's request bodies, exact to the live-session document.

Decides which bodies are right: what the seed marks required is required, its lists are closed, everything else may
be missing or null, unknown fields are ignored, and no type is bent (`"false"` is no boolean). A list of
events is judged entry by entry. What becomes of a body that is not right is `mending.py`'s. It knows nothing of HTTP, and nothing of what the
fields mean: see `records.py`.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from serve_app.players import examples
from serve_app.players.values import (
    FREE_BOUNDS,
    Bitrate,
    Count,
    CountOrUnknown,
    DvrOffset,
    Flag,
    FreeList,
    FreeObject,
    Id,
    Latency,
    Name,
    Number,
    Text,
    Timestamp,
)
from sessions import limits


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)


class Stream(_Body):
    """What is watched."""

    stream_id: Id
    """Live stream ID"""
    channel_id: Id
    """Channel ID"""
    creator_id: Id
    """Creator ID"""
    creator_name: Text | None = None


class StartEpg(_Body):
    """The programme guide's entry at the start."""

    current_program_id: Id
    """Current program ID"""
    current_program_title: Text | None = None
    program_position_seconds: Number | None = None


class StartPlayback(_Body):
    """How the player is set up."""

    quality: Name
    """Initial stream quality"""
    latency_mode: Literal["low", "normal"]
    dvr_enabled: Flag
    """Whether DVR is on"""


class Device(_Body):
    """What the player runs on."""

    type: Text | None = None
    os: Text | None = None
    os_version: Text | None = None
    browser: Text | None = None
    browser_version: Text | None = None
    screen_resolution: Text | None = None
    connection_type: Literal["wifi", "cellular", "ethernet"]


class Geo(_Body):
    """Where the viewer is."""

    country: Id
    """Country code"""
    state: Text | None = None
    city: Text | None = None
    timezone: Text | None = None


class Referrer(_Body):
    """Where the viewer came from."""

    source: Text | None = None
    page: Text | None = None
    section: Text | None = None


class StartBody(_Body):
    """A user starts watching a live stream."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.START]})

    session_id: Id
    """Unique session ID"""
    user_id: Id | None = None
    """User ID (null for guests)"""
    device_id: Id
    """Device fingerprint"""
    platform: Literal["web", "ios", "android", "roku", "firetv", "appletv"]
    app_version: Text | None = None
    stream: Stream
    epg: StartEpg
    playback: StartPlayback
    device: Device
    geo: Geo
    referrer: Referrer | None = None
    timestamp: Timestamp
    """ISO 8601 UTC"""


class HeartbeatEpg(_Body):
    """The programme guide's entry now."""

    current_program_id: Id | None = None
    current_program_title: Text | None = None
    program_elapsed_seconds: Number | None = None
    program_progress_percent: Number | None = None


class HeartbeatPlayback(_Body):
    """What the player does."""

    is_playing: Flag | None = None
    is_paused: Flag | None = None
    is_buffering: Flag | None = None
    quality: Name | None = None
    volume_level: Number | None = None
    dvr_offset_seconds: DvrOffset | None = None


class HeartbeatPerformance(_Body):
    """How well it does it."""

    buffer_health_seconds: Number | None = None
    rebuffer_count: Count | None = None
    """Stalls since the start"""
    bitrate_kbps: Bitrate | None = None
    latency_ms: Latency | None = None


class HeartbeatBody(_Body):
    """Sent every 30 seconds during live viewing, or as often as the server's last answer asked."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.HEARTBEAT]})

    session_id: Id
    user_id: Id | None = None
    device_id: Id | None = None
    stream_id: Id | None = None
    channel_id: Id | None = None
    creator_id: Id | None = None
    epg: HeartbeatEpg | None = None
    playback: HeartbeatPlayback | None = None
    performance: HeartbeatPerformance | None = None
    engagement: Annotated[FreeObject | None, Field(description=FREE_BOUNDS)] = None
    timestamp: Timestamp


class WatchSummary(_Body):
    """The player's own account of the session."""

    total_watch_seconds: CountOrUnknown
    """Total watch time"""
    end_reason: Literal["user_exit", "error", "timeout", "inactivity"]
    programs_watched: Annotated[FreeList, Field(description=f"Programs watched during session. {FREE_BOUNDS}")]


class EndPerformance(_Body):
    """How well the session went, as the player saw it."""

    total_rebuffer_count: CountOrUnknown
    """Total rebuffer events"""
    quality_switches: CountOrUnknown
    """Quality changes"""


class EndEngagement(_Body):
    """What the viewer took part in."""

    total_chat_messages_sent: CountOrUnknown
    """Chat messages sent"""
    total_reactions_sent: CountOrUnknown
    """Reactions sent"""


class EndBody(_Body):
    """The user exits the live stream."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.END]})

    session_id: Id
    """Session ID"""
    watch_summary: WatchSummary
    performance: EndPerformance
    engagement: EndEngagement
    timestamp: Timestamp
    """ISO 8601 UTC"""


class Metadata(_Body):
    """What is read of what an event says of itself, each field of its own type of event only; all else is free."""

    fatal: Flag | None = None
    """`stream_error`: whether playback is over"""
    quality: Name | None = None
    """`quality_change`: the new one"""
    program_id: Id | None = None
    """`program_change`: the new one"""
    program_title: Text | None = None
    """`program_change`: its title"""


_READ_OF: Final = {
    "stream_error": ("fatal",),
    "quality_change": ("quality",),
    "program_change": ("program_id", "program_title"),
}
"""The metadata that an event's type gives a meaning to."""


def _what_is_read(metadata: object, info: ValidationInfo) -> object:
    """Leave out what the event's type gives no meaning to: it may be anything."""
    if not isinstance(metadata, dict):
        return metadata
    return {name: metadata[name] for name in _READ_OF.get(info.data.get("event_type", ""), ()) if name in metadata}


class EventBody(_Body):
    """One event. A bad one is named in `rejected_events`; the others are taken."""

    event_id: Id
    event_type: Literal[
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
    ]
    timestamp: Timestamp
    metadata: Annotated[Metadata | None, BeforeValidator(_what_is_read)] = None


class EventFault(StrEnum):
    """Why one event was not taken, before its session was asked. Closed."""

    NO_OBJECT = "invalid_event"
    ID = "invalid_event_id"
    TYPE = "invalid_event_type"
    TIMESTAMP = "invalid_timestamp"
    METADATA = "invalid_metadata"


_FAULTS: Final = {
    "event_id": EventFault.ID,
    "event_type": EventFault.TYPE,
    "timestamp": EventFault.TIMESTAMP,
    "metadata": EventFault.METADATA,
}


@dataclass(frozen=True, slots=True)
class BadEvent:
    """An entry of `events` that is not taken."""

    event_id: str | None
    """None: it has none that we would give back."""
    fault: EventFault
    raw: object = field(default=None, compare=False, repr=False)
    """The entry itself, to be looked at more closely."""


class _JudgedAlone:
    """Turns a wrong entry into a `BadEvent`, where pydantic would refuse the whole list."""

    @staticmethod
    def __get_pydantic_core_schema__(source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(_judge, handler(source))

    @staticmethod
    def __get_pydantic_json_schema__(source: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(source), {"description": "Anything else is rejected by itself: see `rejected_events`."}]}


def _judge(entry: object, validate: core_schema.ValidatorFunctionWrapHandler) -> "EventBody | BadEvent":
    try:
        judged: EventBody = validate(entry)
    except ValidationError as error:
        where = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
        fault = _FAULTS[str(where[0])] if where else EventFault.NO_OBJECT
        return BadEvent(_id_of(entry), fault, entry)
    return judged


def _id_of(entry: object) -> str | None:
    event_id = entry.get("event_id") if isinstance(entry, dict) else None
    try:
        return _ID.validate_python(event_id)
    except ValidationError:
        return None


_ID: Final[TypeAdapter[str]] = TypeAdapter(Id, config=ConfigDict(strict=True))


class EventsBody(_Body):
    """Discrete player events of one session, at most 500."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.EVENTS]})

    session_id: Id
    user_id: Id | None = None
    device_id: Id | None = None
    stream_id: Id | None = None
    creator_id: Id | None = None
    events: Annotated[list[Annotated[EventBody, _JudgedAlone]], Field(max_length=limits.EVENTS_PER_REQUEST_MAX)]
    """Each is judged alone."""


Body = StartBody | HeartbeatBody | EndBody | EventsBody
