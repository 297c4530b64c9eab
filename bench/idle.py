"""
Measure what a tracker without players costs, beside bare Ray and Serve of the same shape, and how soon it is ready.

    python -m bench.idle [--rounds 2] [--seconds 20]

Both take turns, each alone: `headcount up` with its defaults, and the floor (`bench/peers/serve_floor.py`), which is Ray,
HAProxy and as many replicas with the same settings and an application that does nothing. Processor time is in shares of one
core; memory is the proportional set size of all processes.
"""

import argparse
import os
import sys
import time
from statistics import median
from typing import Any, Final

from bench.contenders import FLOOR, HEADCOUNT, ContenderError, Running, started
from bench.processes import memory_bytes
from bench.results import machine, write_result

ABOVE_FLOOR_MAX: Final = 0.05
MEMORY_GB_MAX: Final = 1.2
READY_S_MAX: Final = 25.0


def main() -> None:
    """Measure, print the tables, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--settle", type=float, default=8.0, help="seconds between ready and the measurement")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--smoke", action="store_true", help="as short as can be, to see that it works; writes nothing")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.rounds, chosen.settle, chosen.seconds = 1, 0.0, 1.0
    result: dict[str, Any] = {"machine": machine(), "seconds": chosen.seconds, "turns": []}
    try:
        for number in range(chosen.rounds):
            for contender in (HEADCOUNT, FLOOR):
                with started(contender, workers=len(os.sched_getaffinity(0))) as running:
                    turn = measure(running, settle_s=chosen.settle, seconds=chosen.seconds)
                result["turns"].append({"contender": contender.name, "round": number, **turn})
    except ContenderError as error:
        sys.exit(str(error))
    print(table(result))
    if not chosen.smoke:
        print("written:", write_result("idle", result))


def measure(running: Running, *, settle_s: float, seconds: float) -> dict[str, Any]:
    """Watch a contender do nothing."""
    time.sleep(settle_s)
    before, began_at = running.cpu_s(), time.monotonic()
    time.sleep(seconds)
    spent, over_s = running.cpu_s(), time.monotonic() - began_at
    spent.subtract(before)
    memory = memory_bytes(running.family())
    return {
        "ready_s": round(running.ready_s, 1),
        "core": {kind: round(used / over_s, 4) for kind, used in spent.most_common()},
        "memory_mb": {kind: round(used / 1e6) for kind, used in memory.most_common()},
    }


def table(result: dict[str, Any]) -> str:
    """Return the tables as markdown: what each kind of process takes, and the targets."""
    sides = {name: [turn for turn in result["turns"] if turn["contender"] == name] for name in ("headcount", "floor")}

    def of(name: str, figure: str, kind: str) -> float:
        return median(turn[figure].get(kind, 0.0) for turn in sides[name])

    def total(name: str, figure: str) -> float:
        return median(sum(turn[figure].values()) for turn in sides[name])

    kinds = sorted({kind for turn in result["turns"] for kind in turn["memory_mb"]}, key=lambda kind: -of("headcount", "core", kind))
    lines = ["| idle | Headcount: % of a core | floor | Headcount: MB | floor |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {kind} | {100 * of('headcount', 'core', kind):.1f} | {100 * of('floor', 'core', kind):.1f} | "
        f"{of('headcount', 'memory_mb', kind):,.0f} | {of('floor', 'memory_mb', kind):,.0f} |"
        for kind in kinds
    ]
    core, floor, memory = total("headcount", "core"), total("floor", "core"), total("headcount", "memory_mb")
    ready_s = median(turn["ready_s"] for turn in sides["headcount"])
    lines += [
        f"| **all** | **{100 * core:.1f}** | **{100 * floor:.1f}** | **{memory:,.0f}** | **{total('floor', 'memory_mb'):,.0f}** |",
        "",
        "| target | measured | |",
        "|---|---|---|",
    ]
    for what, measured, met in (
        ("idle ≤ 5 % of one core above bare Ray and Serve", f"{100 * (core - floor):.1f} %", core - floor <= ABOVE_FLOOR_MAX),
        ("proportional set size ≤ 1.2 GB in all", f"{memory / 1e3:.2f} GB", memory / 1e3 <= MEMORY_GB_MAX),
        ("ready ≤ 25 s", f"{ready_s:.1f} s", ready_s <= READY_S_MAX),
    ):
        lines.append(f"| {what} | {measured} | {'met' if met else '**missed**'} |")
    return "\n".join(lines)


def headlines(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows that the README shows."""
    ours = [turn for turn in result["turns"] if turn["contender"] == "headcount"]
    floors = [turn for turn in result["turns"] if turn["contender"] == "floor"]
    core, floor = (100 * median(sum(turn["core"].values()) for turn in turns) for turns in (ours, floors))
    memory = median(sum(turn["memory_mb"].values()) for turn in ours)
    return [
        (
            "`make up`, from start to ready through the front door",
            f"{median(turn['ready_s'] for turn in ours):.1f} s",
            "python -m bench.idle",
        ),
        ("without players: of one core, and what bare Ray and Serve take", f"{core:.0f} %, {floor:.0f} %", "python -m bench.idle"),
        ("without players: memory in all", f"{memory / 1e3:.2f} GB", "python -m bench.idle"),
    ]


if __name__ == "__main__":
    main()
