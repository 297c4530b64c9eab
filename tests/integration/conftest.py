"""One running tracker for all integration tests that only talk to it; others build an `Installation` of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.installation import Installation


@pytest.fixture(scope="session")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A tracker that is up for the whole session, with default settings. Do not stop or break it."""
    installation = Installation(tmp_path_factory.mktemp("tracker"))
    try:
        installation.start()
        yield installation
        installation.assert_ledgers_hold()
    finally:
        installation.clean_up()


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Make installations of a test's own: `install(HEARTBEAT_INTERVAL_S="1")`. They are ended with the test."""
    made: list[Installation] = []

    def make(**settings: str) -> Installation:
        installation = Installation(tmp_path / f"installation-{len(made)}", settings=settings)
        made.append(installation)
        return installation

    try:
        yield make
    finally:
        for installation in made:
            installation.clean_up()
