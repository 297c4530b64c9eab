"""
A tracker at its limits: who falls silent, who is slow, who is too many, and how all the others fare meanwhile.

The long form of the overload, with its times, is `tests/chaos/test_overload.py`.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from serve_app.players import examples
from tests.integration.installation import Answer, Installation, wait_until
from tests.overload import CONNECTIONS_MAX, HEARTBEAT, PROBES, Flood, Probes, Told, memory_mb, weakened

START = "/analytics/live/session/start"
INTERVAL_S = 2
NEW_PER_MINUTE = 300
SETTINGS = {"HEARTBEAT_INTERVAL_S": str(INTERVAL_S), "REPLICAS": "1", "SHARDS": "1", "NEW_SESSIONS_PER_MINUTE": str(NEW_PER_MINUTE)}
SLOW = 500


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A tracker with one replica, short intervals and little room for new sessions."""
    installation = Installation(tmp_path_factory.mktemp("small"), settings=SETTINGS)
    try:
        installation.start()
        yield installation
        installation.assert_ledgers_hold()
    finally:
        installation.clean_up()


def _now() -> str:
    return datetime.now(UTC).isoformat()


def beat(tracker: Installation, session_id: str, at: str | None = None) -> Answer:
    said = {"is_playing": True, "is_paused": False, "is_buffering": False}
    body = {"session_id": session_id, "stream_id": session_id, "timestamp": at or _now(), "playback": said}
    return tracker.post(HEARTBEAT, body)


def watching(tracker: Installation, stream_id: str) -> int:
    answer: dict[str, Any] = tracker.get(f"/v1/concurrency?stream_id={stream_id}").json()
    found: int = answer["sessions"]
    return found


def fall_silent(tracker: Installation, session_id: str, at: str | None = None) -> tuple[int, float]:
    """Beat a last time; return the interval that was promised, and for how long the session was counted after that."""
    last = beat(tracker, session_id, at)
    heard_at = time.monotonic()
    assert last.status == 200
    promised_s: int = last.json()["data"]["next_heartbeat_seconds"]
    wait_until(lambda: watching(tracker, session_id) == 1, within_s=5, what="the session is counted")
    wait_until(lambda: watching(tracker, session_id) == 0, within_s=3 * promised_s + 10, what="the session leaves the count")
    return promised_s, time.monotonic() - heard_at


def test_a_session_whose_heartbeats_stop_leaves_the_count_after_three_intervals_and_is_measured_to_its_last_sign_of_life(
    small: Installation,
) -> None:
    assert small.post(START, {**examples.START, "session_id": "silent", "timestamp": _now()}).status == 200
    first_at = _now()
    assert beat(small, "silent", first_at).status == 200
    wait_until(lambda: watching(small, "silent") == 1, within_s=10, what="the session is counted")
    last_at = _now()
    promised_s, counted_s = fall_silent(small, "silent", last_at)
    alive_s = 3 * promised_s
    # From its acknowledgement on, which came a moment after the beat; and what is shown is at most two seconds old.
    assert alive_s - 0.5 <= counted_s <= alive_s + 2.0
    told = small.get("/v1/sessions/silent").json()
    assert (told["liveness"], told["heartbeat_interval_s"] * 3) == ("expired", alive_s)
    watched_s = (datetime.fromisoformat(last_at) - datetime.fromisoformat(first_at)).total_seconds()
    assert told["account"]["watch_time_s"] == pytest.approx(watched_s, abs=0.001)


def test_500_clients_who_send_a_byte_a_second_keep_nobody_waiting_and_are_sent_away(small: Installation) -> None:
    beats = [f"slow-{number}" for number in range(4)]
    head = f"POST {HEARTBEAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {small.ingest_token}\r\nContent-Length: 200\r\n\r\n"
    slow = [socket.create_connection(("127.0.0.1", small.port), timeout=10) for _ in range(SLOW)]
    for number, each in enumerate(slow):
        # Half of them are slow with their headers, the others with the body.
        each.sendall(b"P" if number % 2 else head.encode())
    gone, over = set[socket.socket](), threading.Event()

    def drip() -> None:
        while not over.wait(1.0):
            for each in slow:
                try:
                    each.send(b"x")
                except OSError:
                    gone.add(each)

    dripping = threading.Thread(target=drip)
    dripping.start()
    served = 0
    try:
        began_at = time.monotonic()
        while len(gone) < SLOW:
            assert time.monotonic() - began_at < 60, f"{SLOW - len(gone)} are still served"
            assert beat(small, beats[served % 4]).status == 200
            assert small.get("/readyz").status == 200
            # Only as long as all of them are there do they show that they keep nobody waiting.
            served += not gone
    finally:
        over.set()
        dripping.join()
        for each in slow:
            each.close()
    assert served > 20


