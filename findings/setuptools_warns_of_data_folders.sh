#!/usr/bin/env bash
# setuptools 84 with pip 26.3: a folder of data in a package is warned of, and `pip --quiet` passes that on.
#
# Expected: what `package-data` names is data. What happens: with `include-package-data` on, which is the default of a `pyproject.toml`, each folder
# below a package that can be imported by its name (any folder at all) counts as a package that was forgotten: "Package 'house.pictures' is
# absent from the `packages` configuration", 27 lines for each. Older versions of pip did not show what a build says under `--quiet`.
# `include-package-data = false` helps; `package-data` still holds.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" 2>/dev/null || python3 -m virtualenv --quiet "$folder/env"
python="$folder/env/bin/python"
"$python" - <<'SCRIPT' | tee "$folder/said"
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "house"
version = "1"
[tool.setuptools]
packages = ["house"]
include-package-data = {include}
[tool.setuptools.package-data]
house = ["pictures/*.svg"]
"""

with tempfile.TemporaryDirectory() as folder:
    tools, source = Path(folder, "tools"), Path(folder, "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, "--target", tools, "pip==26.3", "setuptools==84.0.0"], check=True)
    (source / "house/pictures").mkdir(parents=True)
    (source / "house/__init__.py").touch()
    (source / "house/pictures/door.svg").write_text("<svg/>")
    for include in ("true", "false"):
        (source / "pyproject.toml").write_text(PROJECT.format(include=include))
        command = [*pip, "--no-deps", "--no-build-isolation", "--target", Path(folder, include), source]
        done = subprocess.run(command, env={"PYTHONPATH": str(tools)}, capture_output=True, text=True, check=True)
        lines = (done.stdout + done.stderr).splitlines()
        there = Path(folder, include, "house/pictures/door.svg").exists()
        print(f"include-package-data = {include}: {len(lines)} lines of warnings; the picture is installed: {there}")
SCRIPT
grep -q "include-package-data = true: [1-9][0-9]* lines" "$folder/said" || { echo "this has changed: no warning" >&2; exit 1; }
grep -q "include-package-data = false: 0 lines" "$folder/said" || { echo "this has changed: a warning all the same" >&2; exit 1; }
