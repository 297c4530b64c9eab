"""
Each benchmark, as short as can be: it starts what it compares, loads it, and finds the number right.

Figures are not judged here, only that there are some and that nobody failed: this machine does other things meanwhile.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from bench import breakdown, capacity, idle, ingest, ingest_table, journal, scrape, tools
from bench.contenders import CONTENDERS, FLOOR, HEADCOUNT, Contender, Running, started
from tests.integration.installation import wait_until

PEERS = [each for each in CONTENDERS if each.name in {"redis", "stateless", "starlette", "nginx"}]


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    for name in ("wrk", "nginx"):
        try:
            tools.find(name)
        except tools.MissingToolError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="module")
def both() -> Iterator[dict[str, Running]]:
    """Start Headcount and the floor beside each other: each takes a while."""
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        starting = [
            threads.submit(stack.enter_context, started(HEADCOUNT, workers=2, HEARTBEAT_INTERVAL_S="2")),
            threads.submit(stack.enter_context, started(FLOOR, workers=1)),
        ]
        yield {running.contender.name: running for running in [each.result() for each in starting]}


@pytest.fixture(scope="module")
def headcount(both: dict[str, Running]) -> Running:
    return both["headcount"]


def test_the_floor_answers_heartbeats(both: dict[str, Running]) -> None:
    turn = ingest.measure_one(both["floor"], seconds=1, connections=[4], sessions=[100], warm=False)
    assert turn["points"][0]["requests"] > 0
    assert ingest_table.failed(turn["points"][0]) == 0
    assert turn["watching"] is None


def test_capacity_finds_every_count_right(headcount: Running) -> None:
    size = capacity.measure(headcount, sessions=50, interval_s=2, seconds=8.0, stay_s=8.0)
    assert capacity.failures(size) == 0
    assert size["counts"]["vanished"] > 0
    assert size["freshness_samples"] > 0
    assert size["right"] == size["asked"], size["series"]
    assert size["lost"] == 0, (size["acknowledged"], size["counted"])
    assert size["acknowledged"].keys() == {"start", "beat", "end"}
    assert size["audit"]["holds"], size["audit"]
    assert "| 50 |" in capacity.table({"sizes": [size], "seconds": 8.0})


def test_breakdown_names_the_parts_of_a_heartbeat(headcount: Running) -> None:
    try:
        result = breakdown.measure(headcount, connections=[32], seconds=2, sessions=100)
    except breakdown.SamplerError as error:
        pytest.skip(str(error))
    point = result["points"][0]
    parts = point["parts_us"]
    assert {"haproxy", "valkey", f"replicas: {breakdown.CARRIERS}", f"shards: {breakdown.CARRIERS}"} <= parts.keys()
    assert point["samples"]["replicas"] > 0
    assert len([part for part in parts if part.startswith("replicas: ")]) > 1
    assert sum(breakdown.grouped(parts).values()) == pytest.approx(sum(parts.values()))
    assert "| haproxy |" in breakdown.table(result)


def test_idle_sees_every_process(headcount: Running) -> None:
    ours = idle.measure(headcount, settle_s=0.0, seconds=0.5)
    assert {"up", "replicas", "shards", "haproxy", "valkey", "exporter", "directory"} <= ours["memory_mb"].keys()
    turns = [{"contender": name, "round": 0, **ours} for name in ("headcount", "floor")]
    assert "| **all** |" in idle.table({"turns": turns})


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_answers_and_counts_what_it_can(peer: Contender) -> None:
    with started(peer, workers=1) as running:
        turn = ingest.measure_one(running, seconds=1, connections=[4], sessions=[100], warm=False)
    assert turn["points"][0]["requests"] > 0
    assert sum(ingest_table.failed(point) for point in turn["points"]) == 0
    assert ingest_table.is_right(turn) is not False, turn
    result = {"turns": [{"contender": peer.name, "round": 0, **turn}]}
    assert peer.title in ingest_table.table(result)


def test_scrape_sees_every_session_and_times_each_scrape(headcount: Running) -> None:
    wait_until(lambda: headcount.watching() == 0, within_s=20, what="everybody of the tests before is gone")
    sessions, streams, rounds, seconds = scrape.SMOKE
    result = scrape.measure(headcount, sessions=sessions, streams=streams, rounds=rounds, seconds=seconds)
    assert result["summary"]["scrape_ms_under_load"]["count"] > 0
    assert all(size > 1_000 for size in result["summary"]["bytes"].values())
    assert "| its size |" in scrape.table(result)


# Behind the test that waits until nobody is live: who reports stays for 90 s.
def test_ingest_counts_what_it_sent_to_headcount(headcount: Running) -> None:
    turn = ingest.measure_one(headcount, seconds=1, connections=[4], sessions=[100], warm=False)
    assert [point["kind"] for point in turn["points"]] == ["heartbeats", "pixels", "reports", "batches"]
    for point in turn["points"]:
        assert point["requests"] > 0
        assert ingest_table.failed(point) == 0
        assert {"replicas", "shards", "haproxy", "valkey"} <= point["cpu_us"].keys()
    assert turn["watching"] is not None


def test_the_journal_is_measured_alone_and_a_smoke_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench.journal", "--smoke"])
    journal.main()
    printed = capsys.readouterr().out
    assert "sessions load from" in printed
    assert "written" not in printed
