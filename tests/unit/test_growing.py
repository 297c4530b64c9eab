"""
An older and a newer build read each other: every message and every stored record, with a field more and with a field less.

Each record is written by a class like ours that has another field at its end, or lacks our last one, under the same name: as the other build would.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copyreg import dispatch_table
from dataclasses import MISSING, fields, is_dataclass, make_dataclass
from importlib import import_module
from pickle import loads
from types import SimpleNamespace
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec
import pytest
from ray import cloudpickle

from actors import messages
from actors.channel import Address
from actors.config import TrackerConfig
from actors.directory.plan import Plan
from actors.exporter import Exporter
from actors.health import Health
from actors.messages import NOWHERE, NotTaken, decode_batch, decode_reply, encode_batch, encode_item, encode_reply
from actors.ray_actors import SessionShard
from actors.ray_directory import Answer, Directory
from metrics.live import News
from metrics.reports import Known, ReplicaReport, ShardReport, SlotReport
from serve_app.access.tokens import Tokens
from serve_app.machine import runs
from serve_app.settings import Settings
from sessions import growing
from sessions.changes import Ledger, Receipt
from sessions.events import Beacon, End, Event, Happening, Happenings, Heartbeat, Report, Reports, Start
from sessions.growing import grows, names_of
from sessions.meaning import Known as Told
from sessions.reporter import Reporter, loaded
from sessions.search import Found, Query
from sessions.session import FIELDS, Ending, Pixel, Session, Tallies
from storage import codec
from storage.processes import ProcessName
from tests.stored_bytes import sealed, unsealed

LEDGER = Ledger(active=1, started=3, ended={"user_exit": 2})
SLOT = SlotReport(7, 3, True, {("state", "playing"): 1}, LEDGER, 2, {("heartbeats",): 5.0})
CARRIED_BY_RAY = [
    LEDGER,
    SLOT,
    ShardReport("shard", "life", 4, {7: 3}, [SLOT], 1, 0, 2, True, 0, 3, {("batch_events", "sum"): 9.0}, 2.0, 3, 1),
    Known("life", 4, {7: 2}),
    ReplicaReport("replica", 5, {("rejected", "start", "bad_json"): 1.0}),
    Health("life", {7: 3}, [8], True, 1, True, 0, 0.5, 6, 1, "node", 600.0),
    Address("127.0.0.1", 4_000, b"key"),
    Answer("it cannot be", 3),
    Query("stream", "user", "device", "playing", "active", "web", "NL", "start", 50.0, "score", 10, (1.0, "s")),
    Found([((1.0, "s"), {"session_id": "s"})], 7),
    News("life", 3, 1_000, [(1_000, 5, 1, 0)], {"sessions": 5}),
    Tokens("ingest", "ops", ("older",), ("older too",), "PEM", False),
    TrackerConfig(
        journal_url="redis://x", namespace="n", instance_id="i", shards=2, slots=256, heartbeat_interval_s=10, expiry_intervals=2,
        revive_window_s=60.0, shards_are_set=False, new_sessions_per_minute=5, front_door_url="http://x", new_pixel_sessions_per_network=7, pixel_megabytes=9,
    ),
]  # fmt: skip
"""Of each one, with another value than the default in every field that has one."""


def named(record: object) -> str:
    return type(record).__name__


def defaults_of(kind: type) -> Mapping[str, object]:
    if is_dataclass(kind):
        return {field.name: field.default for field in fields(kind) if field.default is not MISSING}
    return kind._field_defaults  # type: ignore[attr-defined, no-any-return]


def values_of(record: object) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names_of(type(record))}


def of_a_newer_build(record: object) -> Any:
    """Return the same record of a build that has a field more."""
    kind = type(record)
    hints: list[tuple[str, Any]] = [(name, Any) for name in names_of(kind)]
    kinds = make_dataclass if is_dataclass(kind) else NamedTuple
    newer: Any = kinds(kind.__name__, [*hints, ("of_tomorrow", int)])  # type: ignore[operator]
    return as_if_ours(newer, kind)(**values_of(record), of_tomorrow=8)


def of_an_older_build(record: object) -> Any:
    """Return the same record of a build that did not have the last field yet."""
    kind = type(record)
    *names, last = names_of(kind)
    kinds = make_dataclass if is_dataclass(kind) else NamedTuple
    older: Any = kinds(kind.__name__, [(name, Any) for name in names])  # type: ignore[operator]
    return as_if_ours(older, kind)(**{name: value for name, value in values_of(record).items() if name != last})


def as_if_ours(theirs: Any, ours: type) -> Any:
    theirs.__module__ = ours.__module__
    return grows(theirs)


@contextmanager
def installed(theirs: type) -> Iterator[None]:
    """Have another build's class where its name says, as long as it writes."""
    module = import_module(theirs.__module__)
    ours = getattr(module, theirs.__name__)
    setattr(module, theirs.__name__, theirs)
    try:
        yield
    finally:
        setattr(module, theirs.__name__, ours)


