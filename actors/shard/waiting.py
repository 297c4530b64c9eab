"""One batch of requests that waits in a shard for its answer. It does not know what it waits for."""

import asyncio
from collections.abc import Container
from dataclasses import dataclass, field

from actors.messages import NotTaken, encode_reply
from sessions.changes import Receipt
from sessions.events import Event


@dataclass(slots=True, eq=False)
class Waiting:
    """A batch and its reply. Only the first answer counts; what is answered later is ignored."""

    items: list[tuple[int, Event]]
    """(slot, event), as they came."""
    reply: "asyncio.Future[bytes]"
    since: float
    """When it came, in monotonic seconds."""
    before_s: float = 0.0
    """How long its items had waited before, from the front door on; the mean of them."""
    outcomes: list[Receipt | NotTaken] = field(default_factory=list)
    """One per item, in order, once they were applied."""

    def waited_s(self, now: float) -> float:
        """Return how long its items have waited in all."""
        return self.before_s + now - self.since

    def answer(self, *, lost: Container[int]) -> None:
        """Hand the outcomes out; those of slots that turned out to be somebody else's are MOVED."""
        self._reply([NotTaken.MOVED if slot in lost else each for (slot, _), each in zip(self.items, self.outcomes, strict=True)])

    def refuse(self, why: NotTaken) -> None:
        """Answer that nothing can be acknowledged; what was not taken for another reason keeps it."""
        outcomes = self.outcomes or [why] * len(self.items)
        self._reply([each if isinstance(each, NotTaken) else why for each in outcomes])

    def _reply(self, outcomes: list[Receipt | NotTaken]) -> None:
        if not self.reply.done():
            self.reply.set_result(encode_reply(outcomes))
