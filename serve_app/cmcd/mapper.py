"""
From records of CMCD to the reports that a session's tracker takes.

Decides which keys are read, in which units, and what is plausible: a value that is not costs itself, and is named. It decides whose session it is:
the page's word in the target's URL goes before the player's. Which player it is shows in how it spells things. It keeps nothing: what
reports mean together is told by the session (`sessions/meaning.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from zlib import crc32

from serve_app.cmcd.reader import Record, flag_of, items_of, number_of, text_of, whole_of
from serve_app.players.records import packed_reported_profile
from serve_app.players.values import is_placeholder
from sessions.events import REPORT_KINDS, REPORT_STATES, REPORTED, RESUMED, Report, Reports, reported_id
from sessions.limits import BITRATE_BPS_MAX, ID_CHARS_MAX, PLAYER_COUNTER_MAX, REPORT_EXPIRY_S_MAX, REPORT_LATENCY_US_MAX

PARAMETERS: Final = (
    "stream_id", "channel_id", "creator_id", "platform", "country", "user_id", "device_id", "app_version", "interval", "batch", "sid", "join", "player",
)  # fmt: skip
"""What a page may write into its target's URL, each optional."""
NEWEST_VERSION: Final = 2
_KINDS: Final = frozenset(REPORT_KINDS)
_STATES: Final = frozenset(REPORT_STATES) - {RESUMED}
_NAMES_MAX: Final = 64
"""Characters of a player's name, or of a host's."""
_NUMBER_MAX: Final = 0xFFFF_FFFE
_MS_MAX: Final = 1e13
_RATE_MAX: Final = 16.0


class Outcome(StrEnum):
    """What became of a report. Closed."""

    TAKEN = "taken"
    REPEATED = "repeated"
    LATE = "late"
    WITHOUT_SID = "without_sid"
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - no token
    NEWER_VERSION = "newer_version"
    UNREADABLE = "unreadable"
    OVERLOADED = "overloaded"


@dataclass(slots=True)
class Mapped:
    """What a body's records are."""

    reports: list[Reports] = field(default_factory=list)
    """One for each session that they name."""
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    """How many of the others there are, by why they are none."""
    player: str = ""
    dropped: list[str] = field(default_factory=list)
    """Keys whose value was none, or not plausible."""

    def count(self, outcome: Outcome, count: int = 1) -> None:
        """Count records that are no reports."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count


def map_records(records: Sequence[Record | None], url: Mapping[str, str], *, target: int, now: float) -> Mapped:
    """Return the reports of a body. `url`: what the page wrote into the target's URL; `now`: of a record that does not say when it was."""
    mapped = Mapped(player=player_of(records, url))
    by_session: dict[str, list[Report]] = {}
    for record in records:
        if record is None:
            mapped.count(Outcome.UNREADABLE)
            continue
        if "v" in record and (number_of(record["v"]) or 0) > NEWEST_VERSION:
            mapped.count(Outcome.NEWER_VERSION)
            continue
        sid = id_of(url.get("sid")) or id_of(text_of(record.get("sid")))
        if sid is None:
            mapped.count(Outcome.WITHOUT_SID)
            continue
        by_session.setdefault(sid, []).append(report_of(record, url, mapped.dropped, now=now))
    mapped.reports = [posted(sid, tuple(reports), url, target=target, player=mapped.player) for sid, reports in by_session.items()]
    return mapped


def posted(sid: str, reports: tuple[Report, ...], url: Mapping[str, str], *, target: int, player: str) -> Reports:
    """Return what a post says of one session, with what its page says in the URL."""
    joins = url.get("join") == "session" and "sid" in url
    return Reports(
        session_id=sid if joins else reported_id(sid),
        target=target,
        reports=reports,
        player=player,
        channel_id=id_of(url.get("channel_id")),
        creator_id=id_of(url.get("creator_id")),
        platform=id_of(url.get("platform")),
        country=id_of(url.get("country")),
        profile=packed_reported_profile(
            user_id=id_of(url.get("user_id")), device_id=id_of(url.get("device_id")), app_version=id_of(url.get("app_version"))
        ),
        distance_s=_distance_s(url),
        joins=joins,
    )


def report_of(record: Record, url: Mapping[str, str], dropped: list[str], *, now: float) -> Report:
    """Return one record as a report; keys whose value cannot be are added to `dropped`."""
    at_ms = number_of(record.get("ts"))
    if at_ms is None or not 0 < at_ms < _MS_MAX:
        at_ms = now * 1_000
        if "ts" in record:
            dropped.append("ts")
    kind = text_of(record.get("e")) or ""
    state = text_of(record.get("sta")) or ""
    return Report(
        at=at_ms / 1_000,
        kind=kind if kind in _KINDS else "",
        state=state if state in _STATES else "",
        number=_number(record, dropped),
        stream_id=id_of(url.get("stream_id")) or id_of(text_of(record.get("cid"))),
        has_media="br" in record or ("sf" in record and "st" in record),
        bitrate_bps=_bitrate_bps(record, dropped),
        latency_us=_latency_us(record, dropped),
        said=_said(record, kind, dropped),
    )


