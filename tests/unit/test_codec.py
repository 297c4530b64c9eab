"""Stored bytes: what an older and a newer build make of them, and what the opaque ones cost."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.changes import Finished, Ledger, Policy
from sessions.events import End, Happening, Happenings, Heartbeat, Start, beacon_id
from sessions.session import FIELDS, Session
from sessions.tracker import Tracker
from storage.codec import (
    RECORD_FORMAT,
    SESSION_FORMAT,
    Farewell,
    Profile,
    SlotRecord,
    UnreadableError,
    Vitals,
    decode_record,
    decode_session,
    encode_record,
    encode_session,
    pack,
    summary_json,
    unpack_farewell,
    unpack_opaque,
    unpack_profile,
    unpack_vitals,
)
from tests.stored_bytes import sealed, unsealed

SEED_PROFILE = Profile(
    user_id="user_123",
    device_id="device_abc123",
    app_version="2.4.1",
    creator_name="Chris Spencer",
    program_title="Behind the Laughs",
    program_position_seconds=900,
    latency_mode="low",
    dvr_enabled=False,
    device_type="web",
    os="macOS",
    os_version="14.0",
    browser="Chrome",
    browser_version="119.0",
    screen_resolution="1920x1080",
    state="Georgia",
    city="Atlanta",
    timezone="America/New_York",
    referrer_source="creator_zone",
    referrer_page="/creators/chris-spencer",
    referrer_section="channel_live",
)
SEED_PROFILE_SHOWN: dict[str, Any] = {
    "user_id": "user_123",
    "device_id": "device_abc123",
    "app_version": "2.4.1",
    "creator_name": "Chris Spencer",
    "program_title": "Behind the Laughs",
    "program_position_seconds": 900,
    "latency_mode": "low",
    "dvr_enabled": False,
    "device": {
        "type": "web",
        "os": "macOS",
        "os_version": "14.0",
        "browser": "Chrome",
        "browser_version": "119.0",
        "screen_resolution": "1920x1080",
    },
    "geo": {"state": "Georgia", "city": "Atlanta", "timezone": "America/New_York"},
    "referrer": {"source": "creator_zone", "page": "/creators/chris-spencer", "section": "channel_live"},
}
LEDGER = Ledger(active=3, started=5, provisional=2, promoted=1, revived=1, expired=2, ended={"user_exit": 2, "error": 1})


def lived_through() -> Session:
    """Return a session that has something in every field that a player can fill."""
    tracker = Tracker(0, policy=Policy())
    start = Start("s-é", 1_000.0, "stream", "ch", "cr", "prog", "web", "US", "wifi", "auto", pack(SEED_PROFILE))
    tracker.receive(start, now=1_000.5)
    happenings = (Happening("e1", "stream_start", 1_001.0), Happening("e2", "quality_change", 1_002.0, quality="1080p"))
    tracker.receive(Happenings("s-é", "stream", "cr", happenings), now=1_002.5)
    vitals = pack(Vitals(volume_level=0.5, engagement={"chat": [1, {"deep": None}]}))
    tracker.receive(Heartbeat("s-é", 1_030.0, "playing", "other", bitrate_bps=5_000_000, latency_us=3, vitals=vitals), now=1_030.5)
    tracker.receive(End("s-é", 1_060.0, "user_exit", 60, 0, 1, pack(Farewell(watch_summary={"programs_watched": []}))), now=1_060.5)
    session = tracker.get("s-é")
    assert session is not None
    session.behind, session.ahead, session.clock_since, session.held_up = b"behind", b"ahead", 1_031.0, 1_000.0
    return session


def test_a_session_comes_back_as_it_was() -> None:
    session = lived_through()
    assert decode_session(encode_session(session)).dump() == session.dump()


def test_a_beacon_session_comes_back_as_it_was() -> None:
    session = Session(beacon_id(pullzone="p", video_id="🎬", user_id="u"), now=1_000.0)
    assert decode_session(encode_session(session)).dump() == session.dump()


def test_a_session_of_an_older_build_has_defaults_for_what_that_build_did_not_know() -> None:
    lived, untouched = lived_through(), Session("s-é", now=0.0)
    older = decode_session(sealed(SESSION_FORMAT, lived.dump()[:-3]))
    assert older.dump() == (*lived.dump()[:-3], *untouched.dump()[-3:])
    assert lived.dump()[-3:] != untouched.dump()[-3:]


def test_a_session_of_a_newer_build_is_read_without_what_this_build_does_not_know() -> None:
    session = decode_session(sealed(SESSION_FORMAT, (*lived_through().dump(), 1.5, {"new": [b"thing"]}, None)))
    assert session.dump() == lived_through().dump()


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (b"", "no format at all"),
        (b"\x02\x90", "session has format 2; this build reads format 1"),
        (b"\x00\x90", "format 0"),
        (b"\x01", "damaged"),
        (b"\x01\x93\x01", "damaged"),
        (b"\x01\x81\xa1a\x01", "damaged"),
        (b"\x01\x90", "does not hold"),
        (b"\x01\x92\xa1s\xa5never", "does not hold"),
    ],
)
def test_a_session_that_cannot_be_read_is_a_clear_error(stored: bytes, said: str) -> None:
    with pytest.raises(UnreadableError, match=said):
        decode_session(stored)


counts = st.integers(min_value=0, max_value=2**63)
amounts = st.dictionaries(
    st.lists(st.text(max_size=8), min_size=1, max_size=3).map(tuple),
    counts | st.floats(allow_nan=False, allow_infinity=False),
    max_size=4,
)
records = st.builds(
    SlotRecord,
    ledger=st.builds(
        Ledger,
        active=counts,
        started=counts,
        provisional=counts,
        promoted=counts,
        revived=counts,
        expired=counts,
        ended=st.dictionaries(st.text(max_size=8), counts, max_size=4),
    ),
    paused_s=st.floats(min_value=0, allow_nan=False, allow_infinity=False),
    batch=counts,
    handed=amounts,
    open=amounts,
)


@given(records)
def test_a_slot_record_comes_back_as_it_was(record: SlotRecord) -> None:
    assert decode_record(encode_record(record)) == record


def test_a_slot_record_of_an_older_build_has_defaults_for_what_that_build_did_not_know() -> None:
    stored = bytes((RECORD_FORMAT,)) + msgspec.msgpack.encode([[3, 5, 2], 12.5])
    assert decode_record(stored) == SlotRecord(ledger=Ledger(active=3, started=5, provisional=2), paused_s=12.5)


def test_a_slot_record_of_a_newer_build_is_read_without_what_this_build_does_not_know() -> None:
    ledger = [3, 5, 2, 1, 1, 2, {"user_exit": 2, "error": 1}, "a new count"]
    stored = sealed(RECORD_FORMAT, [ledger, 12.5, 7, {}, {}, "a new field"])
    assert decode_record(stored) == SlotRecord(ledger=LEDGER, paused_s=12.5, batch=7)


def test_what_0_1_0_stored_is_read_and_what_is_stored_now_is_read_by_0_1_0() -> None:
    session, record = lived_through(), SlotRecord(LEDGER, 12.5, 7, {("events", "share"): 2}, {("heartbeats",): 1.5})
    old_record = [[3, 5, 2, 1, 1, 2, {"user_exit": 2, "error": 1}], 12.5, 7, {("events", "share"): 2}, {("heartbeats",): 1.5}]
    old_session = decode_session(unsealed(SESSION_FORMAT, session.dump()[:35])).dump()
    assert old_session == (*session.dump()[:35], *Session("", now=0.0).dump()[35:])
    assert decode_record(unsealed(RECORD_FORMAT, old_record)) == record
    # 0.1.0 takes the version for one byte, the rest for one array, and of that the entries that it knows.
    values = msgspec.msgpack.decode(encode_session(session)[1:])
    assert Session.load(values).dump() == session.dump()
    assert len(msgspec.msgpack.decode(encode_record(record)[1:], strict=False)) == 6


@pytest.mark.parametrize("kind", ["session", "record"])
def test_every_bit_that_turns_over_is_seen(kind: str) -> None:
    whole, read = {
        "session": (encode_session(lived_through()), decode_session),
        "record": (encode_record(SlotRecord(LEDGER, 12.5, 7, {("events", "share"): 2})), decode_record),
    }[kind]
    read(whole)
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UnreadableError):
            read(bytes(damaged))


@pytest.mark.parametrize("kind", ["session", "record"])
def test_every_length_but_the_right_one_is_seen(kind: str) -> None:
    whole, read = {
        "session": (encode_session(lived_through()), decode_session),
        "record": (encode_record(SlotRecord(LEDGER, 12.5, 7, {("events", "share"): 2})), decode_record),
    }[kind]
    for length in range(len(whole)):
        with pytest.raises(UnreadableError):
            read(whole[:length])
    for more in (b"\0", b"\xc0", whole):
        with pytest.raises(UnreadableError):
            read(whole + more)


@pytest.mark.parametrize(
    ("name", "value"),
    [("seen_at", "noon"), ("seen_at", float("nan")), ("bucket", -1), ("window", b"\0"), ("story", b"")],
)
def test_a_session_of_0_1_0_that_is_not_sound_is_not_believed(name: str, value: object) -> None:
    values = [value if field == name else each for field, each in zip(FIELDS, lived_through().dump(), strict=True)][:35]
    with pytest.raises(UnreadableError, match="does not hold"):
        decode_session(unsealed(SESSION_FORMAT, values))


def test_a_session_filed_under_another_id_is_not_believed() -> None:
    stored = encode_session(lived_through())
    assert decode_session(stored, "s-é").session_id == "s-é"
    with pytest.raises(UnreadableError, match="another id than its own, 's-é'"):
        decode_session(stored, "s-e")


@pytest.mark.parametrize("stored", [b"", b"\x02\x90", b"\x01", b"\x01\x91\xa1a", b"\x01\x91\x91\xa1a"])
def test_a_slot_record_that_cannot_be_read_is_a_clear_error(stored: bytes) -> None:
    with pytest.raises(UnreadableError, match="slot record"):
        decode_record(stored)


def test_two_decoded_records_share_nothing() -> None:
    stored = bytes((RECORD_FORMAT,)) + msgspec.msgpack.encode([])
    first, second = decode_record(stored), decode_record(stored)
    first.ledger.ended["error"] = 1
    first.handed["events", "share"] = 1
    assert (second.ledger.ended, second.handed) == ({}, {})


def test_the_seeds_start_packs_to_at_most_200_bytes_and_unpacks_to_its_own_shape() -> None:
    packed = pack(SEED_PROFILE)
    assert len(packed) <= 200
    assert unpack_profile(packed) == SEED_PROFILE_SHOWN


def test_what_was_not_said_costs_nothing_at_the_end_and_is_not_shown() -> None:
    assert pack(Profile()) == pack(Vitals()) == pack(Farewell()) == b""
    assert unpack_profile(b"") == unpack_vitals(b"") == unpack_farewell(b"") == {}
    beacon = pack(Profile(user_id="u", referrer_page="https://example.org/"))
    assert len(beacon) == len("u") + len("https://example.org/") + 3
    assert unpack_profile(beacon) == {"user_id": "u", "referrer": {"page": "https://example.org/"}}


def test_what_was_said_as_false_zero_or_empty_is_shown() -> None:
    assert unpack_profile(pack(Profile(user_id="", dvr_enabled=False))) == {"user_id": "", "dvr_enabled": False}
    assert unpack_vitals(pack(Vitals(volume_level=0, engagement={}))) == {"volume_level": 0, "engagement": {}}


def test_opaque_bytes_of_a_newer_build_are_read_without_what_this_build_does_not_know() -> None:
    newer = [*msgspec.structs.astuple(SEED_PROFILE), "new", {"x": 1}]
    assert unpack_profile(msgspec.msgpack.encode(newer)) == SEED_PROFILE_SHOWN


@pytest.mark.parametrize("unpack", [unpack_profile, unpack_vitals, unpack_farewell])
def test_opaque_bytes_that_cannot_be_read_are_a_clear_error(unpack: Any) -> None:
    with pytest.raises(UnreadableError, match="damaged"):
        unpack(b"\xc1")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_any_json_object_can_be_packed_and_becomes_json_again(said: dict[str, Any]) -> None:
    shown = unpack_vitals(pack(Vitals(engagement=said)))
    assert json.loads(msgspec.json.encode(shown))["engagement"].keys() == said.keys()


def test_an_integer_beyond_64_bits_is_kept_as_its_digits() -> None:
    said = {"tips": [10**30, -(10**30), 2**64 - 1, -(2**63), True]}
    assert unpack_vitals(pack(Vitals(engagement=said)))["engagement"] == {"tips": [str(10**30), str(-(10**30)), 2**64 - 1, -(2**63), True]}


def test_a_finished_summary_is_json_with_its_schema_and_everything_unpacked() -> None:
    session = lived_through()
    summary = json.loads(summary_json(Finished(session, revision=1)))
    assert (summary["schema"], summary["session_id"], summary["revision"], summary["outcome"]) == (1, "s-é", 1, "ended")
    assert summary["profile"] == SEED_PROFILE_SHOWN
    assert summary["vitals"] == {"volume_level": 0.5, "engagement": {"chat": [1, {"deep": None}]}}
    assert summary["farewell"] == {"watch_summary": {"programs_watched": []}}


def test_unpacking_leaves_what_is_not_opaque_and_the_original_alone() -> None:
    described: dict[str, object] = {"session_id": "s", "profile": pack(Profile(user_id="u")), "vitals": b"", "story": [{"at": 1.0}]}
    assert unpack_opaque(described) == {"session_id": "s", "profile": {"user_id": "u"}, "vitals": {}, "story": [{"at": 1.0}]}
    assert described["vitals"] == b""


@pytest.mark.parametrize(
    ("read", "stored"),
    [
        (decode_session, b"\x01\x91\xa1\xff"),
        (decode_record, b"\x01\x94\x90\x00\x00\x81\x91\xa1\xff\x01"),
        (unpack_profile, b"\x91\xa1\xff"),
        (decode_session, b"\x01" + b"\x91" * 5_000),
        (unpack_vitals, b"\x97" + b"\xc0" * 6 + b"\x81\xa1a" + b"\x91" * 5_000),
    ],
    ids=["session, no UTF-8", "record, no UTF-8", "profile, no UTF-8", "session, lists without end", "vitals, lists without end"],
)
def test_text_that_is_no_utf8_and_endless_nesting_are_damage(read: Any, stored: bytes) -> None:
    with pytest.raises(UnreadableError):
        read(stored)
