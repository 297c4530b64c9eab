"""
Bytes that an older and a newer build can read.

Decides how sessions, slot records and descriptive data look in the journal. Every stored value opens with the format's
version, one byte; what follows is a msgpack array that only ever grows at its end. So a value that an older build wrote
lacks trailing entries, which take their defaults, and one that a newer build wrote has some to spare, which are ignored.
The version changes only when neither would do, and then an older build says so (`UnreadableError`).

The last entry of all is a CRC-32 of the bytes before it, so that damage on a disk is noticed. An older build ignores it, as it does all
entries that it does not know. Bytes that 0.1.0 wrote have no checksum; of those the types of all values are checked instead.

Descriptive data (`Profile`, `Vitals`, `Farewell`) is opaque to the core: `serve_app` packs it, and it is unpacked for
people only. It has no version of its own, because it lives inside a session. It does not know what any of it means.
"""

import struct
from collections.abc import Mapping
from math import isfinite, isnan
from typing import Any, Final, TypeVar
from zlib import crc32

import msgspec

from sessions.changes import Finished, Increments, Key, Ledger
from sessions.session import FIELDS, Session
from sessions.summary import summarise
from storage.journal import JournalError

SESSION_FORMAT: Final = 1
RECORD_FORMAT: Final = 1
UNSEALED_SESSION_ENTRIES: Final = 35
"""How many entries a session had in 0.1.0, which wrote no checksum. A session with more entries ends in one."""
UNSEALED_RECORD_ENTRIES: Final = 5
SUMMARY_SCHEMA: Final = 1
"""`schema` of a finished summary; rises when a field changes its meaning or goes, not when one is added."""


class UnreadableError(JournalError):
    """Stored bytes that this build cannot read: written by a newer one, or damaged."""


_DAMAGED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec says of bytes that are not msgpack, of text that is not UTF-8, and of lists without an end."""

Stored = TypeVar("Stored")

_CHECKSUM: Final = (0xFFFF_FFFF,)
"""Takes the checksum's place while the entries are packed: five bytes, of which the last four are then replaced."""
_CHECKSUM_BYTES: Final = 4
_BYTES: Final = tuple(bytes((value,)) for value in range(256))
_pack_checksum: Final = struct.Struct(">I").pack

_encoder = msgspec.msgpack.Encoder()
_values_decoder = msgspec.msgpack.Decoder(list[Any])


def encode_session(session: Session) -> bytes:
    """Return a session as bytes."""
    return _sealed(SESSION_FORMAT, session.dump())


def decode_session(stored: bytes, session_id: str | None = None) -> Session:
    """Rebuild a session; `session_id`: what it is filed under. Raises `UnreadableError`."""
    values = _decode(_values_decoder, stored, what="session", version=SESSION_FORMAT)
    sealed = len(values) > UNSEALED_SESSION_ENTRIES
    if sealed:
        _require_seal(stored, what="session")
        del values[-1]
    try:
        session = Session.load(values)
        if not sealed:
            _require_sound(session)
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError, struct.error) as error:
        msg = f"a stored session does not hold what a session needs: {error}"
        raise UnreadableError(msg) from error
    if session_id not in {None, session.session_id}:
        msg = f"a stored session is filed under another id than its own, {session.session_id!r}"
        raise UnreadableError(msg)
    return session


def _require_sound(session: Session) -> None:
    """Check a session that has no checksum: every value has its usual type, and all of it can be summed up. Raises what summing up raises."""
    fresh = Session("", now=0.0)
    for name in FIELDS:
        found, usual = getattr(session, name), getattr(fresh, name)
        if usual is not None and type(found) is not type(usual):
            msg = f"{name} is {type(found).__name__}, not {type(usual).__name__}"
            raise TypeError(msg)
    numbers = (session.seen_at, session.bucket, session.interval_s, session.offset, session.newest_at, session.heartbeat_at)
    if any(isnan(number) for number in numbers) or not isfinite(session.seen_at) or session.bucket < 0:
        msg = "one of its times is not a time"
        raise ValueError(msg)
    session.settled()
    summarise(session, revision=session.revision)


class SlotRecord(msgspec.Struct, frozen=True):
    """What is kept of a slot beside its sessions."""

    ledger: Ledger
    paused_s: float = 0.0
    """Our outages so far, by which the slot's deadlines lie later."""
    batch: int = 0
    """Number of the handed increments, or of the last that were handed if there are none; grows for the life of the data set."""
    handed: Increments = {}
    """Frozen under `batch`: offered to the exporter, perhaps already added there."""
    open: Increments = {}
    """What came after them, under no number yet."""


