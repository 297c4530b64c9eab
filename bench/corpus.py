"""The fuzzer's corpus: one file per parser, one input per line in base64. Knows no parser."""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parents[1] / "tests" / "corpus"


def read(name: str) -> list[bytes]:
    """Return the inputs kept for a parser."""
    file = CORPUS / f"{name}.txt"
    return [base64.b64decode(line) for line in file.read_text().splitlines()] if file.exists() else []


def write(name: str, inputs: Iterable[bytes]) -> None:
    """Keep these inputs for a parser."""
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.txt").write_text("".join(base64.b64encode(held).decode() + "\n" for held in inputs))
