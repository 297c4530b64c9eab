"""
What waits in a shard: how much and how long it may, and what goes together into the next commit.

Decides which batches are refused because too much waits, or because what waits has done so for too long: then the shard cannot keep up,
and whoever came later would wait longer still. It does not know what the items do.
"""

from asyncio import Event
from collections import deque
from collections.abc import Callable, Container, Iterator
from itertools import chain

from actors.messages import NotTaken
from actors.shard.waiting import Waiting
from sessions.limits import GROUP_ITEMS_MAX, SHARD_WAITING_ITEMS_MAX, SHARD_WAITING_S_MAX


class Intake:
    """The batches that wait in one shard, oldest first, and those of the commit that is under way. Times are monotonic seconds."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._queue: deque[Waiting] = deque()
        self._group: list[Waiting] = []
        self._items = 0
        self._longest_s = 0.0
        self.arrived = Event()
        """Set while a batch waits."""

    @property
    def calls(self) -> int:
        """Return how many batches wait or are being worked on."""
        return len(self._queue) + len(self._group)

    def add(self, waiting: Waiting) -> None:
        """Let a batch wait, or refuse it."""
        late = bool(self._queue) and self._monotonic() - self._queue[0].since > SHARD_WAITING_S_MAX
        if late or self._items + len(waiting.items) > SHARD_WAITING_ITEMS_MAX:
            waiting.refuse(NotTaken.OVERLOADED)
            return
        self._queue.append(waiting)
        self._items += len(waiting.items)
        self.arrived.set()

    def next_group(self) -> Iterator[Waiting]:
        """Yield, one by one, the batches of the next commit; they are the group until `answer`."""
        items = 0
        while self._queue and (not self._group or items + len(self._queue[0].items) <= GROUP_ITEMS_MAX):
            waiting = self._queue.popleft()
            self._items -= len(waiting.items)
            self._group.append(waiting)
            items += len(waiting.items)
            yield waiting
        if not self._queue:
            self.arrived.clear()

    def answer(self, *, lost: Container[int]) -> None:
        """Hand out the outcomes of the group; those of slots that turned out to be somebody else's are MOVED."""
        now = self._monotonic()
        for waiting in self._group:
            if not waiting.reply.done():
                self._longest_s = max(self._longest_s, waiting.waited_s(now))
                waiting.answer(lost=lost)
        self._group = []

    def refuse_all(self, why: NotTaken) -> None:
        """Tell everybody that nothing can be acknowledged. The group stays until it is answered, as it is being worked on."""
        for waiting in chain(self._group, self._queue):
            waiting.refuse(why)
        self._queue.clear()
        self._items = 0
        self.arrived.clear()

    def longest_wait_s(self) -> float:
        """Return the longest wait of the batches that were answered since the last time, or still wait: each the mean of its requests."""
        now = self._monotonic()
        waits = (each.waited_s(now) for each in chain(self._group[:1], (self._queue[0],) if self._queue else ()) if not each.reply.done())
        longest_s, self._longest_s = max(self._longest_s, *waits, 0.0), 0.0
        return longest_s
