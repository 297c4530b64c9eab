"""
The next version of our packages: a copy of the installed ones in which every message and every stored record has a field more.

Whoever runs with the copy's folder in PYTHONPATH runs the copy; a process that has started keeps what it has loaded.
"""

import ast
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Final

PACKAGES: Final = ("actors", "dashboards", "metrics", "serve_app", "sessions", "storage")
GROWING: Final = {
    "actors/channel.py": ("Address",),
    "actors/config.py": ("TrackerConfig",),
    "actors/directory/plan.py": ("Plan",),
    "actors/health.py": ("Health",),
    "actors/ray_directory.py": ("Answer",),
    "metrics/reports.py": ("SlotReport", "ShardReport", "Known", "ReplicaReport"),
    "serve_app/access/tokens.py": ("Tokens",),
    "sessions/changes.py": ("Receipt", "Ledger"),
    "sessions/events.py": ("Start", "Heartbeat", "Happening", "Happenings", "End", "Beacon"),
    "sessions/session.py": ("Tallies", "Pixel", "Ending"),
    "storage/codec.py": ("_StoredLedger", "_StoredRecord"),
}
FIELD: Final = "    of_tomorrow: int = 8\n"
ALSO: Final = {
    "actors/shard/reporting.py": ("        self._fresh: Increments = {}\n", '        self._fresh: Increments = {("of_tomorrow",): 1}\n'),
    "storage/codec.py": ("record.handed, record.open))\n", "record.handed, record.open, 8))\n"),
}
"""A shard of it counts something that no exporter knows yet; and gives a record's fields in turn."""
TRACKER: Final = "sessions/tracker.py"
"""Takes the fields of a heartbeat in turn."""


class Version:
    """A folder with a copy of the packages; `grow` and `shrink` change what processes load that start from then on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in PACKAGES:
            spec = find_spec(package)
            assert spec is not None
            assert spec.submodule_search_locations is not None
            copytree(spec.submodule_search_locations[0], folder / package, ignore=ignore_patterns("__pycache__"))
        self._before = {name: (folder / name).read_text() for name in (*GROWING, *ALSO, TRACKER)}

    def grow(self) -> None:
        """Make it the next version."""
        for name, text in self._before.items():
            before, after = ALSO.get(name, ("", ""))
            assert before in text, name
            grown = _with_field(text.replace(before, after), GROWING.get(name, ()))
            (self.folder / name).write_text(_taking_one_more(grown) if name == TRACKER else grown)

    def shrink(self) -> None:
        """Make it what is installed again."""
        for name, text in self._before.items():
            (self.folder / name).write_text(text)


def _with_field(text: str, classes: tuple[str, ...]) -> str:
    lines = text.splitlines(keepends=True)
    found = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    for node in sorted((found[name] for name in classes), key=lambda node: -node.lineno):
        last = max(place for place, part in enumerate(node.body) if isinstance(part, ast.AnnAssign))
        described = last + 1 < len(node.body) and isinstance(node.body[last + 1], ast.Expr)
        end = node.body[last + described].end_lineno
        assert end is not None
        lines.insert(end, FIELD)
    return "".join(lines)


def _taking_one_more(text: str) -> str:
    """Let a statement that takes a heartbeat apart take one field more."""
    targets = [each.targets[0] for each in ast.walk(ast.parse(text)) if isinstance(each, ast.Assign)]
    (last,) = [each.elts[-1] for each in targets if isinstance(each, ast.Tuple) and "'rebuffer_count'" in ast.dump(each)]
    assert last.end_lineno is not None
    lines = text.splitlines(keepends=True)
    line = lines[last.end_lineno - 1]
    lines[last.end_lineno - 1] = f"{line[: last.end_col_offset]}, _{line[last.end_col_offset :]}"
    return "".join(lines)
