"""README.md is true: its console blocks are run, in order, against a running tracker, and must print what is printed there."""

import json
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.integration.installation import Installation, wait_until

ROOT = Path(__file__).parents[2]
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def console_steps() -> list[tuple[str, str]]:
    """Every `$ command` of the README's console blocks, with what follows it."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    steps = [step.partition("\n") for block in blocks for step in re.split(r"^\$ ", block, flags=re.MULTILINE) if step]
    return [(command, output.strip()) for command, _, output in steps]


def comparable(output: str) -> Any:
    """Leave out what differs from run to run: moments and ages."""
    masked = MOMENT.sub("<moment>", output)
    masked = re.sub(r'"age_seconds":[\d.]+', '"age_seconds":0', masked)
    try:
        return json.loads(masked)
    except json.JSONDecodeError:
        return masked


def shell(script: str, tracker: Installation) -> str:
    ready = script.replace("http://127.0.0.1:8000", tracker.url).replace("data/", f"{tracker.data}/")
    done = subprocess.run(["bash", "-c", ready], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip() + done.stderr


def test_every_command_of_the_readme_prints_what_stands_there(install: Callable[..., Installation]) -> None:
    tracker = install()
    tracker.start()
    variables = ""
    steps = console_steps()
    assert len(steps) >= 10, "the README lost its commands"
    for command, printed in steps:
        if not printed:
            variables += command + "\n"
            continue
        if "/analytics/" not in command:
            # Operators' answers follow within the freshness that is promised; a player's POST is answered once, and rightly.
            agrees = partial(prints, variables + command, printed, tracker)
            wait_until(agrees, within_s=5, what=f"the answer of {command}")
        assert comparable(shell(variables + command, tracker)) == comparable(printed), command


def prints(script: str, expected: str, tracker: Installation) -> bool:
    return bool(comparable(shell(script, tracker)) == comparable(expected))
