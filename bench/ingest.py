"""
Measure heartbeats a second, and what one costs, beside what people would otherwise use.

    python -m bench.ingest [--rounds 3] [--seconds 3] [--only headcount,floor] [--connections 64,256]

Every contender takes its turn in every round, alone on the machine, with as many processes as Headcount has replicas;
Headcount with the defaults of `make up`. `wrk` sends real bodies over kept connections from the same machine: compare ratios, not
absolute figures. Processor time is that of all of a contender's processes, its Redis included, per accepted request. After its
turn each is asked how many are watching, which is known (`bench/wrk.py`). Tables are of medians over the rounds.
"""

import argparse
import os
import sys
import time
from typing import Any, Final

from bench.contenders import CONTENDERS, HEADCOUNT, Contender, ContenderError, Running, started
from bench.ingest_table import draw, failed, headlines, table
from bench.results import machine, write_result
from bench.tools import MissingToolError
from bench.wrk import Walk, load

__all__ = ["draw", "headlines", "table"]

CONNECTIONS: Final = (16, 64, 256, 1_000)
MANY: Final = 1_000
"""From so many connections on a point takes longer: its tail is what is asked for."""
SESSIONS: Final = (20_000, 200_000)
SPACES_AT: Final = 256
"""Connections at which the second number of sessions is measured."""
VISIBLE_S: Final = 2.0
"""Within this an acknowledged heartbeat shows in our number; who asks Redis sees it at once."""
ALIVE_S: Final = 80.0
"""After this the first sessions of a turn may have expired, and how many must be there is no longer known."""


def main() -> None:
    """Measure, print the tables, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each point; twice as long at 1,000 connections")
    parser.add_argument("--only", default=",".join(each.name for each in CONTENDERS), help="contenders, comma-separated")
    parser.add_argument("--connections", default=",".join(map(str, CONNECTIONS)))
    parser.add_argument("--sessions", default=",".join(map(str, SESSIONS)))
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--smoke", action="store_true", help="one second of each, to see that it works; writes nothing")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.rounds, chosen.seconds, chosen.connections, chosen.sessions = 1, 1, "4", "100"
    try:
        result = measure(
            [each for each in CONTENDERS if each.name in chosen.only.split(",")],
            rounds=chosen.rounds,
            seconds=chosen.seconds,
            connections=[int(each) for each in chosen.connections.split(",")],
            sessions=[int(each) for each in chosen.sessions.split(",")],
            workers=chosen.workers,
        )
    except (ContenderError, MissingToolError) as error:
        sys.exit(str(error))
    print(table(result))
    if not chosen.smoke:
        print("written:", write_result("ingest", result))


def measure(
    contenders: list[Contender], *, rounds: int, seconds: int, connections: list[int], sessions: list[int], workers: int
) -> dict[str, Any]:
    """Give everybody a turn in every round; return the result."""
    result: dict[str, Any] = {"machine": machine(), "rounds": rounds, "seconds": seconds, "workers": workers, "turns": []}
    for number in range(rounds):
        for contender in contenders:
            with started(contender, workers=workers) as running:
                turn = measure_one(running, seconds=seconds, connections=connections, sessions=sessions)
            result["turns"].append({"contender": contender.name, "round": number, **turn})
            _say(contender, number, turn)
    return result


def measure_one(running: Running, *, seconds: int, connections: list[int], sessions: list[int], warm: bool = True) -> dict[str, Any]:
    """Warm a contender up, measure each of its points, and ask it how many are watching."""
    walks: dict[tuple[str, int], Walk] = {}
    began_at, points = time.monotonic(), []
    spaces = sessions if running.contender.spaces else sessions[:1]
    for kind in running.contender.loads:
        for index, many in enumerate(spaces):
            walk = walks[kind, many] = Walk(f"{kind[0]}{many}", many)
            if warm and not index:
                load(running.url, walk, kind=kind, token=running.ingest_token, connections=64, seconds=1)
            wanted = connections if not index else [SPACES_AT]
            for count in [each for each in wanted if each in (running.contender.connections or wanted)]:
                length = seconds * 2 if count >= MANY else seconds
                points.append(_point(running, walk, kind=kind, connections=count, seconds=length))
    if running.contender is HEADCOUNT:
        time.sleep(VISIBLE_S)
    bounds = [walk.bounds for walk in walks.values()]
    known = time.monotonic() - began_at < ALIVE_S
    return {
        "ready_s": round(running.ready_s, 1),
        "points": points,
        "watching": running.watching(),
        "must_be": [sum(low for low, _ in bounds), sum(high for _, high in bounds)] if known else None,
    }


def _point(running: Running, walk: Walk, *, kind: str, connections: int, seconds: int) -> dict[str, Any]:
    before = running.cpu_s()
    figures = load(running.url, walk, kind=kind, token=running.ingest_token, connections=connections, seconds=seconds)
    spent = running.cpu_s()
    spent.subtract(before)
    accepted = max(1, figures["requests"] - figures["refused"])
    cpu_us = {each: round(used / accepted * 1e6, 1) for each, used in sorted(spent.items())}
    return {**figures, "cpu_us": cpu_us, "cpu_us_total": round(sum(cpu_us.values()), 1)}


def _say(contender: Contender, number: int, turn: dict[str, Any]) -> None:
    """Print one turn as it ends."""
    for point in turn["points"]:
        print(
            f"round {number + 1} {contender.name:>13} {point['kind']:>10} {point['connections']:>5} x {point['sessions']:>7,}: "
            f"{point['accepted_per_s']:>8,.0f}/s  p50 {point['p50_ms']:>6.1f}  p99 {point['p99_ms']:>7.1f}  p999 {point['p999_ms']:>7.1f} ms  "
            f"cpu {point['cpu_us_total']:>6.0f} µs  failed {failed(point)}  resent {point['tcp']['RetransSegs']}",
            flush=True,
        )
    print(f"        {contender.name:>13} ready in {turn['ready_s']} s; watching {turn['watching']}, must be {turn['must_be']}", flush=True)


if __name__ == "__main__":
    main()
