"""A simulated player keeps to the contract, and to its promises."""

import json

import pytest

from serve_app.demo.books import TICK_S
from serve_app.demo.player import RETURN_MARGIN_S, Player, request_of
from serve_app.demo.said import Said, Sending
from serve_app.demo.script import Act, Does, Person, Viewer, audience
from serve_app.players.pixel import read_pixel
from serve_app.players.routes import POSTS
from sessions.events import Beacon

PERSON = Person(stream=0, platform="web", country="US", quality="720p", connection="wifi", clock_ahead_s=0.0)


def player(*acts: Act, leaves_at_s: float = 1_000.0, encore: tuple[Act, ...] = (), beacon: bool = False, person: Person = PERSON) -> Player:
    viewer = Viewer(number=1, person=person, beacon=beacon, acts=acts, leaves_at_s=leaves_at_s, encore=encore)
    return Player(viewer, run="run", began_at=0.0, interval_s=30.0, expiry_intervals=3)


def speak(who: Player, *, interval_s: float | None = 30.0) -> tuple[float, Said]:
    """Let it speak when it is due; it is acknowledged half a second later."""
    due_at = who.due_at()
    assert due_at is not None
    said = who.speak(now=due_at)
    who.heard(said, Sending(due_at, due_at + 0.5, who.alive_s), interval_s=interval_s)
    return due_at, said


START = Act(at_s=10.0, does=Does.START, playback="starting")


def test_heartbeats_follow_the_interval_that_each_acknowledgement_promises() -> None:
    who = player(START)
    assert speak(who, interval_s=30.0)[0] == 10.0
    assert speak(who, interval_s=45.0)[0] == 40.5
    assert speak(who, interval_s=10.0)[0] == 86.0
    assert speak(who)[0] == 96.5


def test_an_event_between_does_not_put_the_heartbeat_off() -> None:
    who = player(START, Act(at_s=20.0, does=Does.EVENTS, playback="playing"))
    assert [speak(who)[0] for _ in range(3)] == [10.0, 20.0, 40.5]


def test_a_heartbeat_says_what_the_player_does() -> None:
    who = player(START, Act(at_s=20.0, does=Does.EVENTS, playback="playing"), Act(at_s=45.0, does=Does.HEARTBEAT, playback="paused"))
    said = [speak(who)[1] for _ in range(5)]
    assert [each.playback for each in said if each.does is Does.HEARTBEAT] == ["playing", "paused", "paused"]


def test_who_has_left_or_ended_says_nothing_more() -> None:
    left = player(START, leaves_at_s=15.0)
    speak(left)
    assert left.due_at() is None
    ended = player(START, Act(at_s=20.0, does=Does.END, reason="user_exit"))
    speak(ended)
    speak(ended)
    assert ended.due_at() is None


def test_what_is_repeated_is_the_same_word_for_word() -> None:
    who = player(Act(at_s=10.0, does=Does.START, times=2))
    _, first = speak(who)
    assert who.due_at() == 0.0
    _, second = speak(who)
    assert request_of(first, who.viewer) == request_of(second, who.viewer)


def test_it_comes_back_only_when_its_session_has_certainly_expired() -> None:
    who = player(START, leaves_at_s=15.0, encore=(Act(at_s=0.0, does=Does.HEARTBEAT), Act(at_s=0.5, does=Does.END, reason="timeout")))
    speak(who)
    back_at = 10.5 + 90.0 + TICK_S + RETURN_MARGIN_S
    assert who.due_at(outages_s=7.0) == back_at + 7.0
    assert speak(who)[0] == back_at
    assert speak(who)[0] == back_at + 0.5
    assert who.due_at() is None


def test_stamps_are_the_players_own_and_say_how_old_an_input_is() -> None:
    ahead = Person(stream=0, platform="web", country="US", quality="720p", connection="wifi", clock_ahead_s=100.0)
    _, said = speak(player(Act(at_s=10.0, does=Does.START, lag_s=3.0), person=ahead))
    assert said.stamp == 107.0


@pytest.mark.parametrize("seed", [1, 2])
def test_every_request_is_one_that_the_wire_takes(seed: int) -> None:
    kinds = set()
    for viewer in audience(300, duration_s=60.0, seed=seed):
        who = Player(viewer, run="run", began_at=1_700_000_000.0, interval_s=30.0, expiry_intervals=3)
        now = 1_700_000_000.0
        while (due_at := who.due_at()) is not None:
            now = max(now, due_at)
            said = who.speak(now=now)
            who.heard(said, Sending(now, now, who.alive_s), interval_s=None)
            request = request_of(said, viewer)
            kinds.add(said.does)
            if request.body is None:
                assert isinstance(read_pixel(request.path.partition("?")[2].encode(), pullzones=frozenset()), Beacon)
            else:
                route = POSTS[request.path]
                body = route.model.model_validate_json(json.dumps(request.body))
                assert body.session_id == said.session
    assert kinds == set(Does)
