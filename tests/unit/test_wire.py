"""The request bodies are those of the seed, and nothing else gets through."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, get_args

import pytest
from pydantic_core import PydanticCustomError

from serve_app.players import examples, values, wire
from serve_app.players.decoding import BadBody, BodyFault, read_body
from serve_app.players.records import bad_events, record_of
from serve_app.players.routes import POSTS
from serve_app.players.timestamps import written_length, written_utc
from serve_app.players.wire import BadEvent, EventFault, EventsBody
from sessions import limits
from sessions.events import CONNECTION_TYPES, END_REASONS, EVENT_TYPES, LATENCY_MODES, PLATFORMS, End, Happenings, Heartbeat, Start
from storage.codec import unpack_farewell, unpack_profile, unpack_vitals

MODELS: dict[str, Any] = {"start": wire.StartBody, "heartbeat": wire.HeartbeatBody, "end": wire.EndBody, "events": wire.EventsBody}
EXAMPLES = {"start": examples.START, "heartbeat": examples.HEARTBEAT, "end": examples.END, "events": examples.EVENTS}


def changed(endpoint: str, path: str, value: Any) -> dict[str, Any]:
    """Return the example with one field set; `...` takes it away."""
    body = deepcopy(EXAMPLES[endpoint])
    *parents, name = path.split(".")
    at: Any = body
    for parent in parents:
        at = at[int(parent) if parent.isdigit() else parent]
    if value is ...:
        del at[name]
    else:
        at[name] = value
    return body


def judged(endpoint: str, body: Any) -> Any:
    return read_body(MODELS[endpoint], body if isinstance(body, bytes) else json.dumps(body).encode())


def read(endpoint: str, body: Any) -> Any:
    """Return the body's model, or what is wrong with it."""
    outcome = judged(endpoint, body)
    return outcome if isinstance(outcome, BadBody) else outcome.body


def fields_of(endpoint: str, body: Any) -> list[str]:
    bad = read(endpoint, body)
    assert isinstance(bad, BadBody), bad
    assert bad.fault is BodyFault.INVALID_FIELD
    return [field for field, _ in bad.fields]


