"""
Peer (b): the same stateless shape doing *our* work. Load the session, apply our own pure core, store it: what actors save.

Whoever holds no state must fetch it, and must not overwrite what another worker wrote meanwhile: a script compares the
session's version, and writes session, deadline, ledger and increments or nothing. Body, core and codec are ours, no
authentication; it does not expire sessions by itself, number its increments, or notice another writer.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import redis.asyncio as redis
from fastapi import FastAPI, Request, Response

from serve_app.players.decoding import BadBody, read_body
from serve_app.players.records import record_of
from serve_app.players.wire import HeartbeatBody
from sessions.changes import Ledger, Policy
from sessions.tracker import Tracker
from storage.codec import decode_session, encode_session

EXPIRES_AFTER_S: Final = 90
CONNECTIONS: Final = 64
TRIES_MAX: Final = 20
POLICY: Final = Policy()

_STORE: Final = """
if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'session', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[5])
for index = 6, #ARGV, 2 do redis.call('HINCRBYFLOAT', KEYS[3], ARGV[index], ARGV[index + 1]) end
return 1
"""

store: "redis.Redis"
commit: Any


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Hold one pool of connections for the life of the worker."""
    global store, commit  # noqa: PLW0603 - as the tutorials have it
    pool = redis.BlockingConnectionPool.from_url(os.environ["BENCH_REDIS_URL"], max_connections=CONNECTIONS, timeout=10)
    store = redis.Redis(connection_pool=pool)
    commit = store.register_script(_STORE)
    yield
    await store.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/analytics/live/session/heartbeat")
async def heartbeat(request: Request) -> Response:
    """Take a heartbeat: two round trips, more if another worker was quicker."""
    read = read_body(HeartbeatBody, await request.body())
    if isinstance(read, BadBody):
        return Response(status_code=422)
    event = record_of(read.body, read.dropped)
    key = f"session:{event.session_id}"
    for _ in range(TRIES_MAX):
        version, stored = await store.hmget(key, "version", "session")
        sessions = [] if stored is None else [decode_session(stored)]
        before = Ledger(active=len(sessions), provisional=len(sessions))
        now = time.time()
        tracker = Tracker.restore(0, policy=POLICY, sessions=sessions, ledger=before, paused_s=0.0)
        receipt = tracker.receive(event, now=now)
        changes = tracker.take_changes()
        amounts: list[str | float] = ["ledger:active", changes.ledger.active - len(sessions)]
        for name, amount in changes.increments.items():
            amounts += ["|".join(name), amount]
        written = str(int(version or 0) + 1)
        values = [version or b"", written, encode_session(changes.sessions[0]), now + EXPIRES_AFTER_S, event.session_id, *amounts]
        if await commit(keys=[key, "watching", "counted"], args=values):
            return _answer(event.session_id, accepted=receipt.accepted, interval_s=receipt.interval_s, now=now)
    return Response(status_code=503)


def _answer(session_id: str, *, accepted: bool, interval_s: int, now: float) -> Response:
    content = (
        f'{{"status":"success","data":{{"session_id":"{session_id}","accepted":{str(accepted).lower()},'
        f'"next_heartbeat_seconds":{interval_s},"server_timestamp":{now}}}}}'
    )
    return Response(content, media_type="application/json")


@app.get("/watching")
async def watching() -> dict[str, int]:
    """Say how many have not reached their deadline."""
    return {"sessions": await store.zcount("watching", time.time(), "+inf")}
