"""What a wrong value costs: itself where its field is optional, the request where it is required."""

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.players import examples, wire
from serve_app.players.decoding import BadBody, read_body
from serve_app.players.fields import DROPPABLE, optional_part, walk, written
from serve_app.players.mending import Sound, field_of
from serve_app.players.records import bad_events, record_of
from serve_app.players.values import is_placeholder
from sessions import limits
from sessions.events import DROPPABLE_FIELDS, End, Heartbeat, Start
from storage.codec import unpack_farewell, unpack_profile, unpack_vitals

MODELS: dict[str, Any] = {"start": wire.StartBody, "heartbeat": wire.HeartbeatBody, "end": wire.EndBody, "events": wire.EventsBody}
EXAMPLES = {"start": examples.START, "heartbeat": examples.HEARTBEAT, "end": examples.END, "events": examples.EVENTS}
HALF = "\ud83c"
"""The first half of an emoji that was cut in two."""


def said(endpoint: str, **values: Any) -> dict[str, Any]:
    """Return the example with some fields set; `__` stands for the dot of a path."""
    body = deepcopy(EXAMPLES[endpoint])
    for path, value in values.items():
        *parents, name = path.split("__")
        at: Any = body
        for parent in parents:
            at = at[parent]
        at[name] = value
    return body


def read(endpoint: str, body: Any) -> Any:
    return read_body(MODELS[endpoint], body if isinstance(body, bytes) else json.dumps(body).encode())


