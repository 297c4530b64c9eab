#!/usr/bin/env bash
# Ray Serve 2.60: an orderly `serve.shutdown()` tells the driver that a task failed and will be retried without end.
#
# Expected: silence. What happens, nearly every time: "(raylet) Task ServeController.graceful_shutdown failed. There are infinite retries
# remaining, so the task will be retried. Error: The actor is dead because it was killed by `ray.kill`." The client waits for a call of the
# controller, which ends with the controller's own end. It does no harm, and nothing is retried. `log_to_driver=False` does not keep it away: it comes as
# an error message of the cluster, which Ray prints to `sys.stdout`. Sending that elsewhere helps.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" 2>/dev/null || python3 -m virtualenv --quiet "$folder/env"
python="$folder/env/bin/python"
"$python" -m pip --quiet --disable-pip-version-check install 'ray[serve]==2.60.0'
"$python" - <<'SCRIPT' | tee "$folder/said"
import io
import os
import sys
import time

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray import serve


@serve.deployment
class Nothing:
    """A deployment, so that there is something to shut down."""

    async def __call__(self) -> str:
        """Answer."""
        return ""


ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
serve.start(http_options={"port": 18_765})
serve.run(Nothing.bind())
said = io.StringIO()
original, sys.stdout = sys.stdout, said
try:
    serve.shutdown()
    time.sleep(2)
    ray.shutdown()
finally:
    sys.stdout = original
print("said during the shutdown:", said.getvalue().strip() or "nothing")
SCRIPT
grep -qF "infinite retries" "$folder/said" || { echo "this has changed: infinite retries was not said" >&2; exit 1; }
