"""
Measure how fast reports of players that report by themselves are read, on one core: bytes to what a shard is sent.

    python -m bench.reports

What real players sent (`tests/players/`), in posts of one report and of many, in processor time; the best of several rounds.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from bench.results import machine, write_result
from serve_app.cmcd.mapper import map_records
from serve_app.cmcd.reader import read_records
from tests.players.recordings import posts

RECORDINGS: Final = ("hls-event-life", "dash-event-life", "shaka-event-life")
ROUNDS: Final = 7
TARGET_PER_S: Final = 50_000
NOW: Final = 1_795_836_426.0


def main() -> None:
    """Measure, print and write the result."""
    bodies = [post.body for name in RECORDINGS for post in posts(name)]
    whole = [b"".join(bodies)]
    result = {
        "machine": machine(),
        "records_read_per_s": _rate(read_records, whole, len(bodies)),
        "reports_mapped_per_s": _rate(_map, whole, len(bodies)),
        "single_reports_mapped_per_s": _rate(_map, bodies, len(bodies)),
    }
    for name, rate in result.items():
        if isinstance(rate, int):
            print(f"{name}: {rate:,}")
    print(
        f"target: {TARGET_PER_S:,} records read a second: {'met' if int(str(result['records_read_per_s'])) >= TARGET_PER_S else 'missed'}"
    )
    print("written:", write_result("reports", result))


def _map(body: bytes) -> object:
    return map_records(read_records(body), {}, target=1, now=NOW)


def _rate(work: Callable[[bytes], object], bodies: Sequence[bytes], records: int) -> int:
    best_s = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(20):
            for body in bodies:
                work(body)
        best_s = min(best_s, time.process_time() - began)
    return round(20 * records / best_s)


if __name__ == "__main__":
    main()
