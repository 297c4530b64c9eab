"""
Write the locks: every package that is installed here, with the hashes of all files of its release, on whatever platform.

    make lock

`constraints.txt` says which release of each is wanted, pyproject.toml what is needed at all; `uv` resolves them for every platform and
every Python from 3.11 on.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS = ["--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
SILENT = ["--no-emit-index-url", "--no-emit-find-links"]


def needs() -> dict[str, list[str]]:
    """Return what is asked for, by lock."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = told["project"]
    runtime = told["build-system"]["requires"] + project["dependencies"]
    extras = project["optional-dependencies"]
    return {"requirements.lock": runtime, "requirements-dev.lock": runtime + extras["dev"], "requirements-fuzz.lock": extras["fuzz"]}


def main(uv: str) -> None:
    """Write all of them."""
    for name, wanted in needs().items():
        with tempfile.TemporaryDirectory() as folder:
            source, locked = Path(folder) / "requirements.in", Path(folder) / name
            source.write_text("\n".join(wanted) + "\n")
            command = [
                uv,
                "pip",
                "compile",
                *WORDS,
                *SILENT,
                "--constraint",
                str(ROOT / "constraints.txt"),
                str(source),
                "--output-file",
                str(locked),
            ]
            subprocess.run(command, check=True)  # noqa: S603 - uv, as just installed
            # The file names no index: whoever installs has one.
            assert not re.search(r"^-|://", locked.read_text(), re.MULTILINE), "the lock names an index"  # noqa: S101
            (ROOT / name).write_text(locked.read_text())


if __name__ == "__main__":
    main(sys.argv[1])
