"""A real Prometheus reads a real tracker with the files that `headcount up` wrote, and every rule gets its answer; panels: `test_quality_in_prometheus.py`."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from metrics.catalog import CATALOG, PREFIX
from serve_app.players import examples
from tests import queries
from tests.integration.installation import Installation, wait_until
from tests.integration.prometheus import Prometheus, promtool, scraping

RULES = queries.ROOT / "dashboards"
STREAM = "prometheus-live"
WATCHING, PAUSED = 12, 5
LIVED: Mapping[str, float] = {
    "headcount_plays_total{}": 2,
    "headcount_start_failures_total{}": 1,
    "headcount_exits_before_start_total{}": 1,
    "headcount_playback_failures_total{}": 1,
    'headcount_stream_errors_total{fatal="true"}': 2,
    'headcount_stream_errors_total{fatal="false"}': 1,
    'headcount_rebuffers_total{cause="connection"}': 1,
    'headcount_rebuffers_total{cause="seek"}': 1,
    "headcount_rebuffering_seconds_total{}": 2 + 1,
    "headcount_seek_rebuffering_seconds_total{}": 1,
    "headcount_paused_seconds_total{}": 6,
    "headcount_playing_seconds_total{}": (8.5 + 3 + 8) + 19,
    "headcount_bitrate_seconds_total{}": 6 + 3 + 8,
    "headcount_played_bytes_total{}": (6 + 3 + 8) * 4_500_000 / 8,
}
"""What one wave of `Audience` adds to the counters of its stream."""
WAVES = 8


@dataclass
class Play:
    """What the audience has done so far."""

    server: Prometheus
    played: dict[str, int] = field(default_factory=dict)
    """Sessions of `STREAM` that are active, by state."""
    waves: int = 0
    """Waves of `STREAM` that have come and gone."""


@pytest.fixture(scope="module")
def prometheus(tracker: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus on the configuration that `headcount up` wrote."""
    with scraping(tracker, tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@pytest.fixture(scope="module")
def played(tracker: Installation, prometheus: Prometheus) -> Play:
    """An audience of every fate has played to it."""
    return play(tracker, prometheus)


def play(tracker: Installation, server: Prometheus) -> Play:
    """Keep some watching and some paused, and let others come, suffer and go."""
    played = Play(server, {"playing": WATCHING, "paused": PAUSED})
    audience = Audience(tracker)
    for number in range(WATCHING + PAUSED):
        audience.start(f"stays-{number}")
        audience.beat(f"stays-{number}", 1, **({"is_playing": True} if number < WATCHING else {"is_paused": True}))
    for played.waves in range(1, WAVES + 1):
        audience.wave(played.waves)
    server.await_scrape()
    return played


@dataclass
class Audience:
    """Players of one stream. `at` is in seconds of a player's own clock, which goes as fast as the test likes."""

    tracker: Installation
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    def start(self, name: str, *, stream: str = STREAM) -> None:
        named = {**examples.START["stream"], "stream_id": stream}
        self.send("start", {**examples.START, "session_id": f"prometheus-{name}", "stream": named, "timestamp": self.when(0)})

    def beat(self, name: str, at: float, **playback: bool) -> None:
        flags = {"is_playing": False, "is_paused": False, "is_buffering": False, "quality": "1080p", **playback}
        named = {"session_id": f"prometheus-{name}", "stream_id": STREAM}
        self.send("heartbeat", {**examples.HEARTBEAT, **named, "timestamp": self.when(at), "playback": flags})

    def events(self, name: str, *happened: tuple[str, float], **metadata: object) -> None:
        events = [
            {"event_id": f"{type_}-{at}", "event_type": type_, "timestamp": self.when(at), "metadata": metadata} for type_, at in happened
        ]
        answer = self.tracker.post("/analytics/live/events", {"session_id": f"prometheus-{name}", "stream_id": STREAM, "events": events})
        assert answer.status == 200, answer.body

    def end(self, name: str, at: float, reason: str = "user_exit") -> None:
        summary = {**examples.END["watch_summary"], "end_reason": reason}
        counted = {"total_rebuffer_count": 0, "quality_switches": 0}  # nothing that we did not see
        named = {"session_id": f"prometheus-{name}", "timestamp": self.when(at)}
        self.send("end", {**examples.END, **named, "watch_summary": summary, "performance": counted})

    def send(self, endpoint: str, body: object) -> None:
        answer = self.tracker.post(f"/analytics/live/session/{endpoint}", body)
        assert answer.status == 200, answer.body

    def when(self, at: float) -> str:
        return (self.began + timedelta(seconds=at)).isoformat()

    def wave(self, number: int) -> None:
        """Send one who is content, one who gets no picture, one who leaves before it, one who loses it, and some nonsense."""
        self.began = datetime.now(UTC)
        content, blind, hasty, cut = (f"{name}-{number}" for name in ("content", "blind", "hasty", "cut"))
        for name in (content, blind, hasty, cut):
            self.start(name)
        self.events(content, ("stream_start", 1.5))
        self.beat(content, 4, is_playing=True)
        self.events(content, ("stream_buffer_start", 10), ("stream_buffer_end", 12), ("dvr_seek", 14), ("stream_buffer_start", 15))
        self.events(content, ("stream_buffer_end", 16), ("stream_buffer_end", 16))
        self.events(content, ("quality_change", 18), quality="720p")
        self.beat(content, 20, is_playing=True)
        self.beat(content, 24, is_paused=True)
        self.end(content, 30)
        self.events(blind, ("stream_error", 2), fatal=True)
        self.end(blind, 3, "error")
        self.end(hasty, 5)
        self.events(cut, ("stream_start", 1))
        self.events(cut, ("stream_error", 5))
        self.events(cut, ("stream_error", 20), fatal=True)
        self.end(cut, 21, "error")
        for type_ in ("view", "play", "check"):
            assert self.tracker.request("GET", f"/icon.gif?type={type_}&v=prometheus-video&p=zone&u=viewer-{number}").status == 200
        assert self.tracker.post("/analytics/live/session/heartbeat", {"session_id": "x"}).status == 422


def test_the_committed_rules_fire_and_are_silent_as_their_cases_say() -> None:
    promtool("check", "rules", *sorted(RULES.glob("*.rules.yml")))
    assert "SUCCESS" in promtool("test", "rules", *sorted((RULES / "tests").glob("*.yml")))


def test_promtool_finds_nothing_wrong_with_what_up_wrote_nor_with_a_scrape(tracker: Installation) -> None:
    assert "2 rule files found" in promtool("check", "config", tracker.data / "prometheus/prometheus.yml")
    answer = tracker.get("/metrics")
    assert promtool("check", "metrics", stdin=answer.body).strip() == ""


def test_what_up_wrote_holds_no_token_and_is_for_its_user_alone(tracker: Installation) -> None:
    folder = tracker.data / "prometheus"
    assert folder.stat().st_mode & 0o777 == 0o700
    for file in folder.glob("*.yml"):
        assert file.stat().st_mode & 0o777 == 0o600
        assert tracker.ops_token not in file.read_text()
        assert str(tracker.data) not in file.read_text()


def test_every_rule_is_evaluated_without_an_error_and_no_alert_fires(played: Play) -> None:
    groups = played.server.ask("rules")["groups"]
    evaluated = [rule for group in groups for rule in group["rules"]]
    assert len(evaluated) == sum(len(queries.rules(f"{name}.rules.yml")) for name in ("recording", "alerting"))
    assert {(rule["name"], rule["health"], rule.get("lastError")) for rule in evaluated if rule["health"] != "ok"} == set()


def test_sessions_in_prometheus_are_those_that_play(played: Play) -> None:
    def shown() -> dict[str, float]:
        found = played.server.query(f'headcount_stream_sessions{{stream_id="{STREAM}"}} > 0')
        return {labels["state"]: value for labels, value in found}

    wait_until(lambda: shown() == played.played, within_s=15, what=f"{STREAM} has {played.played}")
    watching = [({"__name__": "job_stream_id:headcount_watching:sum", "job": "headcount", "stream_id": STREAM}, WATCHING)]
    wait_until(
        lambda: played.server.query(f'{watching[0][0]["__name__"]}{{stream_id="{STREAM}"}}') == watching, within_s=15, what="the rule"
    )
    everybody = sum(count for _, count in played.server.query("headcount_sessions"))
    assert everybody == sum(count for _, count in played.server.query("headcount_stream_sessions"))


def test_what_a_stream_lived_through_is_in_prometheus_as_it_was_played(played: Play) -> None:
    exported = set(queries.exported())
    expected = {series: played.waves * each for series, each in LIVED.items() if series.partition("{")[0] in exported}

    def shown() -> dict[str, float]:
        asked = {series: f"sum({series[:-1]},stream_id={json.dumps(STREAM)}}})".replace("{,", "{") for series in expected}
        return {series: sum(value for _, value in played.server.query(query)) for series, query in asked.items()}

    # Exactly: counts are whole, and the seconds are sums of halves.
    wait_until(
        lambda: shown() == pytest.approx(expected, rel=1e-9), within_s=15, what=f"the counters of {played.waves} waves are {expected}"
    )


AWKWARD = ('say "hi"', "two\nlines", "back\\slash", "tab\t{}=,", "😀" * 10, '{stream_id="x"}', "naïve ünïcode", "é" * 256)


def test_label_values_come_through_a_scrape_as_they_are(tracker: Installation, prometheus: Prometheus) -> None:
    """Quotes, newlines, backslashes, emoji; of 256 characters, the most that an id has, the first 128. One of 300 is refused."""
    audience = Audience(tracker)
    for number, stream in enumerate(AWKWARD):
        audience.start(f"awkward-{number}", stream=f"{stream}-{number}" if len(stream) < 256 else stream)
    expected = {f"{stream}-{number}"[:128]: 1.0 for number, stream in enumerate(AWKWARD)}

    def shown() -> dict[str, float]:
        found = prometheus.query('headcount_stream_sessions{state="starting"} > 0')
        return {labels["stream_id"]: value for labels, value in found if labels["stream_id"] in expected}

    wait_until(lambda: shown() == expected, within_s=20, what="each of them is a label")
    long = {**examples.START, "session_id": "too-long", "stream": {**examples.START["stream"], "stream_id": "x" * 300}}
    refused = tracker.post("/analytics/live/session/start", long)
    assert refused.status == 422
    assert [field["field"] for field in refused.json()["error"]["fields"]] == ["stream.stream_id"]


def test_prometheus_scrapes_openmetrics(prometheus: Prometheus) -> None:
    """Only OpenMetrics has units, which Prometheus keeps."""
    found = prometheus.ask("targets/metadata", match_target='{job="headcount"}')
    assert len(found) >= len(CATALOG)
    units = {each["metric"]: each["unit"] for each in found}
    for metric in CATALOG:
        assert units[PREFIX + metric.name] == metric.unit, metric.name


def test_the_ledger_as_prometheus_has_it_adds_up(played: Play) -> None:
    (ledger,) = [query for name, query in queries.expressions(queries.boards()["tracker"]).items() if name.startswith("Ledger ")]
    assert played.server.query(ledger) == [({}, 0.0)]


def test_a_new_configuration_is_written_at_every_start(tracker: Installation) -> None:
    assert f'["127.0.0.1:{tracker.port}"]' in (tracker.data / "prometheus/prometheus.yml").read_text()
    assert f"{tracker.data}/prometheus/prometheus.yml" in tracker.output
