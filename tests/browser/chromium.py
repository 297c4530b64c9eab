"""
A real Chromium, headless, driven by its own protocol: opens pages, and gives back what a script on them says.

It decides how the browser is started (without a sandbox: tests run as root too), and knows no test. `tests/browser/install.sh` put it there.
"""

import base64
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

_OPTIONS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--autoplay-policy=no-user-gesture-required",
)


class Tab:
    """One page that stays open."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser = browser
        self._session = session

    def run(self, script: str) -> Any:
        """Return what an async script on it returns."""
        return self._browser._evaluate(self._session, f"(async () => {{ {script} }})()")

    def until(self, expression: str, *, within_s: float = 20.0) -> Any:
        """Wait, in the page, until an expression holds, and return it."""
        wait = (
            f"const end = performance.now() + {within_s * 1_000}; for (;;) {{ const found = await ({expression}); if (found) return found; "
        )
        return self.run(
            wait
            + f"if (performance.now() > end) throw new Error('never: ' + {json.dumps(expression)}); await new Promise(r => setTimeout(r, 20)); }}"
        )

    def call(self, method: str, **parameters: object) -> Any:
        """Use the browser's own protocol."""
        return self._browser._call(method, self._session, **parameters)

    def picture(self, file: Path) -> None:
        """Keep a screenshot of the whole page."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    @property
    def complaints(self) -> list[str]:
        """What the browser's console has heard so far: errors, warnings, exceptions."""
        self.call("Runtime.evaluate", expression="0")  # whatever was said before has arrived then
        return self._browser.complaints.get(self._session, [])


class Browser:
    """One running Chromium."""

    def __init__(self, line: ClientConnection, address: str) -> None:
        self._line = line
        self.address = address
        """Where it is told what to do."""
        self._numbers = count(1)
        self.complaints: dict[str, list[str]] = {}

    @contextlib.contextmanager
    def tab(self, page: str, *, width: int = 1_280, height: int = 900, dark: bool = False, still: bool = False) -> Iterator[Tab]:
        """Open a page in a window of this size as long as the block lasts."""
        target = self._call("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Log"):
            tab.call(f"{domain}.enable")
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        wishes = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce" if still else "no-preference"}
        tab.call("Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in wishes.items()])
        tab.call("Page.navigate", url=page)
        tab.until("location.href !== 'about:blank' && document.readyState === 'complete'")
        try:
            yield tab
        finally:
            self._call("Target.closeTarget", targetId=target)

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
            self._note(answer)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def _note(self, message: dict[str, Any]) -> None:
        """Keep what a page's console is told beside what was asked."""
        said = message.get("params", {})
        if message.get("method") == "Log.entryAdded" and said["entry"]["level"] in {"error", "warning"}:
            text = f"{said['entry']['text']} {said['entry'].get('url', '')}"
        elif message.get("method") == "Runtime.consoleAPICalled" and said["type"] in {"error", "warning", "assert"}:
            text = str(said["args"])
        elif message.get("method") == "Runtime.exceptionThrown":
            text = str(said["exceptionDetails"])
        else:
            return
        self.complaints.setdefault(message["sessionId"], []).append(text)


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
            address = line.split(" on ")[1].strip()
            with connect(address, max_size=None) as wire:
                yield Browser(wire, address)
        finally:
            running.terminate()
            running.communicate(timeout=20)
