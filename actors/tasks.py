"""
The background tasks of a process: they are held on to, and it is decided what happens when one of them breaks.

Decides that whatever breaks one breaks the whole, once; and, where nothing else is asked for, that this ends the process: Ray, or
Serve, starts a new one. It does not know what they do.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


def end_process(problem: BaseException) -> None:
    """End this process without another word but why."""
    log.critical("ending this process", problem=repr(problem), exc_info=problem)
    os._exit(1)


class Tasks:
    """Tasks that stand or fall together. `on_broken` is called once, with the exception of the first that breaks."""

    def __init__(self, on_broken: Callable[[BaseException], None] = end_process) -> None:
        self._on_broken = on_broken
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = False

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something beside everything else, and hold on to it until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> list["asyncio.Task[None]"]:
        """Cancel all of them but the caller, and return them; what breaks from now on is ignored."""
        self._over = True
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        return tasks

    async def stop(self) -> None:
        """Cancel all of them but the caller, and wait until they are gone."""
        tasks = self.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        problem = None if task.cancelled() else task.exception()
        if problem is not None and not self._over:
            self._over = True
            self._on_broken(problem)
