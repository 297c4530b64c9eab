"""
Refill `docs/performance.md`, its plots and the README's figures from the newest results; none of them is written by hand.

    python -m bench.report

A measurement is a module `bench.NAME` that writes results called NAME (`bench/results.py`). It has `table(result)`, which returns
markdown and goes between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; and it may have `draw(result)`, which writes plots, and
`headlines(result)`, which returns rows (what, figure, command) for the top of the page; the first row of those in `IN_README` is for the
README as well. One that may be measured in parts has `gathered(results)`, which puts them together; of all others the newest counts. What
was not measured keeps its text. One that only calculates names the measurement whose results it takes: `SOURCE`.
"""

import re
import textwrap
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bench.results import results

MEASUREMENTS: Final = ("ingest", "capacity", "breakdown", "scaling", "idle", "core", "journal", "scrape")
WIDTH: Final = 138
IN_README: Final = ("ingest", "capacity", "breakdown", "idle", "core")
ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs/performance.md"
README: Final = ROOT / "README.md"

Row = tuple[str, str, str]
"""What was measured, its figure, and the command that measured it."""


def fill(text: str, name: str, content: str) -> str:
    """Return the text with what stands between a name's two marks replaced. Raises `LookupError` if the marks are not there."""
    marked = re.compile(rf"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)", re.DOTALL)
    filled, places = marked.subn(lambda found: f"{found[1]}{wrapped(content)}\n{found[2]}", text)
    if places != 1:
        raise LookupError(f"{places} places are marked for {name}")
    return filled


def wrapped(content: str) -> str:
    """Return markdown whose sentences are no wider than the other pages'; tables keep their lines."""
    lines = content.split("\n")
    return "\n".join(line if line.startswith("|") else textwrap.fill(line, width=WIDTH, break_on_hyphens=False) for line in lines)


def provenance(result: dict[str, Any]) -> str:
    """Return one line that says where and of what a result was measured."""
    machine = result["machine"]
    changed = " with changes" if machine.get("uncommitted") else ""
    return (
        f"Measured {machine.get('at', '?')[:16].replace('T', ' ')} on {machine['cores']} cores ({machine['processor']}), "
        f"Python {machine['python']}, commit {machine['commit']}{changed}; load average before it {machine.get('load_before', '?')}."
    )


def as_table(rows: Sequence[Row]) -> str:
    """Return headlines as Markdown."""
    return "\n".join(
        ("| what | figure | command |", "|---|---|---|", *(f"| {what} | {figure} | `{command}` |" for what, figure, command in rows))
    )


def main() -> None:
    """Refill both files and draw every plot; say what was there."""
    page, readme = PAGE.read_text(), README.read_text()
    rows: list[Row] = []
    first_rows: list[Row] = []
    for name in MEASUREMENTS:
        module = import_module(f"bench.{name}")
        kept = results(getattr(module, "SOURCE", name))
        if not kept or not hasattr(module, "table"):
            print(f"{name:>10}: nothing new")
            continue
        result = module.gathered(kept) if hasattr(module, "gathered") else kept[-1]
        page = fill(page, name, f"{provenance(result)}\n\n{module.table(result)}\n")
        drawn = module.draw(result) if hasattr(module, "draw") else []
        headlines = module.headlines(result) if hasattr(module, "headlines") else []
        rows += headlines
        first_rows += headlines[:1] if name in IN_README else []
        print(f"{name:>10}: {provenance(result)} {', '.join(str(file.relative_to(ROOT)) for file in drawn)}")
    PAGE.write_text(fill(page, "headlines", as_table(rows)) if rows else page)
    if first_rows:
        README.write_text(fill(readme, "headlines", as_table(first_rows)))


if __name__ == "__main__":
    main()
