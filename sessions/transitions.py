"""
Both machines as literal tables, and the page of the documentation that is made from them.

`LIVENESS`: for every input in every state, where the session goes and which ledger
counts move. `PLAYBACK`: for every cue, where playback goes once a frame was shown,
and before that. `python -m sessions.transitions` prints the page.
"""

import sys
from typing import Final

from sessions.limits import AD_BREAK_S_MAX, STALLED_AFTER_S, VIEW_OVERTAKEN_S
from sessions.states import Cue, Input, Liveness, Playback

GOES_ON: Final[tuple[Liveness, tuple[str, ...]]] = (Liveness.ACTIVE, ())
"""What an input does to an active session that only lives on."""

LIVENESS: Final[dict[tuple[Liveness, Input], tuple[Liveness, tuple[str, ...]]]] = {
    (Liveness.UNKNOWN, Input.START): (Liveness.ACTIVE, ("started",)),
    (Liveness.UNKNOWN, Input.BEACON): (Liveness.ACTIVE, ("started",)),
    (Liveness.UNKNOWN, Input.HEARTBEAT): (Liveness.ACTIVE, ("provisional",)),
    (Liveness.UNKNOWN, Input.EVENT): (Liveness.ACTIVE, ("provisional",)),
    (Liveness.UNKNOWN, Input.END): (Liveness.ENDED, ("provisional", "ended")),
    (Liveness.UNKNOWN, Input.REPORT): (Liveness.ACTIVE, ("started",)),
    (Liveness.ACTIVE, Input.START): (Liveness.ACTIVE, ()),
    (Liveness.ACTIVE, Input.BEACON): (Liveness.ACTIVE, ()),
    (Liveness.ACTIVE, Input.HEARTBEAT): GOES_ON,
    (Liveness.ACTIVE, Input.EVENT): (Liveness.ACTIVE, ()),
    (Liveness.ACTIVE, Input.REPORT): (Liveness.ACTIVE, ()),
    (Liveness.ACTIVE, Input.END): (Liveness.ENDED, ("ended",)),
    (Liveness.ACTIVE, Input.DEADLINE): (Liveness.EXPIRED, ("expired",)),
    (Liveness.EXPIRED, Input.START): (Liveness.ACTIVE, ("revived",)),
    (Liveness.EXPIRED, Input.BEACON): (Liveness.ACTIVE, ("revived",)),
    (Liveness.EXPIRED, Input.HEARTBEAT): (Liveness.ACTIVE, ("revived",)),
    (Liveness.EXPIRED, Input.EVENT): (Liveness.ACTIVE, ("revived",)),
    (Liveness.EXPIRED, Input.REPORT): (Liveness.ACTIVE, ("revived",)),
    (Liveness.EXPIRED, Input.END): (Liveness.ENDED, ("revived", "ended")),
    (Liveness.EXPIRED, Input.DEADLINE): (Liveness.UNKNOWN, ()),
    (Liveness.ENDED, Input.START): (Liveness.ENDED, ()),
    (Liveness.ENDED, Input.START_AFTER_END): (Liveness.ACTIVE, ("started",)),
    (Liveness.ENDED, Input.BEACON): (Liveness.ENDED, ()),
    (Liveness.ENDED, Input.HEARTBEAT): (Liveness.ENDED, ()),
    (Liveness.ENDED, Input.EVENT): (Liveness.ENDED, ()),
    (Liveness.ENDED, Input.REPORT): (Liveness.ENDED, ()),
    (Liveness.ENDED, Input.END): (Liveness.ENDED, ()),
    (Liveness.ENDED, Input.DEADLINE): (Liveness.UNKNOWN, ()),
}
"""(liveness, input) → (liveness, ledger counts that grow by one). A start that meets a provisional session adds `promoted`."""

MOVES_ACTIVE: Final = {"started": 1, "provisional": 1, "revived": 1, "ended": -1, "expired": -1}
"""By ledger count: what one more of it does to the number of active sessions."""


def is_refused(before: Liveness, moved_by: Input) -> bool:
    """Tell whether an input does nothing to a session, which is over and stays so."""
    after, entries = LIVENESS[before, moved_by]
    return after is not Liveness.ACTIVE and not entries


RESUMES: Final = "what it was before"
"""In the place of a state: what it was before the stall, or the break, that this cue ends."""

PLAYBACK: Final[dict[Cue, tuple[Playback | str | None, Playback | str | None]]] = {
    Cue.START: (None, Playback.STARTING),
    Cue.BEAT: (None, None),
    Cue.BEAT_IDLE: (Playback.PAUSED, None),
    Cue.BEAT_PLAYING: (Playback.PLAYING, Playback.PLAYING),
    Cue.BEAT_REBUFFERING: (Playback.REBUFFERING, Playback.STARTING),
    Cue.BEAT_PAUSED: (Playback.PAUSED, Playback.PAUSED),
    Cue.STREAM_START: (Playback.PLAYING, Playback.PLAYING),
    Cue.BUFFER_START: (Playback.REBUFFERING, Playback.STARTING),
    Cue.BUFFER_END: (RESUMES, RESUMES),
    Cue.RECONNECT: (Playback.REBUFFERING, Playback.STARTING),
    Cue.RECONNECT_SUCCESS: (RESUMES, RESUMES),
    Cue.ERROR: (None, None),
    Cue.FATAL_ERROR: (Playback.FAILED, Playback.FAILED),
    Cue.QUALITY_CHANGE: (None, None),
    Cue.PROGRAM_CHANGE: (None, None),
    Cue.DVR_SEEK: (None, None),
    Cue.DVR_RESUME_LIVE: (RESUMES, RESUMES),
    Cue.ENGAGED: (None, None),
    Cue.END: (None, None),
    Cue.VIEW: (Playback.SHOWN, Playback.SHOWN),
    Cue.PLAY: (Playback.PLAYING, Playback.PLAYING),
    Cue.CHECK: (None, None),
    Cue.FIRST_CHECK: (Playback.PLAYING, Playback.PLAYING),
    Cue.END_FOR_ERROR: (Playback.FAILED, Playback.FAILED),
    Cue.AD_BREAK_START: (Playback.AD, Playback.AD),
    Cue.AD_BREAK_END: (RESUMES, RESUMES),
    Cue.AD_START: (Playback.AD, Playback.AD),
    Cue.AD_END: (RESUMES, RESUMES),
    Cue.MOVED: (Playback.SHOWN, Playback.SHOWN),
}
"""Cue → (playback once a frame was shown, playback before the first frame). None: stays."""

