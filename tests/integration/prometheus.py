"""A real Prometheus, Debian's, on a port of its own; and what tests ask it."""

import http.client
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.integration.installation import Installation, free_port, wait_until

Samples = Mapping[float, float]
"""Values by the time of their scrape."""


def program(name: str) -> str:
    """Return a program of Debian's package `prometheus`: where `make test` unpacked it, or the machine's own."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: `make test` unpacks Debian's package")
    return found


def promtool(*arguments: str | Path, stdin: bytes | None = None) -> str:
    done = subprocess.run([program("promtool"), *arguments], input=stdin, capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


@dataclass
class Prometheus:
    """One that runs."""

    port: int
    target: str

    def ask(self, path: str, **parameters: str) -> Any:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        return [(found["metric"], float(found["value"][1])) for found in self.ask("query", query=expression)["result"]]

    def value(self, expression: str) -> float:
        """Return the one value that a question has; 0: none."""
        return sum(value for _, value in self.query(expression))

    def scraped(self, selector: str, *, over_s: float) -> list[tuple[Mapping[str, str], Samples]]:
        """Return each series with all its samples of the last seconds, as they were scraped."""
        found = self.ask("query", query=f"{selector}[{over_s:.0f}s]")["result"]
        return [(each["metric"], {float(at): float(value) for at, value in each["values"]}) for each in found]

    def is_up(self) -> bool:
        try:
            return self.query("up") == [({"__name__": "up", "instance": self.target, "job": "headcount"}, 1.0)]
        except (OSError, json.JSONDecodeError):
            return False

    def await_scrape(self) -> None:
        """Wait until what is shown now has been scraped."""
        now = time.time()
        wait_until(lambda: self.value("max(timestamp(up == 1))") > now, within_s=30, what="a scrape later than this moment")


@contextmanager
def scraping(tracker: Installation, folder: Path, *, every_s: int | None = None) -> Iterator[Prometheus]:
    """Run one on the configuration that `headcount up` wrote, or on that with another interval."""
    configuration = tracker.data / "prometheus/prometheus.yml"
    if every_s is not None:
        text = configuration.read_text()
        assert text.count("5s\n") == 2
        configuration = configuration.with_name("faster.yml")
        configuration.write_text(text.replace("scrape_timeout: 4s", f"scrape_timeout: {every_s}s").replace("5s\n", f"{every_s}s\n"))
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = [program("prometheus"), f"--config.file={configuration}", f"--storage.tsdb.path={folder}/tsdb"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        server = Prometheus(port, target=f"127.0.0.1:{tracker.port}")
        wait_until(server.is_up, within_s=30, what=f"it scrapes the tracker; see {folder}/log")
        yield server
    finally:
        process.terminate()
        process.wait(15)