class _StoredLedger(msgspec.Struct, array_like=True, frozen=True):
    active: int = 0
    started: int = 0
    provisional: int = 0
    promoted: int = 0
    revived: int = 0
    expired: int = 0
    ended: dict[str, int] = {}


class _StoredRecord(msgspec.Struct, array_like=True, frozen=True):
    ledger: _StoredLedger = _StoredLedger()
    paused_s: float = 0.0
    batch: int = 0
    handed: dict[Key, int | float] = {}
    open: dict[Key, int | float] = {}


_record_decoder = msgspec.msgpack.Decoder(_StoredRecord)


def encode_record(record: SlotRecord) -> bytes:
    """Return a slot's record as bytes."""
    ledger = record.ledger
    stored_ledger = _StoredLedger(
        ledger.active, ledger.started, ledger.provisional, ledger.promoted, ledger.revived, ledger.expired, ledger.ended
    )
    return _sealed(RECORD_FORMAT, (stored_ledger, record.paused_s, record.batch, record.handed, record.open))


def decode_record(stored: bytes) -> SlotRecord:
    """Rebuild a slot's record. Raises `UnreadableError`."""
    record = _decode(_record_decoder, _unsealed_record(stored), what="slot record", version=RECORD_FORMAT)
    ledger = record.ledger
    return SlotRecord(
        ledger=Ledger(
            active=ledger.active,
            started=ledger.started,
            provisional=ledger.provisional,
            promoted=ledger.promoted,
            revived=ledger.revived,
            expired=ledger.expired,
            ended=dict(ledger.ended),
        ),
        paused_s=record.paused_s,
        batch=record.batch,
        handed=dict(record.handed),
        open=dict(record.open),
    )


def _unsealed_record(stored: bytes) -> bytes:
    """Return a record's bytes without the checksum, which would be read as the next field; those of another format unchanged."""
    packed_as_short_array = len(stored) > 1 and stored[0] == RECORD_FORMAT and stored[1] & 0xF0 == _SHORT_ARRAY
    if not packed_as_short_array or (entries := stored[1] & 0x0F) <= UNSEALED_RECORD_ENTRIES:
        return stored
    _require_seal(stored, what="slot record")
    return bytes((RECORD_FORMAT, _SHORT_ARRAY | (entries - 1))) + stored[2 : -_CHECKSUM_BYTES - 1]


_SHORT_ARRAY: Final = 0x90
"""How msgpack begins an array of up to 15 entries; their number is in the lower half of the byte."""


def _sealed(version: int, values: tuple[object, ...]) -> bytes:
    # A heartbeat costs one of these: short copies are cheaper than calls.
    sealed = _BYTES[version] + _encoder.encode(values + _CHECKSUM)[:-_CHECKSUM_BYTES]
    return sealed + _pack_checksum(crc32(sealed))


def _require_seal(stored: bytes, *, what: str) -> None:
    if crc32(memoryview(stored)[:-_CHECKSUM_BYTES]) != int.from_bytes(stored[-_CHECKSUM_BYTES:], "big"):
        msg = f"a stored {what} is damaged: its checksum is not that of its bytes"
        raise UnreadableError(msg)


def _decode(decoder: msgspec.msgpack.Decoder[Stored], stored: bytes, *, what: str, version: int) -> Stored:
    if not stored or stored[0] != version:
        written = f"format {stored[0]}" if stored else "no format at all"
        msg = f"a stored {what} has {written}; this build reads format {version}"
        raise UnreadableError(msg)
    try:
        return decoder.decode(memoryview(stored)[1:])
    except _DAMAGED as error:
        msg = f"a stored {what} is damaged: {error}"
        raise UnreadableError(msg) from error


class Profile(msgspec.Struct, array_like=True, frozen=True):
    """Who watches, on what and where from, as the start said; of a beacon the user and the referrer's page only."""

    user_id: str | None = None
    referrer_page: str | None = None
    device_id: str | None = None
    app_version: str | None = None
    creator_name: str | None = None
    program_title: str | None = None
    program_position_seconds: float | int | None = None
    latency_mode: str | None = None
    dvr_enabled: bool | None = None
    device_type: str | None = None
    os: str | None = None
    os_version: str | None = None
    browser: str | None = None
    browser_version: str | None = None
    screen_resolution: str | None = None
    state: str | None = None
    city: str | None = None
    timezone: str | None = None
    referrer_source: str | None = None
    referrer_section: str | None = None


