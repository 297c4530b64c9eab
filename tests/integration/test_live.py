"""Listening through the front door: events as they come, from where one left off, and never in a player's place."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.players import examples
from sessions.limits import REPLICA_REQUESTS_MAX
from tests.front_door import INGEST, OPS
from tests.haproxy import Door, local_door

CLIENT = httpx.Client(timeout=20, limits=httpx.Limits(max_connections=None), verify=False)
OPERATOR = {"authorization": f"Bearer {OPS}"}


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with local_door(tmp_path) as door:
        yield door


@contextlib.contextmanager
def listening(door: Door, **headers: str) -> Iterator[Iterator[tuple[str, str, Any]]]:
    """Listen; yield (id, event, data) of each event as it comes."""

    def events(answer: httpx.Response) -> Iterator[tuple[str, str, Any]]:
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                if "event" in fields:
                    yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
                fields = {}

    with CLIENT.stream("GET", f"{door.url}/live", headers={**OPERATOR, **headers}) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        yield events(answer)


def test_a_picture_comes_first_and_then_what_changes_and_who_comes_back_misses_nothing(door: Door) -> None:
    with listening(door) as events:
        number, name, picture = next(events)
        assert (name, picture["resumed"], picture["now"]["sessions"]) == ("picture", False, 0)
        httpx.post(
            f"{door.url}/analytics/live/session/start", json=examples.START, headers={"authorization": f"Bearer {INGEST}"}
        ).raise_for_status()
        assert next(data["sessions"] for _, name, data in events if name == "change" and "sessions" in data) == 1
    with listening(door, **{"last-event-id": number}) as events:
        _, name, picture = next(events)
        assert (name, picture["resumed"], picture["now"]["sessions"]) == ("picture", True, 1)


def test_more_listeners_than_a_replica_has_places_for_requests_hold_up_no_player(door: Door) -> None:
    with ExitStack() as everybody:
        for _ in range(REPLICA_REQUESTS_MAX + 10):
            assert next(everybody.enter_context(listening(door)))[1] == "picture"
        answer = httpx.post(
            f"{door.url}/analytics/live/session/start", json=examples.START, headers={"authorization": f"Bearer {INGEST}"}, timeout=5
        )
        assert answer.status_code == 200


def test_when_the_replica_is_killed_its_listeners_hear_it_at_once(door: Door) -> None:
    with listening(door) as events:
        next(events)
        door.lose()
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in events:
                pass
