"""Bounded labels: exact sums, sticky places."""

from hypothesis import given
from hypothesis import strategies as st

from metrics.labels import HOLD_S, LOOK_S, OTHER, UNKNOWN, Labels, label_of

SOON = HOLD_S + LOOK_S


def filled(**sizes: int) -> Labels:
    """All places taken, at 0.0."""
    labels = Labels(most=len(sizes))
    for value, size in sizes.items():
        labels.add(value, size)
    labels.refresh(now=0.0)
    return labels


def look_every_second(labels: Labels, *, start: int, end: int) -> list[str]:
    return [lost for second in range(start, end) for lost in labels.refresh(now=float(second))]


def test_a_new_label_gets_a_free_place_at_once() -> None:
    labels = Labels(most=2)
    labels.add("a", 1)
    labels.refresh(now=0.0)
    assert labels.shown("a") == "a"


def test_more_newcomers_than_places_leaves_them_to_the_biggest() -> None:
    labels = Labels(most=2)
    for value, size in (("small", 1), ("big", 9), ("middle", 5), ("tiny", 1)):
        labels.add(value, size)
    labels.refresh(now=0.0)
    assert set(labels.placed) == {"big", "middle"}
    assert labels.shown("small") == OTHER


def test_a_label_without_sessions_keeps_its_place_while_nobody_asks() -> None:
    labels = filled(a=1, b=1)
    labels.add("a", -1)
    assert look_every_second(labels, start=1, end=1_000) == []
    assert labels.shown("a") == "a"


def test_an_abandoned_place_goes_to_whoever_asks_after_the_hold() -> None:
    labels = filled(a=1, b=5)
    labels.add("a", -1)
    labels.refresh(now=1.0)
    labels.add("c", 1)
    assert look_every_second(labels, start=2, end=int(HOLD_S)) == []
    assert look_every_second(labels, start=int(HOLD_S), end=int(SOON) + 2) == ["a"]
    assert labels.shown("c") == "c"


def test_a_newcomer_that_is_barely_bigger_never_takes_a_place() -> None:
    labels = filled(a=100, b=200)
    labels.add("c", 124)
    assert look_every_second(labels, start=1, end=500) == []


def test_a_newcomer_that_is_clearly_bigger_takes_the_smallest_place_after_the_hold() -> None:
    labels = filled(a=100, b=200)
    labels.add("c", 125)
    assert look_every_second(labels, start=100, end=100 + int(HOLD_S) - 1) == []
    assert look_every_second(labels, start=100 + int(HOLD_S), end=100 + int(SOON) + 2) == ["a"]
    assert labels.shown("a") == OTHER
    assert labels.shown("c") == "c"


def test_a_newcomer_that_falls_back_meanwhile_has_to_wait_anew() -> None:
    labels = filled(a=100, b=200)
    labels.add("c", 150)
    look_every_second(labels, start=100, end=140)
    labels.add("c", -60)
    look_every_second(labels, start=140, end=155)
    labels.add("c", 60)
    assert look_every_second(labels, start=155, end=155 + int(HOLD_S) - 1) == []
    assert look_every_second(labels, start=155 + int(HOLD_S), end=155 + int(SOON) + 2) == ["a"]


def test_two_that_swap_sizes_all_the_time_do_not_swap_places() -> None:
    labels = filled(a=100)
    labels.add("b", 200)
    lost = []
    for minute in range(60):
        lost += look_every_second(labels, start=minute * 40, end=minute * 40 + 40)
        swing = 200 if minute % 2 else -200
        labels.add("a", -swing)
        labels.add("b", swing)
        lost += labels.refresh(now=minute * 40 + 39.5)
    assert lost == []


def test_a_static_value_gets_its_place_when_the_smallest_shrinks() -> None:
    labels = filled(a=100, b=200)
    labels.add("c", 50)
    look_every_second(labels, start=1, end=200)
    labels.add("a", -90)
    assert look_every_second(labels, start=200, end=300) == ["a"]


