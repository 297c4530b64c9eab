"""How often everything is started again by itself."""

from serve_app.machine.restarts import Restarts


def test_it_is_started_again_three_times_within_ten_minutes_and_not_a_fourth_time() -> None:
    restarts = Restarts()
    assert [restarts.again(now=now) for now in (1_000.0, 1_100.0, 1_200.0, 1_599.9)] == [1, 2, 3, None]


def test_ten_minutes_after_the_first_restart_there_is_room_for_another() -> None:
    restarts = Restarts()
    for now in (1_000.0, 1_100.0, 1_200.0):
        restarts.again(now=now)
    # Those of 1,100 and 1,200 s still count: this one is the third again.
    assert restarts.again(now=1_600.0) == 3
    assert restarts.again(now=1_600.1) is None


def test_a_death_now_and_then_is_always_the_first() -> None:
    restarts = Restarts()
    assert [restarts.again(now=1_000.0 + 600.0 * death) for death in range(20)] == [1] * 20
