"""
Write the table of `docs/players.md`: for each player, way and scenario by how much the tracker was off.

    python -m tests.browser.table

It takes what `make browsers` left, and decides nothing.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.browser.drama import SCENARIOS
from tests.browser.media import FOLDER
from tests.browser.pages import PLAYERS, WAYS

PAGE: Final = Path(__file__).parents[2] / "docs/players.md"
BEGIN: Final = "<!-- Written by make browsers -->"
END: Final = "<!-- So far by make browsers -->"
HEAD: Final = (
    "| player | way | scenario | viewings | startup | playing | rebuffering | paused | stalls |\n|---|---|---|---|---|---|---|---|---|"
)


def row(found: Mapping[str, Any]) -> str:
    """Return one line: of several viewings the largest difference of each kind."""

    def most(name: str) -> str:
        each = [off[name] for off in found["off"] if name in off]
        return f"{round(max(each, key=abs), 2) + 0.0:+.2f} s" if each else "-"

    stalls = f"{found['stalls']}, {sum(int(off['stalls']) for off in found['off']):+d}"
    viewings = f"{found['viewings']}, {found['sessions'] - found['viewings']:+d}"
    figures = " | ".join(most(name) for name in ("startup", "playing", "rebuffering", "paused"))
    return f"| {found['player']} | {found['way']} | {found['scenario'].replace('_', ' ')} | {viewings} | {figures} | {stalls} |"


def table(rows: list[Mapping[str, Any]]) -> str:
    """Return the table, in the order in which players, ways and scenarios are told."""
    names = list(SCENARIOS)
    ordered = sorted(rows, key=lambda each: (PLAYERS.index(each["player"]), WAYS.index(each["way"]), names.index(each["scenario"])))
    return "\n".join([HEAD, *(row(each) for each in ordered)])


def main() -> None:
    """Write it."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [json.loads(file.read_text()) for file in sorted((FOLDER / "results").glob("*.json"))]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{after}")


if __name__ == "__main__":
    main()
