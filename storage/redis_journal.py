"""
The journal on one Redis (6.2 or newer) or Valkey primary.

Layout, for all slots of the data set:

    headcount:dataset     hash    slots, instance, run, renewed_at, plan
    headcount:fences      hash    slot -> "epoch number owner"
    headcount:records     hash    slot -> bytes
    headcount:alive       hash    slot -> time
    headcount:slot:{n}    hash    session id -> bytes
    headcount:aside:{n}   hash    session id -> bytes that could not be read
    headcount:finished    stream  summary -> JSON; about the last `FINISHED_STREAM_MAX`

A commit is one call of `commit.lua`, whatever the number of slots: the script checks every fence before it writes
anything, and the server runs and persists it as a whole. Nothing is ever sent twice from here: the client's own retries
are off, and a script that the server has forgotten was not run, so that loading it and calling it again is the first time.

It does not know what the bytes mean, and reads no clock; the scripts of the lease read the server's.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, NoPermissionError, NoScriptError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from sessions.errors import InvariantError
from sessions.limits import FINISHED_STREAM_MAX
from storage.findings import NO_EVICTION, evicting, policy_of
from storage.journal import (
    LEASE_S,
    Claimed,
    Fence,
    JournalUnavailableError,
    SlotWrite,
    StaleEpochError,
    StoredSlot,
    WipedError,
    check_batch,
    lease_conflict,
    mixed_batch,
    slots_conflict,
)
from storage.redis_address import RedisAddress, translate
from storage.redis_line import RedisLine

DATA_SET: Final = "headcount:dataset"
FENCES: Final = "headcount:fences"
RECORDS: Final = "headcount:records"
ALIVE: Final = "headcount:alive"
FINISHED: Final = "headcount:finished"
PROBE: Final = "headcount:probe"
"""Written by `ping`, to see that writes are taken."""

REPLY_S: Final = 3.0
"""
How long a reply may take. A server that needs longer is away, as far as players are concerned; shorter than a replica
waits for a shard (`serve_app/delivery/actor_calls.py`), so that it is the shard that says so.
"""
CONNECT_S: Final = 2.0
_LOADS, _UPKEEP = 4, 2
"""Connections for each use beside the commits' own: a load of many slots must not hold up a commit, nor a commit a sign of life."""


def slot_key(slot: int) -> str:
    """Return the key of a slot's sessions."""
    return f"headcount:slot:{slot}"


def aside_key(slot: int) -> str:
    """Return the key of what was set aside of a slot."""
    return f"headcount:aside:{slot}"


Send = Callable[..., Awaitable[list[bytes]]]
"""Sends one command and returns the reply."""


