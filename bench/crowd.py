"""
An audience that keeps to its own clock, whatever the server does: `python -m bench.crowd`, told by `bench/capacity.py`.

Open loop: every request is due at a moment fixed beforehand, and its latency counts from that moment, whether or not it could be
sent then. Sessions join evenly over the first seconds, beat at a fixed interval, and leave after a random time, most with an end, some
without a word; each that leaves is replaced. In the last seconds nobody comes or goes. Meanwhile it asks every second how
many are watching, holds that against the truth (`bench/truth.py`), and flips one session of its own to see how soon that shows.
"""

import asyncio
import gc
import json
import random
import sys
import time
from array import array
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import uvloop

from bench.pool import TIMEOUT_S, Pool, ask
from bench.truth import Truth

TICK_S: Final = 0.005
EXPIRY_INTERVALS: Final = 3
CALM_S: Final = 5.0
"""At the end, without joins and leaves: the bounds close, and the number must be exact but for those who are expiring."""
VANISHES: Final = 0.3
"""Share of those who leave that say nothing."""
POLL_S: Final = 0.25
STREAMS: Final = 100
_PROMISES: Final = {"start": "heartbeat_interval_seconds", "beat": "next_heartbeat_seconds"}
"""What the answer to each calls the interval by which its session expires."""
_TAKEN: Final = b'"accepted":true'

_START: Final = (
    '"user_id":"user_123","device_id":"device_abc123","platform":"web","app_version":"2.4.1","stream":{"stream_id":"%s",'
    '"channel_id":"ch_101","creator_id":"creator_001","creator_name":"Chris Spencer"},"epg":{"current_program_id":"prog_002",'
    '"current_program_title":"Behind the Laughs","program_position_seconds":900},"playback":{"quality":"auto","latency_mode":"low",'
    '"dvr_enabled":false},"device":{"type":"web","os":"macOS","os_version":"14.0","browser":"Chrome","browser_version":"119.0",'
    '"screen_resolution":"1920x1080","connection_type":"wifi"},"geo":{"country":"US","state":"Georgia","city":"Atlanta",'
    '"timezone":"America/New_York"},"referrer":{"source":"creator_zone","page":"/creators/chris-spencer","section":"channel_live"}'
)
_BEAT: Final = (
    '"user_id":"user_123","device_id":"device_abc123","stream_id":"%s","channel_id":"ch_101","creator_id":"creator_001",'
    '"epg":{"current_program_id":"prog_002","current_program_title":"Behind the Laughs","program_elapsed_seconds":930,'
    '"program_progress_percent":51.7},"playback":{"is_playing":true,"is_paused":false,"is_buffering":false,"quality":"1080p",'
    '"volume_level":0.8,"dvr_offset_seconds":0},"performance":{"buffer_health_seconds":4.2,"rebuffer_count":0,"bitrate_kbps":4500,'
    '"latency_ms":2100},"engagement":{"chat_messages_sent":2,"reactions_sent":5}'
)
_END: Final = (
    '"watch_summary":{"total_watch_seconds":2340,"end_reason":"user_exit","programs_watched":["prog_002"]},'
    '"performance":{"total_rebuffer_count":1,"quality_switches":0},"engagement":{"total_chat_messages_sent":3,"total_reactions_sent":12}'
)
_PATHS: Final = {
    "start": "/analytics/live/session/start",
    "beat": "/analytics/live/session/heartbeat",
    "end": "/analytics/live/session/end",
}
_BODIES: Final = {"start": _START, "beat": _BEAT, "end": _END}


