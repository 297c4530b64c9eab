"""`POST /cmcd`: 204 to everything that it hears, and what became of it in a header."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from actors.messages import NotTaken
from serve_app.players.ingest import Rules
from sessions import limits
from tests.front_door import OPS, SLOTS, Answer, FrontDoor, ask
from tests.players.recordings import posts

BODY = b'e=ps,sta=s,sn=0,sid="s",ts=1730484899000,v=2\n'


def run(scenario: Callable[[FrontDoor], Awaitable[Any]], **parts: Any) -> Any:
    async def all_of_it() -> Any:
        door = FrontDoor(**parts)
        await door.slot_map.refresh()
        result = await scenario(door)
        for tracker in door.shard.trackers:
            tracker.validate()
        return result

    return asyncio.run(all_of_it())


def post(body: bytes = BODY, **request: Any) -> Answer:
    answer = run(lambda door: ask(door.app, "POST", "/cmcd", body, **request))
    assert isinstance(answer, Answer)
    return answer


def told(body: bytes = BODY, **request: Any) -> tuple[int, str]:
    answer = post(body, **request)
    assert answer.body == b""
    return answer.status, answer.headers["x-headcount"]


def test_a_recorded_life_is_one_session_that_counts() -> None:
    async def scenario(door: FrontDoor) -> Any:
        answers = [
            await ask(door.app, "POST", "/cmcd", sent.body, headers={"content-type": "application/cmcd"})
            for sent in posts("hls-event-life")
        ]
        assert {(answer.status, answer.headers["x-headcount"]) for answer in answers if answer} == {(204, "taken=1;repeated=0;ignored=0")}
        described = await ask(door.app, "GET", "/v1/sessions/cmcd:e338358c-eee3-4937-bfe5-e71e46067720", token=OPS)
        return described, await ask(door.app, "GET", "/v1/concurrency", token=OPS)

    session, concurrency = run(scenario)
    assert (session.json["session_id"], session.json["playback"]) == ("cmcd:e338358c-eee3-4937-bfe5-e71e46067720", "playing")
    assert (session.json["reporter"]["player"], session.json["reporter"]["taken"]) == ("hls.js", 24)
    assert concurrency.json["sessions"] == 1


def test_what_became_of_each_report_is_told() -> None:
    newer = b'e=t,sid="s",ts=1730484899000,v=3\n'
    body = BODY + BODY + newer + b"e=t,ts=1730484899000,v=2\n" + b"?\n"
    assert told(body) == (204, "taken=1;repeated=1;ignored=3;newer_version=1;without_sid=1;unreadable=1")


def test_reports_of_several_sessions_in_one_post_are_each_given_to_theirs() -> None:
    assert told(BODY + BODY.replace(b'"s"', b'"t"')) == (204, "taken=2;repeated=0;ignored=0")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"token": "wrong"}, "unknown_token"),
        ({"token": None}, "unknown_token"),
        ({"token": OPS}, "unknown_token"),
        ({"headers": {"content-encoding": "br"}}, "unreadable"),
        ({"body": b"e=t," + b"x" * limits.BODY_BYTES_MAX}, "unreadable"),
    ],
)
def test_refusals_are_answered_204_too(request_: dict[str, Any], reason: str) -> None:
    assert told(**request_) == (204, f"taken=0;repeated=0;ignored=0;{reason}=1")


def test_the_token_may_stand_in_the_url_and_the_body_be_compressed() -> None:
    assert told(gzip.compress(BODY), token=None, query=b"access_token=ingest-token", headers={"content-encoding": "gzip"})[1].startswith(
        "taken=1"
    )
    assert told(b"")[1] == "taken=0;repeated=0;ignored=0"


@pytest.mark.parametrize("refusing", [NotTaken.OVERLOADED, NotTaken.NO_JOURNAL])
def test_a_shard_that_takes_nothing_is_no_reason_to_send_it_again(refusing: NotTaken) -> None:
    async def scenario(door: FrontDoor) -> Any:
        door.shard.refusing = refusing
        answer = await ask(door.app, "POST", "/cmcd", BODY)
        assert answer is not None
        return answer.status, answer.headers["x-headcount"], dict(door.tallies.report().increments)  # type: ignore[union-attr]

    status, header, counted = run(scenario)
    assert (status, header) == (204, "taken=0;repeated=0;ignored=1;overloaded=1")
    assert counted["cmcd_reports", "unknown", "overloaded"] == 1


def test_too_many_requests_at_once_are_not_looked_at() -> None:
    answer = run(lambda door: ask(door.app, "POST", "/cmcd", BODY), rules=Rules(slots=SLOTS, open_requests_max=0))
    assert (answer.status, answer.headers["x-headcount"]) == (204, "taken=0;repeated=0;ignored=0;overloaded=1")


def test_a_client_that_leaves_in_the_middle_of_its_body_is_not_answered() -> None:
    assert run(lambda door: ask(door.app, "POST", "/cmcd", BODY, leaves=True)) is None


def test_every_answer_names_the_asking_origin_so_that_players_believe_it() -> None:
    for request in ({}, {"token": "wrong"}):
        headers = post(headers={"origin": "https://page.example"}, **request).headers
        assert headers["access-control-allow-origin"] == "https://page.example"
        assert headers["access-control-allow-credentials"] == "true"
        assert headers["vary"] == "origin"
        assert headers["access-control-expose-headers"] == "retry-after, x-headcount"


def test_a_preflight_holds_for_a_day_for_the_exact_origin() -> None:
    asked = {"origin": "https://page.example", "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    answer = run(lambda door: ask(door.app, "OPTIONS", "/cmcd", headers=asked, token=None))
    assert (answer.status, answer.headers["access-control-max-age"], answer.headers["access-control-allow-headers"]) == (
        204,
        "86400",
        "content-type",
    )
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert answer.headers["access-control-allow-methods"] == "POST, OPTIONS"


def test_only_posts_are_reports() -> None:
    answer = run(lambda door: ask(door.app, "GET", "/cmcd"))
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")


def test_keys_that_were_dropped_are_counted_by_player() -> None:
    async def scenario(door: FrontDoor) -> Any:
        await ask(door.app, "POST", "/cmcd", b'e=ps,sta=p,sid="s",sf=d,br=(0;v),ltc=-1,ts=1730484899000')
        return dict(door.tallies.report().increments)  # type: ignore[union-attr]

    counted = run(scenario)
    assert (counted["cmcd_dropped_keys", "dash.js", "br"], counted["cmcd_dropped_keys", "dash.js", "ltc"]) == (1, 1)