class _Script:
    def __init__(self, name: str) -> None:
        self.text = files("storage").joinpath(f"{name}.lua").read_text(encoding="utf-8")
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class RedisJournal:
    """See `storage.journal.Journal` for what each method promises. Belongs to the event loop that first uses it."""

    def __init__(self, url: str, *, reply_s: float = REPLY_S) -> None:
        """Take the server's address; connects when first used. Raises `ValueError`, without the password, if the URL is no good."""
        self._address = RedisAddress.parse(url)
        self._loads, self._upkeep = (Redis(connection_pool=self._pool(size, reply_s=reply_s)) for size in (_LOADS, _UPKEEP))
        self._commits = RedisLine(self._pool(1, reply_s=None), reply_s=reply_s)
        self._commit, self._touch, self._claim = _Script("commit"), _Script("touch"), _Script("claim")
        self._release, self._open, self._renew = _Script("release"), _Script("open_data_set"), _Script("renew_lease")
        self._keep_plan = _Script("keep_plan")

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"RedisJournal({self._address})"

    def _pool(self, connections: int, *, reply_s: float | None) -> BlockingConnectionPool:
        return BlockingConnectionPool(
            max_connections=connections,
            timeout=reply_s,
            socket_timeout=reply_s,
            socket_connect_timeout=CONNECT_S,
            retry=None,
            retry_on_error=[],
            protocol=2,
            driver_info=None,
            redis_connect_func=_connected,
            **self._address.connection_arguments(),
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise translate(error, address=self._address) from None

    async def _run(self, send: Send, script: _Script, keys: Sequence[str], args: Sequence[Any]) -> list[bytes]:
        """Run a script and return its reply; raise `WipedError` or `StaleEpochError` if it says so."""
        with self._translated():
            try:
                reply = await send("EVALSHA", script.sha, len(keys), *keys, *args)
            except NoScriptError:
                await send("SCRIPT", "LOAD", script.text)
                reply = await send("EVALSHA", script.sha, len(keys), *keys, *args)
        if reply[0] == b"WIPED":
            raise WipedError([int(slot) for slot in reply[1:]])
        if reply[0] == b"STALE":
            raise StaleEpochError([int(slot) for slot in reply[1:]])
        return reply

    async def _read(self, client: Redis, *commands: tuple[str, ...]) -> list[Any]:
        """Run reading commands at one instant. Raises `WipedError` if there is no data set."""
        with self._translated():
            async with client.pipeline(transaction=True) as together:
                together.execute_command("EXISTS", DATA_SET)
                for command in commands:
                    together.execute_command(*command)
                exists, *replies = await together.execute()
        if not exists:
            raise WipedError
        return replies

    async def open_data_set(self, *, slots: int, instance: str, run: str) -> None:
        """Create the data set, or take its lease."""
        reply = await self._run(self._upkeep.execute_command, self._open, [DATA_SET], [slots, instance, run, LEASE_S])
        if reply[0] == b"SLOTS":
            raise slots_conflict(stored=int(reply[1]), wanted=slots)
        if reply[0] == b"LEASED":
            raise lease_conflict(instance=reply[1].decode(), age_s=float(reply[2]))

    async def renew_lease(self, *, run: str) -> bool:
        """Say that the cluster is alive."""
        reply = await self._run(self._upkeep.execute_command, self._renew, [DATA_SET], [run])
        return reply[0] == b"OK"

    async def plan(self) -> bytes | None:
        """Return what the cluster is to look like."""
        (plan,) = await self._read(self._upkeep, ("HGET", DATA_SET, "plan"))
        kept: bytes | None = plan
        return kept

    async def keep_plan(self, plan: bytes, *, run: str) -> bool:
        """Keep what the cluster is to look like."""
        reply = await self._run(self._upkeep.execute_command, self._keep_plan, [DATA_SET], [run, plan])
        return reply[0] == b"OK"

    async def fences(self) -> Mapping[int, Fence]:
        """Return the map."""
        (fences,) = await self._read(self._upkeep, ("HGETALL", FENCES))
        return {int(slot): _fence(stored) for slot, stored in fences.items()}

    async def claim(self, expected: Mapping[int, int], *, owner: str, after_wipe: bool = False) -> Mapping[int, Claimed]:
        """Take the slots whose epoch is still the expected one."""
        if not expected:
            return {}
        asked = [value for slot, epoch in expected.items() for value in (slot, epoch, epoch + 1)]
        reply = await self._run(self._upkeep.execute_command, self._claim, [DATA_SET, FENCES, ALIVE], [owner, int(after_wipe), *asked])
        return {
            int(slot): Claimed(expected[int(slot)] + 1, _alive_at(alive_at) if alive_at else None)
            for slot, alive_at in zip(reply[1::2], reply[2::2], strict=True)
        }

    async def release(self, epochs: Mapping[int, int]) -> None:
        """Give slots up."""
        if epochs:
            await self._run(self._upkeep.execute_command, self._release, [DATA_SET, FENCES], _flat(epochs))

    async def load(self, slot: int) -> StoredSlot:
        """Read one slot at one instant."""
        fence, record, sessions, aside = await self._read(
            self._loads,
            ("HGET", FENCES, str(slot)),
            ("HGET", RECORDS, str(slot)),
            ("HGETALL", slot_key(slot)),
            ("HKEYS", aside_key(slot)),
        )
        return StoredSlot(
            fence=_fence(fence) if fence else Fence(0, 0, ""),
            record=record,
            sessions={_named(session_id): stored for session_id, stored in sessions.items()},
            set_aside=frozenset(map(_named, aside)),
        )

    async def set_aside(self, slot: int) -> Mapping[str, bytes]:
        """Return what was set aside of a slot."""
        (aside,) = await self._read(self._loads, ("HGETALL", aside_key(slot)))
        return {_named(session_id): stored for session_id, stored in aside.items()}

    async def commit(self, writes: Sequence[SlotWrite], *, finished: Sequence[bytes] = (), alive_at: float) -> None:
        """Write the whole batch, or nothing."""
        check_batch(writes, finished)
        if not writes:
            return
        keys = [DATA_SET, FENCES, RECORDS, ALIVE, FINISHED]
        asides: list[str] = []
        args: list[Any] = [alive_at, FINISHED_STREAM_MAX, len(writes), len(finished), *finished]
        for write in writes:
            keys.append(slot_key(write.slot))
            args += (write.slot, write.epoch, write.number, write.record, int(write.replace), 2 * len(write.sessions))
            for session in write.sessions.items():
                args += session
            args.append(len(write.forgotten))
            args += write.forgotten
            args.append(2 * len(write.set_aside))
            for session_id, stored in write.set_aside.items():
                args += (_bytes_of(session_id), stored)
            args.append(len(write.taken_back))
            args += map(_bytes_of, write.taken_back)
            if write.set_aside or write.taken_back:
                asides.append(aside_key(write.slot))
        reply = await self._run(self._commits.ask, self._commit, keys + asides, args)
        if reply[0] == b"MIXED":
            raise mixed_batch([int(slot) for slot in reply[1:]])
        if reply[0] != b"OK":
            problem = "the journal's script gave an answer that it does not have"
            raise InvariantError(problem, story=reply)

    async def touch(self, epochs: Mapping[int, int], *, alive_at: float) -> None:
        """Mark slots' owner alive."""
        await self._run(self._upkeep.execute_command, self._touch, [DATA_SET, FENCES, ALIVE], [alive_at, *_flat(epochs)])

    async def ping(self) -> None:
        """Return if the journal answers and takes writes."""
        with self._translated():
            written = await self._upkeep.set(PROBE, 1)
        if not written:
            msg = f"{self._address} did not take a write"
            raise JournalUnavailableError(msg)

    async def close(self) -> None:
        """Let the connections go."""
        for client in (self._loads, self._upkeep):
            await client.aclose()
            await client.connection_pool.disconnect()
        await self._commits.hang_up()


async def _connected(connection: AbstractConnection) -> None:
    """Greet a server as redis-py does, and hang up on one that would drop what is acknowledged: it may be another than the last time."""
    await connection.on_connect()
    await connection.send_command("INFO", "memory")
    try:
        told = await connection.read_response()
    except (NoPermissionError, BusyLoadingError):
        return  # what may not be seen was looked for at the start (`server_check.py`)
    if (policy := policy_of(told.decode())) != NO_EVICTION:
        raise RedisConnectionError(str(evicting(policy)))


_FENCE: Final = re.compile(rb"(\d{1,15}) (\d{1,15}) (.*)", re.DOTALL)


def _fence(stored: bytes) -> Fence:
    """Read a fence; one that is damaged counts as lost, as it does for the scripts: its owner claims the slot again, and writes it back."""
    read = _FENCE.fullmatch(stored)
    return Fence(int(read[1]), int(read[2]), _named(read[3])) if read else Fence(0, 0, "")


def _alive_at(stored: bytes) -> float | None:
    try:
        return float(stored)
    except ValueError:  # damaged
        return None


def _named(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")


def _bytes_of(session_id: str) -> bytes:
    return session_id.encode("utf-8", "surrogateescape")


def _flat(epochs: Mapping[int, int]) -> list[int]:
    return [value for pair in epochs.items() for value in pair]
