"""What Schemathesis makes of our OpenAPI document, sent through the real front door: every answer is as told."""

import subprocess
import sys
from pathlib import Path

from tests.integration.installation import Installation

CONFIGURATION = """\
base-url = "{url}"

[checks]
# A request that breaks its schema is refused by one of these; 413 and 408 are ours beside the usual ones.
negative_data_rejection.expected-statuses = [400, 401, 404, 405, 408, 413, 415, 422]

[[operations]]
include-path = "/live"
enabled = false # its answer does not end

[[operations]]
include-tag = "players"
headers = {{ Authorization = "Bearer {ingest_token}" }}

[[operations]]
include-tag = "operators"
headers = {{ Authorization = "Bearer {ops_token}" }}
"""


def test_every_answer_is_as_the_document_tells(tracker: Installation, tmp_path: Path) -> None:
    configuration = CONFIGURATION.format(url=tracker.url, ingest_token=tracker.ingest_token, ops_token=tracker.ops_token)
    (tmp_path / "schemathesis.toml").write_text(configuration)
    program = Path(sys.executable).with_name("schemathesis")
    options = ["--checks", "all", "--max-examples", "25", "--no-color", "--continue-on-failure"]
    run = subprocess.run(
        [program, "run", f"{tracker.url}/openapi.json", *options], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    assert "No issues found" in run.stdout
    assert "Tested: 21" in run.stdout
