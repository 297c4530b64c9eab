"""
What Prometheus sees while shards and the exporter are killed under load: nothing falls, nothing is counted twice, nothing jumps.

The load remembers when what was acknowledged (`crowd.py`), which gives the truth at every moment (`numbers.py`).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import pytest

from tests.chaos.crowd import Crowd, Heard
from tests.chaos.numbers import FRESH_S, GONE_WITHIN_S, HELD_S, Grown, Life, bounds, grown, lives
from tests.chaos.ordeal import HEARD_WITHIN_S
from tests.chaos.scene import EXPORTER, SHARD, Scene
from tests.integration.installation import wait_until
from tests.integration.prometheus import Prometheus, scraping

RATE_S = 15
SPAN_S = 13.0
"""The least that the samples of 15 s span at a scrape a second, one of them lost."""
COUNTERS = '{__name__=~"headcount_.+_(total|count|sum|bucket)"}'
ABSOLUTE = ("headcount_sessions_", "headcount_shard_restarts_")
"""What shards tell in whole: a new exporter goes on from there."""
ROUNDED = 1e-6
"""Sums of thousands of floats, in another order."""
OTHER_UNITS = ("_bytes_total", "_sum")
"""Of counters that grow by more than one for each request, event or second: they begin anew with those that do not."""


@pytest.fixture(scope="module")
def prometheus(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with scraping(scene.tracker, tmp_path_factory.mktemp("prometheus"), every_s=1) as server:
        yield server


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.long)])
def test_no_number_jumps_while_shards_are_killed(scene: Scene, prometheus: Prometheus, kills: int) -> None:
    began_at, outages = time.time(), []
    for _ in range(kills):
        killed_at = time.time()
        scene.kill(SHARD)
        scene.crowd.probe().result(HEARD_WITHIN_S)  # before that it may pass for well: its death is not noticed at once
        scene.settle()
        outages.append((killed_at, time.time()))
    time.sleep(FRESH_S)  # the last kill's increments are shown
    loaded_until = time.time()
    all_leave(scene)
    heard = list(scene.crowd.heard)
    truth = grown(heard)
    expected = {name: (least.total, truth[name].total) for name, least in grown(heard, surely=True).items()}

    def told() -> dict[str, float]:
        return {name: prometheus.value(f"sum(headcount_{name})") for name in truth}

    def is_true(told: Mapping[str, float]) -> bool:
        return all(least * (1 - ROUNDED) <= told[name] <= most * (1 + ROUNDED) for name, (least, most) in expected.items())

    wait_until(lambda: is_true(told()), within_s=15, what=f"{expected} is counted")
    prometheus.await_scrape()
    since_s = time.time() - began_at
    assert is_true(told()), (told(), expected)
    assert falls(prometheus, since_s) == []
    assert wrong_gauges(prometheus, lives(heard), since_s, outages, began_at=began_at, until=loaded_until) == []
    lag_s = FRESH_S + max(over_at - killed_at for killed_at, over_at in outages)
    assert bursts(prometheus, truth, lag_s, began_at=began_at, until=loaded_until) == {}


def test_an_exporter_that_starts_again_is_one_clean_reset(scene: Scene, prometheus: Prometheus) -> None:
    """What comes from increments begins at zero, once; the ledger goes on as if nothing had been; no gauge shows half of the truth."""
    all_leave(scene)
    with Crowd(port=scene.tracker.port, token=scene.tracker.ingest_token, players=40, seed=1, name="later") as crowd:
        began_at = time.time()
        wait_until(lambda: scene.counted() >= 40, within_s=30, what="they are there")
        prometheus.await_scrape()
        before = shown(prometheus)
        scene.kill(EXPORTER)
        killed_at = time.time()
        # The old one is dead, so that this is the new one's; whether a scrape fell into its absence is chance.
        prometheus.await_scrape()
        over_at = time.time()
        time.sleep(RATE_S + FRESH_S)  # the first rate after it that is whole
        until = time.time()
        crowd.rest()
        heard = list(crowd.heard)
    since_s = time.time() - began_at + 1
    gained = most_gained(heard, killed_at - FRESH_S, over_at)
    resets = {
        (name, *rest): count
        for name in sorted({name for name, *_ in before})
        for labels, count in prometheus.query(f"resets({name}[{since_s:.0f}s])")
        for _, *rest in [name_of({"__name__": name, **labels})]
    }
    for name, count in resets.items():
        if name[0].startswith(ABSOLUTE):
            assert count == 0, name
        elif not name[0].endswith(OTHER_UNITS) and before.get(name, 0) > gained:
            assert count == 1, (name, before[name], gained)
        else:
            # What stood at three before, and at four when it was seen again, has grown by one as far as anybody knows.
            assert count <= 1, name
    assert sum(resets.values()) > 10
    truth = {name: each for name, each in grown(heard).items() if not name.startswith(("playing", "quality"))}
    assert bursts(prometheus, truth, FRESH_S + over_at - killed_at, began_at=began_at, until=until) == {}
    assert wrong_gauges(prometheus, lives(heard), since_s, [], began_at=began_at, until=until) == []


def all_leave(scene: Scene) -> None:
    """Let everybody fall silent, and wait until nobody is counted any more."""
    scene.crowd.rest()
    wait_until(lambda: scene.counted() == 0, within_s=GONE_WITHIN_S, what="all have expired")


def most_gained(heard: Sequence[Heard], begin: float, end: float) -> float:
    """
    Return more than a counter of requests, events or seconds can have gained between two moments.

    Each request is counted once wherever it is counted, and so is each of its events; each second is one of playing.
    """
    seconds = grown(heard)["playing_seconds_total"].between(begin, end)
    return seconds + sum(1 + each.events for each in heard if begin <= each.acknowledged_at <= end)


def name_of(labels: Mapping[str, str]) -> tuple[str, ...]:
    return (labels["__name__"], *(f"{label}={value}" for label, value in sorted(labels.items()) if label != "__name__"))


def shown(server: Prometheus) -> dict[tuple[str, ...], float]:
    """Return every counter as it is now."""
    return {name_of(labels): value for labels, value in server.query(COUNTERS)}


def falls(server: Prometheus, since_s: float) -> list[object]:
    """Return each sample of a counter that is below the one before it."""
    series = server.scraped(COUNTERS, over_s=since_s)
    assert len(series) > 100
    assert max(len(samples) for _, samples in series) > since_s / 2
    found: list[object] = []
    for labels, samples in series:
        values = [value for _, value in sorted(samples.items())]
        found += [(labels, before, after) for before, after in pairwise(values) if after < before]
    return found


def wrong_gauges(
    server: Prometheus,
    there: list[Life],
    since_s: float,
    outages: list[tuple[float, float]],
    *,
    began_at: float,
    until: float,
) -> list[object]:
    """
    Return each scrape whose number of sessions cannot be true.

    It is one of the two seconds before; for 15 s after a death it may be as old as the death, for what the dead one held.
    """
    took = {at: value for _, samples in server.scraped("scrape_duration_seconds", over_s=since_s) for at, value in samples.items()}
    seen: dict[float, float] = {}
    for _, samples in server.scraped("headcount_sessions", over_s=since_s):
        for at, value in samples.items():
            seen[at] = seen.get(at, 0) + value
    checked = {at: value for at, value in seen.items() if began_at <= at <= until}
    assert len(checked) >= (until - began_at) / 2
    found: list[object] = []
    for at, value in checked.items():
        since = min([at, *(killed_at for killed_at, _ in outages if killed_at <= at <= killed_at + HELD_S)]) - FRESH_S
        least, most = bounds(there, since, at + took[at])
        if not least <= value <= most:
            found.append((at, value, least, most))
    return found


def bursts(server: Prometheus, truth: Mapping[str, Grown], lag_s: float, *, began_at: float, until: float) -> dict[str, object]:
    """
    Return the counters whose rate over 15 s was ever greater than what was lived allows.

    Samples of 15 s that span at least 13 s can show what was acknowledged in those 15 s and, at their beginning, what waited: for
    two seconds always, for as long as an outage lasted after one (`lag_s` in all). So no rate may exceed the most that was ever
    acknowledged in 15 s + lag, divided by 13 s: of an even load that is (15 + 2) / 13 = 1.3 times its rate, and with an outage of
    5 s 1.7 times. A counter that had begun anew and been added up again would show all of its past at once.
    """
    found: dict[str, object] = {}
    for name, lived in truth.items():
        parameters = {"start": str(began_at), "end": str(until), "step": "1"}
        answer = server.ask("query_range", query=f"sum(rate(headcount_{name}[{RATE_S}s]))", **parameters)["result"]
        rates = [float(value) for each in answer for _, value in each["values"]]
        assert rates, name
        allowed = lived.most_in(RATE_S + lag_s) / SPAN_S
        if max(rates) > allowed + 1e-9:
            found[name] = (max(rates), allowed)
    return found
