#!/usr/bin/env bash
# Ray 2.60: a driver whose GCS died is ended a minute later by Ray itself, inside its own process: no exception, no exit handler.
#
# Expected: an exception in the next call of Ray's, so that the program can start another Ray, or at least tidy up. What happens: 60 s after the
# death (`RAY_gcs_rpc_server_reconnect_timeout_s`) the client logs "The program will terminate" and calls exit, whatever the program does just
# then, `except BaseException` included. What helps: let the driver be a process of its own, and watch the GCS's process from another.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" 2>/dev/null || python3 -m virtualenv --quiet "$folder/env"
python="$folder/env/bin/python"
"$python" -m pip --quiet --disable-pip-version-check install 'ray==2.60.0'
"$python" - >"$folder/said" 2>&1 <<'SCRIPT' || echo "the program ended with code $?" >>"$folder/said"
import os
import signal
import time
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
for folder in Path("/proc").iterdir():
    if folder.name.isdigit():
        try:
            ours = int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
            if ours and (folder / "comm").read_text().strip() == "gcs_server":
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue
try:
    time.sleep(90)
finally:
    print("the program went on")
SCRIPT
cat "$folder/said"
grep -q "the program ended with code 1" "$folder/said" && ! grep -q "the program went on" "$folder/said" || { echo "this has changed: the driver was not ended" >&2; exit 1; }
