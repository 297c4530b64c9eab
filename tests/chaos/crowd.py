"""
Players as they really are: they beat, they send again what was not acknowledged, and they remember what was.

Every beat names another quality than the one before it, so that the switches which the tracker counts in a session are exactly the
beats that it took, however old they are. Whoever keeps sending must not expire; whoever was told that it has left, has.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple, Self, TypeVar

from serve_app.players import examples
from serve_app.players.answers import STATUSES
from tests.chaos.wire import Answer, UnansweredError, Wire

T = TypeVar("T")

START, HEARTBEAT = "/analytics/live/session/start", "/analytics/live/session/heartbeat"
EVENTS, END = "/analytics/live/events", "/analytics/live/session/end"
GIVE_UP_S = 180.0
"""No fault lasts so long: a player that is not heard by then will never be."""
UNANSWERED_PAUSE_S = 1.0
QUALITIES = ("even", "odd")
NOT_NOW = frozenset({"overloaded", "recovering", "no_journal", "unavailable", "too_many_sessions"})
PROBES = 16
"""Over two shards: all of them in one would be a chance of 1 in 32,768."""
PROBE_PAUSE_S = 0.05


@dataclass(slots=True)
class Memory:
    """One session as its player knows it: nothing but what was acknowledged."""

    session_id: str
    started: bool = False
    beats: int = 0
    events: list[str] = field(default_factory=list)
    ended: bool = False

    def copy(self) -> "Memory":
        return Memory(self.session_id, self.started, self.beats, list(self.events), self.ended)


@dataclass(slots=True)
class Episode:
    """What the crowd lived through since it was last asked."""

    acknowledged: int = 0
    longest_wait_s: float = 0.0
    """From the first attempt of a request to its acknowledgement, however often it had to be sent."""
    troubles: Counter[str] = field(default_factory=Counter)
    """What was answered instead of an acknowledgement, as "503 recovering" or "refused"."""
    undocumented: list[str] = field(default_factory=list)


class Heard(NamedTuple):
    """One request that was acknowledged: when it was sent first, and when the answer came; wall clock."""

    path: str
    session_id: str
    sent_at: float
    acknowledged_at: float
    stamp: float
    """Of what it says, the player's time."""
    events: int
    promised_s: float = 0.0
    """The heartbeat interval that the answer promised; 0: none."""
    resent: bool = False
    """It had been sent before, and may have been taken then, under another promise."""


