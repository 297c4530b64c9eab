"""
The quick reader takes a part of what the contract's model takes, and makes the same of it; all else it leaves to the model.

Each text goes through both; a reader that took what the model refuses, or read another value, would be a second contract.
"""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench import corpus
from serve_app.players import examples
from serve_app.players.decoding import BadBody, read_body
from serve_app.players.quick import read_heartbeat
from serve_app.players.records import record_of
from serve_app.players.wire import HeartbeatBody

USUAL: dict[str, Any] = dict(examples.HEARTBEAT)
NAMES = [*USUAL, *(f"{group}.{name}" for group, held in USUAL.items() if isinstance(held, dict) for name in held), "new", "epg.new"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(
        ["", "x" * 256, "x" * 257, "ä" * 256, "\0", "\ud800", "2024-11-01T18:15:60Z", "2024-11-01", 5.0, -0.0, 1e300, 1.1e300, 2**53 + 1]
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def agree(body: bytes) -> bool:
    """Hold both readers against each other; tell whether the quick one took the body."""
    quick = read_heartbeat(body)
    if quick is None:
        return False
    model = read_body(HeartbeatBody, body)
    assert not isinstance(model, BadBody), (body, model)
    assert not model.dropped, (body, model)
    # As text, so that 5 is not 5.0.
    assert repr(record_of(quick)) == repr(record_of(model.body)), body
    assert quick.session_id == model.body.session_id
    return True


def test_the_seeds_heartbeat_is_a_usual_one() -> None:
    assert agree(json.dumps(USUAL).encode())
    assert agree(json.dumps(USUAL, indent=2).encode())


def test_one_that_says_as_little_as_it_may_is_a_usual_one() -> None:
    assert agree(json.dumps({name: USUAL[name] for name in ("session_id", "timestamp")}).encode())


@pytest.mark.parametrize(
    "part",
    [
        {"new": 1},
        {"epg": {"new": 1}},
        {"engagement": {"mood": {"nested": True}}},
        {"stream_id": "a\\b"},
        {"performance": {"rebuffer_count": 5.0}},
        {"timestamp": "yesterday"},
        {"session_id": None},
        {"user_id": ""},
        {"user_id": "x" * 257},
        {"stream_id": "a\0b"},
        {"performance": {"bitrate_kbps": -1}},
    ],
)
def test_whatever_is_unusual_is_left_to_the_model(part: dict[str, object]) -> None:
    assert read_heartbeat(json.dumps(USUAL | part).encode()) is None


@given(changes=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3), ascii_only=st.booleans())
@example(changes={"engagement.likes": 2**64}, ascii_only=True)
@example(changes={"engagement.likes": 5.0}, ascii_only=True)
@example(changes={"playback.volume_level": 1}, ascii_only=True)
def test_both_make_the_same_of_any_heartbeat(changes: dict[str, Any], ascii_only: bool) -> None:
    body = json.loads(json.dumps(USUAL))
    for path, value in changes.items():
        group, _, name = path.rpartition(".")
        holder = body.setdefault(group, {}) if group else body
        if isinstance(holder, dict):
            holder[name] = value
    agree(json.dumps(body, ensure_ascii=ascii_only).encode(errors="surrogatepass"))


@given(at=st.integers(0, 10_000), put=st.binary(max_size=3), cut=st.integers(0, 3))
def test_both_make_the_same_of_damaged_text(at: int, put: bytes, cut: int) -> None:
    text = json.dumps(USUAL).encode()
    at %= len(text)
    agree(text[:at] + put + text[at + cut :])


def test_both_make_the_same_of_what_the_fuzzer_has_found() -> None:
    assert sum(agree(body) for body in corpus.read("heartbeat")) > 0
