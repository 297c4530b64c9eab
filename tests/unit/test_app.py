"""What goes on beside a replica's requests does not break in silence."""

import asyncio

import pytest
from structlog.testing import capture_logs

from serve_app import app as module


def ends(work: BaseException | None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the exit codes of a replica in which a task ends so."""
    codes: list[int] = []
    monkeypatch.setattr(module.os, "_exit", codes.append)

    async def part() -> None:
        if work is not None:
            raise work

    async def scenario() -> None:
        task = asyncio.create_task(part())
        task.add_done_callback(module._die_with)
        await asyncio.wait([task])
        await asyncio.sleep(0)

    asyncio.run(scenario())
    return codes


def test_a_task_that_breaks_ends_the_replica_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logs:
        assert ends(RuntimeError("a mistake of ours"), monkeypatch) == [1]
    (log,) = logs
    assert (log["event"], log["log_level"], log["error"]) == ("the replica broke", "critical", "RuntimeError('a mistake of ours')")
    assert str(log["exc_info"]) == "a mistake of ours"


@pytest.mark.parametrize("work", [None, asyncio.CancelledError()])
def test_a_task_that_ends_or_is_stopped_ends_nothing(work: BaseException | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ends(work, monkeypatch) == []
