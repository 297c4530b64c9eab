"""Eyevinn's SDK, on what it was recorded to send."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sessions.events import reported_id
from sessions.qoe import figures
from sessions.states import Liveness, Playback
from tests.front_door import Answer, FrontDoor, ask
from tests.players.recordings import HERE

LINES = [json.loads(line) for line in (HERE / "epas-web-sdk.jsonl").read_text("utf-8").splitlines()]
CASES = {
    case: [line for line in LINES if line["case"] == case and line.get("method") == "POST"]
    for case in ("epas-serverid", "epas-ownid-close")
}


def run(scenario: Callable[[FrontDoor], Awaitable[Any]]) -> Any:
    async def all_of_it() -> Any:
        door = FrontDoor()
        await door.slot_map.refresh()
        result = await scenario(door)
        for tracker in door.shard.trackers:
            tracker.validate()
        return result

    return asyncio.run(all_of_it())


async def post(door: FrontDoor, event: dict[str, Any] | bytes, **request: Any) -> Answer:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    answer = await ask(door.app, "POST", "/epas", body, **request)
    assert answer is not None
    return answer


def play(case: str, *, query: bytes = b"") -> tuple[list[Answer], FrontDoor]:
    """Send a recording, each post at its own time."""

    async def scenario(door: FrontDoor) -> Any:
        answers = []
        for line in CASES[case]:
            at = json.loads(line["body"])["timestamp"] / 1_000
            door.shard.now = lambda at=at: at
            for tracker in door.shard.trackers:
                tracker.advance(now=at, limit=9)
            answers.append(
                await post(door, line["body"].encode(), query=query, headers={name.lower(): text for name, text in line["headers"].items()})
            )
        return answers, door

    answers, door = run(scenario)
    return answers, door


def test_an_init_is_answered_with_the_id_of_its_session() -> None:
    answer = run(lambda door: post(door, {"event": "init", "sessionId": "own-1", "timestamp": 1, "playhead": -1, "duration": -1}))
    assert (answer.status, json.loads(answer.body)) == (200, {"sessionId": "own-1", "heartbeatInterval": 30_000})
    assert answer.headers["content-type"] == "application/json"


def test_an_init_without_an_id_is_given_one_or_its_player_would_be_silent() -> None:
    first, second = (run(lambda door: post(door, {"event": "init", "timestamp": 1})) for _ in range(2))
    ids = {json.loads(answer.body)["sessionId"] for answer in (first, second)}
    assert len(ids) == 2
    assert all(ids)


def test_a_page_with_an_id_of_its_own_is_a_session() -> None:
    answers, door = play("epas-ownid-close")
    assert {answer.status for answer in answers} == {200}
    session = door.shard.get(reported_id("own-1"))
    # loading at 71.536, playing at 71.616, heartbeats until 79.616.
    assert (session.playback, session.player) == (Playback.PLAYING, "eyevinn-epas")
    assert figures(session)["startup_time_s"] == pytest.approx(0.08, abs=0.001)
    assert figures(session)["playing_time_s"] == pytest.approx(8.0, abs=0.001)


def test_events_without_an_id_are_no_session_and_are_counted_apart() -> None:
    answers, door = play("epas-serverid")
    assert [answer.headers["x-headcount"] for answer in answers] == ["taken=0;repeated=0;ignored=1;without_sid=1"] * len(answers)
    assert sum(tracker.ledger.active for tracker in door.shard.trackers) == 0
    report = door.tallies.report()
    assert report is not None
    assert report.increments["cmcd_reports", "eyevinn-epas", "without_sid"] == len(answers)


def test_the_url_may_name_the_session_and_a_life_is_counted_right() -> None:
    _, door = play("epas-serverid", query=b"sid=page-1&stream_id=live")
    session = door.shard.get(reported_id("page-1"))
    # It stopped at 61.224 (ended), and a second viewing under the same id plays from 64.090 on.
    assert (session.liveness, session.playback, session.stream_id) == (Liveness.ACTIVE, Playback.PLAYING, "live")
    ledger = [tracker.ledger for tracker in door.shard.trackers if tracker.ledger.started]
    assert [(each.started, each.ended) for each in ledger] == [(2, {"completed": 1})]


def test_pauses_seeks_and_waits_are_what_they_were() -> None:
    async def scenario(door: FrontDoor) -> Any:
        door.shard.now = lambda: 1_000.0
        for at_s, event in enumerate(
            ["init", "loading", "playing", "buffering", "buffered", "paused", "heartbeat", "seeking", "seeked", "playing", "heartbeat"]
        ):
            await post(door, {"event": event, "sessionId": "s", "timestamp": 1_000_000 + 1_000 * at_s})
        return door.shard.get(reported_id("s"))

    found = figures(run(scenario))
    # Plays 2-3, 4-5 and 9-10; waits 3-4; is paused from 5 to 9, a seek among it.
    assert (found["playing_time_s"], found["rebuffering_time_s"], found["paused_time_s"]) == (3.0, 1.0, 4.0)


def test_an_error_is_fatal_and_a_warning_is_not() -> None:
    async def scenario(door: FrontDoor) -> Any:
        await post(
            door,
            [
                {"event": name, "sessionId": "s", "timestamp": 1_730_484_900_000 + at}
                for at, name in enumerate(["loading", "warning", "error"])
            ],
        )  # type: ignore[arg-type]
        return door.shard.get(reported_id("s"))

    session = run(scenario)
    assert (session.playback, figures(session)["errors"]) == (Playback.FAILED, 2)


def test_units_are_as_sent_and_what_cannot_be_is_dropped() -> None:
    async def scenario(door: FrontDoor) -> Any:
        for at, payload in ((1, {"bitrate": 400}), (2, {"bitrate": -1})):
            event = {"event": "bitrate_changed", "sessionId": "s", "timestamp": 1_730_484_900_000 + at, "playhead": 6.5 if at == 1 else -1}
            await post(door, {**event, "payload": payload})
        return door.shard.get(reported_id("s")), door.tallies.report()

    session, report = run(scenario)
    assert session.settled().bitrate == 400_000
    assert session.reporter.said[-1][1] == 6_500.0
    assert report.increments["cmcd_dropped_keys", "eyevinn-epas", "br"] == 1


@pytest.mark.parametrize("body", [b"{", b"", b'"x"', b"[1,{}]"])
def test_what_is_no_event_is_heard_and_disturbs_nothing(body: bytes) -> None:
    answer = run(lambda door: post(door, body))
    assert answer.status in {200, 204}
    assert "taken=0" in answer.headers["x-headcount"]


def test_a_wrong_token_is_refused_and_the_player_stays_silent() -> None:
    assert run(lambda door: post(door, {"event": "init"}, token="wrong")).status == 401


def test_its_preflight_is_allowed_its_own_headers() -> None:
    asked = {"origin": "https://page.example", "access-control-request-headers": "content-type,x-epas-event,x-epas-version"}
    answer = run(lambda door: ask(door.app, "OPTIONS", "/epas", headers=asked, token=None))
    assert answer.headers["access-control-allow-headers"] == "content-type,x-epas-event,x-epas-version"
