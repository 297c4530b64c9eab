"""What a process of ours consists of does not break in silence, and does not go on with a part missing."""

import asyncio

import pytest
from structlog.testing import capture_logs

from actors import tasks as module
from actors.tasks import Tasks


async def ends(*works: BaseException | None, tasks: Tasks | None = None) -> Tasks:
    """Return the tasks of a process once each has ended so."""

    async def part(work: BaseException | None) -> None:
        await asyncio.sleep(0)
        if work is not None:
            raise work

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    tasks = tasks or Tasks()
    started = [tasks.start(part(work)) for work in works]
    await asyncio.wait(started)
    await asyncio.sleep(0)
    assert not complaints
    return tasks


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the process ended with."""
    codes: list[int] = []
    monkeypatch.setattr(module.os, "_exit", codes.append)
    return codes


def test_a_task_that_breaks_ends_the_process_and_says_where(codes: list[int]) -> None:
    with capture_logs() as logs:
        asyncio.run(ends(RuntimeError("a mistake of ours")))
    assert codes == [1]
    (log,) = logs
    assert (log["event"], log["log_level"], log["problem"]) == ("ending this process", "critical", "RuntimeError('a mistake of ours')")
    assert str(log["exc_info"]) == "a mistake of ours"


@pytest.mark.parametrize("work", [None, asyncio.CancelledError()])
def test_a_task_that_ends_or_is_stopped_ends_nothing(work: BaseException | None, codes: list[int]) -> None:
    asyncio.run(ends(work))
    assert codes == []


def test_only_the_first_that_breaks_is_told() -> None:
    broken: list[BaseException] = []
    asyncio.run(ends(RuntimeError("first"), RuntimeError("second"), tasks=Tasks(broken.append)))
    assert [str(problem) for problem in broken] == ["first"]


def test_what_breaks_once_all_are_cancelled_is_nobodys_concern(codes: list[int]) -> None:
    async def scenario() -> None:
        async def breaks_when_stopped() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise RuntimeError("too late")

        tasks = Tasks()
        task = tasks.start(breaks_when_stopped())
        await asyncio.sleep(0)
        await tasks.stop()
        assert task.done()

    asyncio.run(scenario())
    assert codes == []