class Crowd:
    """Players in an event loop of their own, in a thread of their own. A context manager: it plays inside."""

    def __init__(self, *, port: int, token: str, players: int, seed: int, name: str = "player") -> None:
        self._name = name
        self.heard: list[Heard] = []
        """All that was acknowledged, in order; only grows."""
        self._wire = Wire(port)
        self._token = token
        self._players = players
        self._random = Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="crowd", daemon=True)
        self._playing: list[asyncio.Task[None]] = []
        self._memories: list[Memory] = []
        self._probes: list[Player] = []
        self._leaving = asyncio.Event()
        self.episode = Episode()
        self.retrying = 0
        """Players whose request was not acknowledged at once, and is not yet."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(self._begin(), within_s=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._stop(), within_s=60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def next_episode(self) -> Episode:
        """Return what was lived through since the last call, and begin anew."""

        async def swap() -> Episode:
            before, self.episode = self.episode, Episode()
            return before

        return self._wait(swap(), within_s=10)

    def memories(self) -> list[Memory]:
        """Return what has been acknowledged up to now, of every session there ever was."""

        async def copy() -> list[Memory]:
            return [memory.copy() for memory in self._memories]

        return self._wait(copy(), within_s=30)

    def probe(self) -> "Future[float]":
        """Send a beat of each probe until all are acknowledged; the future has the moment (monotonic) when the last one was."""
        return asyncio.run_coroutine_threadsafe(self._probe(), self._loop)

    def rest(self) -> None:
        """Let every player finish what it is saying, and say nothing more; all that it said is acknowledged by then."""
        self._wait(self._rest(), within_s=GIVE_UP_S)

    def check(self) -> None:
        """Raise what broke a player, if something did."""
        for player in self._playing:
            if player.done() and not player.cancelled() and (error := player.exception()):
                raise error

    def _wait(self, work: Coroutine[Any, Any, T], *, within_s: float) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within_s)

    async def _begin(self) -> None:
        self._probes = [self._player(f"{self._name}-probe-{number}") for number in range(PROBES)]
        await asyncio.gather(*(probe.start() for probe in self._probes))
        self._playing = [asyncio.create_task(self._play(number)) for number in range(self._players)]
        self._playing += [asyncio.create_task(self._keep_probe_alive(probe)) for probe in self._probes]

    async def _rest(self) -> None:
        self._leaving.set()
        await asyncio.gather(*self._playing)

    async def _stop(self) -> None:
        for player in self._playing:
            player.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)
        self._wire.close()

    def _player(self, session_id: str) -> "Player":
        memory = Memory(session_id)
        self._memories.append(memory)
        return Player(self, memory)

    async def _play(self, number: int) -> None:
        """Be one player: half of them stay, and only beat; the others talk, leave, and come back as somebody else."""
        await self._pause(self._random.uniform(0, 2))
        stays, life = number % 2 == 0, 0
        while not self._leaving.is_set():
            player = self._player(f"{self._name}-{number}-{life}")
            await player.start()
            if stays:
                while not self._leaving.is_set():
                    await self._pause(player.interval_s)
                    await player.beat()
                return
            leaves_at = self._loop.time() + self._random.uniform(6, 30)
            while self._loop.time() < leaves_at and not self._leaving.is_set():
                await player.happen(self._random.randint(1, 3))
                await self._pause(self._random.uniform(0.5, 1.5))
                await player.beat()
            await player.end()
            life += 1

    async def _keep_probe_alive(self, probe: "Player") -> None:
        while not self._leaving.is_set():
            await self._pause(probe.interval_s)
            async with probe.turn:
                await probe.beat()

    async def _probe(self) -> float:
        async def until_acknowledged(probe: Player) -> None:
            async with probe.turn:
                await probe.beat(pause_s=PROBE_PAUSE_S)

        await asyncio.gather(*map(until_acknowledged, self._probes))
        return time.monotonic()

    async def _pause(self, seconds: float) -> None:
        """Wait, unless it is time to leave."""
        try:
            await asyncio.wait_for(self._leaving.wait(), seconds)
        except TimeoutError:
            return

    async def send(self, path: str, body: dict[str, Any], *, pause_s: float | None) -> dict[str, Any]:
        """Send until it is acknowledged; return what was answered. `pause_s`: between attempts, instead of what the answer asks for."""
        content = json.dumps(body).encode()
        began_at, sent_at, failed = self._loop.time(), time.time(), False
        while True:
            wait_s, answered = await self._attempt(path, content)
            waited_s = self._loop.time() - began_at
            if answered is not None:
                self.retrying -= failed
                self.episode.longest_wait_s = max(self.episode.longest_wait_s, waited_s)
                self.episode.acknowledged += 1
                events = body.get("events", ())
                said = [each["timestamp"] for each in events] or [body["timestamp"]]
                stamp = datetime.fromisoformat(said[0]).timestamp()
                promised_s = answered.get("heartbeat_interval_seconds") or answered.get("next_heartbeat_seconds") or 0.0
                self.heard.append(Heard(path, body["session_id"], sent_at, time.time(), stamp, len(events), promised_s, failed))
                return answered
            if waited_s > GIVE_UP_S:
                raise AssertionError(f"{path} was not acknowledged in {GIVE_UP_S} s: {body}")
            self.retrying += not failed
            failed = True
            await asyncio.sleep(wait_s if pause_s is None else pause_s)

    async def _attempt(self, path: str, content: bytes) -> tuple[float, dict[str, Any] | None]:
        try:
            answer = await self._wire.request("POST", path, token=self._token, body=content)
        except UnansweredError as error:
            self.episode.troubles[str(error)] += 1
            return UNANSWERED_PAUSE_S, None
        if answer.status == 200:
            data: dict[str, Any] = answer.json()["data"]
            return 0.0, data
        trouble, wait_s = _refusal(answer)
        self.episode.troubles[trouble] += 1
        if wait_s is None:
            self.episode.undocumented.append(f"{trouble}: {answer.headers} {answer.body[:300]!r}")
        return wait_s or UNANSWERED_PAUSE_S, None


def _refusal(answer: Answer) -> tuple[str, float | None]:
    """Return what an answer says, and how long it asks a player to wait; None: it is none of those that are documented."""
    if answer.headers.get("content-type") != "application/json":
        return f"{answer.status} in the proxy's words", None
    error = answer.json()["error"]
    code = error["code"]
    documented = code in NOT_NOW and STATUSES[code] == answer.status and error["message"] and "fields" in error
    retry_after = answer.headers.get("retry-after", "")
    return f"{answer.status} {code}", float(retry_after) if documented and retry_after.isdecimal() else None


class Player:
    """One session's player: says one thing at a time."""

    def __init__(self, crowd: Crowd, memory: Memory) -> None:
        self._crowd = crowd
        self._memory = memory
        self._said = 0
        self.interval_s = 0.0
        self.turn = asyncio.Lock()

    async def start(self) -> None:
        playback = {**examples.START["playback"], "quality": QUALITIES[0]}
        answer = await self._say(START, {**examples.START, "playback": playback})
        assert answer["accepted"], answer
        self._memory.started = True
        self.interval_s = answer["heartbeat_interval_seconds"]

    async def beat(self, *, pause_s: float | None = None) -> None:
        self._said += 1
        playback = {**examples.HEARTBEAT["playback"], "quality": QUALITIES[self._said % 2]}
        answer = await self._say(HEARTBEAT, {**examples.HEARTBEAT, "playback": playback}, pause_s=pause_s)
        assert answer["accepted"], answer
        self._memory.beats += 1
        self.interval_s = answer["next_heartbeat_seconds"]

    async def happen(self, count: int) -> None:
        ids = [f"event-{len(self._memory.events) + number}" for number in range(count)]
        at = _now()
        events = [{"event_id": event_id, "event_type": "reaction", "timestamp": at} for event_id in ids]
        answer = await self._say(EVENTS, {"stream_id": examples.START["stream"]["stream_id"], "events": events})
        assert answer["accepted_count"] == count, answer
        self._memory.events += ids

    async def end(self) -> None:
        answer = await self._say(END, examples.END)
        # A repetition of an end that was taken, but not acknowledged, is told that the session has ended.
        assert answer["accepted"] or answer["reason"] == "session_ended", answer
        self._memory.ended = True

    async def _say(self, path: str, body: dict[str, Any], *, pause_s: float | None = None) -> dict[str, Any]:
        said = {**body, "session_id": self._memory.session_id, "timestamp": _now()}
        return await self._crowd.send(path, said, pause_s=pause_s)


def _now() -> str:
    return datetime.now(UTC).isoformat()
