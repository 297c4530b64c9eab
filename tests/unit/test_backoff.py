"""Whoever tries again waits twice as long each time, up to a bound, and not exactly as long as the others."""

import pytest

from storage.backoff import Backoff, pause_s


@pytest.mark.parametrize(
    ("failures", "shortest_s", "longest_s"),
    [(0, 0.05, 0.1), (1, 0.1, 0.2), (2, 0.2, 0.4), (3, 0.4, 0.8), (4, 0.5, 1.0), (10_000, 0.5, 1.0)],
)
def test_a_pause_doubles_up_to_a_bound_and_lasts_for_half_of_that_to_all_of_it(failures: int, shortest_s: float, longest_s: float) -> None:
    bounds = [pause_s(failures, first_s=0.1, most_s=1.0, chance=lambda chance=chance: chance) for chance in (0.0, 1.0)]  # type: ignore[misc]
    assert bounds == pytest.approx([shortest_s, longest_s])


def pauses(seed: str | None) -> list[float]:
    backoff = Backoff(first_s=0.1, most_s=1.0, seed=seed)
    return [backoff.next_s() for _ in range(8)]


def test_the_pauses_of_one_thing_grow_within_their_bounds() -> None:
    longest_s = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses("shard-0"), longest_s, strict=True))


def test_two_that_lost_the_same_thing_at_once_do_not_come_back_at_once() -> None:
    assert not set(pauses("shard-0")) & set(pauses("shard-1"))
    assert not set(pauses(None)) & set(pauses(None))


def test_the_same_seed_gives_the_same_pauses() -> None:
    assert pauses("shard-0") == pauses("shard-0")
