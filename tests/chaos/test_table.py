"""What the README says of faults is what was measured last, and that nobody paid for them."""

from tests.chaos.table import README, in_readme, load, render


def test_the_readme_shows_what_was_measured_last() -> None:
    text = README.read_text()
    assert in_readme(text, render(load())) == text


def test_nothing_was_lost_and_nobody_wrongly_expired() -> None:
    rows = load()
    assert rows
    assert [(row.lost, row.wrongly_expired) for row in rows] == [(0, 0)] * len(rows)
    assert all(row.acknowledged and row.recoveries_s for row in rows)
