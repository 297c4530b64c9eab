"""
One session's explanation: why it is, or is not, counted, and what was made of what its player sent.

A session keeps its last entries as packed bytes (`Session.tell`); here they get their words.
"""

from enum import IntEnum
from typing import Final

from sessions.events import END_REASONS
from sessions.qoe import figures
from sessions.session import Session
from sessions.states import PLAYBACKS, Liveness


class What(IntEnum):
    """What an entry of the story tells."""

    STARTED = 0
    PROVISIONAL = 1
    PROMOTED = 2
    EXPIRED = 3
    REVIVED = 4
    ENDED = 5
    """Detail: the reason, as an index of `END_REASONS`."""
    PLAYBACK = 6
    """Detail: the state entered, as an index of `PLAYBACKS`."""
    STREAM = 7
    WILD_CLOCK = 8
    ERROR = 9
    """Detail: 1 if fatal."""


_WORDS: Final = {
    What.STARTED: "started",
    What.PROVISIONAL: "opened provisionally: its start had not arrived",
    What.PROMOTED: "its start arrived after all",
    What.EXPIRED: "expired: no sign of life within the promised time",
    What.REVIVED: "revived: a sign of life after it had expired",
    What.ENDED: "ended",
    What.PLAYBACK: "playback",
    What.STREAM: "moved to another stream",
    What.WILD_CLOCK: "a timestamp ran more than 60 s ahead of its clock; ordering re-anchored",
    What.ERROR: "stream error",
}


def _entry(at: float, what: int, detail: int) -> dict[str, object]:
    kind = What(what)
    entry: dict[str, object] = {"at": at, "what": kind.name.lower(), "text": _WORDS[kind]}
    if kind is What.ENDED:
        entry["reason"] = END_REASONS[detail]
    elif kind is What.PLAYBACK:
        entry["playback"] = str(PLAYBACKS[detail])
    elif kind is What.ERROR:
        entry["fatal"] = bool(detail)
    return entry


def explain(session: Session, *, now: float, remaining_s: float) -> str:
    """Say in one sentence why the session counts, or does not; `remaining_s` until its deadline."""
    silent_s = max(0.0, now - session.seen_at)
    if session.liveness is Liveness.ACTIVE:
        kind = "provisionally (its start never arrived) " if session.provisional else ""
        return (
            f"counted {kind}as {session.playback}: last sign of life {silent_s:.1f} s ago, expires in {remaining_s:.1f} s without another"
        )
    if session.liveness is Liveness.EXPIRED:
        return f"not counted: expired, with its last sign of life {silent_s:.1f} s ago; another within {remaining_s:.0f} s revives it"
    return f"not counted: the player ended it ({session.end_reason})"


def describe(session: Session, *, now: float, remaining_s: float = 0.0) -> dict[str, object]:
    """Return one session in full, JSON-ready but for its opaque bytes (`profile`, `vitals`, `farewell`); times in s since the epoch."""
    return {
        "session_id": session.session_id,
        "liveness": str(session.liveness),
        "counted": session.liveness is Liveness.ACTIVE,
        "why": explain(session, now=now, remaining_s=remaining_s),
        **attributes(session),
        "created_at": session.created_at,
        "seen_at": session.seen_at,
        "expires_in_s": round(remaining_s, 3) if session.liveness is Liveness.ACTIVE else None,
        "heartbeat_interval_s": session.interval_s,
        "clock_offset_s": session.offset if session.offset != float("-inf") else None,
        "account": figures(session),
        "ignored": {
            "duplicates": session.tallies.duplicates,
            "late": session.tallies.late,
            "wild_timestamps": session.tallies.wild,
        },
        "story": [_entry(*entry) for entry in session.story_entries()],
        "profile": session.profile,
        "vitals": session.vitals,
        "farewell": b"" if session.ending is None else session.ending.farewell,
    }


def attributes(session: Session) -> dict[str, object]:
    """Return what the session is about: state and dimensions."""
    return {
        "playback": str(session.playback),
        "visible": session.pixel is None or session.pixel.visible,
        "provisional": session.provisional,
        "beacon": session.is_beacon,
        "stream_id": session.stream_id,
        "channel_id": session.channel_id,
        "creator_id": session.creator_id,
        "program_id": session.program_id,
        "program_title": session.program_title,
        "platform": session.platform,
        "country": session.country,
        "quality": session.quality,
        "connection_type": session.connection_type,
        "pullzone": None if session.pixel is None else session.pixel.pullzone,
        "end_reason": session.end_reason,
    }
