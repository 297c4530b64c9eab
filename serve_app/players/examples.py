"""
The seed's own request and response bodies, verbatim where it has them.

The live-session document spells out one request, a start, and every response; the other requests are put together
from the fields that it lists, in its order.
"""

from typing import Any, Final

START: Final[dict[str, Any]] = {
    "session_id": "sess_live_xyz001",
    "user_id": "user_123",
    "device_id": "device_abc123",
    "platform": "web",
    "app_version": "2.4.1",
    "stream": {
        "stream_id": "stream_abc123",
        "channel_id": "ch_101",
        "creator_id": "creator_001",
        "creator_name": "Chris Spencer",
    },
    "epg": {
        "current_program_id": "prog_002",
        "current_program_title": "Behind the Laughs",
        "program_position_seconds": 900,
    },
    "playback": {"quality": "auto", "latency_mode": "low", "dvr_enabled": False},
    "device": {
        "type": "web",
        "os": "macOS",
        "os_version": "14.0",
        "browser": "Chrome",
        "browser_version": "119.0",
        "screen_resolution": "1920x1080",
        "connection_type": "wifi",
    },
    "geo": {"country": "US", "state": "Georgia", "city": "Atlanta", "timezone": "America/New_York"},
    "referrer": {"source": "creator_zone", "page": "/creators/chris-spencer", "section": "channel_live"},
    "timestamp": "2024-11-01T18:15:00Z",
}
STARTED: Final[dict[str, Any]] = {
    "status": "success",
    "data": {
        "session_id": "sess_live_xyz001",
        "accepted": True,
        "heartbeat_interval_seconds": 30,
        "server_timestamp": "2024-11-01T18:15:00Z",
    },
}
HEARTBEAT: Final[dict[str, Any]] = {
    "session_id": "sess_live_xyz001",
    "user_id": "user_123",
    "device_id": "device_abc123",
    "stream_id": "stream_abc123",
    "channel_id": "ch_101",
    "creator_id": "creator_001",
    "epg": {
        "current_program_id": "prog_002",
        "current_program_title": "Behind the Laughs",
        "program_elapsed_seconds": 930,
        "program_progress_percent": 51.7,
    },
    "playback": {
        "is_playing": True,
        "is_paused": False,
        "is_buffering": False,
        "quality": "1080p",
        "volume_level": 0.8,
        "dvr_offset_seconds": 0,
    },
    "performance": {"buffer_health_seconds": 12.5, "rebuffer_count": 0, "bitrate_kbps": 4500, "latency_ms": 3200},
    "engagement": {"chat_messages_sent": 2, "reactions_sent": 1},
    "timestamp": "2024-11-01T18:15:30Z",
}
BEATEN: Final[dict[str, Any]] = {
    "status": "success",
    "data": {
        "session_id": "sess_live_xyz001",
        "accepted": True,
        "next_heartbeat_seconds": 30,
        "server_timestamp": "2024-11-01T18:15:30Z",
    },
}
END: Final[dict[str, Any]] = {
    "session_id": "sess_live_xyz001",
    "watch_summary": {
        "total_watch_seconds": 2340,
        "end_reason": "user_exit",
        "programs_watched": ["prog_002"],
    },
    "performance": {"total_rebuffer_count": 1, "quality_switches": 2},
    "engagement": {"total_chat_messages_sent": 2, "total_reactions_sent": 1},
    "timestamp": "2024-11-01T18:54:00Z",
}
ENDED: Final[dict[str, Any]] = {
    "status": "success",
    "data": {
        "session_id": "sess_live_xyz001",
        "accepted": True,
        "watch_summary": {
            "total_watch_seconds": 2340,
            "total_watch_formatted": "39:00",
            "end_reason": "user_exit",
        },
        "server_timestamp": "2024-11-01T18:54:00Z",
    },
}
EVENTS: Final[dict[str, Any]] = {
    "session_id": "sess_live_xyz001",
    "user_id": "user_123",
    "device_id": "device_abc123",
    "stream_id": "stream_abc123",
    "creator_id": "creator_001",
    "events": [
        {"event_id": "evt_001", "event_type": "stream_start", "timestamp": "2024-11-01T18:15:02Z"},
        {"event_id": "evt_002", "event_type": "quality_change", "timestamp": "2024-11-01T18:15:09Z", "metadata": {"quality": "1080p"}},
        {"event_id": "evt_003", "event_type": "stream_buffer_start", "timestamp": "2024-11-01T18:20:00Z"},
        {"event_id": "evt_004", "event_type": "stream_buffer_end", "timestamp": "2024-11-01T18:20:03Z"},
        {"event_id": "evt_005", "event_type": "reaction", "timestamp": "2024-11-01T18:21:00Z"},
    ],
}
TAKEN: Final[dict[str, Any]] = {
    "status": "success",
    "data": {
        "session_id": "sess_live_xyz001",
        "accepted_count": 5,
        "rejected_count": 0,
        "rejected_events": [],
        "server_timestamp": "2024-11-01T19:00:00Z",
    },
}
