"""
Measure the bare core on one process: beats per second, bytes per session, expiry in slices.

    python -m bench.core [--sessions 1000000]

Every session is started, beats twice and sends four events (the seed's own start and a full heartbeat, as the codec packs
them), in the order of time. Memory is the growth of the resident set over the sessions made. Beats are applied round robin in the players' real order, events made
beforehand so that only the tracker is timed.
"""

import argparse
import gc
import json
import os
import platform
import time
from itertools import islice
from pathlib import Path

from sessions.changes import Policy
from sessions.events import Event, Happening, Happenings, Heartbeat, Start
from sessions.limits import EXPIRIES_PER_COMMIT_MAX
from sessions.tracker import Tracker
from storage.codec import Profile, Vitals, pack

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


def beats_per_s(tracker: Tracker, sessions: int, *, beats: int) -> float:
    """Apply `beats` heartbeats, in rounds over all sessions; return beats per second of CPU time."""
    spent, done, beat = 0.0, 0, 2
    while done < beats:
        beat += 1
        names = iter(range(sessions))
        while done < beats and (chunk := list(islice(names, 2_000))):
            made = [
                (_beat(f"sess_live_{i:09d}", f"stream_{i % 1000}", at), at + 0.1)
                for i in chunk
                for at in (BEGIN + (i % 30_000) / 1_000 + 30 * beat,)
            ]
            begun = time.process_time()
            for event, now in made:
                tracker.receive(event, now=now)
            tracker.take_changes()
            spent += time.process_time() - begun
            done += len(made)
    return done / spent


def expire_all(sessions: int) -> tuple[float, float]:
    """Let `sessions` sessions expire at one instant; return (longest slice, all of it) in seconds."""
    tracker = Tracker(0, policy=Policy())
    for index in range(sessions):
        start = Start(f"s{index}", BEGIN, f"stream_{index % 1000}", "c", "c", "p", "web", "US", "wifi", "auto")
        tracker.receive(start, now=BEGIN)
        tracker.receive(_beat(f"s{index}", f"stream_{index % 1000}", BEGIN + 30), now=BEGIN + 30)
    tracker.take_changes()
    gc.freeze()  # as a shard does: a collection of the whole heap would be our longest pause
    longest = total = 0.0
    while True:
        begun = time.perf_counter()
        done = tracker.advance(now=BEGIN + 121, limit=EXPIRIES_PER_COMMIT_MAX)
        tracker.take_changes()
        slice_s = time.perf_counter() - begun
        if not done:
            return longest, total
        longest, total = max(longest, slice_s), total + slice_s


def main() -> None:
    """Run all three and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--beats", type=int, default=1_000_000)
    arguments = parser.parse_args()
    tracker = Tracker(0, policy=Policy())
    size = fill(tracker, arguments.sessions)
    gc.freeze()  # as a shard does
    rate = beats_per_s(tracker, arguments.sessions, beats=arguments.beats)
    del tracker
    longest_s, total_s = expire_all(min(100_000, arguments.sessions))
    print(
        json.dumps(
            {
                "python": platform.python_version(),
                "sessions": arguments.sessions,
                "bytes_per_session": round(size),
                "beats_per_s": round(rate),
                "expiry_sessions": min(100_000, arguments.sessions),
                "expiry_longest_slice_ms": round(longest_s * 1e3, 1),
                "expiry_total_ms": round(total_s * 1e3),
            }
        )
    )


if __name__ == "__main__":
    main()