class Vitals(msgspec.Struct, array_like=True, frozen=True):
    """What the newest heartbeat said beside what is measured."""

    program_title: str | None = None
    program_elapsed_seconds: float | int | None = None
    program_progress_percent: float | int | None = None
    volume_level: float | int | None = None
    dvr_offset_seconds: float | int | None = None
    buffer_health_seconds: float | int | None = None
    engagement: dict[str, Any] | None = None
    """As the player sent it."""
    device_id: str | None = None
    """This and `user_id` are worth their bytes only where no start has named them: in a provisional session."""
    user_id: str | None = None


class Farewell(msgspec.Struct, array_like=True, frozen=True):
    """The player's own account of the session, as its end sent it: three JSON objects, whole."""

    watch_summary: dict[str, Any] | None = None
    """`programs_watched` included."""
    performance: dict[str, Any] | None = None
    engagement: dict[str, Any] | None = None


Described = TypeVar("Described", Profile, Vitals, Farewell)

_profile_decoder = msgspec.msgpack.Decoder(Profile)
_vitals_decoder = msgspec.msgpack.Decoder(Vitals)
_farewell_decoder = msgspec.msgpack.Decoder(Farewell)

_PROFILE_GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "device": {
        "type": "device_type",
        "os": "os",
        "os_version": "os_version",
        "browser": "browser",
        "browser_version": "browser_version",
        "screen_resolution": "screen_resolution",
    },
    "geo": {"state": "state", "city": "city", "timezone": "timezone"},
    "referrer": {"source": "referrer_source", "page": "referrer_page", "section": "referrer_section"},
}
_GROUPED: Final = frozenset(name for names in _PROFILE_GROUPS.values() for name in names.values())


def pack(described: Described) -> bytes:
    """Return descriptive data as bytes. Fields at the end that were not said take none; without any field it is empty."""
    values = msgspec.structs.astuple(described)
    said = len(values)
    while said and values[said - 1] is None:
        said -= 1
    if not said:
        return b""
    try:
        return _encoder.encode(values[:said])
    except OverflowError:
        # A JSON object may hold integers of any length; msgpack's end at 64 bits.
        return _encoder.encode([_bounded(value) for value in values[:said]])


def _bounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _bounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_bounded(inner) for inner in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value


def unpack_profile(packed: bytes) -> dict[str, Any]:
    """Return what is known of who watches, in the shape in which the start sent it; what was not said is left out."""
    said = _said(_profile_decoder, packed, what="profile")
    unpacked = {name: value for name, value in said.items() if name not in _GROUPED}
    for group, names in _PROFILE_GROUPS.items():
        members = {name: said[stored] for name, stored in names.items() if stored in said}
        if members:
            unpacked[group] = members
    return unpacked


def unpack_vitals(packed: bytes) -> dict[str, Any]:
    """Return what the newest heartbeat said; what it did not say is left out."""
    return _said(_vitals_decoder, packed, what="vitals")


def unpack_farewell(packed: bytes) -> dict[str, Any]:
    """Return the player's own account as its end sent it; empty if there was no end."""
    return _said(_farewell_decoder, packed, what="farewell")


def _said(decoder: msgspec.msgpack.Decoder[Described], packed: bytes, *, what: str) -> dict[str, Any]:
    if not packed:
        return {}
    try:
        described = decoder.decode(packed)
    except _DAMAGED as error:
        msg = f"a stored {what} is damaged: {error}"
        raise UnreadableError(msg) from error
    return {name: value for name, value in msgspec.structs.asdict(described).items() if value is not None}


def unpack_opaque(described: Mapping[str, object]) -> dict[str, object]:
    """Return what `story.describe` or `summary.summarise` gave, with its opaque bytes unpacked: JSON-ready."""
    unpacked = dict(described)
    for name, unpack in (("profile", unpack_profile), ("vitals", unpack_vitals), ("farewell", unpack_farewell)):
        packed = unpacked.get(name)
        if isinstance(packed, bytes):
            unpacked[name] = unpack(packed)
    return unpacked


def summary_json(finished: Finished) -> bytes:
    """Return one finished session as the JSON object that goes into the stream; a later `revision` replaces an earlier one."""
    summary = summarise(finished.session, revision=finished.revision)
    return msgspec.json.encode({"schema": SUMMARY_SCHEMA, **unpack_opaque(summary)})
