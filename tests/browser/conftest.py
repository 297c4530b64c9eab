"""What all tests in a browser share."""

from collections.abc import Iterator

import pytest

from tests.browser.chromium import PROGRAM, Browser, browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not PROGRAM.exists():
        pytest.skip("no Chromium: make .venv/.browser says why")
    with browser() as running:
        yield running
