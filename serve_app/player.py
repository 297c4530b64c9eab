"""
One simulated player: what it says next, and when, as it lives the life that `audience.py` wrote.

It honours the interval that the server promises, comes back only when its session has certainly expired, and knows no
network: `demo.py` carries its requests, a test can. Times are seconds on the caller's clock; stamps are the player's own.
"""

from datetime import UTC, datetime
from math import floor
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from serve_app.audience import Act, Does, Viewer
from serve_app.books import TICK_S, Event, Said, Sending

RETURN_MARGIN_S: Final = 1.0
"""How long after its certain expiry a player comes back."""
_BEATING: Final = ("starting", "playing", "rebuffering", "paused")
PULLZONE: Final = "headcount-demo"


class Player:
    """One viewer's player. Ask `due_at`, then `speak`; tell `heard` before the next."""

    def __init__(self, viewer: Viewer, *, run: str, began_at: float, interval_s: float, expiry_intervals: int) -> None:
        self.viewer = viewer
        self.session = f"{run}-viewer-{viewer.number}"
        self.stream = stream_id(run, viewer.person.stream)
        self._began_at = began_at
        self._interval_s = interval_s
        self.expiry_intervals = expiry_intervals
        self._acts = list(viewer.acts)
        self._encore = list(viewer.encore)
        self._leaves_at = began_at + viewer.leaves_at_s
        self._repeats: list[Said] = []
        self._playback = ""
        self._beats_at: float | None = None
        """When the next regular heartbeat is due; None: it sends none."""
        self._expires_at = 0.0
        self._ended = False

    def due_at(self, *, outages_s: float = 0.0) -> float | None:
        """
        Return when it speaks next; None: never again.

        `outages_s`: how long the server was away meanwhile, which keeps everyone's session alive for as long.
        """
        if self._repeats:
            return 0.0
        if self._acts:
            acts_at = self._began_at + self._acts[0].at_s
            return acts_at if self._beats_at is None else min(acts_at, self._beats_at)
        if self._beats_at is not None and self._beats_at <= self._leaves_at:
            return self._beats_at
        if self._encore:
            return self._expires_at + TICK_S + RETURN_MARGIN_S + outages_s
        return None

    def speak(self, *, now: float) -> Said:
        """Return what it says now; only when `due_at` has come."""
        if self._repeats:
            return self._repeats.pop()
        act: Act | None = None
        if self._acts:
            if self._beats_at is None or self._began_at + self._acts[0].at_s <= self._beats_at:
                act = self._acts.pop(0)
        elif self._encore and not (self._beats_at is not None and self._beats_at <= self._leaves_at):
            # What follows of the encore is timed from here.
            act, *rest = self._encore
            self._encore = []
            self._acts, self._began_at, self._leaves_at, self._beats_at = rest, now, now, None
        said = self._said(act or Act(at_s=0.0, does=Does.CHECK if self.viewer.beacon else Does.HEARTBEAT), now=now)
        self._repeats = [said] * (act.times - 1 if act else 0)
        return said

    def heard(self, said: Said, sending: Sending, *, interval_s: float | None) -> None:
        """Take an acknowledgement, and the interval that came with it, if one did."""
        self._interval_s = interval_s or self._interval_s
        self._expires_at = max(self._expires_at, sending.acknowledged_at + self.alive_s)
        self._ended = self._ended or said.does is Does.END
        beats = not self._ended and self._playback in (*_BEATING, "shown")
        if not beats:
            self._beats_at = None
        elif self._beats_at is None or said.does in {Does.HEARTBEAT, Does.CHECK}:
            self._beats_at = sending.acknowledged_at + self._interval_s

    @property
    def alive_s(self) -> float:
        """How long its session lives after a sign of life."""
        return self._interval_s * self.expiry_intervals

    def _said(self, act: Act, *, now: float) -> Said:
        clock = now + self.viewer.person.clock_ahead_s
        self._playback = act.playback or self._playback
        told = act.does in {Does.START, Does.HEARTBEAT, Does.VIEW, Does.PLAY}
        playback = {Does.START: "starting", Does.PLAY: "playing", Does.VIEW: "shown"}.get(act.does, self._playback)
        if act.does is Does.CHECK and act.playback:
            told, playback = True, act.playback
        if act.does is Does.HEARTBEAT and playback not in {"playing", "rebuffering", "paused"}:
            told = False
        return Said(
            session=self.session,
            stream=self.stream,
            does=act.does,
            stamp=_to_the_millisecond(clock - act.lag_s),
            playback=playback if told else None,
            events=tuple(
                Event(f"{self.session}-{name}", type_, _to_the_millisecond(clock - lag_s), type_ == "stream_error")
                for name, type_, lag_s in act.events
            ),
            reason=act.reason,
        )


