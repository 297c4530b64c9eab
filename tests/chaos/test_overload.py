"""
Ten times too many, for a minute: the long form of the overload, with its times.

The short form, which claims everything but the times, is in `tests/integration/test_under_load.py`.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.results import machine
from tests.integration.installation import Installation, wait_until
from tests.overload import Flood, Probes, memory_mb, percentile

BUSY = 256
"""Connections that keep two replicas busy: with more, only the waiting grows."""
TIMES = 10
MINUTE_S = 60.0
RESULTS = Path(__file__).resolve().parents[2] / "bench/results/overload.json"


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "overload")
    try:
        installation.start()
        yield installation
    finally:
        installation.clean_up()


@pytest.mark.long
def test_ten_times_too_many_for_a_minute_are_answered_within_two_seconds_and_gone_five_seconds_later(tracker: Installation) -> None:
    served = _flood(tracker, BUSY, 10.0)["200"] / 10.0
    flood = Flood(tracker)
    with Probes(tracker).asking() as probes:
        try:
            flood.rise_to(BUSY * TIMES)
            began_at = time.monotonic()
            wait_until(lambda: time.monotonic() > began_at + 15.0, within_s=20, what="it is full")
            full_mb = memory_mb(tracker)
            wait_until(lambda: time.monotonic() > began_at + MINUTE_S, within_s=MINUTE_S, what="the minute")
            end_mb = memory_mb(tracker)
        finally:
            answers = flood.stop()
            flood.kill()
        over_at = time.monotonic()
        told = [each for each in probes.since(began_at) if each.told_at < over_at]
        wait_until(lambda: time.monotonic() > over_at + 10.0, within_s=15, what="it is calm")
        wait_until(lambda: probes.players[-1].interval_s == 30, within_s=30, what="the interval is the configured one again")
        back_s = time.monotonic() - over_at
    after = probes.since(over_at + 5.0)
    taken, refused = ([each for each in told if (each.status == 200) is good] for good in (True, False))
    result = {
        "machine": machine(),
        "connections": BUSY * TIMES,
        "busy_per_s": round(served),
        "answers": answers,
        "taken": {"count": len(taken), "p50_s": round(percentile(taken, 0.5), 3), "p99_s": round(percentile(taken, 0.99), 3)},
        "refused": {"count": len(refused), "p99_s": round(percentile(refused, 0.99), 3) if refused else None},
        "after_5_s": {"p50_s": round(percentile(after, 0.5), 3), "p99_s": round(percentile(after, 0.99), 3)},
        "interval_back_after_s": round(back_s, 1),
        "memory_mb": {"after 15 s": full_mb, "after 60 s": end_mb},
        "intervals": dict(sorted(Counter(each.interval_s for each in taken).items())),
    }
    print(json.dumps(result))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    assert taken
    assert {each.status for each in refused} <= {503}
    assert percentile(told, 0.99) < 2.0
    assert max(each.interval_s for each in taken) > 30
    assert {each.status for each in after} == {200}
    assert percentile(after, 0.99) < 1.0
    assert {kind: end_mb[kind] for kind in full_mb if end_mb[kind] > full_mb[kind] * 1.2} == {}


def _flood(tracker: Installation, connections: int, seconds: float) -> dict[str, int]:
    flood = Flood(tracker)
    try:
        flood.rise_to(connections)
        until = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() > until, within_s=seconds + 5, what="it is measured")
        return flood.stop()
    finally:
        flood.kill()