def test_values_that_cut_to_the_same_label_are_one_label_and_are_summed() -> None:
    labels = Labels(most=5)
    labels.add("x" * 128 + "1", 2)
    labels.add("x" * 128 + "2", 3)
    labels.add("x" * 127, 7)
    labels.refresh(now=0.0)
    assert dict(labels.sizes) == {"x" * 128: 5, "x" * 127: 7}
    assert labels.shown("x" * 300) == "x" * 128


def test_a_players_own_other_is_counted_in_other_and_takes_no_place() -> None:
    labels = Labels(most=2)
    labels.add(OTHER, 9)
    labels.refresh(now=0.0)
    assert not labels.placed
    assert labels.total == 9


def test_a_label_that_came_by_a_count_alone_gives_its_place_up_after_the_hold_to_whoever_asks() -> None:
    labels = Labels(most=1)
    assert labels.claim("brief", now=10.0) == "brief"
    labels.add("a", 1)
    assert look_every_second(labels, start=11, end=10 + int(HOLD_S)) == []
    assert look_every_second(labels, start=10 + int(HOLD_S), end=10 + int(SOON) + 1) == ["brief"]
    assert labels.claim("brief", now=100.0) == OTHER


def test_a_label_that_came_by_a_count_and_then_has_a_session_keeps_its_place() -> None:
    labels = Labels(most=1)
    labels.claim("a", now=10.0)
    labels.add("a", 1)
    labels.refresh(now=11.0)
    labels.add("b", 1)
    assert look_every_second(labels, start=12, end=500) == []


def test_what_the_player_did_not_say_is_unknown() -> None:
    assert label_of("") == UNKNOWN


moves_of_others = ("f", "a", OTHER)
"""Of whom something is counted, session or not."""
moves = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d", "e", OTHER, "", "y" * 200, "y" * 150]), st.integers(0, 9), st.integers(0, 40)),
    max_size=60,
)


@given(moves, st.integers(1, 4))
def test_places_never_exceed_the_bound_and_the_sum_is_always_exact(steps: list[tuple[str, int, int]], most: int) -> None:
    labels = Labels(most=most)
    held: dict[str, int] = {}
    now = 0.0
    for value, size, pause in steps:
        labels.add(value, size - held.get(value, 0))
        held[value] = size
        now += pause
        if pause % 3 == 0:
            labels.claim(moves_of_others[size % 3], now=now)
        before = set(labels.placed)
        lost = labels.refresh(now=now)
        assert set(lost) == before - set(labels.placed)
        assert len(labels.placed) <= most
        assert OTHER not in labels.placed
        shown: dict[str, int] = {}
        for each, amount in held.items():
            shown[labels.shown(each)] = shown.get(labels.shown(each), 0) + amount
        assert all(labels.sizes.get(label, 0) == shown.get(label, 0) for label in labels.placed)
        assert labels.total == sum(shown.values())


def test_a_label_whose_sessions_came_back_is_not_abandoned() -> None:
    labels = filled(a=1, b=5)
    labels.add("a", -1)
    labels.refresh(now=1.0)
    labels.add("a", 1)
    labels.refresh(now=30.0)
    labels.add("c", 1)
    assert look_every_second(labels, start=31, end=300) == []


def test_a_place_just_taken_is_not_taken_again_before_the_hold() -> None:
    labels = filled(a=100, b=101)
    labels.add("c", 300)
    look_every_second(labels, start=100, end=130)
    labels.add("d", 200)
    assert look_every_second(labels, start=130, end=171) == ["a"]
    taken_at = labels.placed["c"]
    labels.add("c", -290)
    assert look_every_second(labels, start=171, end=int(taken_at + HOLD_S)) == []
    assert look_every_second(labels, start=int(taken_at + HOLD_S), end=int(taken_at + SOON) + 2) == ["c"]