PLAYS: Final = frozenset({Cue.BEAT_PLAYING, Cue.STREAM_START, Cue.PLAY, Cue.FIRST_CHECK, Cue.RECONNECT_SUCCESS})
"""Cues that say that it plays: all else leaves a failure standing."""

AFTER_FRAME: Final[tuple[Playback | str | None, ...]] = tuple(PLAYBACK[cue][0] for cue in Cue)
BEFORE_FRAME: Final[tuple[Playback | str | None, ...]] = tuple(PLAYBACK[cue][1] for cue in Cue)
"""The same, by the cue's number."""

CUE_OF_EVENT: Final[dict[str, Cue]] = {
    "stream_start": Cue.STREAM_START,
    "stream_buffer_start": Cue.BUFFER_START,
    "stream_buffer_end": Cue.BUFFER_END,
    "stream_reconnect": Cue.RECONNECT,
    "stream_reconnect_success": Cue.RECONNECT_SUCCESS,
    "stream_error": Cue.ERROR,
    "program_change": Cue.PROGRAM_CHANGE,
    "quality_change": Cue.QUALITY_CHANGE,
    "fullscreen_enter": Cue.ENGAGED,
    "fullscreen_exit": Cue.ENGAGED,
    "mute": Cue.ENGAGED,
    "unmute": Cue.ENGAGED,
    "dvr_seek": Cue.DVR_SEEK,
    "dvr_resume_live": Cue.DVR_RESUME_LIVE,
    "reaction": Cue.ENGAGED,
    "share": Cue.ENGAGED,
    "follow": Cue.ENGAGED,
    "subscribe": Cue.ENGAGED,
    "tip": Cue.ENGAGED,
    "ad_break_start": Cue.AD_BREAK_START,
    "ad_break_end": Cue.AD_BREAK_END,
    "ad_start": Cue.AD_START,
    "ad_end": Cue.AD_END,
    "ad_error": Cue.ENGAGED,
}

CUE_OF_FLAG: Final[dict[str | None, Cue]] = {
    None: Cue.BEAT,
    "idle": Cue.BEAT_IDLE,
    "playing": Cue.BEAT_PLAYING,
    "rebuffering": Cue.BEAT_REBUFFERING,
    "paused": Cue.BEAT_PAUSED,
}

BEATS: Final = frozenset(CUE_OF_FLAG.values())
"""The cues that are heartbeats."""

CUE_OF_BEACON: Final[dict[str, Cue]] = {"view": Cue.VIEW, "play": Cue.PLAY, "check": Cue.CHECK}


def as_markdown() -> str:
    """Write both tables as `docs/session-states.md`; a test compares the two."""
    lines = [
        "# The states of a session",
        "",
        "Made from `sessions/transitions.py` by `make docs`; do not edit.",
        "",
        "## Liveness, and what it does to the ledger",
        "",
        "| session was | input | becomes | ledger, + 1 each |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {before} | {moved_by} | {after if after is not Liveness.UNKNOWN else 'forgotten'} | {', '.join(ledger) or '-'} |"
        for (before, moved_by), (after, ledger) in LIVENESS.items()
    ]
    lines += [
        "",
        "A start that meets a provisional session also adds 1 to `promoted`, outside the equation.",
        "",
        "## Playback",
        "",
        "| cue | once a frame was shown | before the first frame |",
        "|---|---|---|",
    ]
    lines += [f"| {cue.name.lower()} | {after or 'stays'} | {before or 'stays'} |" for cue, (after, before) in PLAYBACK.items()]
    lines += [
        "",
        "Six rules stand beside the table:",
        "",
        f"- Rebuffering for more than {STALLED_AFTER_S:.0f} s is `stalled`, until something says that it plays or is paused. So is starting, once",
        "  something said after that time still waits, or says that it neither plays, nor waits, nor is paused.",
        "- `failed` stays until something says that it plays: " + ", ".join(cue.name.lower() for cue in sorted(PLAYS)) + ".",
        "- In an advertising break, a viewer who plays, starts or waits stays `ad`. `stream_start` ends the break; `ad_end` does so if no break",
        "  was reported.",
        f"- A break in which nothing began for {AD_BREAK_S_MAX:.0f} s is over: its end was lost. From then on what the player says of the content counts.",
        f"- A beacon's view that comes within {VIEW_OVERTAKEN_S:.0f} s after its play was overtaken on the way, and changes nothing.",
        "- After a stall, *what it was before* is playing or paused if a frame was shown, else `starting`. Without a stall or break nothing changes.",
    ]
    lines += ["", "## Which cue an event is", "", "| event type | cue |", "|---|---|"]
    lines += [f"| {kind} | {cue.name.lower()} |" for kind, cue in CUE_OF_EVENT.items()]
    lines += ["", "A `stream_error` whose `metadata.fatal` is true is the cue fatal_error.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