def test_seed_start_becomes_its_record() -> None:
    start = record_of(read("start", examples.START))
    assert isinstance(start, Start)
    assert start[:10] == (
        "sess_live_xyz001",
        1_730_484_900.0,
        "stream_abc123",
        "ch_101",
        "creator_001",
        "prog_002",
        "web",
        "US",
        "wifi",
        "auto",
    )
    assert unpack_profile(start.profile) == {
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


def test_heartbeat_becomes_bits_and_microseconds() -> None:
    beat = record_of(read("heartbeat", examples.HEARTBEAT))
    assert isinstance(beat, Heartbeat)
    assert beat.at == 1_730_484_930.0
    assert (beat.playback, beat.quality, beat.program_id) == ("playing", "1080p", "prog_002")
    assert (beat.bitrate_bps, beat.latency_us, beat.rebuffer_count) == (4_500_000, 3_200_000, 0)
    assert unpack_vitals(beat.vitals)["engagement"] == {"chat_messages_sent": 2, "reactions_sent": 1}


def test_end_keeps_the_players_own_account() -> None:
    end = record_of(read("end", examples.END))
    assert isinstance(end, End)
    assert end[:6] == ("sess_live_xyz001", 1_730_487_240.0, "user_exit", 2_340, 1, 2)
    assert unpack_farewell(end.farewell) == {
        "watch_summary": {"total_watch_seconds": 2_340, "end_reason": "user_exit", "programs_watched": ["prog_002"]},
        "performance": {"total_rebuffer_count": 1, "quality_switches": 2},
        "engagement": {"total_chat_messages_sent": 2, "total_reactions_sent": 1},
    }


def test_events_become_happenings() -> None:
    happenings = record_of(read("events", examples.EVENTS))
    assert isinstance(happenings, Happenings)
    assert [happening.type for happening in happenings.happenings] == [event["event_type"] for event in examples.EVENTS["events"]]
    assert happenings.happenings[1].quality == "1080p"


REQUIRED = {
    "start": [
        "session_id", "device_id", "platform", "stream.stream_id", "stream.channel_id", "stream.creator_id", "epg.current_program_id",
        "playback.quality", "playback.latency_mode", "playback.dvr_enabled", "device.connection_type", "geo.country", "timestamp",
    ],
    "heartbeat": ["session_id", "timestamp"],
    "end": [
        "session_id", "watch_summary.total_watch_seconds", "watch_summary.end_reason", "watch_summary.programs_watched",
        "performance.total_rebuffer_count", "performance.quality_switches", "engagement.total_chat_messages_sent",
        "engagement.total_reactions_sent", "timestamp",
    ],
    "events": ["session_id", "events"],
}  # fmt: skip


def leaves(body: Any, path: str = "") -> list[str]:
    """Return the path of every field of an object, those of nested objects too."""
    found = []
    for name, value in body.items():
        found += [f"{path}{name}", *(leaves(value, f"{path}{name}.") if isinstance(value, dict) else [])]
    return found


@pytest.mark.parametrize(("endpoint", "path"), [(endpoint, path) for endpoint, paths in REQUIRED.items() for path in paths])
def test_what_the_seed_marks_required_is_required_and_not_null(endpoint: str, path: str) -> None:
    assert fields_of(endpoint, changed(endpoint, path, ...)) == [path]
    assert fields_of(endpoint, changed(endpoint, path, None)) == [path]


OPTIONAL = [
    (endpoint, path)
    for endpoint, example in EXAMPLES.items()
    for path in leaves(example)
    if not any(required == path or required.startswith(f"{path}.") for required in REQUIRED[endpoint])
]


@pytest.mark.parametrize(("endpoint", "path"), OPTIONAL)
def test_everything_else_may_be_missing_or_null(endpoint: str, path: str) -> None:
    assert len(OPTIONAL) > 30
    assert not isinstance(read(endpoint, changed(endpoint, path, ...)), BadBody)
    assert not isinstance(read(endpoint, changed(endpoint, path, None)), BadBody)


@pytest.mark.parametrize("endpoint", MODELS)
def test_unknown_fields_are_ignored(endpoint: str) -> None:
    body = {**EXAMPLES[endpoint], "from_the_future": {"deep": [1, "two"]}}
    assert record_of(read(endpoint, body)) == record_of(read(endpoint, EXAMPLES[endpoint]))


def test_closed_lists_are_those_of_the_core() -> None:
    def listed(model: type[Any], field: str) -> tuple[str, ...]:
        return get_args(model.model_fields[field].annotation)

    assert listed(wire.StartBody, "platform") == PLATFORMS
    assert listed(wire.StartPlayback, "latency_mode") == LATENCY_MODES
    assert listed(wire.Device, "connection_type") == CONNECTION_TYPES
    # What else is said is `other`; `completed` is told by the reports of players alone.
    assert (*listed(wire.WatchSummary, "end_reason"), "other", "completed") == END_REASONS
    assert listed(wire.EventBody, "event_type") == EVENT_TYPES


COSTLY = [
    ("start", "platform", 5),
    ("start", "session_id", 5),
    ("start", "session_id", ""),
    ("start", "session_id", "x" * 257),
    ("start", "session_id", "x" * 10_000),
    ("start", "session_id", "a\0b"),
    ("start", "playback.dvr_enabled", "false"),
    ("start", "playback.dvr_enabled", 0),
    ("start", "playback.latency_mode", True),
    ("start", "playback.quality", ""),
    ("start", "device.connection_type", None),
    ("start", "geo.country", 5),
    ("start", "geo.country", "x" * 257),
    ("start", "stream", []),
    ("start", "geo", "US"),
    ("heartbeat", "timestamp", 1_730_484_900),
    ("end", "watch_summary.total_watch_seconds", 2_340.5),
    ("end", "watch_summary.total_watch_seconds", -1),
    ("end", "watch_summary.total_watch_seconds", "2340"),
    ("end", "watch_summary.total_watch_seconds", True),
    ("end", "watch_summary.end_reason", 5),
    ("end", "watch_summary.programs_watched", "prog_002"),
    ("end", "watch_summary.programs_watched", [{"id": "a\0b"}]),
    ("end", "performance.total_rebuffer_count", -1),
    ("end", "engagement.total_reactions_sent", 1.5),
    ("events", "events", {}),
]


@pytest.mark.parametrize(("endpoint", "path", "value"), COSTLY)
def test_a_required_field_that_is_wrong_costs_the_request_and_is_named(endpoint: str, path: str, value: object) -> None:
    assert fields_of(endpoint, changed(endpoint, path, value)) == [path]


def test_every_wrong_field_is_named_up_to_a_bound() -> None:
    assert fields_of("start", {"session_id": 1}) == [
        "session_id", "device_id", "platform", "stream", "epg", "playback", "device", "geo", "timestamp",
    ]  # fmt: skip


@pytest.mark.parametrize("body", [b"[]", b"5", b'"text"', b"null", b"true"])
def test_json_that_is_no_object_is_a_wrong_body(body: bytes) -> None:
    assert fields_of("heartbeat", body) == ["body"]


NOT_JSON = {
    "empty": b"",
    "blank": b"  ",
    "text": b"hello",
    "cut": b'{"session_id":"a"',
    "more": b'{"session_id":"a"} x',
    "comma": b'{"session_id":"a",}',
    "single quotes": b"{'session_id':'a'}",
    "utf-16": '{"session_id":"a"}'.encode("utf-16"),
    "not utf-8": b'{"session_id":"\xff","timestamp":"2024-11-01T18:15:00Z"}',
    "utf-8 surrogate": b'{"session_id":"\xed\xa0\x80","timestamp":"2024-11-01T18:15:00Z"}',
    "lone surrogate and no JSON": b'{"session_id":"\\ud800","timestamp":"2024-11-01T18:15:00Z"',
    "lone surrogate and NaN": b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","new":["\\ud800",NaN]}',
    "lone surrogate, deep": b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","new":["\\ud800"'
    + b",[" * 10_000
    + b"]" * 10_000
    + b"]}",
    "raw NUL": b'{"session_id":"a\0b","timestamp":"2024-11-01T18:15:00Z"}',
    "deep": b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","new":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "deep and open": b"[" * 100_000,
    "NaN": b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","performance":{"bitrate_kbps":NaN}}',
    "Infinity": b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","performance":{"bitrate_kbps":Infinity}}',
    "-Infinity": b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","performance":{"bitrate_kbps":-Infinity}}',
    "NaN that is ignored": b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","new":NaN}',
    "NaN in a free object": b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","engagement":{"x":NaN}}',
    "endless integer": b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","new":1' + b"0" * 5_000 + b"}",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_not_json_is_told_so(body: bytes) -> None:
    bad = read("heartbeat", body)
    assert isinstance(bad, BadBody)
    assert bad.fault is BodyFault.NOT_JSON
    assert bad.problem


def test_a_text_that_says_nan_is_fine() -> None:
    beat = read("heartbeat", changed("heartbeat", "epg.current_program_title", "NaN and Infinity"))
    assert beat.epg.current_program_title == "NaN and Infinity"


def test_a_whole_number_may_be_written_with_a_fraction_of_zero() -> None:
    assert record_of(read("end", changed("end", "performance.total_rebuffer_count", 5.0))).rebuffer_count == 5


MOMENTS = {
    "2024-11-01T18:15:00Z": 1_730_484_900.0,
    "2024-11-01t18:15:00z": 1_730_484_900.0,
    "2024-11-01 18:15:00Z": 1_730_484_900.0,
    "2024-11-01T18:15:00.250Z": 1_730_484_900.25,
    "2024-11-01T18:15:00.123456789Z": 1_730_484_900.123456,
    "2024-11-01T18:15:00,5Z": 1_730_484_900.5,
    "2024-11-01T20:15:00+02:00": 1_730_484_900.0,
    "2024-11-01T20:15:00+0200": 1_730_484_900.0,
    "2024-11-01T20:15:00+02": 1_730_484_900.0,
    "2024-11-01T18:15Z": 1_730_484_900.0,
    "2016-12-31T23:59:60Z": 1_483_228_800.0,
    "9999-12-31T23:59:59-23:59": 253_402_387_139.0,
    "9999-12-31T23:59:60Z": 253_402_300_800.0,
    "0001-01-01T00:00:00+23:59": -62_135_683_140.0,
    "1969-12-31T23:59:59Z": -1.0,
}


@pytest.mark.parametrize(("written", "at"), MOMENTS.items())
def test_a_time_with_a_zone_is_a_moment(written: str, at: float) -> None:
    assert record_of(read("heartbeat", changed("heartbeat", "timestamp", written))).at == pytest.approx(at, abs=1e-6)


NO_MOMENTS = [
    "2024-11-01", "2024-11-01T18:15:00", "18:15:00Z", "1730484900", 1_730_484_900, 1_730_484_900.5, "", "now", "2024-13-01T18:15:00Z",
    "2024-02-30T18:15:00Z", "2024-11-01T25:15:00Z", "2024-11-01T18:61:00Z", "2024-11-01T18:15:61Z", "2024-11-01T18:15:00+25:00",
    "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2024-W44-5T18:15:00Z", "20241101T181500Z", "2024-11-01T18:15:00Z ", "2024-11-01T18:15:00Z\n",
    "٢٠٢٤-11-01T18:15:00Z", "2024-11-01T18:15:00[UTC]", True, [], {},
]  # fmt: skip


@pytest.mark.parametrize("written", NO_MOMENTS)
def test_anything_else_is_no_moment(written: object) -> None:
    assert fields_of("heartbeat", changed("heartbeat", "timestamp", written)) == ["timestamp"]


@pytest.mark.parametrize(
    ("flags", "playback"),
    [
        ({"is_paused": True, "is_buffering": True, "is_playing": True}, "paused"),
        ({"is_buffering": True, "is_playing": True}, "rebuffering"),
        ({"is_playing": True}, "playing"),
        ({"is_playing": False, "is_paused": False, "is_buffering": False}, "idle"),
        ({"is_playing": False, "is_paused": False}, None),
        ({}, None),
    ],
)
def test_the_first_true_flag_counts(flags: dict[str, bool], playback: str | None) -> None:
    beat = record_of(read("heartbeat", changed("heartbeat", "playback", flags)))
    assert isinstance(beat, Heartbeat)
    assert beat.playback == playback


def event(**fields: object) -> dict[str, object]:
    return {"event_id": "e", "event_type": "tip", "timestamp": "2024-11-01T18:15:00Z", **fields}


@pytest.mark.parametrize(
    ("entry", "bad"),
    [
        (5, BadEvent(None, EventFault.NO_OBJECT)),
        (None, BadEvent(None, EventFault.NO_OBJECT)),
        ({}, BadEvent(None, EventFault.ID)),
        (event(event_id=5), BadEvent(None, EventFault.ID)),
        (event(event_id=""), BadEvent(None, EventFault.ID)),
        (event(event_id="x" * 257), BadEvent(None, EventFault.ID)),
        (event(event_id="a\0b"), BadEvent(None, EventFault.ID)),
        (event(event_type="dance"), BadEvent("e", EventFault.TYPE)),
        (event(event_type=None), BadEvent("e", EventFault.TYPE)),
        (event(timestamp="2024-11-01"), BadEvent("e", EventFault.TIMESTAMP)),
        (event(event_id="a\ud83c"), BadEvent(None, EventFault.ID)),
        (event(event_id="undefined"), BadEvent(None, EventFault.ID)),
        (event(event_type="dance", metadata={"fatal": "true"}), BadEvent("e", EventFault.TYPE)),
        (event(event_type=[], metadata={"fatal": "true"}), BadEvent("e", EventFault.TYPE)),
    ],
)
def test_a_bad_event_is_rejected_alone(entry: object, bad: BadEvent) -> None:
    body = read("events", {"session_id": "s", "events": [event(event_id="first"), entry, event(event_id="last")]})
    assert isinstance(body, EventsBody)
    assert bad_events(body) == (bad,)
    taken = record_of(body)
    assert isinstance(taken, Happenings)
    assert [happening.event_id for happening in taken.happenings] == ["first", "last"]


def test_metadata_is_free_but_for_what_is_read() -> None:
    body = {"session_id": "s", "events": [event(event_type="stream_error", metadata={"fatal": True, "stack": ["x"], "quality": "a"})]}
    happenings = record_of(read("events", body))
    assert isinstance(happenings, Happenings)
    assert (happenings.happenings[0].fatal, happenings.happenings[0].quality) == (True, None)


USED = {"stream_error": {"fatal"}, "quality_change": {"quality"}, "program_change": {"program_id", "program_title"}}


@pytest.mark.parametrize("name", ["fatal", "quality", "program_id", "program_title"])
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_metadata_is_judged_only_for_the_type_that_uses_it_and_costs_only_itself(event_type: str, name: str) -> None:
    odd = event(event_type=event_type, metadata={name: {"of its own": ["kind\0", 1e300]}})
    outcome = judged("events", {"session_id": "s", "events": [event(event_id="first"), odd]})
    assert outcome.dropped == ((f"events.1.metadata.{name}",) if name in USED.get(event_type, ()) else ())
    assert bad_events(outcome.body) == ()
    _, happening = record_of(outcome.body).happenings
    assert (happening.type, happening.fatal, happening.quality, happening.program_id, happening.program_title) == (
        event_type, False, None, None, None,
    )  # fmt: skip


@pytest.mark.reaches("EVENTS_PER_REQUEST_MAX")
def test_500_events_are_read_and_501_are_too_many() -> None:
    assert len(read("events", {"session_id": "s", "events": [event()] * 500}).events) == 500
    bad = read("events", {"session_id": "s", "events": [event()] * 501})
    assert isinstance(bad, BadBody)
    assert bad.fault is BodyFault.TOO_MANY_EVENTS


def nested(levels: int, leaf: str, *, holder: str = "[]") -> str:
    """Return JSON of objects or lists inside each other; the leaf is in the innermost."""
    opened, closed = ("[", "]") if holder == "[]" else ('{"a":', "}")
    return opened * levels + leaf + closed * levels


def problems_of_free(written: str) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
    """Return what is dropped of a heartbeat, and what is wrong with an end, that hold this JSON in their free fields."""
    beat = json.dumps(changed("heartbeat", "engagement", {"here": 0})).replace('"here": 0', f'"here": {written}')
    end = json.dumps(changed("end", "watch_summary.programs_watched", [0])).replace(
        '"programs_watched": [0]', f'"programs_watched": [{written}]'
    )
    ended = read("end", end.encode())
    return judged("heartbeat", beat.encode()).dropped, list(ended.fields) if isinstance(ended, BadBody) else []


UNFREE = {
    "150 levels, many times": (",".join([nested(150, "0")] * 100), "must be nested at most 16 levels deep"),
    "150 levels of objects, NUL inside": (nested(150, r'"\u0000"', holder="{}"), "must be nested at most 16 levels deep"),
    "one level too many": (nested(limits.FREE_LEVELS_MAX, ""), "must be nested at most 16 levels deep"),
    "28,000 NULs": (",".join([r'"\u0000"'] * 28_000), "must hold at most 4096 values"),
    "4,000 NULs": (",".join([r'"\u0000"'] * 4_000), "must hold no NUL"),
    "wide object": ("{" + ",".join(f'"{n}":{n}' for n in range(20_000)) + "}", "must hold at most 4096 values"),
    "wide at every level": (f"[{','.join(['[0,0,0]'] * 1_100)}]", "must hold at most 4096 values"),
    "empty lists": (",".join(["[]"] * 16_000), "must hold at most 4096 values"),
    "NUL in a name": (r'{"a\u0000b":1}', "must hold no NUL"),
    "NUL in a name, further in": (r'[[{"a\u0000b":1}]]', "must hold no NUL"),
    "NUL, further in": (r'{"a":[{"b":"\u0000"}]}', "must hold no NUL"),
    "beyond any float": ("[1e999]", "must hold only finite numbers"),
    "beyond any float downwards": ("-1e999", "must hold only finite numbers"),
    "an integer beyond any float": ("1" + "0" * 400, "must hold only finite numbers"),
}


@pytest.mark.reaches("FREE_LEVELS_MAX", "FREE_VALUES_MAX")
@pytest.mark.parametrize(("written", "problem"), UNFREE.values(), ids=UNFREE.keys())
def test_free_json_out_of_its_bounds_is_dropped_where_optional_and_one_error_where_required(written: str, problem: str) -> None:
    # Commas make several of what is one value of an object; a list takes them as they are.
    beat, end = problems_of_free(f"[{written}]" if written[0] not in "{[" or "],[" in written else written)
    assert beat == ("engagement",)
    assert end == [("watch_summary.programs_watched", problem)]


HELD = {"free": "engagement", "ignored": "new"}


@pytest.mark.reaches("BODY_HOLDERS_MAX")
@pytest.mark.parametrize("field", HELD.values(), ids=HELD.keys())
@pytest.mark.parametrize("holder", ["[]", "{}"])
def test_a_body_of_too_many_objects_and_lists_is_refused_wherever_they_lie(field: str, holder: str) -> None:
    def body_of(holders: int, *, closed: str = "}") -> bytes:
        # The body itself is one, and its list another.
        listed = ",".join([holder] * (holders - 2))
        return f'{{"session_id":"s[{{","timestamp":"2024-11-01T18:15:00Z","{field}":[{listed}]{closed}'.encode()

    assert read("events", body_of(limits.BODY_HOLDERS_MAX + 1)).fields == (("body", "must hold at most 16384 objects and lists"),)
    assert read("heartbeat", body_of(limits.BODY_HOLDERS_MAX + 1)).fields == (("body", "must hold at most 16384 objects and lists"),)
    assert read("heartbeat", body_of(limits.BODY_HOLDERS_MAX + 1, closed="")).fault is BodyFault.NOT_JSON
    within = read("heartbeat", body_of(limits.BODY_HOLDERS_MAX))
    if field == HELD["free"]:
        assert within.engagement is None
    else:
        assert within.session_id == "s[{"


@pytest.mark.parametrize("text", ["[" * 20_000, "{[" * 20_000, '\\"[' * 20_000, "[\\\\" * 20_000])
def test_brackets_in_a_text_are_no_lists(text: str) -> None:
    written = json.dumps(changed("heartbeat", "epg.current_program_title", "here")).replace("here", text)
    assert read("heartbeat", written.encode()).epg.current_program_title == json.loads(f'"{text}"')


def test_free_json_is_taken_up_to_its_bounds() -> None:
    # The free object or list is the first level, and each thing in it one value.
    assert problems_of_free(nested(limits.FREE_LEVELS_MAX - 1, "")) == ((), [])
    assert problems_of_free(nested(limits.FREE_LEVELS_MAX - 1, "0", holder="{}")) == ((), [])
    assert problems_of_free(f"[{','.join(['0'] * (limits.FREE_VALUES_MAX - 1))}]") == ((), [])
    assert problems_of_free('[true, null, -1.5, "text", {}, [], 9223372036854775808, -9223372036854775809]') == ((), [])


def test_judging_free_json_looks_at_no_more_than_its_bound() -> None:
    class Watched(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            for value in super().__iter__():
                seen.append(1)
                yield value

    seen: list[int] = []
    with pytest.raises(PydanticCustomError, match="at most 4096 values"):
        values.judge_free(Watched(Watched(range(100)) for _ in range(1_000)))
    assert 1_000 < len(seen) <= limits.FREE_VALUES_MAX
    seen.clear()
    with pytest.raises(PydanticCustomError, match="no NUL"):
        values.judge_free(Watched("\0" for _ in range(4_000)))
    assert len(seen) == 1


def test_a_free_field_of_another_kind_is_told_what_to_be() -> None:
    assert judged("heartbeat", changed("heartbeat", "engagement", 5)).dropped == ("engagement",)
    assert read("end", changed("end", "watch_summary.programs_watched", {})).fields == (
        ("watch_summary.programs_watched", "must be a list"),
    )


@pytest.mark.reaches("ID_CHARS_MAX")
@pytest.mark.parametrize("field", ["session_id", "device_id"])
def test_an_id_has_256_characters_at_most(field: str) -> None:
    assert getattr(read("start", changed("start", field, "x" * 256)), field) == "x" * 256
    assert read("start", changed("start", field, "x" * 257)).fields == ((field, "should have at most 256 characters"),)


LONG = "x" * 20_000


@pytest.mark.reaches("TEXT_CHARS_MAX", "OPAQUE_BYTES_MAX")
def test_what_is_only_kept_is_cut_to_its_bounds() -> None:
    start = changed("start", "epg.current_program_title", LONG)
    assert len(unpack_profile(record_of(read("start", start)).profile)["program_title"]) == limits.TEXT_CHARS_MAX
    start["device"] |= {"os": LONG, "browser": LONG, "type": LONG}
    start["geo"] |= {"city": LONG, "state": LONG}
    assert len(record_of(read("start", start)).profile) <= limits.OPAQUE_BYTES_MAX
    assert len(record_of(read("heartbeat", changed("heartbeat", "engagement", {"note": LONG}))).vitals) <= limits.OPAQUE_BYTES_MAX
    # 2,048 characters of four bytes each are all that is kept, and two ids of 256 stand beside them: 10,256 bytes.
    wide = {
        **changed("heartbeat", "epg.current_program_title", "\N{GRINNING FACE}" * 3_000),
        "user_id": "😀" * 256,
        "device_id": "😀" * 256,
    }
    vitals = record_of(read("heartbeat", wide)).vitals
    assert 2_048 < len(vitals) <= limits.OPAQUE_BYTES_MAX
    assert unpack_vitals(vitals)["user_id"] == "😀" * 256
    end = record_of(read("end", changed("end", "watch_summary.programs_watched", ["prog"] * 4_000)))
    assert isinstance(end, End)
    assert 4_000 < len(end.farewell) <= limits.OPAQUE_BYTES_MAX


def test_integers_of_any_length_can_be_kept() -> None:
    beat = record_of(read("heartbeat", changed("heartbeat", "engagement", {"big": 10**30, "small": -(10**30)})))
    assert unpack_vitals(beat.vitals)["engagement"] == {"big": 1e30, "small": -1e30}


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "00:00"), (59, "00:59"), (2_340, "39:00"), (3_599, "59:59"), (3_600, "1:00:00"), (3_723, "1:02:03"), (360_000, "100:00:00")],
)
def test_lengths_are_written_as_players_show_them(seconds: int, written: str) -> None:
    assert written_length(seconds) == written


def test_moments_are_written_to_the_second() -> None:
    assert written_utc(1_730_484_900.999) == "2024-11-01T18:15:00Z"


def test_each_route_answers_with_the_seeds_example_fields() -> None:
    assert {route.endpoint: set(route.example["data"]) for route in POSTS.values()} == {
        "start": {"session_id", "accepted", "heartbeat_interval_seconds", "server_timestamp"},
        "heartbeat": {"session_id", "accepted", "next_heartbeat_seconds", "server_timestamp"},
        "end": {"session_id", "accepted", "watch_summary", "server_timestamp"},
        "events": {"session_id", "accepted_count", "rejected_count", "rejected_events", "server_timestamp"},
    }
