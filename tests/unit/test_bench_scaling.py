"""What more viewers would take, from what one heartbeat costs."""

import pytest

from bench.scaling import needs, table

PARTS = {"haproxy": 50.0, "replicas: mailbox": 30.0, "replicas: answer": 70.0, "shards: apply": 40.0, "valkey": 20.0, "exporter": 500.0}


def test_every_kind_takes_its_time_times_the_beats() -> None:
    of = needs(PARTS, viewers=300_000)
    assert of["beats"] == 10_000
    assert (of["haproxy"], of["replicas"], of["shards"], of["valkey"]) == pytest.approx((0.5, 1.0, 0.4, 0.2))
    assert of["cores"] == pytest.approx(2.1), "what goes on without players does not grow with them"
    assert of["replica processes"] == 2


def test_a_shard_holds_no_more_sessions_than_it_may() -> None:
    assert needs({"shards: apply": 0.001}, viewers=10_000_000)["shard actors"] == 10


def test_the_table_has_a_column_for_each_audience() -> None:
    assert "10,000,000 viewers" in table({"points": [{"parts_us": PARTS, "cpu_us_total": 710.0}]})
