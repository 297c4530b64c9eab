"""
Peer (a): what people write today. FastAPI, pydantic models of the contract, one pooled Redis pipeline per heartbeat.

Who is watching is a sorted set by the time of the last heartbeat; what a session said last is a hash. What it leaves out,
and so need not pay for: authentication, limits, order, duplicates, ends, quality of experience, any check of who writes.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import redis.asyncio as redis
from fastapi import FastAPI
from pydantic import BaseModel

EXPIRES_AFTER_S: Final = 90
INTERVAL_S: Final = 30
CONNECTIONS: Final = 64


class Epg(BaseModel):
    """What is on."""

    current_program_id: str | None = None
    current_program_title: str | None = None
    program_elapsed_seconds: float | None = None
    program_progress_percent: float | None = None


class Playback(BaseModel):
    """What the player does."""

    is_playing: bool | None = None
    is_paused: bool | None = None
    is_buffering: bool | None = None
    quality: str | None = None
    volume_level: float | None = None
    dvr_offset_seconds: float | None = None


class Performance(BaseModel):
    """How it goes."""

    buffer_health_seconds: float | None = None
    rebuffer_count: int | None = None
    bitrate_kbps: float | None = None
    latency_ms: float | None = None


class Heartbeat(BaseModel):
    """The body of a heartbeat."""

    session_id: str
    timestamp: datetime
    user_id: str | None = None
    device_id: str | None = None
    stream_id: str | None = None
    channel_id: str | None = None
    creator_id: str | None = None
    epg: Epg | None = None
    playback: Playback | None = None
    performance: Performance | None = None
    engagement: dict[str, Any] | None = None


store: "redis.Redis"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Hold one pool of connections for the life of the worker."""
    global store  # noqa: PLW0603 - as the tutorials have it
    pool = redis.BlockingConnectionPool.from_url(os.environ["BENCH_REDIS_URL"], max_connections=CONNECTIONS, timeout=10)
    store = redis.Redis(connection_pool=pool)
    yield
    await store.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/analytics/live/session/heartbeat")
async def heartbeat(body: Heartbeat) -> dict[str, Any]:
    """Take a heartbeat: one round trip."""
    now = time.time()
    playback, performance = body.playback or Playback(), body.performance or Performance()
    state = "paused" if playback.is_paused else "buffering" if playback.is_buffering else "playing"
    last = {
        "stream_id": body.stream_id or "",
        "state": state,
        "quality": playback.quality or "",
        "bitrate_kbps": performance.bitrate_kbps or 0,
        "rebuffer_count": performance.rebuffer_count or 0,
        "latency_ms": performance.latency_ms or 0,
        "at": body.timestamp.timestamp(),
    }
    async with store.pipeline(transaction=False) as pipe:
        pipe.zadd("watching", {body.session_id: now})
        pipe.hset(f"session:{body.session_id}", mapping=last)
        await pipe.execute()
    return {
        "status": "success",
        "data": {"session_id": body.session_id, "accepted": True, "next_heartbeat_seconds": INTERVAL_S, "server_timestamp": now},
    }


@app.get("/watching")
async def watching() -> dict[str, int]:
    """Say how many sent a heartbeat within three intervals."""
    return {"sessions": await store.zcount("watching", time.time() - EXPIRES_AFTER_S, "+inf")}
