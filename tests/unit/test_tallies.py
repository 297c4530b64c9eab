"""What a replica counts reaches the exporter once, whatever is lost on the way."""

import asyncio
from typing import Any

import pytest

from metrics.reports import ReplicaReport
from serve_app.delivery import tallies as module
from serve_app.delivery.actor_calls import ActorAwayError
from serve_app.delivery.tallies import Tallies, report_forever


def test_nothing_new_is_nothing_to_report() -> None:
    assert Tallies("r").report() is None


def test_a_report_stays_the_same_until_it_was_taken() -> None:
    tallies = Tallies("r")
    tallies.rejected("start", "bad_json")
    first = tallies.report()
    tallies.rejected("start", "bad_json")
    tallies.rejected("start", "bad_json")
    assert tallies.report() is first
    assert first == ReplicaReport("r", 1, {("rejected", "start", "bad_json"): 1})
    tallies.taken(0)
    assert tallies.report() is first
    tallies.taken(1)
    assert tallies.report() == ReplicaReport("r", 2, {("rejected", "start", "bad_json"): 2})


def test_an_acknowledgement_falls_into_its_bucket() -> None:
    tallies = Tallies("r")
    tallies.acknowledged("heartbeat", 0.004)
    tallies.acknowledged("heartbeat", -0.1)
    report = tallies.report()
    assert report is not None
    assert report.increments == {
        ("ingest_seconds", "le", "2", "heartbeat"): 1,
        ("ingest_seconds", "le", "0", "heartbeat"): 1,
        ("ingest_seconds", "sum", "heartbeat"): pytest.approx(0.004),
    }


def test_what_the_exporter_missed_is_offered_again_and_added_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPORT_EVERY_S", 0.0)
    added: dict[int, Any] = {}
    offers = 0
    lost, second = asyncio.Event(), asyncio.Event()

    async def send(report: ReplicaReport) -> int:
        nonlocal offers
        offers += 1
        if offers == 1:
            msg = "away"
            raise ActorAwayError(msg)
        added.setdefault(report.number, report.increments)
        if report.number == 2:
            second.set()
        if offers == 2:
            lost.set()
            msg = "the answer was lost"
            raise ActorAwayError(msg)
        return report.number

    async def scenario() -> None:
        tallies = Tallies("r")
        tallies.rejected("start", "bad_json")
        reporting = asyncio.create_task(report_forever(tallies, send))
        await lost.wait()
        tallies.rejected("start", "bad_json")
        await second.wait()
        reporting.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 10))
    assert sum(increments["rejected", "start", "bad_json"] for increments in added.values()) == 2
