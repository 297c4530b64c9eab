"""What `/v1/sessions/{session_id}` is said to answer is what a tracker tells (serve_app/operators/session_schema.py)."""

from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from serve_app.operators.session_schema import SESSION
from sessions.changes import Policy
from sessions.events import Event
from sessions.history import INPUTS, What
from sessions.story import describe
from sessions.tracker import Tracker
from storage.codec import unpack_opaque
from tests.unit.inputs import PIXEL, beat, end, event, events, known, pixel, start

LIVES: dict[str, list[Event]] = {
    "starts only": [start(1_000)],
    "provisional": [beat(1_000)],
    "beacon": [pixel("view"), pixel("play"), pixel("play")],
    "whole": [
        start(1_000),
        start(1_000),
        events(event("stream_start", 1_002), event("dvr_seek", 1_009), event("stream_buffer_start", 1_010), event("stream_error", 1_011)),
        beat(1_030, "playing", stream_id="other", quality="720p", bitrate_bps=5, latency_us=7, rebuffer_count=4),
        beat(1_090, "paused"),
        beat(1_005),
        events(event("mute", 1_001), event("tip", 90_000)),
        end(1_100, reason="error"),
        beat(1_101),
    ],
}


def strictly(schema: Any) -> Any:
    """The same schema, with no room for what it does not name."""
    if isinstance(schema, list):
        return [strictly(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strictly(each) for name, each in schema.items()}
    return {**closed, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else closed


@pytest.mark.parametrize("life", LIVES)
def test_every_session_is_told_as_the_document_says(life: str) -> None:
    tracker = Tracker(7, policy=Policy())
    for number, each in enumerate(LIVES[life]):
        tracker.receive(each, now=1_000 + number)
    session = known(tracker, PIXEL if life == "beacon" else "s")
    session.story += b"".join(bytes(8) + bytes((what, 1)) for what in What)
    told = {**unpack_opaque(describe(session, now=1_200)), "slot": 7, "epoch": 1, "shard": "shard-0"}
    Draft202012Validator(strictly(SESSION)).validate(msgspec.json.decode(msgspec.json.encode(told)))


def test_whatever_can_be_ignored_has_a_name() -> None:
    assert len(INPUTS) == len(set(INPUTS)) <= 256
    # What a journal holds must mean the same for ever.
    assert INPUTS[:6] == ("start", "heartbeat", "end", "view", "play", "check")
    assert INPUTS[6:8] == ("stream_start", "stream_buffer_start")
