"""The exporter's loops, with shards that answer, sleep, die and lie; Ray is not started."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError
from structlog.testing import capture_logs

from actors import exporter as module
from actors.config import TrackerConfig
from actors.exporter import Exporter
from metrics.reports import Known, ReplicaReport, ShardReport, SlotReport
from sessions.changes import Increments, Ledger

CONFIG = TrackerConfig(
    journal_url="", namespace="n", instance_id="i", shards=2, slots=2, heartbeat_interval_s=30, expiry_intervals=3, revive_window_s=1_800.0
)


class Shard:
    """Looks like a handle: `shard.collect.remote(known)`."""

    def __init__(self, name: str, answer: Callable[["Shard", Known], Awaitable[ShardReport]]) -> None:
        self.name = name
        self.asked: list[Known] = []
        self.answer = answer
        self.number = 0

    @property
    def collect(self) -> "Shard":
        return self

    def remote(self, known: Known) -> Awaitable[ShardReport]:
        self.asked.append(known)
        return self.answer(self, known)

    def report(self, known: Known, *, increments: Increments | None = None) -> ShardReport:
        self.number += 1
        slot = int(self.name[-1])
        audience = {("state", "playing"): 5, ("stream", "s", "playing"): 5}
        said = [SlotReport(slot, 1, True, audience, Ledger(started=5), 0, {})] if not known.incarnation else []
        return ShardReport(self.name, "life", self.number, {slot: 1}, said, 5, 0, 0, True, 0, 1, increments or {})


async def answers(shard: Shard, known: Known) -> ShardReport:
    return shard.report(known)


async def sleeps(shard: Shard, known: Known) -> ShardReport:
    await asyncio.sleep(3_600)
    return shard.report(known)


async def lies(shard: Shard, known: Known) -> ShardReport:
    return shard.report(known, increments={("batch_events", "le", "3"): -1})


async def comes_from_a_newer_build(shard: Shard, known: Known) -> ShardReport:
    return shard.report(known, increments={("of tomorrow",): 1})


async def is_away(shard: Shard, known: Known) -> ShardReport:
    if len(shard.asked) == 1:
        raise ActorUnavailableError("gone for a moment", None)
    return shard.report(known)


async def is_away_for_long(shard: Shard, known: Known) -> ShardReport:
    if len(shard.asked) < 5:
        raise ActorUnavailableError("gone for longer", None)
    return shard.report(known)


async def is_dead(shard: Shard, known: Known) -> ShardReport:
    raise ActorDiedError


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("COLLECT_EVERY_S", 0.02), ("ANSWERS_WITHIN_S", 0.01), ("LOOK_UP_EVERY_S", 0.02), ("HEARD_WITHIN_S", 0.0)):
        monkeypatch.setattr(module, name, value)


def collected_from(
    monkeypatch: pytest.MonkeyPatch, find: Callable[[], dict[str, Shard]], until: Callable[[Exporter], Awaitable[bool]]
) -> None:
    """Let an exporter run on these shards until a condition holds; it has 5 s for that."""
    monkeypatch.setattr(module, "write_plainly", lambda: None)  # or nothing could be captured
    monkeypatch.setattr(module, "find_shards", lambda _namespace, held: {name: held.get(name) or shard for name, shard in find().items()})

    async def run() -> None:
        exporter = object.__new__(Exporter)
        await exporter.__init__(CONFIG)  # type: ignore[misc]
        try:
            async with asyncio.timeout(5):
                while not await until(exporter):  # noqa: ASYNC110 - any condition, from outside
                    await asyncio.sleep(0.01)
        finally:
            exporter._loops.cancel()
            for call in exporter._calls.values():
                call.cancel()

    asyncio.run(run())


def two(first: Callable[..., Any], second: Callable[..., Any]) -> dict[str, Shard]:
    return {name: Shard(name, answer) for name, answer in (("headcount-shard-0", first), ("headcount-shard-1", second))}


async def sessions(exporter: Exporter, stream_id: str | None = None) -> object:
    told = await exporter.concurrency(stream_id)
    return told and told["sessions"]


async def body(exporter: Exporter, *, openmetrics: bool = True) -> str:
    rendered = await exporter.render(openmetrics=openmetrics)
    assert rendered is not None
    return rendered.decode()


def test_sessions_of_all_shards_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = two(answers, answers)

    async def both(exporter: Exporter) -> bool:
        return await sessions(exporter) == 10

    collected_from(monkeypatch, lambda: shards, both)


def test_after_a_start_nothing_is_shown_before_every_slot_was_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """One shard answers at once, the other is away at first: half of the truth is none, and each answer is the whole."""
    monkeypatch.setattr(module, "HEARD_WITHIN_S", 60.0)
    monkeypatch.setattr(module, "PATIENCE_S", 0.005)
    shards = two(answers, is_away_for_long)
    told: list[object] = []

    async def both(exporter: Exporter) -> bool:
        rendered = await exporter.render(openmetrics=False)
        told.append(await sessions(exporter))
        if rendered is not None:
            assert "headcount_sessions_started_total 10.0" in rendered.decode()
        return rendered is not None and told[-1] is not None

    collected_from(monkeypatch, lambda: shards, both)
    assert (told[0], told[-1]) == (None, 10)
    assert set(told) == {None, 10}


def test_a_slot_that_nobody_owns_holds_the_gauges_back_for_a_while_and_the_ledger_as_long_as_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HEARD_WITHIN_S", 0.1)
    shards = two(answers, sleeps)

    async def shown(exporter: Exporter) -> bool:
        if await exporter.render(openmetrics=False) is None:
            return False
        text = await body(exporter, openmetrics=False)
        assert 'headcount_sessions{state="playing"} 5.0' in text
        assert "headcount_sessions_started_total 5.0" not in text
        return True

    collected_from(monkeypatch, lambda: shards, shown)


def test_a_shard_that_does_not_answer_delays_nobody_and_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = two(answers, sleeps)

    async def asked_often(exporter: Exporter) -> bool:
        assert "headcount_sessions" in await body(exporter, openmetrics=False)
        return len(shards["headcount-shard-0"].asked) > 10 and await sessions(exporter) == 5

    collected_from(monkeypatch, lambda: shards, asked_often)
    assert len(shards["headcount-shard-1"].asked) == 1


def test_a_call_that_takes_too_long_counts_as_lost_and_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_S_MAX", 0.05)
    shards = two(answers, sleeps)

    async def asked_again(_: Exporter) -> bool:
        return len(shards["headcount-shard-1"].asked) > 2

    collected_from(monkeypatch, lambda: shards, asked_again)


def test_each_collection_says_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = two(answers, answers)

    async def asked_thrice(_: Exporter) -> bool:
        return len(shards["headcount-shard-0"].asked) >= 3

    collected_from(monkeypatch, lambda: shards, asked_thrice)
    assert [(known.incarnation, known.number) for known in shards["headcount-shard-0"].asked[:3]] == [("", 0), ("life", 1), ("life", 2)]


def test_a_shard_that_is_away_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = two(answers, is_away)

    async def both(exporter: Exporter) -> bool:
        return await sessions(exporter) == 10

    collected_from(monkeypatch, lambda: shards, both)


def test_the_handle_of_a_dead_shard_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    generations = [two(answers, is_dead), two(answers, answers)]

    def find() -> dict[str, Shard]:
        return generations[bool(generations[0]["headcount-shard-1"].asked)]

    async def both(exporter: Exporter) -> bool:
        return await sessions(exporter) == 10

    collected_from(monkeypatch, find, both)


def test_a_shard_that_left_for_good_leaves_no_gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = two(answers, answers)

    async def left(exporter: Exporter) -> bool:
        body = (await exporter.render(openmetrics=False)).decode()
        if len(shards) == 2 and body.count("headcount_shard_sessions{") == 2:
            del shards["headcount-shard-1"]
        return len(shards) == 1 and body.count("headcount_shard_sessions{") == 1

    collected_from(monkeypatch, lambda: shards, left)


def test_a_report_that_cannot_be_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = two(answers, lies)

    async def asked_often(exporter: Exporter) -> bool:
        return len(shards["headcount-shard-1"].asked) > 5 and await sessions(exporter) == 5

    with capture_logs() as logs:
        collected_from(monkeypatch, lambda: shards, asked_often)
    assert {log["event"] for log in logs} == {"shard's report refused"}
    assert {known.number for known in shards["headcount-shard-1"].asked} == {0}


def test_what_a_newer_shard_counts_is_named_once_and_costs_the_rest_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = two(answers, comes_from_a_newer_build)

    async def asked_often(exporter: Exporter) -> bool:
        return len(shards["headcount-shard-1"].asked) > 5 and await sessions(exporter) == 10

    with capture_logs() as logs:
        collected_from(monkeypatch, lambda: shards, asked_often)
    assert [log["name"] for log in logs] == ["of tomorrow"]
    assert shards["headcount-shard-1"].asked[-1].number > 0


def test_one_stream_and_all_of_them_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = two(answers, answers)

    async def peaked(exporter: Exporter) -> bool:
        told = await exporter.concurrency("s")
        assert told is not None
        if not isinstance(told["peak"], dict) or told["peak"]["sessions"] != 10:
            return False
        assert (told["sessions"], told["watching"], told["peak_60s"]) == (10, 10, 10)
        assert told["states"] == {
            "shown": 0,
            "starting": 0,
            "playing": 10,
            "rebuffering": 0,
            "paused": 0,
            "failed": 0,
            "stalled": 0,
            "ad": 0,
        }
        everyone = await exporter.concurrency()
        assert everyone is not None
        assert [stream["stream_id"] for stream in everyone["streams"]] == ["s"]  # type: ignore[attr-defined]
        assert await sessions(exporter, "unheard of") == 0
        return True

    collected_from(monkeypatch, lambda: shards, peaked)


def test_what_a_replica_reports_is_acknowledged_and_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def reported(exporter: Exporter) -> bool:
        report = ReplicaReport("r", 3, {("rejected", "start", "bad_json"): 2})
        assert await exporter.report(report) == 3
        assert await exporter.report(report) == 3
        text = await body(exporter)
        assert 'headcount_rejected_total{endpoint="start",reason="bad_json"} 2.0' in text
        return text.endswith("# EOF\n")

    collected_from(monkeypatch, dict, reported)


def test_a_replicas_report_that_the_catalog_does_not_know_is_dropped_and_holds_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def reported(exporter: Exporter) -> bool:
        assert await exporter.report(ReplicaReport("r", 1, {("rejected", "start", "bad_json"): 2})) == 1
        assert await exporter.report(ReplicaReport("r", 2, {("rejected", "start", "bad_json"): float("nan")})) == 2
        assert await exporter.report(ReplicaReport("r", 3, {("rejected", "start", "bad_json"): 1})) == 3
        text = await body(exporter)
        assert 'headcount_rejected_total{endpoint="start",reason="bad_json"} 3.0' in text
        return True

    with capture_logs() as logs:
        collected_from(monkeypatch, dict, reported)
    assert [(log["event"], log["log_level"], log["number"]) for log in logs] == [("replica's report dropped", "error", 2)]
