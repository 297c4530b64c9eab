"""What was rendered is read back."""

from metrics import scrape
from metrics.collector import render
from metrics.reports import ReplicaReport, ShardReport, SlotReport
from metrics.totals import Totals
from sessions.changes import Ledger


def test_counters_come_back_under_the_keys_that_fed_them() -> None:
    totals = Totals(now=0.0)
    ledger = Ledger(started=5, provisional=4, promoted=3, revived=2, expired=1, ended={"error": 6})
    slot = SlotReport(0, 1, True, {("state", "playing"): 1}, ledger, 1, {("heartbeats",): 7, ("events", "tip"): 8})
    totals.add_shard(ShardReport("shard-0", "life", 1, {0: 1}, [slot], 0, 0, 0, True, 0, 1, {}), now=1.0)
    totals.add_replica(ReplicaReport("r", 1, {("rejected", "start", "bad_json"): 9}), now=1.0)
    counted = scrape.counters(scrape.read(render(totals, openmetrics=False, now=1.0).decode()))
    assert {key: value for key, value in counted.items() if value} == {
        ("started",): 5,
        ("provisional",): 4,
        ("promoted",): 3,
        ("revived",): 2,
        ("expired",): 1,
        ("ended", "error"): 6,
        ("heartbeats",): 7,
        ("events", "tip"): 8,
        ("rejected", "start", "bad_json"): 9,
    }
