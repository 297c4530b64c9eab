"""What listeners of the live page are told: a picture, then changes; who asks whom how often, and who is not waited for."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import pytest

from metrics.live import News
from serve_app.delivery.actor_calls import ActorAwayError
from serve_app.operators.live import Broadcast, Listener, Mirror, changes
from tests.front_door import OPS, FrontDoor, ask
from tests.simulation import virtual_time


def line(at: int) -> tuple[int, ...]:
    return (at, 0, 0, 5, 0, 0, 0, 0, 0, 1, 0)


def news(version: int, *lines: int, life: str = "life", sessions: int = 5, **streams: list[int]) -> News:
    return News(life, version, 10, [line(at) for at in lines], {"sessions": sessions, "streams": streams, "sparks": {}})


def told(message: bytes) -> list[tuple[str, str, Any]]:
    """Return (id, event, data) of each event in these bytes."""
    found = []
    for part in message.decode().split("\n\n")[:-1]:
        fields = dict(row.split(": ", 1) for row in part.split("\n"))
        found.append((fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]) if "data" in fields else fields))
    return found


def test_a_change_tells_what_is_new_and_which_streams_are_gone() -> None:
    before = {"sessions": 3, "watching": 2, "streams": {"a": [1], "b": [2], "c": [3]}, "sparks": {"a": [1]}}
    after = {"sessions": 4, "watching": 2, "streams": {"a": [1], "b": [9], "d": [4]}, "sparks": {"a": [1, 2]}}
    assert changes(before, after) == {"sessions": 4, "streams": {"b": [9], "d": [4]}, "gone": ["c"]}
    assert changes(after, after) == {}


def test_a_replica_passes_on_the_lines_it_did_not_have_and_what_changed() -> None:
    mirror = Mirror()
    mirror.take(news(1, 10, 11))
    ((number, name, data),) = told(mirror.take(news(2, 12, sessions=6)) or b"")
    assert (number, name) == ("life.12", "change")
    assert data == {"lines": [list(line(12))], "sessions": 6}
    assert mirror.take(news(3, sessions=6)) is None, "nothing is new"


def test_another_exporters_first_news_is_a_whole_picture() -> None:
    mirror = Mirror()
    mirror.take(news(1, 10, 11))
    ((number, name, data),) = told(mirror.take(news(1, 30, life="next")) or b"")
    assert (number, name, data["life"], data["resumed"]) == ("next.30", "picture", "next", False)
    assert [each[0] for each in data["lines"]] == [30]


@pytest.mark.parametrize(
    ("last_id", "resumed", "seconds"),
    [
        ("life.11", True, [12]),
        ("life.12", True, []),
        ("", False, [10, 11, 12]),
        ("another.11", False, [10, 11, 12]),
        ("life.", False, [10, 11, 12]),
        ("life.x", False, [10, 11, 12]),
        ("life." + "9" * 5_000, False, [10, 11, 12]),
        ("\u00b9", False, [10, 11, 12]),
        ("life.\u00b9", False, [10, 11, 12]),
    ],
)
def test_who_comes_back_is_told_the_seconds_that_it_missed(last_id: str, resumed: bool, seconds: list[int]) -> None:
    mirror = Mirror()
    mirror.take(news(1, 10, 11, 12))
    ((number, _, data),) = told(mirror.picture(last_id))
    assert (number, data["resumed"], [each[0] for each in data["lines"]]) == ("life.12", resumed, seconds)
    assert data["now"]["sessions"] == 5


class Exporter:
    """Has news every second; `away`: does not answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.away = False

    async def live(self, life: str, version: int, newest: int) -> News:
        self.asked.append((life, version, newest))
        if self.away:
            raise ActorAwayError
        if version:
            await asyncio.sleep(1)
        return news(version + 1, 10 + version, sessions=version)


async def everything(listener: Listener) -> list[tuple[str, str, Any]]:
    """Return all that waits for it by now."""
    await asyncio.sleep(0.01)
    return told(await listener.next())


def broadcasts(scenario: Callable[[Broadcast, Exporter], Awaitable[None]]) -> None:
    async def run() -> None:
        exporter = Exporter()
        loop = asyncio.get_running_loop()

        def broken(problem: BaseException) -> None:
            raise problem

        await scenario(Broadcast(exporter.live, monotonic=loop.time, on_broken=broken), exporter)

    virtual_time.run(run())


def always() -> bool:
    return True


def test_a_listener_is_told_when_to_come_back_then_a_picture_and_then_a_change_each_second() -> None:
    async def scenario(broadcast: Broadcast, _: Exporter) -> None:
        with broadcast.listen("", admitted=always) as listener:
            first, second = await everything(listener)
            assert first[2] == {"retry": "1000"}
            assert (second[1], second[0]) == ("picture", "life.10")
            await asyncio.sleep(3.5)
            assert [(name, number) for number, name, _ in await everything(listener)] == [
                ("change", "life.11"),
                ("change", "life.12"),
                ("change", "life.13"),
            ]

    broadcasts(scenario)


