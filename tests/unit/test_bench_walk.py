"""How the ingest benchmark knows how many sessions there must be."""

from bench.wrk import Walk


def test_every_acknowledged_request_of_a_first_walk_is_a_session() -> None:
    walk = Walk("a", 1_000)
    walk.took({"sent": [100, 80], "requests": 180, "refused": 0})
    assert walk.bounds == (180, 180)


def test_what_was_not_acknowledged_may_or_may_not_be_there() -> None:
    walk = Walk("a", 1_000)
    walk.took({"sent": [100, 80], "requests": 170, "refused": 5})
    assert walk.bounds == (165, 180)


def test_who_walks_on_makes_no_more_sessions_than_there_are_ids() -> None:
    walk = Walk("a", 100)
    walk.took({"sent": [40, 45], "requests": 85, "refused": 0})
    walk.took({"sent": [40, 3], "requests": 43, "refused": 0})
    assert walk.walked == [80, 48]
    assert walk.bounds == (98, 98)
