"""What refills the documents, and that there is room in them for all that is measured."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bench import capacity, report


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


@pytest.mark.parametrize("file", [report.README, report.PAGE], ids=lambda file: file.name)
def test_the_readme_and_the_page_have_a_place_for_the_headlines(file: Path) -> None:
    assert report.fill(file.read_text(), "headlines", "new")


def test_the_readme_shows_five_figures_that_the_page_shows_too() -> None:
    def figures(file: Path) -> list[str]:
        table = file.read_text().partition("<!-- bench:headlines -->")[2].partition("<!-- /bench:headlines -->")[0]
        return table.strip().splitlines()[2:]

    assert len(figures(report.README)) == len(report.IN_README) == 5
    assert set(figures(report.README)) < set(figures(report.PAGE))


def test_a_capacity_that_was_measured_in_parts_has_each_size_as_it_was_measured_last() -> None:
    def result(commit: str, **sizes: int) -> dict[str, Any]:
        return {
            "machine": {"commit": commit},
            "seconds": 300.0,
            "sizes": [{"sessions": int(name[1:]), "p": p} for name, p in sizes.items()],
        }

    gathered = capacity.gathered([result("a", s1=1, s2=2), result("b", s2=20, s3=30)])
    assert gathered["machine"] == {"commit": "b"}
    assert gathered["sizes"] == [{"sessions": 1, "p": 1, "commit": "a"}, {"sessions": 2, "p": 20}, {"sessions": 3, "p": 30}]


def test_a_journals_log_tells_when_it_rewrote_its_file() -> None:
    log = (
        "7:M 22 Nov 2026 16:25:36.300 * Starting automatic rewriting of AOF on 101% growth\n"
        "7:M 22 Nov 2026 16:25:36.900 * Background AOF rewrite finished successfully\n"
        "7:M 22 Nov 2026 16:25:43.287 * Starting automatic rewriting of AOF on 100% growth\n"
    )
    since = datetime(2026, 11, 22, 16, 25, 30).astimezone().timestamp()
    assert capacity.rewrites(log, since=since) == [[6.3, 6.9]]
    assert capacity.rewrites(log, since=since + 10) == []


def test_seconds_of_a_rewrite_and_those_that_make_up_for_it_are_told_apart() -> None:
    seconds = [[second, 100, 1.0, 400.0 if second in (31, 33) else 20.0 + second, 0.0, 0.0, 0.0] for second in range(40)]
    size = {"sessions": 100, "ramp_s": 30, "seconds": seconds, "rewrites": [[10.0, 10.5], [31.2, 31.6]]}
    assert capacity.seconds_table([size, {"sessions": 50}])[2:] == ["| 100 | 1 times | 400, 400 ms | 56, 59 ms |", ""]