def taken(endpoint: str, body: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the record of a body that is taken, and what was dropped of it."""
    outcome = read(endpoint, body)
    assert isinstance(outcome, Sound), outcome
    return record_of(outcome.body, outcome.dropped), outcome.dropped


def without(event: Any) -> Any:
    return event._replace(dropped="")


WRONG = {
    "user_id": ["", "a\0b", "x" * 257, 5, f"u{HALF}", "undefined"],
    "stream_id": ["", "null"],
    "epg": [5, "now", []],
    "epg__current_program_id": ["", 42],
    "epg__current_program_title": [7, "a\0b"],
    "epg__program_elapsed_seconds": ["930", True],
    "playback": [[], "playing"],
    "playback__is_playing": ["true", 1],
    "playback__quality": ["", 1080],
    "playback__dvr_offset_seconds": [-1, 1_000_001],
    "performance__rebuffer_count": [-1, 1.5, "1", True, 1_000_001],
    "performance__bitrate_kbps": [-1, 0, "4500", 4_500_000, 1e308],
    "performance__latency_ms": [-120, -0.5, True, 3_600_001],
    "engagement": [[], {"note": "a\0b"}, {"a\0b": 1}],
}


@pytest.mark.reaches("BITRATE_BPS_MAX", "LATENCY_US_MAX", "PLAYER_COUNTER_MAX", "DVR_OFFSET_S_MAX")
@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in WRONG.items() for value in values])
def test_an_optional_field_that_is_wrong_costs_a_heartbeat_only_itself(path: str, value: object) -> None:
    beat, dropped = taken("heartbeat", said("heartbeat", **{path: value}))
    assert dropped == (path.replace("__", "."),)
    assert beat.dropped == dropped[0]
    missing, nothing = taken("heartbeat", said("heartbeat", **{path: None}))
    assert nothing == ()
    assert without(beat) == missing, "it is taken as if the field were missing"


MOST = {"bitrate_kbps": 1_000_000, "latency_ms": 3_600_000, "rebuffer_count": 1_000_000}


def test_a_value_at_the_edge_of_what_can_be_is_taken() -> None:
    beat, dropped = taken("heartbeat", said("heartbeat", performance=MOST, playback__dvr_offset_seconds=1_000_000))
    assert (beat.bitrate_bps, beat.latency_us, beat.rebuffer_count, dropped) == (10**9, 3_600 * 10**6, 10**6, ())
    beat, dropped = taken("heartbeat", said("heartbeat", performance={"bitrate_kbps": 0.001, "latency_ms": 0, "rebuffer_count": 0}))
    assert (beat.bitrate_bps, beat.latency_us, beat.rebuffer_count, dropped) == (1, 0, 0, ())


def test_everything_that_is_wrong_is_dropped_at_once() -> None:
    body = said("heartbeat", user_id="", epg=5, playback__quality="", performance__latency_ms=-120, performance__bitrate_kbps=-1)
    beat, dropped = taken("heartbeat", body)
    assert dropped == ("user_id", "epg", "playback.quality", "performance.bitrate_kbps", "performance.latency_ms")
    assert isinstance(beat, Heartbeat)
    assert (beat.playback, beat.rebuffer_count, beat.quality, beat.program_id) == ("playing", 0, None, None)


def test_a_request_that_is_refused_names_only_what_it_is_refused_for() -> None:
    bad = read("heartbeat", said("heartbeat", session_id="", performance__latency_ms=-1))
    assert isinstance(bad, BadBody)
    assert [field for field, _ in bad.fields] == ["session_id"]


@pytest.mark.parametrize(
    ("path", "value", "attribute", "meant"),
    [
        ("platform", "tizen", "platform", "other"),
        ("platform", "Web", "platform", "other"),
        ("platform", "", "platform", "other"),
        ("platform", "other", "platform", "other"),
        ("device__connection_type", "4g", "connection_type", "other"),
        ("device__connection_type", "", "connection_type", "unknown"),
        ("geo__country", "", "country", "unknown"),
        ("geo__country", "undefined", "country", "unknown"),
    ],
)
def test_a_start_outside_the_closed_lists_is_taken_and_named(path: str, value: str, attribute: str, meant: str) -> None:
    start, dropped = taken("start", said("start", **{path: value}))
    assert isinstance(start, Start)
    assert (getattr(start, attribute), dropped) == (meant, (path.replace("__", "."),))
    same, _ = taken("start", EXAMPLES["start"])
    assert without(start) == same._replace(**{attribute: meant})


def test_a_start_of_a_television_that_says_nothing_as_the_contract_does_is_taken() -> None:
    start, dropped = taken("start", said("start", platform="tizen", device__connection_type="4g", playback__latency_mode="ultra-low"))
    assert (start.platform, start.connection_type, unpack_profile(start.profile)["latency_mode"]) == ("other", "other", "other")
    assert dropped == ("platform", "playback.latency_mode", "device.connection_type")


def test_an_end_for_an_unheard_of_reason_is_an_end() -> None:
    end, dropped = taken("end", said("end", watch_summary__end_reason="bored"))
    assert isinstance(end, End)
    assert (end.reason, dropped) == ("other", ("watch_summary.end_reason",))
    assert unpack_farewell(end.farewell)["watch_summary"]["end_reason"] == "other"


@pytest.mark.parametrize(
    ("path", "attribute"),
    [
        ("watch_summary__total_watch_seconds", "total_watch_s"),
        ("performance__total_rebuffer_count", "rebuffer_count"),
        ("performance__quality_switches", "quality_switches"),
    ],
)
@pytest.mark.parametrize("value", [1_000_001, 2_340_000_000.0, 10**30])
def test_a_count_of_an_end_that_cannot_be_is_unknown_and_the_end_is_taken(path: str, attribute: str, value: float) -> None:
    end, dropped = taken("end", said("end", **{path: value}))
    assert (getattr(end, attribute), dropped) == (None, (path.replace("__", "."),))
    group, name = path.split("__")
    assert name not in unpack_farewell(end.farewell)[group]
    end, dropped = taken("end", said("end", **{path: 1_000_000}))
    assert (getattr(end, attribute), dropped) == (1_000_000, ())


def test_half_a_character_in_a_text_is_read_as_a_replacement_and_costs_nothing() -> None:
    beat, dropped = taken("heartbeat", said("heartbeat", epg__current_program_title=f"Derby {HALF}"))
    assert (unpack_vitals(beat.vitals)["program_title"], dropped) == ("Derby \ufffd", ())
    start, dropped = taken("start", said("start", epg__current_program_title=f"{HALF}Derby", device__os=f"a{HALF}b"))
    profile = unpack_profile(start.profile)
    assert (profile["program_title"], profile["device"]["os"], dropped) == ("\ufffdDerby", "a\ufffdb", ())
    assert taken("start", {**EXAMPLES["start"], "new": HALF}) == taken("start", EXAMPLES["start"]), "an unknown field is ignored"
    beat, dropped = taken("heartbeat", said("heartbeat", engagement={f"mood{HALF}": [f"{HALF}!"]}))
    assert (unpack_vitals(beat.vitals)["engagement"], dropped) == ({"mood\ufffd": ["\ufffd!"]}, ())
    end, dropped = taken("end", said("end", watch_summary__programs_watched=[f"prog{HALF}"]))
    assert (unpack_farewell(end.farewell)["watch_summary"]["programs_watched"], dropped) == (["prog\ufffd"], ())


def test_half_a_character_disturbs_nothing_beside_it() -> None:
    body = said("heartbeat", epg__current_program_title=f"🏟 {HALF}", user_id="ü🎬", performance__latency_ms=-1)
    beat, dropped = taken("heartbeat", body)
    assert dropped == ("performance.latency_ms",)
    vitals = unpack_vitals(beat.vitals)
    assert (vitals["program_title"], vitals["user_id"]) == ("🏟 \ufffd", "ü🎬")
    whole, _ = taken("heartbeat", json.dumps(said("heartbeat", user_id="\ufffd"), ensure_ascii=False).encode())
    assert unpack_vitals(whole.vitals)["user_id"] == "\ufffd", "who sends a replacement character has sent one"


def test_half_a_character_and_a_nul_in_one_text_cost_the_text() -> None:
    _, dropped = taken("heartbeat", said("heartbeat", epg__current_program_title=f"{HALF}\0"))
    assert dropped == ("epg.current_program_title",)


def test_half_a_character_in_a_required_id_costs_the_request() -> None:
    bad = read("heartbeat", said("heartbeat", session_id=f"s{HALF}"))
    assert isinstance(bad, BadBody)
    assert bad.fields == (("session_id", "must not contain half a character (a lone surrogate)"),)


def events(*entries: Any) -> dict[str, Any]:
    return {"session_id": "s", "events": list(entries)}


def entry(event_id: str, event_type: str = "tip", **metadata: Any) -> dict[str, Any]:
    return {"event_id": event_id, "event_type": event_type, "timestamp": "2024-11-01T18:15:00Z", "metadata": metadata or None}


def test_half_a_character_in_one_event_touches_no_other() -> None:
    body = events(entry("a", "program_change", program_title=f"Derby {HALF}"), entry("b"), entry(f"c{HALF}"), entry("d", anything=HALF))
    outcome = read("events", body)
    happenings = record_of(outcome.body).happenings
    assert [(each.event_id, each.program_title) for each in happenings] == [("a", "Derby \ufffd"), ("b", None), ("d", None)]
    assert [(bad.event_id, bad.fault) for bad in bad_events(outcome.body)] == [(None, "invalid_event_id")]
    assert outcome.dropped == ()


def test_what_is_wrong_with_an_events_metadata_costs_only_itself_and_says_where() -> None:
    body = events(
        entry("a", "stream_error", fatal="true"),
        entry("b"),
        {**entry("c", "quality_change"), "metadata": []},
        entry("d", "program_change", program_id=42, program_title="Late News"),
    )
    record, dropped = taken("events", body)
    assert dropped == ("events.0.metadata.fatal", "events.2.metadata", "events.3.metadata.program_id")
    assert record.dropped == "events.metadata.fatal,events.metadata,events.metadata.program_id"
    assert [each.event_id for each in record.happenings] == ["a", "b", "c", "d"]
    assert (record.happenings[0].fatal, record.happenings[3].program_id, record.happenings[3].program_title) == (False, None, "Late News")


PLACEHOLDERS = [
    "undefined", "null", "NULL", "None", "NaN", "nil", "(null)", "[object Object]", "{{session_id}}", "{{ user.id }}", "${uid}", "{USER_ID}",
    "%%USER_ID%%", "%USERID%", "[TIMESTAMP]", "[CACHEBUSTER]", "<%= id %>", "__UID__", "#{id}", "%{id}", "$(id)",
]  # fmt: skip
IDS = [
    "sess_live_xyz001", "undefined1", "a null", "Null Object", "550e8400-e29b-11d4-a716-446655440000", "{550e8400-e29b-11d4-a716-446655440000}",
    "[::1]", "[a]", "{1}", "__a", "_", "{", "%", "%41", "100%", "$5", "#1", "<3", "nan", "none", "NIL",
]  # fmt: skip


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_an_id_that_nobody_filled_in_is_refused_by_name(name: str) -> None:
    bad = read("start", said("start", session_id=name))
    assert isinstance(bad, BadBody)
    assert bad.fields == (("session_id", "is a placeholder that nobody filled in"),)
    assert bad.has_placeholder
    _, dropped = taken("heartbeat", said("heartbeat", user_id=name))
    assert dropped == ("user_id",)


@pytest.mark.parametrize("name", IDS)
def test_an_odd_id_is_no_placeholder(name: str) -> None:
    assert not is_placeholder(name)
    _, dropped = taken("heartbeat", said("heartbeat", user_id=name))
    assert dropped == ()


@pytest.mark.parametrize("endpoint", MODELS)
def test_a_byte_order_mark_is_skipped(endpoint: str) -> None:
    body = json.dumps(EXAMPLES[endpoint]).encode()
    assert taken(endpoint, b"\xef\xbb\xbf" + body) == taken(endpoint, body)
    assert isinstance(read(endpoint, b"\xef\xbb\xbf"), BadBody)
    assert isinstance(read(endpoint, b"\xef\xbb\xbf\xef\xbb\xbf" + body), BadBody)


def test_the_list_of_what_may_be_dropped_is_the_metrics_list() -> None:
    assert set(DROPPABLE_FIELDS) == {name for names in DROPPABLE.values() for name in names}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=3)
    | st.sampled_from(["", "\0", HALF, "x" * 257, "undefined", "web", "wifi", "2024-11-01T18:15:00Z", -1, 0, 10**6, 10**6 + 1]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)  # fmt: skip


@pytest.mark.parametrize("endpoint", MODELS)
@given(data=st.data())
def test_a_body_is_refused_only_for_what_is_required(endpoint: str, data: st.DataObject) -> None:
    paths = [path for path, _ in walk(MODELS[endpoint])]
    body = deepcopy(EXAMPLES[endpoint])
    for path in data.draw(st.lists(st.sampled_from(paths), max_size=4, unique=True)):
        holder: Any = body
        for name in path[:-1]:
            holder = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            holder[path[-1]] = data.draw(ANYTHING)
    outcome = read(endpoint, body)
    if isinstance(outcome, BadBody):
        for named, _ in outcome.fields:
            path = tuple(named.split("."))
            assert named in {written(each) for each in paths}
            assert optional_part(MODELS[endpoint], path) is None, "an optional field costs the request"
    else:
        assert {field_of(path) for path in outcome.dropped} <= set(DROPPABLE[endpoint])
        record_of(outcome.body, outcome.dropped)


def test_at_most_the_bound_of_one_request_is_kept_however_much_is_wrong() -> None:
    record, dropped = taken("events", events(*[entry(f"e{n}", "stream_error", fatal=1) for n in range(limits.EVENTS_PER_REQUEST_MAX)]))
    assert len(dropped) == len(record.happenings) == limits.EVENTS_PER_REQUEST_MAX
