"""
From a validated body to the record that its session's tracker takes.

Decides units (bits per second, microseconds), picks the one playback flag that counts, and packs what is
only kept. It refuses nothing: `wire.py` did. What it cuts: texts at `limits.TEXT_CHARS_MAX`, and if a request's kept data
is then still larger than `limits.OPAQUE_BYTES_MAX`, its free objects and longest texts, in that order.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec.structs import asdict, replace

from serve_app.players.mending import field_of
from serve_app.players.quick import QuickHeartbeat, QuickPlayback
from serve_app.players.wire import BadEvent, Body, EndBody, EventBody, EventsBody, HeartbeatBody, HeartbeatPlayback, StartBody
from sessions import limits
from sessions.events import End, Event, Happening, Happenings, Heartbeat, Start
from storage.codec import Farewell, Profile, Vitals, pack

_SHORT_TEXT_CHARS: Final = 64
"""What is left of each text of a request that says too much."""
_IDS: Final = frozenset({"user_id", "device_id"})
"""Never cut: half an id is another one."""


def record_of(body: Body | QuickHeartbeat, dropped: Sequence[str] = ()) -> Event:
    """
    Return the tracker's record of a body. Of `events`, the bad entries are left out: see `bad_events`.

    `dropped`: paths of what was dropped of it (`mending.py`).
    """
    return _CONVERT[type(body)](body, ",".join(map(field_of, dropped)) if dropped else "")


def bad_events(body: EventsBody) -> tuple[BadEvent, ...]:
    """Return the entries that were not well formed."""
    return tuple(entry for entry in body.events if isinstance(entry, BadEvent))


def _start(body: StartBody, dropped: str) -> Start:
    stream, epg, playback, device, geo = body.stream, body.epg, body.playback, body.device, body.geo
    referrer = body.referrer
    return Start(
        session_id=body.session_id,
        at=body.timestamp,
        stream_id=stream.stream_id,
        channel_id=stream.channel_id,
        creator_id=stream.creator_id,
        program_id=epg.current_program_id,
        platform=body.platform,
        country=geo.country,
        connection_type=device.connection_type,
        quality=playback.quality,
        profile=_packed_profile(
            Profile(
                user_id=body.user_id,
                referrer_page=None if referrer is None else referrer.page,
                device_id=body.device_id,
                app_version=body.app_version,
                creator_name=stream.creator_name,
                program_title=epg.current_program_title,
                program_position_seconds=epg.program_position_seconds,
                latency_mode=playback.latency_mode,
                dvr_enabled=playback.dvr_enabled,
                device_type=device.type,
                os=device.os,
                os_version=device.os_version,
                browser=device.browser,
                browser_version=device.browser_version,
                screen_resolution=device.screen_resolution,
                state=geo.state,
                city=geo.city,
                timezone=geo.timezone,
                referrer_source=None if referrer is None else referrer.source,
                referrer_section=None if referrer is None else referrer.section,
            )
        ),
        dropped=dropped,
    )


def packed_pixel_profile(*, user_id: str, referrer: str | None) -> bytes:
    """Return what a beacon says beside what is measured."""
    return _packed_profile(Profile(user_id=user_id, referrer_page=referrer))


def packed_reported_profile(*, user_id: str | None, device_id: str | None, app_version: str | None) -> bytes:
    """Return what a page says of itself in the URL to which its player reports."""
    return _packed_profile(Profile(user_id=user_id, device_id=device_id, app_version=app_version))


def _packed_profile(profile: Profile) -> bytes:
    packed = pack(profile)
    if len(packed) <= limits.TEXT_CHARS_MAX:
        return packed
    packed = pack(_cut_profile(profile, limits.TEXT_CHARS_MAX))
    if len(packed) <= limits.OPAQUE_BYTES_MAX:
        return packed
    return pack(_cut_profile(profile, _SHORT_TEXT_CHARS))


def _cut_profile(profile: Profile, chars_max: int) -> Profile:
    cut = {name: value[:chars_max] for name, value in asdict(profile).items() if isinstance(value, str) and name not in _IDS}
    return replace(profile, **cut)


def _heartbeat(body: HeartbeatBody | QuickHeartbeat, dropped: str) -> Heartbeat:
    epg, playback, performance = body.epg, body.playback, body.performance
    bitrate_kbps = latency_ms = rebuffer_count = None
    if performance is not None:
        bitrate_kbps, latency_ms, rebuffer_count = performance.bitrate_kbps, performance.latency_ms, performance.rebuffer_count
    return Heartbeat(
        session_id=body.session_id,
        at=body.timestamp,
        playback=None if playback is None else _flag_that_counts(playback),
        stream_id=body.stream_id,
        channel_id=body.channel_id,
        creator_id=body.creator_id,
        program_id=None if epg is None else epg.current_program_id,
        quality=None if playback is None else playback.quality,
        bitrate_bps=None if bitrate_kbps is None else int(bitrate_kbps * 1_000),
        latency_us=None if latency_ms is None else int(latency_ms * 1_000),
        rebuffer_count=rebuffer_count,
        vitals=_packed_vitals(body),
        dropped=dropped,
        behind_live=_is_behind_live(playback),
    )


def _flag_that_counts(playback: HeartbeatPlayback | QuickPlayback) -> str | None:
    """Return the first of the three flags that is true: paused, rebuffering, playing; `idle`: all were given, and none is; else None."""
    if playback.is_paused:
        return "paused"
    if playback.is_buffering:
        return "rebuffering"
    if playback.is_playing:
        return "playing"
    return None if None in (playback.is_paused, playback.is_buffering, playback.is_playing) else "idle"


def _is_behind_live(playback: HeartbeatPlayback | QuickPlayback | None) -> bool:
    offset_s = None if playback is None else playback.dvr_offset_seconds
    return offset_s is not None and offset_s >= limits.DVR_OFFSET_S_MIN


def _packed_vitals(body: HeartbeatBody | QuickHeartbeat) -> bytes:
    epg, playback, performance = body.epg, body.playback, body.performance
    vitals = Vitals(
        program_title=None if epg is None else epg.current_program_title,
        program_elapsed_seconds=None if epg is None else epg.program_elapsed_seconds,
        program_progress_percent=None if epg is None else epg.program_progress_percent,
        volume_level=None if playback is None else playback.volume_level,
        dvr_offset_seconds=None if playback is None else playback.dvr_offset_seconds,
        buffer_health_seconds=None if performance is None else performance.buffer_health_seconds,
        engagement=body.engagement,
        device_id=body.device_id,
        user_id=body.user_id,
    )
    packed = pack(vitals)
    if len(packed) <= limits.TEXT_CHARS_MAX:
        return packed
    title = vitals.program_title
    vitals = replace(vitals, program_title=None if title is None else title[: limits.TEXT_CHARS_MAX])
    packed = pack(vitals)
    if len(packed) <= limits.OPAQUE_BYTES_MAX:
        return packed
    vitals = replace(vitals, engagement=None)
    packed = pack(vitals)
    if len(packed) <= limits.OPAQUE_BYTES_MAX:
        return packed
    return pack(replace(vitals, program_title=None if title is None else title[:_SHORT_TEXT_CHARS]))


def _happenings(body: EventsBody, dropped: str) -> Happenings:
    return Happenings(
        session_id=body.session_id,
        stream_id=body.stream_id,
        creator_id=body.creator_id,
        happenings=tuple(_happening(entry) for entry in body.events if not isinstance(entry, BadEvent)),
        dropped=dropped,
    )


def _happening(event: EventBody) -> Happening:
    metadata = event.metadata
    if metadata is None:
        return Happening(event.event_id, event.event_type, event.timestamp)
    title = metadata.program_title
    is_program_change = event.event_type == "program_change"
    return Happening(
        event_id=event.event_id,
        type=event.event_type,
        at=event.timestamp,
        fatal=event.event_type == "stream_error" and metadata.fatal is True,
        quality=metadata.quality if event.event_type == "quality_change" else None,
        program_id=metadata.program_id if is_program_change else None,
        program_title=title[: limits.TEXT_CHARS_MAX] if is_program_change and title is not None else None,
    )


def _end(body: EndBody, dropped: str) -> End:
    summary, performance = body.watch_summary, body.performance
    return End(
        session_id=body.session_id,
        at=body.timestamp,
        reason=summary.end_reason,
        total_watch_s=summary.total_watch_seconds,
        rebuffer_count=performance.total_rebuffer_count,
        quality_switches=performance.quality_switches,
        farewell=_packed_farewell(body),
        dropped=dropped,
    )


def _packed_farewell(body: EndBody) -> bytes:
    said = _known(body.watch_summary)
    programs = body.watch_summary.programs_watched
    performance, engagement = _known(body.performance), _known(body.engagement)
    while True:
        packed = pack(Farewell({**said, "programs_watched": programs}, performance, engagement))
        if len(packed) <= limits.OPAQUE_BYTES_MAX or not programs:
            return packed
        programs = programs[: len(programs) // 2]


def _known(group: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {name: value for name, value in group if value is not None}


_CONVERT: Final[dict[type, Callable[..., Event]]] = {
    StartBody: _start,
    HeartbeatBody: _heartbeat,
    QuickHeartbeat: _heartbeat,
    EventsBody: _happenings,
    EndBody: _end,
}
