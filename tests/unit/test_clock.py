"""The clock that whoever decides by time is given goes on as if nobody set the wall's."""

from actors.clock import SteadyClock


def test_a_wall_clock_that_is_set_moves_no_steady_one_and_is_told() -> None:
    wall, machine = [1_000.0], [50.0]
    steady = SteadyClock(lambda: wall[0], lambda: machine[0])
    assert (steady(), steady.step_s()) == (1_000.0, 0.0)
    wall[0] += 5.0 + 600.0
    machine[0] += 5.0
    assert (steady(), steady.step_s()) == (1_005.0, 600.0)
    wall[0] -= 1_200.0
    assert (steady(), steady.step_s()) == (1_005.0, -600.0)
