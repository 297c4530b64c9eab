"""
Every parser that reads what strangers, disks or operators wrote, and what must hold of it for any bytes.

One function per parser: it takes bytes, and raises unless the parser answers with its result or with its documented
refusal. `bench/fuzz.py` looks for bytes that make one raise; `tests/unit/test_corpus.py` replays those that were of interest.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from actors.channel import Framed
from actors.messages import GarbledError, decode_batch, decode_reply, encode_batch, encode_item
from metrics import exposition
from metrics.catalog import PREFIX, STREAM_PEAK
from metrics.labels import label_of
from serve_app import settings
from serve_app.access import auth
from serve_app.access.auth import Doorkeeper
from serve_app.access.tokens import Tokens
from serve_app.cmcd import epas
from serve_app.cmcd.mapper import map_records
from serve_app.cmcd.reader import read_records
from serve_app.players import timestamps, wire
from serve_app.players.answers import Refusal
from serve_app.players.body import inflate
from serve_app.players.decoding import BadBody, read_body
from serve_app.players.fields import DROPPABLE
from serve_app.players.mending import field_of
from serve_app.players.pixel import read_pixel
from serve_app.players.quick import read_heartbeat
from serve_app.players.records import bad_events, record_of
from sessions import limits
from sessions.changes import Policy
from sessions.events import Beacon, Event
from sessions.story import describe
from sessions.tracker import Tracker
from storage import codec
from storage.codec import UnreadableError
from storage.redis_address import RedisAddress

NOW: Final = 1_730_484_900.0
"""The seeds' own day."""
BODIES: Final[Mapping[str, type[wire.Body]]] = {
    "start": wire.StartBody,
    "heartbeat": wire.HeartbeatBody,
    "end": wire.EndBody,
    "events": wire.EventsBody,
}
_STATIC: Final = Tokens(ingest="players-token", ops="operators-token")
_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_SIGNED: Final = Tokens(
    ingest="players-token",
    ops="operators-token",
    player_key=_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
)
_STATIC_DOOR: Final = Doorkeeper(_STATIC, now=lambda: NOW)
_SIGNED_DOOR: Final = Doorkeeper(_SIGNED, now=lambda: NOW)


def _live_through(event: Event) -> None:
    """Take what was taken all the way: to the shard, twice into the tracker, to the journal and back, and into words."""
    ((slot, arrived),) = decode_batch(encode_batch([encode_item(7, event)]))
    assert (slot, arrived) == (7, event), "a record changes on its way to the shard"
    tracker = Tracker(7, policy=Policy())
    for now in (NOW, NOW + 1):
        tracker.receive(arrived, now=now)
    tracker.validate()
    for session in tracker.take_changes().sessions:
        held = codec.encode_session(session)
        assert codec.encode_session(codec.decode_session(held)) == held, "a session changes in the journal"
        codec.unpack_opaque(describe(session, now=NOW, remaining_s=30.0))
    tracker.advance(now=NOW + 10_000, limit=10)
    tracker.validate()


def _body(kind: str) -> Callable[[bytes], None]:
    def judge(body: bytes) -> None:
        parsed = read_body(BODIES[kind], body)
        if isinstance(parsed, BadBody):
            assert len(parsed.fields) <= 20, "an answer names too many fields"
            return
        if isinstance(parsed.body, wire.EventsBody):
            bad_events(parsed.body)
        assert {field_of(path) for path in parsed.dropped} <= set(DROPPABLE[kind]), "a field is dropped that is not on the list"
        event = record_of(parsed.body, parsed.dropped)
        assert "\0" not in event.session_id, "a post reaches the beacons' ids"
        _live_through(event)

    return judge


def gzip_body(body: bytes) -> None:
    """Demand that a body inflates to no more than its bound, or is refused."""
    inflated = inflate(body, b"gzip")
    assert isinstance(inflated, Refusal) or len(inflated) <= limits.BODY_BYTES_MAX


def pixel(query: bytes) -> None:
    """Demand that a pixel is a beacon in its own space of ids, or is refused."""
    beacon = read_pixel(query)
    if isinstance(beacon, Beacon):
        assert beacon.session_id.count("\0") == 3, "a beacon forges another's id"
        _live_through(beacon)


def cmcd(body: bytes) -> None:
    """Whatever a player reports, as a shard keeps it: in any order, twice, and through the journal."""
    mapped = map_records(read_records(body), {}, target=1, now=NOW)
    for reports in mapped.reports:
        _live_through(reports)
        assert all(report.at == report.at for report in reports.reports), "a time that is none"


def epas_events(body: bytes) -> None:
    """Whatever Eyevinn's SDK posts, in the same way."""
    events = epas.read_events(body)
    if events is not None:
        for reports in epas.map_events(events, {}, now=NOW).reports:
            _live_through(reports)


def timestamp(written: bytes) -> None:
    """Demand that a moment is a finite number of seconds, or none."""
    try:
        at = timestamps.seconds_of(written.decode(errors="surrogateescape"))
    except PydanticCustomError:
        return
    assert math.isfinite(at)


def door(shown: bytes) -> None:
    """Let no token but the right ones open a door; the first byte says where it is shown."""
    where, token = shown[:1], shown[1:]
    headers = (token, b"") if where < b"\x80" else (None, token)
    assert not _STATIC_DOOR.admits_player(*headers) or b"players-token" in auth_text(token)
    assert not _STATIC_DOOR.admits_operator(headers[0]) or b"operators-token" in token
    assert not _SIGNED_DOOR.admits_operator(headers[0]) or b"operators-token" in token
    if _SIGNED_DOOR.admits_player(*headers):
        claims = jwt.decode((auth.shown_token(*headers) or b""), _KEY.public_key(), algorithms=["EdDSA"], options={"verify_exp": False})
        assert claims == {"exp": int(NOW) + 60}, "a JWT was forged"


