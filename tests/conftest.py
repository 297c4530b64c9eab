"""
Rules for every test: a skip fails in CI, a unit test gets no socket and no Ray, and none fails because the machine is busy.

Hypothesis tries the same examples at every run, so that a change is judged and not chance; `make explore` has it look for new ones.

The checkout goes to the *end* of the path, for `tests.…`: what is tested is the installed package.
"""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

settings.register_profile("house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", settings.get_profile("house"), derandomize=False, print_blob=True)
settings.load_profile("house")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and in CI nothing is: {report.longrepr}"
    return report


def _forbid(what: str) -> NoReturn:
    pytest.fail(f"a unit test {what}", pytrace=True)


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep unit tests away from the network and from Ray. Unix socket pairs stay: event loops wake themselves through them."""
    if not request.path.is_relative_to(ROOT / "tests/unit"):
        return
    monkeypatch.setattr(socket.socket, "connect", lambda *_: _forbid("opened a connection"))
    monkeypatch.setattr(socket.socket, "bind", lambda *_: _forbid("bound a socket"))
    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", lambda *_, **__: _forbid("started Ray"))
