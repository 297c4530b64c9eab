"""
A tab of a running Chromium, in a window and on a connection of its own: several can be driven at once, each from its thread.

It decides nothing: whoever drives it says where it goes and what runs on its page.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

from websockets.sync.client import ClientConnection, connect

ANSWER_S: Final = 30.0


class Tab:
    """One tab. Scripts are bodies of async functions; what they return must be JSON."""

    def __init__(self, line: ClientConnection) -> None:
        self._line = line
        self._numbers = count(1)
        self._target: str = self.call("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        self._session: str | None = self.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def go(self, address: str) -> None:
        """Open an address, and wait until its page has loaded."""
        self.call("Page.navigate", url=address)
        self._wait_for(address)

    def back(self) -> None:
        """Go back as the browser's button does, and wait for the page."""
        history = self.call("Page.getNavigationHistory")
        entry = history["entries"][history["currentIndex"] - 1]
        self.call("Page.navigateToHistoryEntry", entryId=entry["id"])
        self._wait_for(entry["url"])

    def run(self, script: str) -> Any:
        """Return what a script on the page returns."""
        answer = self.call("Runtime.evaluate", expression=f"(async () => {{ {script} }})()", awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def hide(self) -> None:
        """Put another tab over it."""
        window = self.call("Browser.getWindowForTarget", targetId=self._target)["windowId"]
        self.call("Browser.setWindowBounds", windowId=window, bounds={"windowState": "minimized"})

    def show(self) -> None:
        """Bring it up again."""
        window = self.call("Browser.getWindowForTarget", targetId=self._target)["windowId"]
        self.call("Browser.setWindowBounds", windowId=window, bounds={"windowState": "normal"})

    def close(self) -> None:
        """Close it as its user does."""
        with contextlib.suppress(AssertionError):
            self.call("Target.closeTarget", targetId=self._target)

    def call(self, method: str, **parameters: object) -> Any:
        """Say something in the browser's own protocol."""
        number = next(self._numbers)
        session = getattr(self, "_session", None)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = session
        self._line.send(json.dumps(message))
        while True:
            answer = json.loads(self._line.recv(timeout=ANSWER_S))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def _wait_for(self, address: str) -> None:
        end = time.monotonic() + ANSWER_S
        while True:
            with contextlib.suppress(AssertionError):
                if self.run("return location.href + ' ' + document.readyState;") == f"{address} complete":
                    return
            assert time.monotonic() < end, f"{address} does not load"
            time.sleep(0.02)


@contextlib.contextmanager
def tab(address: str) -> Iterator[Tab]:
    """Open a tab of the Chromium that listens there, and close it."""
    with connect(address, max_size=None) as line:
        opened = Tab(line)
        try:
            yield opened
        finally:
            opened.close()
