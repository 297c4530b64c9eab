"""Who was brought together is spread again, and nobody else hears another interval than the configured one."""

import heapq
import random
from collections import Counter

from actors.shard.spread import JITTER_MAX, SESSIONS_MIN, Spread

INTERVAL_S = 30


def beats_of_a_kick_off(viewers: int, *, within_s: float, until_s: int) -> Counter[int]:
    """Let so many viewers start within some seconds and beat as they are told; return the beats of each second."""
    spread, chance = Spread(), random.Random(5)
    spread.expect(viewers, interval_s=INTERVAL_S)
    beats: Counter[int] = Counter()
    # The answer to a start is always the configured interval.
    due = [(chance.uniform(0, within_s) + INTERVAL_S, f"viewer-{number}") for number in range(viewers)]
    heapq.heapify(due)
    while due[0][0] < until_s:
        at, viewer = due[0]
        spread.count(1, now=at)
        beats[int(at)] += 1
        told_s = spread.jittered(INTERVAL_S, viewer) if spread.jitter else INTERVAL_S
        heapq.heapreplace(due, (at + told_s, viewer))
    return beats


def test_fifty_thousand_who_start_at_once_are_spread_within_two_intervals() -> None:
    beats = beats_of_a_kick_off(50_000, within_s=2.0, until_s=240)
    assert beats[30] + beats[31] > 49_000, "their first beats come together"
    mean = 50_000 / INTERVAL_S
    # The first beats are answered at 30 s; two intervals on, no second holds more than one and a half times what it should.
    for second in range(90, 240):
        assert beats[second] <= 1.5 * mean, (second, beats[second])


def test_without_it_they_would_beat_together_for_ever() -> None:
    together = Counter(int(30 + number / 25_000) for number in range(50_000))
    assert max(together.values()) == 25_000 > 14 * 50_000 / INTERVAL_S


def test_an_audience_that_is_spread_is_told_what_is_configured() -> None:
    spread, chance = Spread(), random.Random(5)
    spread.expect(15_000, interval_s=INTERVAL_S)
    # 500 a second, give or take what chance does.
    for tick in range(6_000):
        spread.count(chance.randint(0, 10), now=tick / 100)
        assert spread.jitter == 0.0


def test_a_small_audience_is_never_a_crowd() -> None:
    spread = Spread()
    spread.expect(SESSIONS_MIN - 1, interval_s=INTERVAL_S)
    spread.count(5_000, now=100.0)
    assert spread.jitter == 0.0
    spread.expect(SESSIONS_MIN, interval_s=INTERVAL_S)
    spread.count(1, now=100.1)
    assert spread.jitter == JITTER_MAX


def test_a_little_crowd_is_jittered_by_a_tenth_for_a_second_more() -> None:
    spread = Spread()
    spread.expect(20_000, interval_s=10)
    # A mean of 2,000 a second; the rate remembers half a second, so that 1,500 beats at once are a rate of 3,000.
    spread.count(1_500, now=7.0)
    assert spread.jitter == 0.0
    spread.count(10, now=7.0)
    assert 0.1 < spread.jitter < 0.11
    spread.count(1, now=7.9)
    assert 0.1 < spread.jitter < 0.11
    spread.count(1, now=8.1)
    assert spread.jitter == 0.0


def test_a_session_is_always_told_the_same_and_all_of_them_cover_the_interval() -> None:
    spread = Spread()
    spread.expect(50_000, interval_s=INTERVAL_S)
    spread.count(25_000, now=1.0)
    told = Counter(spread.jittered(INTERVAL_S, f"viewer-{number}") for number in range(50_000))
    assert (min(told), max(told)) == (15, 45)
    assert spread.jittered(INTERVAL_S, "viewer-7") == spread.jittered(INTERVAL_S, "viewer-7")
    assert max(told.values()) < 1.1 * 50_000 / 30


def test_a_promise_is_a_second_at_least() -> None:
    spread = Spread()
    spread.expect(SESSIONS_MIN, interval_s=10)
    spread.count(1_000, now=1.0)
    assert {spread.jittered(1, f"viewer-{number}") for number in range(200)} <= {1, 2}
