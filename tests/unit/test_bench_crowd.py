"""What the capacity benchmark's audience promises: evenly spread beats, and a truth that goes by the newest promise."""

import pytest

from bench import capacity
from bench.crowd import Crowd


@pytest.mark.parametrize("sessions", [200, *capacity.SESSIONS])
@pytest.mark.parametrize("interval_s", [1, 30])
def test_an_audience_assembles_in_whole_intervals_so_that_its_beats_lie_evenly(sessions: int, interval_s: int) -> None:
    ramp_s = capacity.ramp_of(sessions, interval_s=interval_s)
    assert ramp_s % interval_s == 0
    assert sessions / ramp_s <= capacity.JOINS_PER_S_MAX
    assert ramp_s == interval_s or sessions / (ramp_s - interval_s) > capacity.JOINS_PER_S_MAX, "no longer than it must"


@pytest.fixture
def crowd() -> Crowd:
    """Return an audience that has not begun."""
    return Crowd("http://127.0.0.1:1", ("in", "ops"), sessions=1, ramp_s=30, duration_s=1, stay_s=1, interval_s=30, connections=1)


@pytest.mark.parametrize("name", ["heartbeat_interval_seconds", "next_heartbeat_seconds"])
def test_a_stretched_interval_is_promised_until_the_next_answer_takes_it_back(crowd: Crowd, name: str) -> None:
    said = '{"status":"success","data":{"session_id":"x","accepted":true,"%s":%d,"server_timestamp":"t"}}'
    assert crowd.interval_promised(name, (said % (name, 47)).encode()) == 47
    assert crowd.interval_promised(name, (said % (name, 30)).encode()) == 30
    assert crowd.promised_s == 47
