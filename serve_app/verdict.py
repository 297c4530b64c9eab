"""Whether two books agree, the demo's own and the tracker's; and both in a table for people."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from rich.table import Table

from serve_app.books import Span
from sessions.changes import Key

COMPARED: Final = (
    "started", "provisional", "promoted", "revived", "expired", "ended", "heartbeats", "events", "beacons", "duplicates",
    "late_events", "rejected", "wild_timestamps",
)  # fmt: skip
"""By first entry of the key. Of what was rejected only what came after the end: the rest are retries."""


class Line(NamedTuple):
    """One count, on both sides."""

    name: str
    played: Span
    counted: int

    @property
    def agrees(self) -> bool:
        """Say whether the tracker's count is possible."""
        return self.played.holds(self.counted)


def compare_counters(played: Mapping[Key, Span], before: Mapping[Key, float], after: Mapping[Key, float]) -> list[Line]:
    """Return one line for each counter that either side moved."""
    keys = {key for key in (*played, *after) if key[0] in COMPARED and (key[0] != "rejected" or key[-1] == "session_ended")}
    lines = [
        Line(" ".join(key), played.get(key, Span()), round(after.get(key, 0) - before.get(key, 0))) for key in sorted(keys, key=_order)
    ]
    return [line for line in lines if line.played.high or line.counted]


def compare_watching(played: Mapping[tuple[str, str], Span], counted: Mapping[tuple[str, str], int]) -> list[Line]:
    """Return one line for each stream and state in which either side sees somebody; of a stream's id only its end is shown."""
    lines = [
        Line(f"stream {key[0].rpartition('-')[2]} {key[1]}", played.get(key, Span()), counted.get(key, 0))
        for key in sorted({*played, *counted})
    ]
    return [line for line in lines if line.played.high or line.counted]


def summed(lines: Iterable[Line]) -> list[Line]:
    """Return lines summed by the first word of their names, in order of first appearance."""
    sums: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        sums[line.name.partition(" ")[0]].append(line)
    return [
        Line(
            name, Span(sum(each.played.low for each in group), sum(each.played.high for each in group)), sum(each.counted for each in group)
        )
        for name, group in sums.items()
    ]


def is_exact(lines: Iterable[Line]) -> bool:
    """Tell whether nothing had to be left open."""
    return all(line.played.low == line.played.high for line in lines)


def table(title: str, lines: Iterable[Line], *, judged: bool) -> Table:
    """Return lines for people; `judged`: say of each whether it agrees (while players play, one side is always a moment behind)."""
    shown = Table(title=title, title_justify="left", min_width=60)
    shown.add_column("")
    shown.add_column("played", justify="right")
    shown.add_column("counted", justify="right")
    if judged:
        shown.add_column("")
    for line in lines:
        verdict = ["[green]agrees[/green]" if line.agrees else "[bold red]differs[/bold red]"] if judged else []
        shown.add_row(line.name, str(line.played), str(line.counted), *verdict)
    return shown


def _order(key: Key) -> tuple[int, Key]:
    return COMPARED.index(key[0]), key
