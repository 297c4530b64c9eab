"""
Measure what a session costs in Redis or Valkey: memory, and bytes of the append-only file.

    python -m bench.journal_memory [--sessions 20000]

Real sessions (the documents' own bodies, through the real tracker) are committed to an embedded Valkey in a temporary folder, over 256
slots, as a shard does; what its memory grew by (`INFO memory`) is divided by their number. No figure depends on the machine's speed.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import redis

from bench import parsers
from bench.results import machine, write_result
from serve_app.players import examples
from serve_app.players.decoding import BadBody, read_body
from serve_app.players.records import record_of
from sessions.changes import Policy
from sessions.events import Event
from sessions.routing import slot_of
from sessions.tracker import Tracker
from storage import codec
from storage.embedded import EmbeddedValkey
from storage.journal import SlotWrite
from storage.redis_journal import RedisJournal

SLOTS: Final = 256


def said(kind: str, session_id: str, **more: object) -> Event:
    """Return what a player says, as the shard gets it."""
    body = {**getattr(examples, kind.upper()), "session_id": session_id, **more}
    read = read_body(parsers.BODIES[kind], json.dumps(body).encode())
    if isinstance(read, BadBody):
        raise TypeError(read)
    return record_of(read.body, read.dropped)


def begun(session_id: str) -> list[Event]:
    """Return a session that has started and beaten."""
    return [said("start", session_id), said("heartbeat", session_id)]


def lived(session_id: str) -> list[Event]:
    """Return one that has had 24 events of its own too."""
    one = examples.EVENTS["events"][0]
    events = [{**one, "event_id": f"{session_id}-{number}"} for number in range(24)]
    return [*begun(session_id), said("events", session_id, events=events)]


async def fill(url: str, sessions: int, life: Callable[[str], list[Event]]) -> int:
    """Commit so many sessions; return the bytes of their values alone."""
    journal = RedisJournal(url)
    await journal.open_data_set(slots=SLOTS, instance="bench", run="bench")
    await journal.claim(dict.fromkeys(range(SLOTS), 0), owner="bench")
    trackers = [Tracker(slot, policy=Policy()) for slot in range(SLOTS)]
    for number in range(sessions):
        session_id = f"sess_live_{number:012}"
        for event in life(session_id):
            trackers[slot_of(session_id, slots=SLOTS)].receive(event, now=parsers.NOW)
    held = 0
    for slot, tracker in enumerate(trackers):
        changes = tracker.take_changes()
        stored = {session.session_id: codec.encode_session(session) for session in changes.sessions}
        held += sum(map(len, stored.values()))
        record = codec.encode_record(codec.SlotRecord(ledger=changes.ledger))
        await journal.commit([SlotWrite(slot, 1, 1, record, stored)], alive_at=parsers.NOW)
    await journal.close()
    return held


def measure(sessions: int, life: Callable[[str], list[Event]]) -> dict[str, int]:
    """Return bytes per session: the value, the server's memory, and the append-only file when it is fresh."""
    with tempfile.TemporaryDirectory() as folder:
        valkey = EmbeddedValkey(Path(folder) / "valkey")
        url = valkey.start()
        try:
            with redis.Redis.from_url(url) as server:
                before = server.info("memory")["used_memory"]
                held = asyncio.run(fill(url, sessions, life))
                used = server.info("memory")["used_memory"] - before
                written = sum(file.stat().st_size for file in Path(folder).rglob("*.aof"))
        finally:
            valkey.stop()
    return {"value": round(held / sessions), "memory": round(used / sessions), "file": round(written / sessions)}


def main() -> None:
    """Measure both kinds of session."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20_000)
    asked = parser.parse_args()
    rows = {name: measure(asked.sessions, life) for name, life in (("start and a beat", begun), ("and 24 events", lived))}
    for name, row in rows.items():
        print(f"{name:18} {row['memory']:>6} bytes of the server's memory, {row['value']} of them the value; {row['file']} in the file")
    print(write_result("journal-memory", {"machine": machine(), "sessions": asked.sessions, "bytes_per_session": rows}))


if __name__ == "__main__":
    main()
