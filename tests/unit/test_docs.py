"""The documents say what the code says, and name nothing that a clone does not hold."""

import re
import subprocess
from pathlib import Path

import pytest

from metrics.catalog import STATES
from metrics.page import filled
from serve_app.players.answers import RETRY_AFTER_S, STATUSES
from serve_app.settings import PREFIX, Settings
from sessions.limits import BODY_BYTES_MAX, EVENTS_PER_REQUEST_MAX

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ELSEWHERE = re.compile(
    r"\b(?:qoe|design|ray|style|cases|cmcd|cluster|browser)\.md\b"  # pages that only the authors had
    r"|\bsections? 5\d\b|\.md`?,? sections? \d|\(row \d+\)|\brows? \d+ of\b|\bissues? \d+\b"
)
"""Citations that lead nowhere for whoever has only a clone."""
POINTS_AWAY = '"""' + "See the module"


def tracked() -> list[Path]:
    """Every text of the repository that people write; what was measured and what is locked is not read."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    skipped = (".lock", ".json", ".svg")
    return [ROOT / name for name in listed if not name.endswith(skipped) and not name.startswith("tests/corpus/")]


def test_nothing_is_cited_that_a_clone_does_not_hold() -> None:
    cited = []
    for file in tracked():
        if file == Path(__file__).resolve() or not file.exists():
            continue
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        cited += [f"{file.relative_to(ROOT)}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if ELSEWHERE.search(line)]
    assert cited == []


def test_no_docstring_sends_its_reader_to_the_module_instead_of_saying_what_it_is() -> None:
    pointing = [
        f"{file.relative_to(ROOT)}" for file in tracked() if file.suffix == ".py" and file.exists() and POINTS_AWAY in file.read_text()
    ]
    assert pointing == []


@pytest.mark.parametrize("said", ["see `qoe.md`", "a start (section 51)", "as design.md section 3 has it", "the targets of issue 5"])
def test_a_citation_that_leads_nowhere_is_found(said: str) -> None:
    assert ELSEWHERE.search(said)


def test_the_page_of_the_metrics_lists_every_metric_of_the_catalog() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert filled(page) == page, "run `make docs`"


def test_the_page_of_the_metrics_explains_every_state() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \| ", page.partition("## Formulas")[0], re.MULTILINE)) == set(STATES)


def test_the_page_of_the_interface_has_every_error_with_its_status() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    told = {(code, int(status)) for code, status in re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE)}
    assert told == {(code.value, status) for code, status in STATUSES.items()}
    again = set(re.findall(r"^\| `(\w+)` \|.*`Retry-After`", page, re.MULTILINE))
    assert again == {code.value for code in RETRY_AFTER_S}
    assert f"{BODY_BYTES_MAX // 1024} KiB" in page
    assert f"{EVENTS_PER_REQUEST_MAX} events" in page


@pytest.mark.parametrize("page", sorted(DOCS.glob("**/*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_links_between_the_documents_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_page_of_the_settings_has_every_setting_and_no_other() -> None:
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    told = re.findall(rf"`{PREFIX}(\w+)`", page)
    assert {name.lower() for name in told} == set(Settings.model_fields)


def test_what_the_page_of_the_architecture_names_is_there() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    files = {str(file.relative_to(ROOT)) for file in tracked()}
    code = "\n".join(file.read_text(encoding="utf-8") for file in tracked() if file.suffix == ".py" and file.exists())
    named = set(re.findall(r"`([\w/]+\.(?:py|lua|md))`", page))
    assert {name for name in named if not any(file == name or file.endswith(f"/{name}") for file in files)} == set()
    defined = set(re.findall(r"^\s*(?:class|(?:async )?def) (\w+)", code, re.MULTILINE))
    words = {part for name in re.findall(r"`([A-Za-z_]+(?:\.[a-z_]+)?)(?:\(.*?\))?`", page) for part in name.split(".")}
    classes = {word for word in words if re.fullmatch(r"(?:[A-Z][a-z]+)+", word)}
    assert classes - defined == set()
    methods = set(re.findall(r"`[A-Z]\w+\.([a-z_]+)`", page))
    assert methods - defined == set()


@pytest.mark.parametrize("page", [file for file in tracked() if file.suffix == ".md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_of_the_documents_is_wider_than_140_characters(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > 140] == []


def test_nothing_stands_twice_in_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = [" ".join(entry.split()) for entry in re.findall(r"^- (?:.|\n(?!- |\n|#))*", text, re.MULTILINE)]
    assert [entry for entry in set(entries) if entries.count(entry) > 1] == []


HOUSE = """
account admission audience backstage batch beacon blip books channel claim crowd cue data-set dimension directory doorkeeper dropped drained
epoch event exporter fence fleet folded front-door gain handed happening hold holdings incarnation increments input intake interval journal
lane late lease leaving ledger letter lever line mailbox mending moved open outage outcome plan post-room promise provisional receipt
record report revived roster run set-aside shard sign-of-life slot spread stall stand-in steward story stretch summary tallies term tracker
viewing wild window wiped reporter settled blind rhythm
"""
"""Words that this project uses in a sense of its own."""


def test_every_word_of_the_house_has_one_row_in_the_glossary() -> None:
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    explained = [word for words in re.findall(r"\*\*([^*]+)\*\*", page) for word in words.split(", ")]
    assert {word.replace("-", " ") for word in HOUSE.split()} - {word.replace("-", " ") for word in explained} == set()
    assert len(explained) == len(set(explained)), "a word with two meanings"
