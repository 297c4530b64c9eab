"""
Reads what Eyevinn's player analytics SDK posts (EPAS), as the same reports.

Decides what its events are: it says what happened, not in which state it is, so the end of waiting is the state before it. Spans of the stream are
in seconds, -1 where they are unknown or live; bitrates in kbps. Without an id of the page's own only its `init` can be told from another page's:
what follows names no session.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import msgspec

from serve_app.cmcd.mapper import Mapped, Outcome, id_of, posted
from sessions.events import REPORTED, RESUMED, Report
from sessions.limits import BITRATE_BPS_MAX, REPORTS_PER_REQUEST_MAX

PLAYER: Final = "eyevinn-epas"
TARGET: Final = 0
"""It has one, and does not number what it sends."""
_STATES: Final = {
    "init": "d", "loading": "s", "playing": "p", "paused": "a", "buffering": "r", "buffered": RESUMED, "seeking": "k", "seeked": RESUMED, "error": "f",
}  # fmt: skip
_ENDS: Final = {"ended": "e", "error": "f"}
"""By the reason of `stopped`; all others are the viewer's."""
_PLAYHEAD: Final = REPORTED.index("playhead_ms")
_MS_MAX: Final = 1e13


def read_events(body: bytes) -> list[dict[str, Any] | None] | None:
    """Return the events of a body, one or a list of them; None in it: no object. None: it is no JSON."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    events = said if isinstance(said, list) else [said]
    return [event if isinstance(event, dict) and place < REPORTS_PER_REQUEST_MAX else None for place, event in enumerate(events)]


def begins(events: list[dict[str, Any] | None] | None) -> bool:
    """Tell whether it waits for an answer."""
    return any(event is not None and event.get("event") == "init" for event in events or ())


def map_events(events: list[dict[str, Any] | None], url: Mapping[str, str], *, now: float) -> Mapped:
    """Return the reports of a body; see `mapper.map_records`."""
    mapped = Mapped(player=PLAYER)
    by_session: dict[str, list[Report]] = {}
    for event in events:
        if event is None:
            mapped.count(Outcome.UNREADABLE)
            continue
        sid = session_of(event, url)
        if sid is None:
            mapped.count(Outcome.WITHOUT_SID)
            continue
        by_session.setdefault(sid, []).extend(_reports_of(event, url, mapped.dropped, now=now))
    mapped.reports = [posted(sid, tuple(reports), url, target=TARGET, player=PLAYER) for sid, reports in by_session.items()]
    return mapped


def session_of(event: Mapping[str, Any], url: Mapping[str, str]) -> str | None:
    """Return the id by which the page, or else the event, names its session."""
    said = event.get("sessionId")
    return id_of(url.get("sid")) or id_of(said if isinstance(said, str) else None)


def _reports_of(event: Mapping[str, Any], url: Mapping[str, str], dropped: list[str], *, now: float) -> list[Report]:
    said = event.get("event")
    name = said if isinstance(said, str) else ""
    at_ms, payload = event.get("timestamp"), event.get("payload")
    payload = payload if isinstance(payload, dict) else {}
    if not _is_number(at_ms) or not 0 < at_ms < _MS_MAX:
        dropped.append("ts")
        at_ms = now * 1_000
    one = Report(
        at=at_ms / 1_000, stream_id=id_of(url.get("stream_id")), bitrate_bps=_bitrate_bps(name, payload, dropped), said=_said(event)
    )
    if name == "heartbeat":
        return [one._replace(kind="t")]
    if name == "stopped":
        return [one._replace(kind="ps", state=_ENDS.get(str(payload.get("reason")), "q"))]
    if name in {"error", "warning"}:
        error = one._replace(kind="e", state="f" if name == "error" else "")
        return [error, one._replace(kind="ps", state="f")] if name == "error" else [error]
    return [one._replace(kind="ps", state=_STATES[name])] if name in _STATES else [one]


def _bitrate_bps(name: str, payload: Mapping[str, Any], dropped: list[str]) -> int | None:
    kbps = payload.get("bitrate")
    if name != "bitrate_changed" or kbps is None:
        return None
    if not _is_number(kbps) or not 0 < kbps * 1_000 <= BITRATE_BPS_MAX:
        dropped.append("br")
        return None
    return int(kbps * 1_000)


def _said(event: Mapping[str, Any]) -> tuple[tuple[int, float | str], ...]:
    playhead_s = event.get("playhead")
    return ((_PLAYHEAD, playhead_s * 1_000.0),) if _is_number(playhead_s) and 0 <= playhead_s * 1_000.0 < _MS_MAX else ()


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
