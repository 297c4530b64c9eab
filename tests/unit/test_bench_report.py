"""What refills the documents, and that there is room in them for all that is measured."""

import pytest

from bench import report


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    text = "before\n<!-- bench:idle -->\nold\nlines\n<!-- /bench:idle -->\nafter\n"
    assert report.fill(text, "idle", r"new \1") == "before\n<!-- bench:idle -->\nnew \\1\n<!-- /bench:idle -->\nafter\n"


@pytest.mark.parametrize("text", ["no marks", "<!-- bench:idle -->\n<!-- /bench:idle -->\n" * 2])
def test_a_document_without_exactly_one_place_is_refused(text: str) -> None:
    with pytest.raises(LookupError):
        report.fill(text, "idle", "new")


@pytest.mark.parametrize("name", report.MEASUREMENTS)
def test_every_measurement_has_its_place_in_the_page(name: str) -> None:
    assert report.fill(report.PAGE.read_text(), name, "new")


def test_the_readme_has_a_place_for_the_headlines() -> None:
    assert report.fill(report.README.read_text(), "headlines", "new")
