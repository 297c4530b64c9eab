"""
One simulated player: what it says next, and when, as it lives the life that `script.py` wrote.

It honours the interval that the server promises, comes back only when its session has certainly expired, and knows no
network: `demo.py` carries its requests, a test can. Times are seconds on the caller's clock; stamps are the player's own.
"""

from datetime import UTC, datetime
from math import floor
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from serve_app.demo.books import TICK_S
from serve_app.demo.said import Event, Measured, Said, Sending
from serve_app.demo.script import Act, Does, Viewer

RETURN_MARGIN_S: Final = 1.0
"""How long after its certain expiry a player comes back."""
_BEATING: Final = ("starting", "playing", "rebuffering", "paused", "ad")
IDLE_EVERY: Final = 4
"""Each such player says of a pause that it neither plays nor waits, nor that it is paused."""
NULLS_EVERY: Final = 8
"""Each such player has measured nothing now and then, and sends null."""
_STALLS: Final = ("stream_buffer_start", "stream_reconnect")
_KBPS: Final = {"1080p": 4_500, "720p": 2_500, "480p": 1_200}
PULLZONE: Final = "headcount-demo"


class Player:
    """One viewer's player. Ask `due_at`, then `speak`; tell `heard` before the next."""

    def __init__(self, viewer: Viewer, *, run: str, began_at: float, interval_s: float, expiry_intervals: int) -> None:
        self.viewer = viewer
        self.session = f"{run}-viewer-{viewer.number}"
        self._run = run
        self.stream = viewer.person.stream
        self._began_at = began_at
        self._interval_s = interval_s
        self.expiry_intervals = expiry_intervals
        self._acts = list(viewer.acts)
        self._encore = list(viewer.encore)
        self._leaves_at = began_at + viewer.leaves_at_s
        self._repeats: list[Said] = []
        self._playback = ""
        self._quality = viewer.person.quality
        self._beats = self._stalls = 0
        self._joined_at = 0.0
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
        self.stream = self.stream if act.stream is None else act.stream
        for happens in act.events:
            self._quality = happens.quality or self._quality
            self._stalls += happens.type in _STALLS
        self._joined_at = self._joined_at or now
        self._beats += act.does is Does.HEARTBEAT
        knows_nothing = self.viewer.number % NULLS_EVERY == 1 and self._beats % 3 == 0
        return Said(
            session=self.session,
            stream=stream_id(self._run, self.stream),
            does=act.does,
            stamp=_to_the_millisecond(clock - act.lag_s),
            playback=self._told_playback(act),
            events=tuple(
                Event(f"{self.session}-{each.name}", each.type, _to_the_millisecond(clock - each.lag_s), each.fatal, each.quality)
                for each in act.events
            ),
            reason=act.reason,
            measured=Measured(
                quality=self._quality,
                bitrate_kbps=None if knows_nothing else _KBPS[self._quality] + 10 * self._beats,
                latency_ms=None if knows_nothing else 1_800 + self.viewer.number % 900 + 50 * (self._beats % 8),
                # Each fifth player counts a stall that it told nobody of.
                stalls=self._stalls + (self._beats > 0 and self.viewer.number % 5 == 0),
                watched_s=int(now - self._joined_at),
            ),
        )

    def _told_playback(self, act: Act) -> str | None:
        if act.does in {Does.START, Does.PLAY, Does.VIEW}:
            return {Does.START: "starting", Does.PLAY: "playing", Does.VIEW: "shown"}[act.does]
        if act.does is Does.HEARTBEAT:
            if self._playback == "paused" and self.viewer.number % IDLE_EVERY == 0:
                return None
            told = "playing" if self._playback == "ad" else self._playback
            return told if told in {"playing", "rebuffering", "paused"} else None
        return act.playback if act.does is Does.CHECK else None


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
        "stream": {"stream_id": said.stream, **_around(said)},
        "epg": {"current_program_id": f"program-{_number(said)}"},
        "playback": {"quality": said.measured.quality, "latency_mode": "low", "dvr_enabled": False},
        "device": {"type": person.platform, "connection_type": person.connection},
        "geo": {"country": person.country},
    }


def _heartbeat_body(said: Said, _viewer: Viewer) -> dict[str, Any]:
    return {
        "stream_id": said.stream,
        **_around(said),
        "playback": {
            "is_playing": said.playback == "playing",
            "is_paused": said.playback == "paused",
            "is_buffering": said.playback == "rebuffering",
            "quality": said.measured.quality,
        },
        "performance": {
            "bitrate_kbps": said.measured.bitrate_kbps,
            "latency_ms": said.measured.latency_ms,
            "rebuffer_count": said.measured.stalls,
        },
    }


def _events_body(said: Said, _viewer: Viewer) -> dict[str, Any]:
    return {
        "stream_id": said.stream,
        "creator_id": _around(said)["creator_id"],
        "events": [
            {"event_id": event.event_id, "event_type": event.type, "timestamp": _written(event.stamp), "metadata": _metadata(event)}
            for event in said.events
        ],
    }


def _metadata(event: Event) -> dict[str, Any] | None:
    if event.quality:
        return {"quality": event.quality}
    return {"fatal": event.fatal} if event.type == "stream_error" else None


def _end_body(said: Said, _viewer: Viewer) -> dict[str, Any]:
    return {
        "watch_summary": {
            "total_watch_seconds": said.measured.watched_s,
            "end_reason": said.reason,
            "programs_watched": [f"program-{_number(said)}"],
        },
        "performance": {"total_rebuffer_count": said.measured.stalls, "quality_switches": 0},
        "engagement": {"total_chat_messages_sent": 0, "total_reactions_sent": 1},
    }


_PATHS: Final = {
    Does.START: "/analytics/live/session/start",
    Does.HEARTBEAT: "/analytics/live/session/heartbeat",
    Does.EVENTS: "/analytics/live/events",
    Does.END: "/analytics/live/session/end",
}
_BODIES: Final = {Does.START: _start_body, Does.HEARTBEAT: _heartbeat_body, Does.EVENTS: _events_body, Does.END: _end_body}


def _around(said: Said) -> dict[str, str]:
    """Return whose the stream is that is watched."""
    return {"channel_id": f"channel-{_number(said)}", "creator_id": f"creator-{_number(said) % 3}"}


def _number(said: Said) -> int:
    return int(said.stream.rpartition("-")[2])


def _to_the_millisecond(at: float) -> float:
    return floor(at * 1_000) / 1_000


def _written(stamp: float) -> str:
    return datetime.fromtimestamp(stamp, UTC).isoformat(timespec="milliseconds")
