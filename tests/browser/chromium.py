"""
A real Chromium, headless, driven by its own protocol: opens pages, and gives back what a script on them says.

It decides how the browser is started (without a sandbox: tests run as root too), and knows no test. `tests/browser/install.sh` put it there.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

from websockets.sync.client import ClientConnection, connect

FOLDER: Final = Path(sys.executable).parents[1] / "browser"
PROGRAM: Final = FOLDER / "chromium"
ANSWER_S: Final = 30.0

_OPTIONS: Final = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0")


class Browser:
    """One running Chromium."""

    def __init__(self, line: ClientConnection) -> None:
        self._line = line
        self._numbers = count(1)

    def run_on(self, page: str, script: str) -> Any:
        """Open a page, and return what an async script on it returns."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable", session)
        self._call("Page.navigate", session, url=page)
        loaded = 'new Promise(done => document.readyState === "complete" ? done() : addEventListener("load", done))'
        self._evaluate(
            session,
            f"(async () => {{ while (location.href === 'about:blank') await new Promise(r => setTimeout(r, 20)); await {loaded}; }})()",
        )
        result = self._evaluate(session, f"(async () => {{ {script} }})()")
        self._call("Target.closeTarget", targetId=target)
        return result

    def _evaluate(self, session: str, expression: str) -> Any:
        answer = self._call("Runtime.evaluate", session, expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def _call(self, method: str, session: str | None = None, **parameters: object) -> Any:
        number = next(self._numbers)
        message: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._line.send(json.dumps(message))
        while True:
            answer = json.loads(self._line.recv(timeout=ANSWER_S))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return answer["result"]


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Start a Chromium with a profile of its own, and end it."""
    libraries = os.pathsep.join(filter(None, (str(FOLDER / "lib"), os.environ.get("LD_LIBRARY_PATH"))))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        running = subprocess.Popen(
            [PROGRAM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
        )
        try:
            assert running.stderr is not None
            said = []
            for line in running.stderr:
                said.append(line)
                if "DevTools listening on " in line:
                    break
            else:
                raise AssertionError(f"Chromium does not start: {''.join(said)}")
            with connect(line.split(" on ")[1].strip(), max_size=None) as wire:
                yield Browser(wire)
        finally:
            running.terminate()
            running.communicate(timeout=20)