def carried(record: object) -> Any:
    """Return what arrives here of a record that another build sent through Ray."""
    with installed(type(record)):
        written = cloudpickle.dumps(record)
    return loads(written)


@pytest.mark.parametrize("record", CARRIED_BY_RAY, ids=named)
def test_what_ray_carries_arrives_as_it_was(record: object) -> None:
    arrived = loads(cloudpickle.dumps(record))
    assert type(arrived) is type(record)
    assert arrived == record


@pytest.mark.parametrize("record", CARRIED_BY_RAY, ids=named)
def test_what_ray_carries_may_have_a_field_more(record: object) -> None:
    arrived = carried(of_a_newer_build(record))
    assert type(arrived) is type(record)
    assert arrived == record


@pytest.mark.parametrize("record", CARRIED_BY_RAY, ids=named)
def test_what_ray_carries_may_have_a_field_less(record: object) -> None:
    last = names_of(type(record))[-1]
    default = SimpleNamespace(**values_of(record))
    setattr(default, last, defaults_of(type(record)).get(last, {}))  # a ledger's makes a new one each time
    arrived = carried(of_an_older_build(record))
    assert type(arrived) is type(record)
    assert values_of(arrived) == vars(default)
    assert arrived != record


def test_all_that_ray_carries_between_actors_is_in_the_list() -> None:
    listed = {type(record) for record in CARRIED_BY_RAY}
    assert {kind for kind, how in dispatch_table.items() if how is growing._taken_apart and kind is ours(kind)} == listed
    spoken: set[Any] = {TrackerConfig, Tokens}
    for actor in (SessionShard, Directory, Exporter):
        for name, method in inspect.getmembers(actor, inspect.isfunction):
            if not name.startswith("_") and name != "ping":
                spoken |= {kind for hint in get_type_hints(method).values() for kind in (hint, *get_args(hint)) if is_record(kind)}
    assert spoken <= listed


def is_record(kind: object) -> bool:
    return is_dataclass(kind) or hasattr(kind, "_fields")


def ours(kind: type) -> object:
    return getattr(import_module(kind.__module__), kind.__name__)


@pytest.mark.parametrize("actor", [SessionShard, Directory, Exporter])
def test_an_actor_does_not_mind_what_only_a_newer_caller_says(actor: type) -> None:
    methods = {name: inspect.signature(method) for name, method in inspect.getmembers(actor, inspect.isfunction) if name[0] != "_"}
    assert methods
    for name, signature in methods.items():
        assert any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in signature.parameters.values()), name


# What we write as bytes.

HAPPENING = Happening("e1", "quality_change", 2.0, False, "1080p", "p", "title")
REPORT = Report(2.0, "ps", "p", 3, "stream", True, 1, 2, ((0, 3.0), (4, "cdn.example")))
EVENTS: list[Event] = [
    Start("s", 1.0, "stream", "ch", "cr", "prog", "web", "US", "wifi", "auto", b"profile", "platform"),
    Heartbeat("s", 2.0, "playing", "stream", "ch", "cr", "prog", "720p", 1, 2, 3, b"vitals", "epg"),
    Happenings("s", "stream", "cr", (HAPPENING, HAPPENING._replace(event_id="e2")), "stream_id"),
    End("s", 3.0, "user_exit", 60, 1, 2, b"farewell", "engagement"),
    Beacon("\0p\0v\0u", "view", "v", "p", False, b"profile", "visibility"),
    Reports("cmcd:\0s", 7, (REPORT, REPORT._replace(number=4)), "hls.js", "ch", "cr", "web", "US", b"profile", 60, True, "ts"),
]
USUAL = Heartbeat("t", 9.0)


def batch(*items: object) -> bytes:
    return encode_batch([msgspec.msgpack.encode(item) for item in items])


def kind_of(event: Event) -> int:
    return messages.KINDS.index(type(event))


@pytest.mark.parametrize("event", EVENTS, ids=named)
def test_an_event_may_have_a_field_more_and_disturbs_nobody_beside_it(event: Event) -> None:
    assert decode_batch(batch([3, kind_of(event), [*event, "of tomorrow"]], [4, kind_of(USUAL), USUAL])) == [(3, event), (4, USUAL)]


@pytest.mark.parametrize("event", EVENTS, ids=named)
def test_an_event_may_have_a_field_less(event: Event) -> None:
    (last, default) = list(event._field_defaults.items())[-1]
    assert last == event._fields[-1]
    assert decode_batch(batch([3, kind_of(event), event[:-1]])) == [(3, event._replace(**{last: default}))]


