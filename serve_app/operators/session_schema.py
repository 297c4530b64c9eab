"""
What `/v1/sessions/{session_id}` answers, as JSON Schema: the whole of `sessions/story.py`, and where the session is held.

A test holds it to what a tracker really tells.
"""

from collections.abc import Iterable
from typing import Any, Final

from sessions import limits
from sessions.dimensions import OF_PLAYERS
from sessions.events import END_REASONS, REPORTED
from sessions.history import INPUTS, What, Why
from sessions.states import PLAYBACKS, Liveness

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_NUMBER: Final[Json] = {"type": "number"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_FLAG: Final[Json] = {"type": "boolean"}
_OPAQUE: Final[Json] = {"type": "object"}
_PLAYBACK: Final[Json] = {"enum": [str(each) for each in PLAYBACKS]}


def _each(names: Iterable[str], schema: Json) -> Json:
    return dict.fromkeys(names, schema)


def _or_null(schema: Json) -> Json:
    return {"oneOf": [schema, {"type": "null"}]}


def _object(properties: Json, *, optional: tuple[str, ...] = (), description: str = "") -> Json:
    schema: Json = {"type": "object", "properties": properties, "required": [name for name in properties if name not in optional]}
    return {**schema, "description": description} if description else schema


def _list(of: Json, *, longest: int | None = None, description: str) -> Json:
    bound = {} if longest is None else {"maxItems": longest}
    return {"type": "array", "items": of, "description": description, **bound}


_ENTRY: Final = _object(
    {
        "at": {**_NUMBER, "description": "Our clock, in seconds since the epoch."},
        "what": {"enum": [what.name.lower() for what in What]},
        "text": _TEXT,
        "reason": {"enum": list(END_REASONS)},
        "playback": _PLAYBACK,
        "fatal": _FLAG,
    },
    optional=("reason", "playback", "fatal"),
)
_INTERVAL: Final = _object(
    {
        "state": _PLAYBACK,
        "stream_id": _or_null(_TEXT),
        "from": {**_NUMBER, "description": "The player's clock, in seconds since the epoch."},
        "to": {**_NUMBER, "description": "The same. For the open interval: when the newest input was, never the present time."},
        "seconds": _NUMBER,
        "counted_s": {**_NUMBER, "description": "Less than `seconds` where it was capped, or counts for nothing."},
        "counted_as": _or_null({"enum": ["starting_time", "playing_time", "rebuffering_time", "paused_time"]}),
        "capped": {**_FLAG, "description": "Two inputs in it were further apart than the promised interval times the expiry intervals."},
        "provisional": {**_FLAG, "description": "In no counter yet: it may still change."},
        "cause": {"enum": ["seek", "connection"], "description": "Of a stall."},
    },
    optional=("cause",),
)
_COUNTER: Final = _object(
    {
        "what": {**_TEXT, "description": "The counter, and its label if it has one."},
        "amount": {**_NUMBER, "description": "All that the session adds to it."},
        "provisional": {**_NUMBER, "description": "The part of it that is in no counter yet."},
        "why": _TEXT,
    }
)
_IGNORED_INPUT: Final = _object(
    {
        "at": {**_NUMBER, "description": "When it came, on our clock."},
        "stamped": {**_NUMBER, "description": "The time that the input itself carried, on the player's clock."},
        "input": {"enum": list(INPUTS)},
        "reason": {"enum": [why.name.lower() for why in Why]},
        "text": _TEXT,
    }
)
_ACCOUNT: Final = _object(
    {
        **_each(
            ("starting_time_s", "playing_time_s", "rebuffering_time_s", "paused_time_s", "ad_time_s", "session_time_s", "watch_time_s"),
            _NUMBER,
        ),
        **_each(("startup_time_s", "rebuffering_ratio", "connection_induced_rebuffering_ratio"), _or_null(_NUMBER)),
        **_each(("rebuffer_count", "quality_switches", "errors"), _COUNT),
        **_each(("average_bitrate_bps", "live_latency_s", "experience_score", "player_total_watch_s"), _or_null(_NUMBER)),
        "played": {**_FLAG, "description": "A first frame was shown."},
        "failure": _or_null({"enum": ["start", "playback"]}),
        "exit_before_video_start": _FLAG,
    },
    description="Every formula, provisional time included; null: unknown, which is not zero.",
)

_REPORTER: Final = _object(
    {
        "player": _or_null({**_TEXT, "description": "As far as it has told."}),
        "blind": {**_FLAG, "description": "It plays, and never says what it does: it counts as watching, and in no sum."},
        **_each(("taken", "repeated", "late"), _COUNT),
        "lost": {**_COUNT, "description": "Reports that never came, by the gaps in their numbers."},
        "rhythm_s": {**_COUNT, "description": "How far apart its posts are at most."},
        "said": {**_OPAQUE, "description": f"The last known value of what it said of these: {', '.join(REPORTED)}."},
    },
    description="Of a player that reports by itself.",
)

SESSION: Final = _object(
    {
        "session_id": _TEXT,
        "liveness": {"enum": [str(each) for each in Liveness if each is not Liveness.UNKNOWN]},
        "counted": {**_FLAG, "description": "It is in the live count now."},
        "why": {**_TEXT, "description": "Why it is, or is not."},
        "playback": _PLAYBACK,
        **_each(("visible", "provisional", "beacon"), _FLAG),
        **_each(OF_PLAYERS, _TEXT),
        **_each(("program_title", "pullzone", "player", "blind_player"), _or_null(_TEXT)),
        "end_reason": _or_null({"enum": list(END_REASONS)}),
        **_each(("created_at", "seen_at"), {**_NUMBER, "description": "Our clock, in seconds since the epoch."}),
        "expires_in_s": _or_null(_NUMBER),
        "heartbeat_interval_s": {**_COUNT, "description": "The interval last promised."},
        "clock_offset_s": _or_null({**_NUMBER, "description": "Our clock minus the player's: the smallest seen."}),
        "account": _ACCOUNT,
        "counters": _list(_COUNTER, description="What it adds to which counter, and why."),
        "ignored": _object(
            {
                **_each(("duplicates", "late", "wild_timestamps"), _COUNT),
                "last": _list(
                    _IGNORED_INPUT,
                    longest=limits.STORY_IGNORED_MAX,
                    description="The last inputs that changed nothing, each with its reason.",
                ),
            }
        ),
        "intervals": _list(_INTERVAL, description="Every state with its interval, oldest first."),
        "intervals_forgotten_s": {**_NUMBER, "description": "Seconds counted in intervals before those."},
        "story": _list(_ENTRY, longest=limits.STORY_ENTRIES_MAX, description="What became of it, oldest first."),
        "reporter": _REPORTER,
        **{
            name: {**_OPAQUE, "description": description}
            for name, description in (
                ("profile", "What its start said."),
                ("vitals", "What its newest heartbeat said beside what is measured."),
                ("farewell", "What its end said."),
            )
        },
        **_each(("slot", "epoch"), {**_COUNT, "description": "Where it is held."}),
        "shard": _TEXT,
    },
    optional=("reporter",),
    description="One session in full: why it is, or is not, counted, and what was made of what its player sent.",
)