def test_a_hundred_listeners_ask_the_exporter_once_a_second_and_nobody_asks_it_without_one() -> None:
    async def scenario(broadcast: Broadcast, exporter: Exporter) -> None:
        with ExitStack() as listeners:
            for _ in range(100):
                listeners.enter_context(broadcast.listen("", admitted=always))
            await asyncio.sleep(5.5)
            assert len(exporter.asked) == 7  # one for the picture, one under way, and five that were answered
        await asyncio.sleep(60)
        assert len(exporter.asked) == 7
        # What was missed since then is asked for, and the picture waits for it.
        with broadcast.listen("life.12", admitted=always) as late:
            assert len(await everything(late)) == 1
            await asyncio.sleep(1)
            ((_, name, data),) = await everything(late)
            assert (name, data["lines"][0][0]) == ("picture", 13)
        assert exporter.asked[-2][0] == "life"

    broadcasts(scenario)


def test_while_the_exporter_is_away_that_is_told_once_and_a_comment_each_15_s() -> None:
    async def scenario(broadcast: Broadcast, exporter: Exporter) -> None:
        with broadcast.listen("", admitted=always) as listener:
            await everything(listener)
            exporter.away = True
            await asyncio.sleep(31)
            said = (await listener.next()).decode()
            assert said.count("event: away") == 1
            assert said.count(": still here") == 1
            with broadcast.listen("", admitted=always) as newcomer:
                assert [name for _, name, _ in await everything(newcomer)] == ["", "away"]
                exporter.away = False
                await asyncio.sleep(3)
                assert next(name for _, name, _ in await everything(newcomer)) == "picture"
            assert "change" in [name for _, name, _ in told((await listener.next()).replace(b": still here\n\n", b""))]

    broadcasts(scenario)


@pytest.mark.reaches("LIVE_MESSAGES_MAX")
def test_who_does_not_read_eight_messages_is_dropped_and_nobody_waits_for_it() -> None:
    async def scenario(broadcast: Broadcast, _: Exporter) -> None:
        with broadcast.listen("", admitted=always) as slow, broadcast.listen("", admitted=always) as quick:
            await everything(quick)
            for _ in range(6):  # with the retry and the picture they are eight
                await asyncio.sleep(1)
                await quick.next()
            await asyncio.sleep(0.1)
            assert not slow.over.is_set()
            await asyncio.sleep(1)
            assert slow.over.is_set()
            assert not quick.over.is_set()

    broadcasts(scenario)


def test_whose_token_is_no_longer_good_is_hung_up_on() -> None:
    async def scenario(broadcast: Broadcast, _: Exporter) -> None:
        good = [True]
        with broadcast.listen("", admitted=lambda: good[0]) as listener:

            async def read() -> None:
                while True:
                    await listener.next()

            reading = asyncio.create_task(read())
            await asyncio.sleep(20)
            assert not listener.over.is_set()
            good[0] = False
            await asyncio.wait_for(listener.over.wait(), 16)
            reading.cancel()

    broadcasts(scenario)


@pytest.mark.reaches("LIVE_LISTENERS_MAX")
def test_256_listen_to_a_replica_and_one_more_is_refused() -> None:
    async def scenario() -> None:
        door = FrontDoor()
        with ExitStack() as listeners:
            for _ in range(255):
                listeners.enter_context(door.broadcast.listen("", admitted=always))
            taken = await ask(door.app, "GET", "/live", token=OPS, leaves=True)
            assert taken is not None
            assert taken.status == 200
            listeners.enter_context(door.broadcast.listen("", admitted=always))
            refused = await ask(door.app, "GET", "/live", token=OPS)
            assert refused is not None
            assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "2")

    asyncio.run(scenario())


def test_a_listener_that_leaves_is_forgotten_and_its_answer_said_what_it_is() -> None:
    async def scenario() -> None:
        door = FrontDoor()
        answer = await ask(door.app, "GET", "/live", token=OPS, leaves=True)
        assert answer is not None
        assert (answer.status, answer.headers["content-type"], answer.headers["cache-control"]) == (
            200,
            "text/event-stream; charset=utf-8",
            "no-store",
        )
        assert "content-length" not in answer.headers
        assert not door.broadcast._listeners
        assert not door.broadcast._newcomers

    asyncio.run(scenario())


def test_when_everything_ends_every_answer_ends() -> None:
    async def scenario() -> None:
        door = FrontDoor()
        listening = asyncio.create_task(ask(door.app, "GET", "/live", token=OPS))
        while not door.broadcast._listeners:  # noqa: ASYNC110 - until it was told its picture
            await asyncio.sleep(0)
        door.broadcast.close()
        answer = await asyncio.wait_for(listening, 5)
        assert answer is not None
        assert b"event: picture\n" in answer.body

    asyncio.run(scenario())