def test_what_happened_may_have_a_field_more_or_less() -> None:
    both = Happenings("s", "stream", "cr", (HAPPENING, HAPPENING._replace(program_title=None)))
    written = ("s", "stream", "cr", ((*HAPPENING, 1), HAPPENING[:-1]))
    assert decode_batch(batch([3, kind_of(both), written])) == [(3, both)]


def test_a_report_may_have_a_field_more_or_less() -> None:
    both = Reports("cmcd:\0s", 7, (REPORT, REPORT._replace(said=())))
    assert decode_batch(batch([3, kind_of(both), ("cmcd:\0s", 7, ((*REPORT, 1), REPORT[:-1]))])) == [(3, both)]


def test_what_is_kept_of_a_reporter_may_have_a_field_more_or_less() -> None:
    reporter = Reporter("hls.js", b"records", Told(3, 1), Told(4, 1), b"runs", b"distances", 5.0, (None, (2.0, 3.0)), 1, 2, 3, 4, 60)
    plain = [list(value) if isinstance(value, tuple) else value for value in reporter]
    assert loaded([*plain, "of tomorrow"]) == reporter
    assert loaded(plain[:-1]) == reporter._replace(distance_s=0)
    plain[2] = plain[2][:-1]
    assert loaded(plain).known == reporter.known


def test_an_item_may_have_an_entry_more() -> None:
    assert decode_batch(batch([3, kind_of(USUAL), USUAL, "of tomorrow"])) == [(3, USUAL)]


def test_a_kind_of_event_that_is_not_known_belongs_to_nobody_and_disturbs_nobody_beside_it() -> None:
    nobodys, mine = decode_batch(batch([3, len(messages.KINDS), ["s", 1.0]], [4, kind_of(USUAL), USUAL]))
    assert nobodys[0] == NOWHERE
    assert mine == (4, USUAL)


RECEIPT = Receipt(True, "reason", 30, 2, (("e1", "session_ended"), ("e2", "session_ended")), 60, "user_exit", start_wanted=True)


def reply(*entries: object) -> bytes:
    return msgspec.msgpack.encode(entries)


def test_a_receipt_may_have_a_field_more_and_disturbs_nobody_beside_it() -> None:
    assert decode_reply(reply([*RECEIPT, "of tomorrow"], Receipt(accepted=True), 1)) == [RECEIPT, Receipt(accepted=True), NotTaken.MOVED]


def test_a_receipt_may_have_a_field_less() -> None:
    assert decode_reply(reply(RECEIPT[:-1])) == [RECEIPT._replace(start_wanted=False)]
    assert decode_reply(reply(RECEIPT[:4], RECEIPT)) == [Receipt(True, "reason", 30, 2), RECEIPT]


def test_a_rejected_event_may_say_more() -> None:
    entry = [*RECEIPT[:4], [["e1", "session_ended", "of tomorrow"], ["e2", "session_ended"]], *RECEIPT[5:]]
    assert decode_reply(reply(entry)) == [RECEIPT]


def test_why_a_newer_shard_did_not_take_an_item_means_to_send_it_again() -> None:
    assert decode_reply(reply(99, RECEIPT)) == [NotTaken.RECOVERING, RECEIPT]


def test_what_is_of_this_build_is_read_as_it_was_written() -> None:
    items = [encode_item(number, event) for number, event in enumerate(EVENTS)]
    assert decode_batch(encode_batch(items)) == list(enumerate(EVENTS))
    assert decode_reply(encode_reply([RECEIPT, NotTaken.MOVED])) == [RECEIPT, NotTaken.MOVED]


# What is stored.

NESTED = {"tallies": Tallies(1, 2, 3, 4, 5), "pixel": Pixel("zone", ("view",), False), "ending": Ending(3.0, "user_exit", 60, b"farewell")}


def stored(bent: Mapping[str, object]) -> Session:
    """Read a session that another build stored with these values."""
    session = Session("s", now=1.0)
    session.tell(0, now=1.0)
    values = dict(zip(FIELDS, session.dump(), strict=True)) | bent
    return codec.decode_session(sealed(codec.SESSION_FORMAT, list(values.values())))


@pytest.mark.parametrize("name", NESTED)
def test_what_a_stored_session_holds_may_have_a_field_more(name: str) -> None:
    assert getattr(stored({name: [*NESTED[name], "of tomorrow"]}), name) == NESTED[name]


@pytest.mark.parametrize("name", NESTED)
def test_what_a_stored_session_holds_may_have_a_field_less(name: str) -> None:
    (last, default) = list(NESTED[name]._field_defaults.items())[-1]  # type: ignore[attr-defined]
    assert getattr(stored({name: NESTED[name][:-1]}), name) == NESTED[name]._replace(**{last: default})  # type: ignore[attr-defined]


