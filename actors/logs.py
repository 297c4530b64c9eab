"""
How every process of ours writes its log: one line an entry, whatever is in it, and of no variable more than was asked for.

What players chose can be in an error's text: shown by its `repr`, a newline or an escape sequence stays inside the line. A traceback is
text like any other; structlog's own would draw the local variables beside it, and with them tokens and passwords.
"""

import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog


def write_plainly(stream: TextIO | None = None) -> None:
    """Write the log to a stream; None: standard output. From now on, and for loggers that exist already."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=True),
            _traceback_as_text,
            structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0),
        ],
        logger_factory=structlog.WriteLoggerFactory(stream),
    )


def _traceback_as_text(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    problem = entry.pop("exc_info", None)
    if isinstance(problem, BaseException):
        entry["traceback"] = "".join(traceback.format_exception(problem))
    return entry
