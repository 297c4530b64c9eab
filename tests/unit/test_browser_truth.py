"""What judges the tracker by a real element reads its events right, and sees what is off."""

from typing import Any

import pytest

from tests.browser.truth import Look, Viewing, apart, dark_s, differences, faults, viewings

BEGAN = 1_000.0


def seen(*events: tuple[float, str] | tuple[float, str, dict[str, Any]]) -> list[dict[str, Any]]:
    usual = {"paused": False, "ended": False, "ready": 4}
    return [{"at": BEGAN + each[0], "type": each[1], **usual, **(each[2] if len(each) > 2 else {})} for each in events]


def one(*events: Any) -> Viewing:
    (viewing,) = viewings(seen(*events))
    return viewing


LIFE = [
    (0.0, "play"),
    (0.1, "waiting"),
    (2.0, "playing"),
    (10.0, "waiting"),
    (16.0, "playing"),
    (20.0, "pause", {"paused": True}),
    (23.0, "play"),
    (23.0, "playing"),
    (30.0, "quit"),
]
ACCOUNT = {"startup_time_s": 2.0, "playing_time_s": 19.0, "rebuffering_time_s": 6.0, "paused_time_s": 3.0, "rebuffer_count": 1}
"""Of `LIFE`: played from 2 to 10, 16 to 20 and 23 to 30, waited from 10 to 16, paused from 20 to 23."""


def test_a_life_is_read_as_html_says() -> None:
    viewing = one(*LIFE)
    assert viewing.startup_s == 2.0
    assert [viewing.seconds(state) for state in ("starting", "playing", "rebuffering", "paused")] == [2.0, 19.0, 6.0, 3.0]
    assert viewing.stalls() == 1
    assert faults(viewing, ACCOUNT) == []


@pytest.mark.parametrize(
    ("name", "told", "fault"),
    [
        ("startup_time_s", 2.3, "startup +0.30 s"),
        ("startup_time_s", None, "startup -101.00 s"),
        ("playing_time_s", 18.4, "playing -0.60 s"),
        ("rebuffering_time_s", 6.6, "rebuffering +0.60 s"),
        ("paused_time_s", 0.0, "paused -3.00 s"),
        ("rebuffer_count", 2, "stalls +1"),
    ],
)
def test_what_is_off_is_found(name: str, told: float | None, fault: str) -> None:
    assert faults(one(*LIFE), {**ACCOUNT, name: told}) == [fault]


def test_two_seconds_of_a_hundred_are_two_percent_and_near_enough() -> None:
    viewing = one((0.0, "play"), (0.0, "playing"), (100.0, "quit"))
    account = {"startup_time_s": 0.0, "rebuffering_time_s": 0.0, "paused_time_s": 0.0, "rebuffer_count": 0}
    assert faults(viewing, {**account, "playing_time_s": 98.1}) == []
    assert faults(viewing, {**account, "playing_time_s": 97.9}) == ["playing -2.10 s"]
    assert differences(viewing, {**account, "playing_time_s": 98.1})["playing"] == pytest.approx(-1.9)


def test_a_startup_that_nobody_saw_is_a_fault() -> None:
    viewing = one((0.0, "pageshow"), (5.0, "quit"))
    account = {"playing_time_s": 5.0, "rebuffering_time_s": 0.0, "paused_time_s": 0.0, "rebuffer_count": 0}
    assert faults(viewing, {**account, "startup_time_s": None}) == []
    assert faults(viewing, {**account, "startup_time_s": 0.4}) == ["a startup of 0.4 s that nobody saw"]


def test_another_stream_another_page_and_another_play_are_viewings_of_their_own() -> None:
    assert len(viewings(seen((0, "play"), (1, "playing"), (5, "another"), (5, "emptied"), (6, "playing"), (9, "quit")))) == 2
    assert len(viewings(seen((0, "play"), (1, "playing"), (5, "pagehide"), (9, "pageshow"), (12, "quit")))) == 2
    assert len(viewings(seen((0, "play"), (1, "playing"), (5, "ended"), (9, "play"), (12, "quit")))) == 2
    assert viewings(seen((0, "emptied"), (1, "resize"))) == []


def test_an_element_that_has_failed_is_so_until_it_plays() -> None:
    viewing = one((0, "play"), (1, "error"), (1, "pause", {"paused": True}), (4, "playing"), (5, "quit"))
    assert [state for _, state in viewing.states] == ["starting", "failed", "playing"]


def test_what_was_so_within_the_last_second_and_a_half_may_be_shown() -> None:
    truth = [one(*LIFE)]
    assert apart(truth, [Look(BEGAN + 11.4, ("playing",)), Look(BEGAN + 11.4, ("rebuffering",))]) == []
    assert len(apart(truth, [Look(BEGAN + 11.6, ("playing",))])) == 1


def test_who_is_not_shown_and_who_is_shown_too_long_is_found() -> None:
    truth = [one(*LIFE)]
    assert apart(truth, [Look(BEGAN + 1.0, ()), Look(BEGAN + 31.0, ("playing",)), Look(BEGAN + 40.0, ())]) == []
    assert len(apart(truth, [Look(BEGAN + 5.0, ())])) == 1, "nobody is shown"
    assert len(apart(truth, [Look(BEGAN + 32.0, ("playing",))])) == 1, "still shown after the end"
    assert len(apart(truth, [Look(BEGAN + 5.0, ("playing", "playing"))])) == 1, "shown twice"


def test_a_players_own_word_may_stand_for_what_its_element_feels() -> None:
    truth = [one(*LIFE)]
    assert apart(truth, [Look(BEGAN + 15.0, ("failed",))], also={"rebuffering": "failed"}) == []
    assert len(apart(truth, [Look(BEGAN + 15.0, ("failed",))])) == 1


def test_frames_that_were_not_shown_are_dark_seconds() -> None:
    frames = [0.04 * number for number in range(100)] + [8.0 + 0.04 * number for number in range(50)]
    assert dark_s(frames, begin=0.0, end=10.0) == pytest.approx(8.0 - 3.96)
