"""
Measure the bare core on one process: beats per second and where they go, bytes per session, expiry in slices.

    python -m bench.core [--sessions 1000 10000 100000 1000000]

Every session is started, beats twice and sends four events (the seed's own start and a full heartbeat, as the codec packs
them), in the order of time. Memory is the growth of the resident set over the sessions made. Beats are applied round robin in the players' real order, events made
beforehand so that only the tracker is timed, in processor time. The first round folds those starts and events; two rounds later
the tracker is in its stride, and that is the rate. Each size has a process of its own.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from bench import plots
from bench.results import machine, write_result
from sessions.changes import Policy
from sessions.events import Event, Happening, Happenings, Heartbeat, Start
from sessions.limits import EXPIRIES_PER_COMMIT_MAX
from sessions.tracker import Tracker
from storage.codec import Profile, Vitals, encode_session, pack

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
BEATS_MIN: Final = 300_000
"""Timed at each size; a whole round over all sessions, if that is more."""
EXPIRING_MAX: Final = 100_000
TARGETS: Final = {"beats_per_s": 100_000, "bytes_per_session": 1_500, "expiry_longest_slice_ms": 50}
Result = dict[str, Any]

PROFILE = Profile(
    user_id="user_123",
    device_id="device_abc123",
    app_version="2.4.1",
    creator_name="Chris Spencer",
    program_title="Behind the Laughs",
    program_position_seconds=900,
    latency_mode="low",
    dvr_enabled=False,
    device_type="web",
    os="macOS",
    os_version="14.0",
    browser="Chrome",
    browser_version="119.0",
    screen_resolution="1920x1080",
    state="Georgia",
    city="Atlanta",
    timezone="America/New_York",
    referrer_source="creator_zone",
    referrer_page="/creators/chris-spencer",
    referrer_section="channel_live",
)
"""The seed's own start."""
VITALS = Vitals(
    program_title="Behind the Laughs",
    program_elapsed_seconds=930,
    program_progress_percent=51.7,
    volume_level=0.8,
    dvr_offset_seconds=0,
    buffer_health_seconds=4.2,
    engagement={"chat_messages_sent": 2, "reactions_sent": 5},
)
BEGIN = 1_700_000_000.0


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _input(index: int, phase: int) -> tuple[Event, float]:
    """One input of one session's life: a start, two lists of two events, two heartbeats; (event, server's time)."""
    name, at = f"sess_live_{index:09d}", BEGIN + index % 30_000 / 1_000
    stream = f"stream_{index % 1000}"
    kinds = ("stream_start", "quality_change", "stream_buffer_start", "stream_buffer_end")
    if phase == 0:
        start = Start(name, at, stream, "ch_101", "creator_001", "prog", "web", "US", "wifi", "auto", pack(PROFILE))
        return start, at + 0.1
    if phase in (1, 2):
        happenings = tuple(
            Happening(f"ev-{index}-{number}", kinds[number], at + 1.5 + 8 * number) for number in (2 * phase - 2, 2 * phase - 1)
        )
        return Happenings(name, stream, None, happenings), at + 16 * phase - 5.8
    beat_at = at + 30 * (phase - 2)
    return _beat(name, stream, beat_at, pack(VITALS)), beat_at + 0.1


PHASES = 5


def _beat(name: str, stream: str, at: float, vitals: bytes = b"") -> Heartbeat:
    return Heartbeat(name, at, "playing", stream, "ch_101", "creator_001", "prog", "1080p", 4_500_000, 2_100_000, 1, vitals)


def fill(tracker: Tracker, sessions: int) -> float:
    """Give a tracker so many sessions; return bytes of resident memory per session."""
    gc.collect()
    before = _resident_bytes()
    for phase in range(PHASES):
        for index in range(sessions):
            event, now = _input(index, phase)
            tracker.receive(event, now=now)
            if index % 1_000 == 0:
                tracker.take_changes()
                tracker.changed_keys.clear()
    tracker.take_changes()
    gc.collect()
    return (_resident_bytes() - before) / sessions


def _rounds(sessions: int, first: int) -> Iterator[list[tuple[Heartbeat, float]]]:
    """Yield lists of beats with the server's time, round after round over all sessions; `first`: how often each beat already."""
    beat = first
    while True:
        names = iter(range(sessions))
        while chunk := list(islice(names, 2_000)):
            yield [
                (_beat(f"sess_live_{i:09d}", f"stream_{i % 1000}", at), at + 0.1)
                for i in chunk
                for at in (BEGIN + (i % 30_000) / 1_000 + 30 * (beat + 1),)
            ]
        beat += 1


def beat_all(tracker: Tracker, sessions: int, *, beats: int, first: int) -> dict[str, float]:
    """Apply at least `beats` heartbeats; return the ns of processor time that each takes, by step."""
    spent, done = {"receive": 0, "take changes": 0, "encode": 0}, 0
    for made in _rounds(sessions, first):
        begun = time.process_time_ns()
        for event, now in made:
            tracker.receive(event, now=now)
        received = time.process_time_ns()
        changes = tracker.take_changes()
        taken = time.process_time_ns()
        for session in changes.sessions:
            encode_session(session)
        spent["receive"] += received - begun
        spent["take changes"] += taken - received
        spent["encode"] += time.process_time_ns() - taken
        done += len(made)
        if done >= beats:
            break
    return {step: ns / done for step, ns in spent.items()}


def rate(steps: dict[str, float]) -> float:
    """Return beats per second of the bare tracker: applied, and their changes taken."""
    return 1e9 / (steps["receive"] + steps["take changes"])