class Letters:
    """Requests as bytes: all that does not change is made once per stream."""

    def __init__(self, host: str, token: str) -> None:
        self._made: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        self._host = host
        self._token = token

    def write(self, kind: str, session: bytes, stream: str, stamp: bytes) -> bytes:
        """Return one request. Session ids are 20 bytes, stamps 24."""
        parts = self._made.get((kind, stream))
        if parts is None:
            parts = self._made[kind, stream] = self._prepare(kind, stream)
        return b"".join((parts[0], session, parts[1], stamp, b'"}'))

    def _prepare(self, kind: str, stream: str) -> tuple[bytes, bytes]:
        said = _BODIES[kind] % stream if "%s" in _BODIES[kind] else _BODIES[kind]
        before, after = '{"session_id":"', f'",{said},"timestamp":"'
        length = len(before) + 20 + len(after) + 24 + 2
        head = (
            f"POST {_PATHS[kind]} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
        return (head + before).encode(), after.encode()


def stamp_of(now: float) -> bytes:
    """Return a timestamp of 24 bytes."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


class Viewer:
    """One session's side of it, and the request that it has under way."""

    __slots__ = ("acked_at", "content", "crowd", "due_at", "id", "interval_s", "kind", "leaves_at", "let_in", "sent_at", "stream", "tries")

    def __init__(self, crowd: "Crowd", number: int, leaves_at: float) -> None:
        self.crowd = crowd
        self.id = b"bench-%014d" % number
        self.stream = f"stream_{number % STREAMS:03d}"
        self.leaves_at = leaves_at
        self.kind = ""
        self.content = b""
        self.tries = 0
        self.due_at = self.sent_at = self.acked_at = 0.0
        self.interval_s = crowd.interval_s
        self.let_in = False

    def say(self, kind: str, due_at: float, stamp: bytes) -> None:
        """Send what is due."""
        self.kind, self.due_at, self.tries = kind, due_at, 0
        self.content = self.crowd.letters.write(kind, self.id, self.stream, stamp)
        if not self.sent_at:
            self.crowd.truth.came(sent_at=due_at)
        if kind == "end":
            self.crowd.truth.left(sent_at=due_at)
        self.sent_at = due_at
        self.crowd.pool.submit(self)

    def answered(self, status: int, body: bytes) -> None:
        """Take the answer to what was said last."""
        now = time.time()
        kind, self.kind, self.content = self.kind, "", b""
        self.crowd.took(kind, status, due_at=self.due_at, now=now, taken=_TAKEN in body)
        if status != 200:
            if kind == "end":
                self.crowd.truth.was_let_out(acknowledged_at=now + self.interval_s * EXPIRY_INTERVALS)
            return
        self.acked_at = now
        if not self.let_in:
            self.let_in = True
            self.crowd.truth.was_let_in(acknowledged_at=now)
        if kind in _PROMISES:
            self.interval_s = self.crowd.interval_promised(_PROMISES[kind], body)
        elif kind == "end":
            self.crowd.truth.was_let_out(acknowledged_at=now)


class Crowd:
    """The whole audience. `sessions` at any time once it is complete; for `duration_s` after that."""

    def __init__(
        self,
        url: str,
        tokens: tuple[str, str],
        *,
        sessions: int,
        ramp_s: float,
        duration_s: float,
        stay_s: float,
        interval_s: int,
        connections: int,
    ) -> None:
        parts = urlsplit(url)
        self.letters = Letters(parts.netloc, tokens[0])
        self.pool = Pool(parts.hostname or "", parts.port or 80, connections=connections)
        self.aside = Pool(parts.hostname or "", parts.port or 80, connections=8)
        self.truth = Truth()
        self._ops = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {tokens[1]}\r\n\r\n".encode()
        self._sessions, self._ramp_s, self._duration_s, self._stay_s = sessions, ramp_s, duration_s, stay_s
        self._random = random.Random(sessions)
        self._ring: list[list[Viewer]] = [[] for _ in range(round(interval_s / TICK_S))]
        self._joined = 0
        self._steady = False
        self._began_at = 0.0
        self.promised_s = interval_s
        self.interval_s = interval_s
        self.promises = {name: b'"%s":%d,' % (name.encode(), interval_s) for name in _PROMISES.values()}
        self.latencies = array("f")
        self.by_second: defaultdict[int, array[float]] = defaultdict(lambda: array("f"))
        """Latencies by the second in which the request was due, counted from the beginning."""
        self.late_s: defaultdict[int, float] = defaultdict(float)
        """By how much this generator itself was late at most, by second."""
        self.spent_s: dict[int, float] = {}
        """Processor time that this generator had used when a second began: the same work each second, so a gauge of the machine."""
        self.statuses: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        """Answers that a request was taken, by its kind: what must be counted."""
        self.series: list[list[float]] = []
        self.freshness: list[float] = []

    def took(self, kind: str, status: int, *, due_at: float, now: float, taken: bool) -> None:
        """Note one answer."""
        if status != 200:
            self.statuses[str(status)] += 1
        elif not taken:
            self.statuses["not accepted"] += 1
        else:
            self.acknowledged[kind] += 1
        self.counts[kind] += 1
        self.by_second[int(due_at - self._began_at)].append(now - due_at)
        if self._steady:
            self.latencies.append(now - due_at)

    def interval_promised(self, name: str, body: bytes) -> int:
        """Return the interval that an answer promises, and expiry goes by: a stretched one is taken back by the next answer."""
        if self.promises[name] in body:
            return self.interval_s
        promised_s = int(json.loads(body)["data"].get(name) or self.interval_s)
        self.promised_s = max(self.promised_s, promised_s)
        return promised_s

    async def play(self) -> dict[str, Any]:
        """Live through all of it; return what was seen."""
        self._began_at = time.time() + 0.2
        over_at = self._began_at + self._ramp_s + self._duration_s
        watching = [asyncio.create_task(part) for part in (self._watch(over_at), self._flip(over_at))]
        cpu_s, ticks = 0.0, round((self._ramp_s + self._duration_s) / TICK_S)
        for tick in range(ticks):
            due_at = self._began_at + tick * TICK_S
            now = time.time()
            second = int(tick * TICK_S)
            self.late_s[second] = max(self.late_s[second], now - due_at)
            self.spent_s.setdefault(second, time.process_time())
            await asyncio.sleep(max(0.0, due_at - now))
            if not self._steady and due_at - self._began_at >= self._ramp_s:
                self._steady, cpu_s = True, time.process_time()
            self._tick(tick, due_at, calm=over_at - due_at < CALM_S)
        generator_s = time.process_time() - cpu_s
        await self.pool.drained(within_s=20)
        for task in watching:
            await task
        return self._result(generator_s)

    def _tick(self, tick: int, due_at: float, *, calm: bool) -> None:
        """Do what is due: those whose turn it is beat or leave, and whoever is missing joins."""
        slot, stamp = tick % len(self._ring), stamp_of(due_at)
        staying, gone = [], 0
        for viewer in self._ring[slot]:
            if viewer.kind:
                self.counts["missed"] += 1  # its last beat is still on its way: a player has one at a time
                staying.append(viewer)
            elif viewer.leaves_at > due_at or calm:
                viewer.say("beat", due_at, stamp)
                staying.append(viewer)
            else:
                gone += 1
                self._leave(viewer, due_at, stamp)
        self._ring[slot] = staying
        wanted = min(self._sessions, round(self._sessions * (tick + 1) * TICK_S / self._ramp_s)) if not self._steady else self._joined
        for _ in range(max(0, wanted - self._joined)):
            self._joined += 1
            self._join(slot, due_at, stamp)
        for _ in range(gone):
            self._join(slot, due_at, stamp)

    def _join(self, slot: int, due_at: float, stamp: bytes) -> None:
        self.counts["joined"] += 1
        viewer = Viewer(self, self.counts["joined"], due_at + self._random.expovariate(1 / self._stay_s))
        self._ring[slot].append(viewer)
        viewer.say("start", due_at, stamp)

    def _leave(self, viewer: Viewer, due_at: float, stamp: bytes) -> None:
        if self._random.random() >= VANISHES:
            viewer.say("end", due_at, stamp)
            return
        self.counts["vanished"] += 1
        # A last beat that was never acknowledged may have been taken all the same, as late as we waited for its answer.
        acknowledged_at = viewer.acked_at if viewer.acked_at >= viewer.sent_at else viewer.sent_at + TIMEOUT_S
        expires_after_s = float(viewer.interval_s * EXPIRY_INTERVALS)
        self.truth.fell_silent(sent_at=viewer.sent_at, acknowledged_at=acknowledged_at, expires_after_s=expires_after_s)

    async def _get(self, path: bytes) -> dict[str, Any] | None:
        status, body = await ask(self.aside, b"GET " + path + self._ops)
        answer: dict[str, Any] | None = json.loads(body) if status == 200 else None
        return answer

    async def _watch(self, over_at: float) -> None:
        """Ask every second how many are watching, and note what it lay between."""
        while time.time() < over_at:
            asked_at = time.time()
            answer = await self._get(b"/v1/concurrency")
            answered_at = time.time()
            low, high = self.truth.bounds(asked_at=asked_at, answered_at=answered_at)
            if answer is None:
                self.counts["unanswered questions"] += 1
            else:
                self.series.append([round(asked_at - self._began_at, 2), answer["sessions"], low, high, round(answer["age_seconds"], 2)])
            await asyncio.sleep(max(0.0, asked_at + 1 - time.time()))

    async def _flip(self, over_at: float) -> None:
        """Pause and play one session again and again, and see how soon each shows."""
        says, shown = (b'"is_playing":false,"is_paused":true', b'"is_playing":true,"is_paused":false'), ("paused", "playing")
        turn, sent_at, acknowledged_at = 0, 0.0, 0.0
        while time.time() < over_at - CALM_S:
            content = self.letters.write("beat", b"bench-probe---------", "stream_probe", stamp_of(time.time()))
            plain = b'"is_playing":true,"is_paused":false'
            sent_at = time.time()
            if not turn:
                self.truth.came(sent_at=sent_at)
            status, _ = await ask(self.aside, content.replace(plain, says[turn % 2]))
            acknowledged_at = time.time()
            self.acknowledged["beat"] += status == 200
            if not turn:
                self.truth.was_let_in(acknowledged_at=acknowledged_at)
            while time.time() < over_at:
                answer = await self._get(b"/v1/concurrency?stream_id=stream_probe")
                if answer is not None and answer["states"][shown[turn % 2]] == 1:
                    if self._steady:
                        self.freshness.append(time.time() - sent_at)
                    break
                await asyncio.sleep(POLL_S)
            turn += 1
            await asyncio.sleep(0.3)
        expires_after_s = float(self.interval_s * EXPIRY_INTERVALS)
        self.truth.fell_silent(sent_at=sent_at, acknowledged_at=acknowledged_at, expires_after_s=expires_after_s)

    def _result(self, generator_s: float) -> dict[str, Any]:
        steady = [each for each in self.series if each[0] > self._ramp_s]
        return {
            "sessions": self._sessions,
            "began_at": self._began_at,
            "ramp_s": self._ramp_s,
            "duration_s": self._duration_s,
            "requests_per_s": round(len(self.latencies) / self._duration_s, 1),
            "latency_ms": quantiles([1e3 * each for each in self.latencies]),
            "failed": dict(self.statuses),
            "unanswered": self.pool.under_way,
            "counts": dict(self.counts),
            "acknowledged": dict(self.acknowledged),
            "promised_s": self.promised_s,
            "freshness_s": quantiles(self.freshness),
            "freshness_samples": len(self.freshness),
            "asked": len(self.series),
            "right": sum(low <= said <= high for _, said, low, high, _ in self.series),
            "off_at_most": max((max(low - said, said - high, 0) for _, said, low, high, _ in self.series), default=0),
            "bounds_apart": quantiles([high - low for _, _, low, high, _ in steady]),
            "report_age_s": quantiles([age for *_, age in steady]),
            "last": self.series[-1] if self.series else None,
            "series": self.series,
            "connections_opened": self.pool.opened,
            "resent": self.pool.resent,
            "generator_cores": round(generator_s / self._duration_s, 3),
            "generator_us_per_request": round(generator_s / max(1, len(self.latencies)) * 1e6, 1),
            "generator_late_s": round(max(self.late_s.values()), 3),
            "seconds": self._seconds(),
        }

    def _seconds(self) -> list[list[float]]:
        """
        Return a row for every second in which something was due.

        Its number, how many requests, their p50, p99 and longest latency in ms, how late the generator itself was at most in ms, and
        the processor time in ms that the generator used in it.
        """
        rows: list[list[float]] = []
        for second, latencies in sorted(self.by_second.items()):
            ms = quantiles([1e3 * each for each in latencies])
            used_s = self.spent_s.get(second + 1, self.spent_s[second]) - self.spent_s[second]
            rows.append(
                [second, len(latencies), ms["p50"], ms["p99"], ms["max"], round(1e3 * self.late_s[second], 1), round(1e3 * used_s, 1)]
            )
        return rows


def quantiles(values: list[float]) -> dict[str, float]:
    """Return the median and the tail of values."""
    ordered = sorted(values)
    if not ordered:
        return {}
    at = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) for name, share in at.items()}


def main() -> None:
    """Play the audience that standard input describes; print what was seen as JSON."""
    told = json.loads(sys.stdin.read())
    gc.disable()  # nothing here makes cycles, and a collection of a hundred thousand viewers would be measured as the server's

    async def play() -> dict[str, Any]:
        tokens = (told.pop("ingest_token"), told.pop("ops_token"))
        return await Crowd(told.pop("url"), tokens, **told).play()

    print(json.dumps(uvloop.run(play())))


if __name__ == "__main__":
    main()
