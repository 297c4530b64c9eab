#!/usr/bin/env bash
# Rich 15.0: while a status or a live display lasts, everything that is printed to `sys.stdout` goes to its console.
#
# Expected: `Console(file=…)` writes to its file, and `print` to `sys.stdout`. What happens: `Console.status` starts a `Live`, which replaces
# `sys.stdout` (and `sys.stderr`) for as long as it lasts, if its console is a terminal. Whoever had sent `sys.stdout` to a file before, to
# keep the messages of a library off the terminal, finds them on the terminal. `Live(…, redirect_stdout=False)` helps; `Console.status` has no
# such parameter.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" 2>/dev/null || python3 -m virtualenv --quiet "$folder/env"
python="$folder/env/bin/python"
"$python" -m pip --quiet --disable-pip-version-check install rich==15.0.0
"$python" - <<'SCRIPT' | tee "$folder/said"
import io
import sys

from rich.console import Console

terminal, log = io.StringIO(), io.StringIO()
console = Console(file=terminal, force_terminal=True)
original, sys.stdout = sys.stdout, log
try:
    with console.status("working"):
        print("a library's message")
finally:
    sys.stdout = original
print("in the log:     ", "a library's message" in log.getvalue())
print("on the terminal:", "a library's message" in terminal.getvalue())
SCRIPT
grep -qF "in the log:      False" "$folder/said" || { echo "this has changed: in the log:      False was not said" >&2; exit 1; }
grep -qF "on the terminal: True" "$folder/said" || { echo "this has changed: on the terminal: True was not said" >&2; exit 1; }
