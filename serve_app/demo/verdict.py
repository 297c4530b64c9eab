"""Whether two books agree, the demo's own and the tracker's; and both in a table for people."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from rich.table import Table

from serve_app.demo.reckoning import UNKNOWN
from serve_app.demo.said import Span, written
from sessions.changes import Key

COMPARED: Final = (
    "started", "provisional", "promoted", "revived", "expired", "ended", "heartbeats", "events", "beacons", "duplicates",
    "late_events", "rejected", "wild_timestamps",
)  # fmt: skip
"""By first entry of the key. Of what was rejected only what came after the end: the rest are retries."""

QUALITY: Final = (
    "playing", "rebuffering", "seek_rebuffering", "paused", "ad", "ad_errors", "exits_during_ad", "rebuffers", "played_bytes", "bitrate", "quality_switches", "stream_errors",
    "plays", "start_failures", "playback_failures", "exits_before_start", "startup", "live_latency", "session", "experience_score",
    "player_watch_difference", "stream_startup", "stream_live_latency", "stream_experience_score",
)  # fmt: skip
"""The same of quality: by stream, but for five of which the observations are counted and summed over all of them."""
_HALF_A_SCREEN: Final = 38
SECONDS_WITHIN: Final = 0.01
"""How far sums of seconds may be off; counts may not."""
_SUMS: Final = ("playing", "rebuffering", "seek_rebuffering", "paused", "ad", "played_bytes", "bitrate")
_OBSERVED: Final = ("count", "sum")


class Line(NamedTuple):
    """One count, on both sides."""

    name: str
    played: Span
    counted: float
    within: float = 0.0
    """How far a sum of seconds may be off, as a share of itself."""

    @property
    def agrees(self) -> bool:
        """Say whether the tracker's count is possible."""
        return self.played.holds(self.counted, within=self.within)


def compare_counters(played: Mapping[Key, Span], before: Mapping[Key, float], after: Mapping[Key, float]) -> list[Line]:
    """Return one line for each counter that either side moved."""
    keys = {key for key in (*played, *after) if key[0] in COMPARED and (key[0] != "rejected" or key[-1] == "session_ended")}
    lines = [
        Line(" ".join(key), played.get(key, Span()), round(after.get(key, 0) - before.get(key, 0))) for key in sorted(keys, key=_order)
    ]
    return [line for line in lines if line.played.high or line.counted]


def compare_quality(
    played: Mapping[Key, Span], before: Mapping[Key, float], after: Mapping[Key, float], streams: Collection[str], *, alone: bool
) -> list[Line]:
    """
    Return one line for each stream and formula that either side moved.

    What is not told apart by stream, and the stream of those who named none, is only compared if nobody else plays. A stream
    that has no label of its own among so many is left out.
    """
    labelled = {stream for stream in streams if ("plays", stream) in after}
    sums: dict[Key, float] = defaultdict(float)
    for key, amount in after.items():
        if key[0] in QUALITY:
            ours = key[1] in labelled or key[1] in _OBSERVED
            sums[key if ours else (key[0], UNKNOWN, *key[2:])] += amount - before.get(key, 0)
    compared = set(labelled)
    if alone:
        compared.update(_OBSERVED)
        if len(labelled) == len(streams):
            compared.add(UNKNOWN)
    keys = {key for key in (*played, *sums) if key[0] in QUALITY and key[1] in compared}
    lines = [
        Line(_name(key), played.get(key, Span()), sums.get(key, 0), within=0.0 if _is_count(key) else SECONDS_WITHIN)
        for key in sorted(keys, key=lambda key: (QUALITY.index(key[0]), key))
    ]
    return [line for line in lines if line.played.high or line.counted]


def _is_count(key: Key) -> bool:
    return key[-1] == "count" or (key[0] not in _SUMS and key[-1] != "sum")


def _name(key: Key) -> str:
    stream = "" if key[1] in _OBSERVED else f"stream {key[1].rpartition('-')[2]}"
    return " ".join(filter(None, (f"{key[0]}_{key[1]}" if key[1] in _OBSERVED else key[0], stream, *key[2:])))


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
    """Tell whether no count had to be left open; seconds are never exact."""
    return all(line.played.low == line.played.high or line.within for line in lines)


def table(title: str, lines: Iterable[Line], *, judged: bool) -> Table:
    """Return lines for people; `judged`: say of each whether it agrees (while players play, one side is always a moment behind)."""
    shown = Table(title=title, title_justify="left", min_width=_HALF_A_SCREEN, padding=(0, 1, 0, 0), show_edge=False)
    shown.add_column("")
    shown.add_column("played", justify="right")
    shown.add_column("counted", justify="right")
    if judged:
        shown.add_column("")
    for line in lines:
        verdict = ["[green]agrees[/green]" if line.agrees else "[bold red]differs[/bold red]"] if judged else []
        shown.add_row(line.name, str(line.played), written(line.counted), *verdict)
    return shown


def side_by_side(left: Table, right: Table) -> Table:
    """Return both in the width of a terminal, so that a play fits 80 by 24."""
    both = Table.grid(padding=(0, 2, 0, 0))
    both.add_row(left, right)
    return both


def _order(key: Key) -> tuple[int, Key]:
    return COMPARED.index(key[0]), key
