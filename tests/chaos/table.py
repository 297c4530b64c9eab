"""
The table of what was broken, how often, and what it cost.

    python -m tests.chaos.table

writes what the long form kept into docs/operations.md, and five rows of it into the README.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.results import machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench/results/chaos.json"
README = ROOT / "README.md"
PAGE = ROOT / "docs/operations.md"
IN_README = (
    "a shard killed",
    "the journal's server killed",
    "the journal wiped while it runs (`FLUSHALL`)",
    "every process of the machine killed at once, and started again",
    "ten times what it serves, for a minute",
)
"""The faults whose rows stand in the README."""
BEGIN, END = "<!-- chaos: written by `python -m tests.chaos.table` -->", "<!-- end of chaos -->"
HEADINGS = ("fault", "times", "acknowledged", "lost", "wrongly expired", "longest wait of a player", "recovery: median", "worst")


@dataclass
class Row:
    """One kind of fault."""

    fault: str
    acknowledged: int = 0
    lost: int = 0
    wrongly_expired: int = 0
    longest_wait_s: float = 0.0
    recoveries_s: list[float] = field(default_factory=list)
    troubles: dict[str, int] = field(default_factory=dict)
    kept: bool = True
    """Every promise was. A row that was never finished is saved without it."""


def render(rows: Sequence[Row]) -> list[str]:
    """Return the table as Markdown."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|" + "---:|" * (len(HEADINGS) - 1)]
    for row in rows:
        cells = (
            row.fault if row.kept else f"{row.fault} (**FAILED**)",
            str(len(row.recoveries_s)),
            f"{row.acknowledged:,}",
            str(row.lost),
            str(row.wrongly_expired),
            f"{row.longest_wait_s:.1f} s",
            f"{median(row.recoveries_s):.1f} s" if row.recoveries_s else "",
            f"{max(row.recoveries_s):.1f} s" if row.recoveries_s else "",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def save(rows: Sequence[Row], file: Path = RESULTS) -> None:
    """Keep rows beside those of other faults: the long form may be run in parts."""
    kept = json.loads(file.read_text()) if file.exists() else {}
    at = datetime.now(UTC).isoformat(timespec="seconds")
    for row in rows:
        kept[row.fault] = {**asdict(row), "at": at, "machine": machine()}
    file.write_text(json.dumps(kept, indent=1) + "\n")


def load(file: Path = RESULTS) -> list[Row]:
    """Return every row that was kept."""
    kept = json.loads(file.read_text())
    names = Row.__dataclass_fields__
    return [Row(**{name: value for name, value in row.items() if name in names}) for row in kept.values()]


def filled(text: str, lines: Sequence[str]) -> str:
    """Return a page with this table in its place."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin
    assert end
    return before + begin + "\n" + "\n".join(lines) + "\n" + end + after


def for_readme(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that the README shows, in its order."""
    by_fault = {row.fault: row for row in rows}
    return [by_fault[fault] for fault in IN_README]


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(), render(load())))
    README.write_text(filled(README.read_text(), render(for_readme(load()))))
