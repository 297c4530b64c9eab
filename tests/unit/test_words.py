"""How counts are said."""

from sessions.words import counted


def test_one_is_said_in_the_singular() -> None:
    assert [counted(number, "viewer") for number in (0, 1, 2_000)] == ["0 viewers", "1 viewer", "2,000 viewers"]
    assert [counted(number, "process", "processes") for number in (1, 2)] == ["1 process", "2 processes"]
