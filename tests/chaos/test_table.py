"""What README and docs/operations.md say of faults is what was measured last, and that nobody paid for them."""

import pytest

from tests.chaos import ordeal
from tests.chaos.faults import FAULTS
from tests.chaos.scene import Scene
from tests.chaos.table import PAGE, README, Row, filled, for_readme, load, render
from tests.chaos.test_overload import NAME as OVERLOAD
from tests.chaos.test_reading_back import FAULT


def test_the_page_shows_what_was_measured_last() -> None:
    text = PAGE.read_text()
    assert filled(text, render(load())) == text


def test_the_readme_shows_five_of_these_faults() -> None:
    text = README.read_text()
    assert len(for_readme(load())) == 5
    assert filled(text, render(for_readme(load()))) == text


def test_every_fault_there_is_was_measured() -> None:
    assert {row.fault for row in load()} == {OVERLOAD, *(fault.name for fault in (*FAULTS, FAULT))}


def test_nothing_was_lost_and_nobody_wrongly_expired_and_every_other_promise_was_kept() -> None:
    for row in load():
        assert (row.lost, row.wrongly_expired, row.kept) == (0, 0, True), row.fault
        assert row.acknowledged, row.fault
        assert row.recoveries_s, row.fault


def test_a_fault_that_fails_is_kept_and_shown_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Row] = []

    def loses(_scene: Scene, _fault: object, row: Row) -> None:
        row.lost += 1
        raise AssertionError("lost")

    monkeypatch.setattr(ordeal, "save", saved.extend)
    monkeypatch.setattr(ordeal, "_live_through", loses)
    with pytest.raises(AssertionError, match="lost"):
        ordeal.suffer(Scene.__new__(Scene), FAULT, Row("a fault"), times=1, keep=True)
    assert [(row.lost, row.kept) for row in saved] == [(1, False)]
    assert "a fault (**FAILED**)" in render(saved)[-1]