def test_a_stored_session_may_have_a_field_more_or_less() -> None:
    session = Session("s", now=1.0)
    session.tell(0, now=1.0)
    session.reporter = Reporter("hls.js", said=((2.0, 3.0),))
    session.ahead = b"kept apart"
    assert FIELDS[-2:] == ("reporter", "ahead")
    for values in ([*session.dump(), "of tomorrow"], session.dump()[:-1], session.dump()[:-2]):
        read = codec.decode_session(sealed(codec.SESSION_FORMAT, values))
        assert read.dump()[:-2] == session.dump()[:-2]
        assert read.reporter == (session.reporter if len(values) > len(FIELDS) - 2 else None)
        assert read.ahead == (session.ahead if len(values) > len(FIELDS) - 1 else b"")


RECORD = codec.SlotRecord(ledger=LEDGER, paused_s=4.0, batch=2, handed={("heartbeats",): 1}, open={("heartbeats",): 2})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (lambda ledger, rest: sealed(codec.RECORD_FORMAT, [[*ledger, 9], *rest, "of tomorrow"]), RECORD),
        (
            lambda ledger, rest: unsealed(codec.RECORD_FORMAT, [ledger[:-1], *rest[:-1]]),
            codec.SlotRecord(Ledger(1, 3), 4.0, 2, {("heartbeats",): 1}, {}),
        ),
    ],
    ids=["more", "less"],
)
def test_a_stored_slot_may_have_a_field_more_or_less(written: Callable[[Any, Any], bytes], read: codec.SlotRecord) -> None:
    ledger, *rest, _ = msgspec.msgpack.decode(codec.encode_record(RECORD)[1:])
    assert codec.decode_record(written(ledger, rest)) == read


@pytest.mark.parametrize(
    ("described", "unpack"),
    [
        (codec.Profile(**dict.fromkeys(codec.Profile.__struct_fields__, "x")), codec.unpack_profile),
        (codec.Vitals(**dict.fromkeys(codec.Vitals.__struct_fields__, "x")), codec.unpack_vitals),
        (codec.Farewell(*({"x": 1},) * 3), codec.unpack_farewell),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, msgspec.Struct) else "",
)
def test_what_is_kept_for_people_may_have_a_field_more_or_less(described: Any, unpack: Callable[[bytes], dict[str, Any]]) -> None:
    values = list(msgspec.structs.astuple(described))
    if isinstance(described, codec.Vitals):
        values[described.__struct_fields__.index("engagement")] = {"x": 1}
    values = [
        1 if name.endswith(("seconds", "percent", "level")) else value
        for name, value in zip(described.__struct_fields__, values, strict=True)
    ]
    values = [True if name == "dvr_enabled" else value for name, value in zip(described.__struct_fields__, values, strict=True)]
    whole = unpack(msgspec.msgpack.encode(values))
    assert unpack(msgspec.msgpack.encode([*values, "of tomorrow"])) == whole
    assert len(str(unpack(msgspec.msgpack.encode(values[:-1])))) < len(str(whole))


def test_a_stored_plan_may_have_a_field_more_or_less() -> None:
    plan = Plan(3, "run", ("node",), ("life",))

    def begun(values: dict[str, Any]) -> Plan:
        return Plan.begin(msgspec.json.encode(values), run="run", shards=1, shards_are_set=False)

    values = msgspec.json.decode(plan.encode())
    assert begun({**values, "of_tomorrow": 1}) == plan
    assert begun({name: value for name, value in values.items() if name != "outdated"}) == Plan(3, "run", ("node",))


def test_the_record_of_a_run_may_have_a_field_more_or_less(tmp_path: Any) -> None:
    record = runs.RunRecord(run="r", boot="b", folder="f", address="a", processes=(ProcessName(7, 70),))
    runs.save(record, tmp_path)
    file = tmp_path / runs.RECORD_NAME
    values = msgspec.json.decode(file.read_bytes())
    file.write_bytes(msgspec.json.encode({**values, "processes": [[7, 70, 1]], "of_tomorrow": 1}))
    assert runs.load(tmp_path) == record
    file.write_bytes(msgspec.json.encode({name: value for name, value in values.items() if name != "address"}))
    assert runs.load(tmp_path) == runs.RunRecord(run="r", boot="b", folder="f", processes=(ProcessName(7, 70),))


def test_settings_that_another_build_kept_for_a_replica_have_defaults_for_what_it_did_not_know() -> None:
    settings = Settings(heartbeat_interval_s=7)
    state = settings.__getstate__()
    state["__dict__"] = {name: value for name, value in state["__dict__"].items() if name != "port"} | {"of_tomorrow": 1}
    read = Settings.__new__(Settings)
    read.__setstate__(state)
    assert read == settings
    assert loads(cloudpickle.dumps(settings)) == settings