class Request(NamedTuple):
    """One request as HTTP wants it."""

    method: str
    path: str
    body: dict[str, Any] | None


def stream_id(run: str, stream: int) -> str:
    """Return the id of a stream of a run."""
    return f"{run}-stream-{stream}"


def request_of(said: Said, viewer: Viewer) -> Request:
    """Return the request that carries what a player says, as the seeds have it."""
    if viewer.beacon:
        query = {"type": said.does.value, "v": said.stream, "p": PULLZONE, "u": said.session, "visibility": "true"}
        return Request("GET", f"/icon.gif?{urlencode(query)}", None)
    return Request(
        "POST", _PATHS[said.does], {"session_id": said.session, "timestamp": _written(said.stamp), **_BODIES[said.does](said, viewer)}
    )


def _start_body(said: Said, viewer: Viewer) -> dict[str, Any]:
    person = viewer.person
    return {
        "user_id": None if viewer.number % 3 == 0 else f"user-{viewer.number}",
        "device_id": f"device-{viewer.number}",
        "platform": person.platform,
        "stream": {"stream_id": said.stream, "channel_id": f"channel-{person.stream}", "creator_id": f"creator-{person.stream % 3}"},
        "epg": {"current_program_id": f"program-{person.stream}"},
        "playback": {"quality": person.quality, "latency_mode": "low", "dvr_enabled": False},
        "device": {"type": person.platform, "connection_type": person.connection},
        "geo": {"country": person.country},
    }


def _heartbeat_body(said: Said, viewer: Viewer) -> dict[str, Any]:
    return {
        "stream_id": said.stream,
        "channel_id": f"channel-{viewer.person.stream}",
        "creator_id": f"creator-{viewer.person.stream % 3}",
        "playback": {
            "is_playing": said.playback == "playing",
            "is_paused": said.playback == "paused",
            "is_buffering": said.playback == "rebuffering",
            "quality": viewer.person.quality,
        },
        "performance": {"bitrate_kbps": 2_500 + 100 * (viewer.number % 40), "latency_ms": 1_800 + viewer.number % 900},
    }


def _events_body(said: Said, viewer: Viewer) -> dict[str, Any]:
    return {
        "stream_id": said.stream,
        "creator_id": f"creator-{viewer.person.stream % 3}",
        "events": [
            {"event_id": event.event_id, "event_type": event.type, "timestamp": _written(event.stamp), "metadata": _metadata(event, viewer)}
            for event in said.events
        ],
    }


def _metadata(event: Event, viewer: Viewer) -> dict[str, Any] | None:
    if event.type == "quality_change":
        return {"quality": "480p" if viewer.person.quality == "1080p" else "1080p"}
    return {"fatal": True} if event.fatal else None


def _end_body(said: Said, viewer: Viewer) -> dict[str, Any]:
    return {
        "watch_summary": {
            "total_watch_seconds": int(viewer.leaves_at_s),
            "end_reason": said.reason,
            "programs_watched": [f"program-{viewer.person.stream}"],
        },
        "performance": {"total_rebuffer_count": 1, "quality_switches": 0},
        "engagement": {"total_chat_messages_sent": 0, "total_reactions_sent": 1},
    }


_PATHS: Final = {
    Does.START: "/analytics/live/session/start",
    Does.HEARTBEAT: "/analytics/live/session/heartbeat",
    Does.EVENTS: "/analytics/live/events",
    Does.END: "/analytics/live/session/end",
}
_BODIES: Final = {Does.START: _start_body, Does.HEARTBEAT: _heartbeat_body, Does.EVENTS: _events_body, Does.END: _end_body}


def _to_the_millisecond(at: float) -> float:
    return floor(at * 1_000) / 1_000


def _written(stamp: float) -> str:
    return datetime.fromtimestamp(stamp, UTC).isoformat(timespec="milliseconds")
