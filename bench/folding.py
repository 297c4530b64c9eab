"""
Which part of a heartbeat a sampled stack belongs to. Pure: stacks in, shares out.

A stack is `py-spy`'s raw line, outermost frame first: `function (file:line);…;function (file:line) samples`. The innermost
frame that one of the rules knows decides, so that what somebody calls of the standard library is his. Files are known by
their place in the tree, and a renamed function stays where it was.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

_FRAME: Final = re.compile(r"^(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")

EVENT_LOOP: Final = "event loop"
"""A stack that no rule knows: the loop itself, and what it does with sockets."""

REPLICA: Final = (
    (r"serve_app/(access/|players/cors\.py)", "authenticate"),
    (r"serve_app/players/(decoding|wire|timestamps|body)\.py|pydantic/", "parse, validate"),
    (r"serve_app/players/records\.py|storage/codec\.py|actors/messages\.py", "record"),
    (r"serve_app/delivery/(mailbox|slotmap)\.py", "mailbox"),
    (r"serve_app/delivery/(lines|actor_calls)\.py|actors/channel\.py", "carry batches"),
    (r"serve_app/(players/(answers|routes)|delivery/tallies)\.py", "answer"),
    (r"uvicorn/|httptools|starlette/|fastapi/", "HTTP in Python (uvicorn)"),
    (r"ray/serve/|ray/util/metrics|ray/includes/metric", "Serve's path"),
    (r"ray/", "carry batches"),
    (r"serve_app/(players/ingest|app|shortcut)\.py", "steps between"),
)
"""For an ingest replica: what a frame's file looks like, and the part it belongs to; the first that fits."""

SHARD: Final = (
    (r"sessions/", "apply"),
    (r"storage/|redis/|hiredis|actors/shard/(writing|held_slot)\.py", "commit"),
    (r"actors/messages\.py|actors/shard/waiting\.py", "read and answer batches"),
    (r"actors/shard/(reporting|outages|admission)\.py|metrics/", "reports"),
    (r"actors/shard/shard\.py", "steps between"),
    (r"actors/channel\.py|ray/", "carry batches"),
)
"""For a shard, in the same way."""

Rules = tuple[tuple[str, str], ...]


def part_of(stack: str, rules: Rules) -> str:
    """Return the part that a stack belongs to; `EVENT_LOOP` if no rule knows any of its frames."""
    for frame in reversed(stack.split(";")):
        found = _FRAME.match(frame)
        if found is None:
            continue
        for pattern, part in rules:
            if re.search(pattern, found["file"]):
                return part
    return EVENT_LOOP


def fold(lines: Iterable[str], rules: Rules) -> Counter[str]:
    """Return the samples of each part."""
    parts: Counter[str] = Counter()
    for line in lines:
        stack, _, samples = line.strip().rpartition(" ")
        if stack and samples.isdigit():
            parts[part_of(stack, rules)] += int(samples)
    return parts