def expire_all(sessions: int) -> tuple[float, float]:
    """Let `sessions` sessions expire at one instant; return (longest slice, all of it) in seconds of processor time."""
    tracker = Tracker(0, policy=Policy())
    for index in range(sessions):
        start = Start(f"s{index}", BEGIN, f"stream_{index % 1000}", "c", "c", "p", "web", "US", "wifi", "auto")
        tracker.receive(start, now=BEGIN)
        tracker.receive(_beat(f"s{index}", f"stream_{index % 1000}", BEGIN + 30), now=BEGIN + 30)
    tracker.take_changes()
    gc.freeze()  # as a shard does: a collection of the whole heap would be our longest pause
    longest = total = 0.0
    while True:
        begun = time.process_time()
        done = tracker.advance(now=BEGIN + 121, limit=EXPIRIES_PER_COMMIT_MAX)
        tracker.take_changes()
        slice_s = time.process_time() - begun
        if not done:
            return longest, total
        longest, total = max(longest, slice_s), total + slice_s


def measure(sessions: int, *, beats_min: int = BEATS_MIN) -> Result:
    """Measure one size in this process, which has held none before."""
    tracker = Tracker(0, policy=Policy())
    size = fill(tracker, sessions)
    gc.freeze()  # as a shard does
    first = beat_all(tracker, sessions, beats=sessions, first=2)
    beat_all(tracker, sessions, beats=sessions, first=3)
    steady = beat_all(tracker, sessions, beats=max(sessions, beats_min), first=4)
    del tracker
    expiring = min(EXPIRING_MAX, sessions)
    longest_s, total_s = expire_all(expiring)
    return {
        "sessions": sessions,
        "beats_per_s": round(rate(steady)),
        "first_beats_per_s": round(rate(first)),
        "ns": {step: round(ns) for step, ns in steady.items()},
        "bytes_per_session": round(size),
        "expiry_sessions": expiring,
        "expiry_longest_slice_ms": round(longest_s * 1e3, 1),
        "expiry_total_ms": round(total_s * 1e3),
    }


def table(result: Result) -> str:
    """Return the figures as markdown."""
    lines = [
        "| sessions | beats/s | receive, ns | changes, ns | encode, ns | first beats/s | bytes/session | expiry of | longest slice, ms | all, ms |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in result["sizes"]:
        ns = each["ns"]
        lines.append(
            f"| {each['sessions']:,} | {each['beats_per_s']:,} | {ns['receive']:,} | {ns['take changes']:,} | {ns['encode']:,} "
            f"| {each['first_beats_per_s']:,} | {each['bytes_per_session']:,} | {each['expiry_sessions']:,} "
            f"| {each['expiry_longest_slice_ms']} | {each['expiry_total_ms']:,} |"
        )
    said = (
        "Processor time. Beats/s is receive and take changes together, of a tracker in its stride; the *first beats* after a busy start fold a start "
        "and four events each. A session is started, with two heartbeats and four events; a thousand are too few to tell their bytes."
    )
    pictures = (
        "![One heartbeat](plots/core-beat.svg)",
        "![One session in memory](plots/core-memory.svg)",
        "![Expiry](plots/core-expiry.svg)",
    )
    return "\n".join((*lines, "", said, "", "\n\n".join(pictures)))


def draw(result: Result, folder: Path = plots.FOLDER) -> list[Path]:
    """Draw a beat's steps, and a session's bytes, against how many sessions there are."""
    sizes = result["sizes"]
    steps = {step: [(each["sessions"], each["ns"][step] / 1e3) for each in sizes] for step in sizes[0]["ns"]}
    memory = {"resident": [(each["sessions"], each["bytes_per_session"]) for each in sizes if each["sessions"] > SIZES[0]]}
    slices = [(each["sessions"], each["expiry_longest_slice_ms"]) for each in sizes]
    return [
        plots.lines(
            "core-beat", steps, title="One heartbeat in the core", x="live sessions", y="µs of processor time", log="xy", folder=folder
        ),
        plots.lines(
            "core-memory",
            memory,
            title="One session in memory",
            x="live sessions",
            y="bytes",
            limits={"target": TARGETS["bytes_per_session"]},
            folder=folder,
        ),
        plots.lines(
            "core-expiry",
            {"longest slice": slices},
            title=f"Up to {EXPIRING_MAX:,} sessions expire at one instant",
            x="sessions",
            y="ms",
            limits={"target": TARGETS["expiry_longest_slice_ms"]},
            folder=folder,
        ),
    ]


def headlines(result: Result) -> list[tuple[str, str, str]]:
    """Return what of it the README says."""
    most = result["sizes"][-1]
    return [
        (f"bare core, one core, {most['sessions']:,} live sessions", f"{most['beats_per_s']:,} heartbeats/s", "python -m bench.core"),
        ("memory per session there", f"{most['bytes_per_session']:,} bytes", "python -m bench.core"),
        (
            f"longest slice when {most['expiry_sessions']:,} expire at one instant",
            f"{most['expiry_longest_slice_ms']} ms",
            "python -m bench.core",
        ),
    ]


def main() -> None:
    """Measure each size in a process of its own, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, nargs="+", default=SIZES)
    parser.add_argument("--here", action="store_true", help="one size, in this process; print it and write nothing")
    parser.add_argument("--smoke", action="store_true", help="a thousand sessions only, to see that it works; writes nothing")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.sessions = SIZES[:1]
    if arguments.here:
        print(json.dumps({"python": platform.python_version(), **measure(arguments.sessions[0])}))
        return
    where, sizes = machine(), []
    for sessions in arguments.sessions:
        command = [sys.executable, "-m", "bench.core", "--here", "--sessions", str(sessions)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ourselves
        sizes.append(json.loads(done.stdout))
        print(done.stdout.strip(), flush=True)
    if not arguments.smoke:
        print(f"written: {write_result('core', {'machine': where, 'sizes': sizes})}")


if __name__ == "__main__":
    main()