@pytest.mark.reaches("REPLICA_REQUESTS_MAX", "FRONT_DOOR_WAITING_S_MAX")
def test_an_overload_is_stretched_then_shed_in_our_own_words_and_gone_when_it_is_over(small: Installation) -> None:
    flood = Flood(small)
    with weakened(small, share=0.2), Probes(small).asking() as probes, ThreadPoolExecutor(1) as beside:
        try:
            wait_until(lambda: len(probes.players) > 20, within_s=10, what="the probes ask")
            assert {(each.status, each.interval_s) for each in probes.players} == {(200, INTERVAL_S)}
            _rise(flood, probes, lambda: probes.players[-1].interval_s > INTERVAL_S, by=100)
            _next(probes, PROBES)  # what was promised before it
            # This many are promised a longer interval, and nobody is refused: that takes more of them.
            stretched = _next(probes, 5 * PROBES)
            assert {each.status for each in stretched} == {200}
            assert {each.interval_s > INTERVAL_S for each in stretched} == {True}
            silent = beside.submit(fall_silent, small, "silent-under-load")
            _rise(flood, probes, lambda: any(each.status == 503 for each in probes.players), by=500)
            full_mb = memory_mb(small)
            _next(probes, 60)
            assert {kind: mb - full_mb[kind] for kind, mb in memory_mb(small).items() if mb > full_mb[kind] + 50} == {}
        finally:
            answers = flood.stop()
            flood.kill()
        assert answers["200"] > 100
        assert answers["503"] > 100
        assert set(answers) == {"200", "503"}, answers
        told = probes.players[:]
        wait_until(lambda: _all_well(probes), within_s=30, what="everybody is served again")
        shrunk = probes.players[-1].interval_s
        wait_until(lambda: probes.players[-1].interval_s < max(shrunk, INTERVAL_S + 1), within_s=30, what="the interval comes back")
        promised_s, counted_s = silent.result(30)
    assert promised_s > INTERVAL_S
    # A commit of more than half a second is an outage of ours, and added to what is left of it.
    assert -1.0 <= counted_s - 3 * promised_s <= 3.0, "expiry does not stretch with the interval"
    refused = [each for each in told if each.status != 200]
    assert {each.status for each in refused} == {503}
    assert {each.code for each in refused} <= {"unavailable", "overloaded"}
    assert all(each.retry_after_s == 2 for each in refused)
    assert max(each.interval_s for each in told) <= 4 * INTERVAL_S
    # Who operates it is served first.
    assert {each.status for each in probes.operators} == {200}


def _rise(flood: Flood, probes: Probes, enough: Callable[[], bool], *, by: int) -> None:
    """Let more and more come, each time until the probes have felt them, until it is enough."""
    while not enough():
        assert flood.connections < CONNECTIONS_MAX, "all that this machine can send is served"
        flood.rise_to(flood.connections + by)
        _next(probes, PROBES)


def _next(probes: Probes, count: int) -> list[Told]:
    """Return the next answers that the probes get."""
    seen = len(probes.players)
    wait_until(lambda: len(probes.players) >= seen + count, within_s=30, what="the probes go on asking")
    return probes.players[seen:]


def _all_well(probes: Probes) -> bool:
    last = probes.players[-20:]
    return all(each.status == 200 and each.took_s < 1.0 for each in last)


def test_new_sessions_hit_their_bound_and_those_who_are_there_go_on(small: Installation) -> None:
    assert beat(small, "there").status == 200

    def knock(number: int) -> Answer:
        return beat(small, f"new-{number}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(knock, range(NEW_PER_MINUTE * 3)))
    refused = [answer for answer in answers if answer.status != 200]
    assert {(answer.status, answer.json()["error"]["code"], answer.headers["retry-after"]) for answer in refused} == {
        (429, "too_many_sessions", "30")
    }
    assert beat(small, "there").status == 200