def auth_text(token: bytes) -> bytes:
    """Return what a query may have meant by its escapes."""
    return auth.unquote_to_bytes(token.replace(b"+", b" "))


def batch(arrived: bytes) -> None:
    """Demand that bytes from a replica are a batch, or garbled."""
    try:
        decode_batch(arrived)
    except GarbledError:
        return


def reply(arrived: bytes) -> None:
    """Demand that bytes from a shard are a reply, or garbled."""
    try:
        decode_reply(arrived)
    except GarbledError:
        return


def stored(held: bytes) -> None:
    """Demand that bytes of the journal can be read, or are unreadable; the first byte says which reader gets them."""
    readers = (codec.decode_session, codec.decode_record, codec.unpack_profile, codec.unpack_vitals, codec.unpack_farewell)
    reader: Callable[[bytes], object] = readers[(held[0] if held else 0) % len(readers)]
    try:
        reader(held[1:])
    except UnreadableError:
        return


def redis_address(url: bytes) -> None:
    """Demand that a URL is an address, or is refused without a word of its password."""
    text = f"redis://user:hidden-word@{url.decode(errors='replace')}"
    for given in (url.decode(errors="replace"), text):
        try:
            shown = str(RedisAddress.parse(given))
        except ValueError as error:
            shown = str(error)
        if given is text:
            assert "hidden-word" not in shown.partition("not taken")[0], "the password is told"


_NAMES: Final = tuple(settings.Settings.model_fields)


def setting(given: bytes) -> None:
    """Demand that a setting is taken or gets one line that names it; the first byte says which it is."""
    name = _NAMES[(given[0] if given else 0) % len(_NAMES)]
    try:
        settings.Settings(**{name: given[1:].decode(errors="replace")})
    except ValidationError as error:
        for line in settings.described(error):
            assert line.startswith(settings.PREFIX)
            assert "\n" not in line


def label(value: bytes) -> None:
    """Demand that a label's value stays inside its quotes, and a scrape of either format gives it back as it was."""
    kept = label_of(value.decode(errors="replace"))
    sample = exposition.Sample(PREFIX + STREAM_PEAK.name, STREAM_PEAK.labels, (kept,), 1.0)
    for openmetrics, lines, families in ((False, 3, text_string_to_metric_families), (True, 4, openmetrics_families)):
        shown = exposition.write([(STREAM_PEAK, [sample])], openmetrics=openmetrics).decode()
        assert shown.count("\n") == lines, "a label forges a line"
        ((read,),) = [family.samples for family in families(shown)]
        assert read.labels == {"stream_id": kept}


def quick(body: bytes) -> None:
    """Demand that what the quick reader takes is taken by the contract's model too, and to the same values."""
    taken = read_heartbeat(body)
    if taken is None:
        return
    model = read_body(wire.HeartbeatBody, body)
    assert not isinstance(model, BadBody), "the quick reader takes what the contract refuses"
    assert not model.dropped, "the quick reader takes what is dropped"
    # As text, so that 5 is not 5.0.
    assert repr(record_of(taken)) == repr(record_of(model.body)), "the quick reader reads another value"


def frames(arrived: bytes) -> None:
    """Demand that bytes from a socket are cut into the frames that they are, however they come in; the first byte says in which pieces."""
    piece, stream = (arrived[0] if arrived else 0) + 1, arrived[1:]
    whole, left = [], stream
    while len(left) >= _LENGTH_BYTES and _LENGTH_BYTES + _length(left) <= len(left) and _length(left) <= _FRAME_BYTES_MAX:
        whole.append(left[_LENGTH_BYTES : _LENGTH_BYTES + _length(left)])
        left = left[_LENGTH_BYTES + _length(left) :]
    cutter = _Cutter()
    for first in range(0, len(stream), piece):
        if not cutter.hung_up:
            cutter.data_received(stream[first : first + piece])
        assert cutter.hung_up or cutter.held <= _LENGTH_BYTES + _FRAME_BYTES_MAX, "a frame is waited for that is too long"
    assert cutter.frames == whole
    assert cutter.hung_up == (len(left) >= _LENGTH_BYTES and _length(left) > _FRAME_BYTES_MAX)


_LENGTH_BYTES: Final = 4
_FRAME_BYTES_MAX: Final = 32
"""As long as nothing is proven."""


def _length(left: bytes) -> int:
    return int.from_bytes(left[:_LENGTH_BYTES], "big")


class _Cutter(Framed):
    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = []
        self.hung_up = False

    @property
    def held(self) -> int:
        return len(self._arrived)

    def frame_received(self, frame: bytes) -> None:
        self.frames.append(frame)

    def hang_up(self, _why: str) -> None:
        self.hung_up = True


PARSERS: Final[Mapping[str, Callable[[bytes], None]]] = {
    **{kind: _body(kind) for kind in BODIES},
    "gzip": gzip_body,
    "pixel": pixel,
    "cmcd": cmcd,
    "epas": epas_events,
    "timestamp": timestamp,
    "door": door,
    "batch": batch,
    "reply": reply,
    "stored": stored,
    "redis_address": redis_address,
    "setting": setting,
    "label": label,
    "quick": quick,
    "frames": frames,
}
