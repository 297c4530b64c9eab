"""The page for authors of players says what the code does."""

from pathlib import Path

import pytest

from serve_app.players import contract
from serve_app.players.fields import DROPPABLE
from serve_app.players.pixel import OPTIONAL, REQUIRED

PAGE = Path(__file__).resolve().parents[2] / "docs/players.md"


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    assert contract.page(PAGE.read_text()) == PAGE.read_text(), "make docs"


@pytest.mark.parametrize(
    "row",
    [
        "| `performance.bitrate_kbps` |  | number, 0.001 to 1,000,000: 1 bit/s to 1 Gbit/s | dropped |",
        "| `performance.latency_ms` |  | number, 0 to 3,600,000: one hour | dropped |",
        "| `platform` | yes | `web`, `ios`, `android`, `roku`, `firetv`, `appletv` | another text: `other`; else 422 |",
        "| `watch_summary.total_watch_seconds` | yes | whole number, 0 to 1,000,000; above: unknown | above: unknown; else 422 |",
        "| `events[].metadata.fatal` |  | `true` or `false` | dropped |",
        "| `events[].event_id` | yes | id of 1 to 256 characters, no NUL, no placeholder | the event is rejected |",
        "| `visibility` |  | `true`, `false`, `1` or `0`, in any letters | dropped: `true` |",
    ],
)
def test_a_field_is_told_with_its_range_and_what_happens_otherwise(row: str) -> None:
    assert row in contract.tables().splitlines()


def test_every_field_that_may_be_dropped_is_told() -> None:
    told = {line.split("`")[1].replace("[]", "") for line in contract.tables().splitlines() if line.startswith("| `")}
    assert {name for names in DROPPABLE.values() for name in names} | {*REQUIRED, *OPTIONAL} <= told