def target_of(query: bytes) -> int:
    """Tell a player's targets apart by their URL, whatever token it shows."""
    return crc32(b"&".join(part for part in query.split(b"&") if not part.startswith(b"access_token=")))


def player_of(records: Sequence[Record | None], url: Mapping[str, str]) -> str:
    """Return which player it is: as the URL says, else as it spells things. Empty: nothing tells."""
    named = url.get("player", "").replace("\0", "")[:_NAMES_MAX]
    return named or next((player for record in records if record is not None and (player := _spelled_by(record))), "")


def _spelled_by(record: Record) -> str:
    said_format = record.get("sf", "")
    if said_format[:1] == '"':
        return "theoplayer"
    if ";" in record.get("br", "") or ";" in record.get("bl", "") or "lab" in record:
        return "dash.js"
    if "sta" not in record:
        return "shaka-player" if "sf" in record and "st" in record and "e" in record else ""
    if said_format == "h":
        return "hls.js"
    if said_format != "d":
        return ""
    # Both say their state; only one of them says its bitrate with every report.
    return "shaka-player" if "br" in record else "dash.js" if record.get("e") == "t" else ""


def id_of(value: str | None) -> str | None:
    """Return an id that is one: not too long, no half a character, and not what a program writes where it knows none."""
    if not value or len(value) > ID_CHARS_MAX or "\0" in value or "\ufffd" in value or is_placeholder(value):
        return None
    return value


def _distance_s(url: Mapping[str, str]) -> int:
    """Return how far apart the page says that posts are: reports of so many seconds, so many in a post."""
    interval_s, batch = number_of(url.get("interval")), number_of(url.get("batch"))
    if interval_s is None or interval_s <= 0:
        return 0
    return min(int(interval_s * max(batch or 1, 1)), REPORT_EXPIRY_S_MAX)


def _number(record: Record, dropped: list[str]) -> int | None:
    if "sn" not in record:
        return None
    number = whole_of(record["sn"])
    if number is None or number > _NUMBER_MAX:
        dropped.append("sn")
        return None
    return number


def _bitrate_bps(record: Record, dropped: list[str]) -> int | None:
    """Return what is played: of video and audio that are told apart, both."""
    if "br" not in record:
        return None
    by_kind: dict[str, float] = {}
    for kbps, kind in items_of(record["br"]):
        by_kind.setdefault(kind, kbps)
    bps = int(sum(by_kind.values()) * 1_000)
    if not 0 < bps <= BITRATE_BPS_MAX:
        dropped.append("br")
        return None
    return bps


def _latency_us(record: Record, dropped: list[str]) -> int | None:
    if "ltc" not in record:
        return None
    ms = number_of(record["ltc"])
    if ms is None or not 0 <= ms * 1_000 <= REPORT_LATENCY_US_MAX:
        dropped.append("ltc")
        return None
    return int(ms * 1_000)


def _said(record: Record, kind: str, dropped: list[str]) -> tuple[tuple[int, float | str], ...]:
    """Return what of it is an attribute of the session."""
    said: list[tuple[int, float | str]] = []
    for key, (which, most) in _NUMBERS.items():
        if key not in record or (key == "bl" and _is_stale_buffer(record)):
            continue
        value = min((ms for ms, _ in items_of(record[key])), default=-1.0)
        if 0 <= value <= most:
            said.append((which, value))
        else:
            dropped.append(key)
    if "h" in record and (host := text_of(record["h"])) is not None:
        said.append((_CDN, host[:_NAMES_MAX]))
    if "bg" in record:
        said.append((_BACKGROUND, flag_of(record["bg"]) is True))
    if kind in _MUTES:
        said.append((_MUTED, kind == "m"))
    return tuple(said)


def _is_stale_buffer(record: Record) -> bool:
    """Tell whether the buffer that it says is as old as the last segment: it stands still while the buffer runs dry."""
    return record.get("sf") == "h" and ";" not in record["bl"]


def _place(name: str) -> int:
    return REPORTED.index(name)


_CDN, _BACKGROUND, _MUTED = map(_place, ("cdn", "background", "muted"))
_MUTES: Final = frozenset({"m", "um"})
_NUMBERS: Final = {
    "bl": (_place("buffer_ms"), 1e8),
    "mtp": (_place("throughput_kbps"), 1e9),
    "dfa": (_place("dropped_frames"), float(PLAYER_COUNTER_MAX)),
    "pr": (_place("playback_rate"), _RATE_MAX),
    "pt": (_place("playhead_ms"), _MS_MAX),
}
"""Keys that say a number, what of the session it is, and the most that is plausible; of several the smallest: what runs dry first counts."""
