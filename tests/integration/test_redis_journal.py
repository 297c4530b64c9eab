"""The Redis journal keeps every promise on a real server, and says "not now" where it must."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from storage.embedded import EmbeddedValkey
from storage.journal import Claimed, Fence, JournalError, JournalUnavailableError, SlotWrite, StoredSlot, WipedError
from storage.redis_address import RedisAddress
from storage.redis_journal import DATA_SET, FENCES, FINISHED, RedisJournal, slot_key
from tests.journal_contract import JournalBench, JournalContract, write


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    valkey = EmbeddedValkey(tmp_path_factory.mktemp("journal"))
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture
def url(server: EmbeddedValkey) -> Iterator[str]:
    url = server.start()
    with redis.Redis.from_url(url) as client:
        client.flushall()
        yield url
        client.config_set("maxmemory", 0)
        client.replicaof("NO", "ONE")


@pytest.fixture
def admin(url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(url) as client:
        yield client


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture
def bench(url: str, admin: "redis.Redis", loop: asyncio.AbstractEventLoop) -> Iterator[JournalBench]:
    journal, rival = RedisJournal(url), RedisJournal(url)

    def finished() -> list[bytes]:
        entries: Any = admin.xrange(FINISHED)
        return [fields[b"summary"] for _, fields in entries]

    def wait(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return loop.run_until_complete(coroutine)

    def move_clock(seconds: float) -> None:
        # The server's clock is the machine's: what it has stamped moves instead, the other way.
        admin.hincrbyfloat(DATA_SET, "renewed_at", -seconds)

    yield JournalBench(journal, rival, wait, finished, admin.flushall, move_clock)
    wait(journal.close())
    wait(rival.close())


class TestRedisJournal(JournalContract):
    """See `JournalContract`."""


def test_two_claimers_at_the_same_instant_share_no_slot(bench: JournalBench) -> None:
    bench.open(slots=256)

    async def race() -> list[set[int]]:
        slots = dict.fromkeys(range(256), 0)
        claims = (journal.claim(slots, owner=f"shard-{n}") for n, journal in enumerate([bench.journal, bench.rival] * 4))
        return [set(claimed) for claimed in await asyncio.gather(*claims)]

    won = bench.wait(race())
    assert sum(len(slots) for slots in won) == 256
    assert set().union(*won) == set(range(256))


def test_commits_and_loads_at_the_same_time_never_show_half_a_batch(bench: JournalBench) -> None:
    bench.own(3)
    seen: list[StoredSlot] = []

    async def commit() -> None:
        for number in range(1, 101):
            value = b"%d" % number
            await bench.journal.commit([write(3, number, {"a": value, "b": value}, record=value)], alive_at=1_001.0)

    async def load() -> None:
        while not seen or seen[-1].fence.number < 100:
            seen.append(await bench.rival.load(3))

    async def both() -> None:
        await asyncio.gather(commit(), load())

    bench.wait(both())
    for stored in seen:
        expected = b"%d" % stored.fence.number
        assert stored.fence.number == 0 or (stored.record, *stored.sessions.values()) == (expected,) * 3


def test_scripts_forgotten_by_the_server_are_loaded_again(bench: JournalBench, admin: "redis.Redis") -> None:
    bench.own(3)
    bench.commit(write(3, 1))
    admin.script_flush()
    bench.commit(write(3, 2, {"a": b"a2"}), finished=(b"one",))
    assert bench.load(3).fence.number == 2
    assert bench.finished() == [b"one"]


def test_a_full_server_refuses_a_batch_whole_and_takes_it_later(bench: JournalBench, admin: "redis.Redis") -> None:
    bench.own(1, 2)
    bench.commit(write(1, 1, {"a": b"old"}), write(2, 1, {"a": b"old"}))
    before = bench.everything(1, 2)
    admin.config_set("maxmemory", 1)
    batch = [write(slot, 2, {"a": b"new" * 100}, replace=True, forgotten=["b"]) for slot in (1, 2)]
    with pytest.raises(JournalUnavailableError, match="maxmemory"):
        bench.commit(*batch, finished=(b"one",))
    with pytest.raises(JournalUnavailableError, match="maxmemory"):
        bench.wait(bench.journal.ping())
    admin.config_set("maxmemory", 0)
    assert bench.everything(1, 2) == before
    bench.commit(*batch, finished=(b"one",))
    assert bench.load(2).sessions == {"a": b"new" * 100}


def test_a_replica_refuses_a_batch_whole_and_takes_it_once_it_is_primary(bench: JournalBench, admin: "redis.Redis") -> None:
    bench.own(1)
    admin.config_set("replica-serve-stale-data", "yes")
    admin.replicaof("127.0.0.1", "1")
    with pytest.raises(JournalUnavailableError, match=r"read only replica|READONLY"):
        bench.commit(write(1, 1, {"a": b"a1"}))
    with pytest.raises(JournalUnavailableError):
        bench.wait(bench.journal.ping())
    admin.replicaof("NO", "ONE")
    assert bench.load(1).sessions == {}
    bench.commit(write(1, 1, {"a": b"a1"}))


def test_a_busy_server_is_not_now(bench: JournalBench, admin: "redis.Redis") -> None:
    bench.own(1)
    admin.config_set("lua-time-limit", 50)
    hog = threading.Thread(target=_hog, args=(admin,))
    hog.start()
    try:
        with redis.Redis.from_url(_url_of(admin)) as other:
            _until_busy(other)
        with pytest.raises(JournalUnavailableError, match="BUSY"):
            bench.commit(write(1, 1))
    finally:
        with redis.Redis.from_url(_url_of(admin)) as other:
            other.script_kill()
        hog.join()
        admin.config_set("lua-time-limit", 5_000)
    bench.commit(write(1, 1))


def _hog(admin: "redis.Redis") -> None:
    with redis.Redis.from_url(_url_of(admin)) as client, pytest.raises(redis.ResponseError):
        client.eval("while true do end", 0)


def _until_busy(client: "redis.Redis") -> None:
    for _ in range(1_000):
        try:
            client.get("anything")
        except redis.ResponseError:
            return
    pytest.fail("the server never got busy")


def _url_of(client: "redis.Redis") -> str:
    arguments = client.connection_pool.connection_kwargs
    return f"redis://:{arguments['password']}@{arguments['host']}:{arguments['port']}/0"


def test_a_server_that_does_not_answer_is_not_now_and_its_late_work_is_no_double(
    url: str, server: EmbeddedValkey, bench: JournalBench
) -> None:
    bench.own(1)
    impatient = RedisJournal(url, reply_s=0.3)
    bench.wait(impatient.ping())
    batch = [write(1, 1, {"a": b"a1"})]
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(JournalUnavailableError, match="Timeout"):
            bench.wait(impatient.commit(batch, finished=[b"one"], alive_at=1_001.0))
    finally:
        os.kill(pid, signal.SIGCONT)
    bench.wait(impatient.commit(batch, finished=[b"one"], alive_at=1_001.0))
    bench.wait(impatient.close())
    assert bench.load(1).fence.number == 1
    assert bench.finished() == [b"one"]


def test_a_cancelled_commit_leaves_no_answer_for_the_next(bench: JournalBench) -> None:
    bench.own(1)

    async def cancel_and_go_on() -> list[int]:
        numbers = []
        for number in range(1, 30):
            asked = asyncio.ensure_future(bench.journal.commit([write(1, number, {"a": b"%d" % number})], alive_at=1_001.0))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            asked.cancel()
            await asyncio.wait([asked])
            await bench.journal.commit([write(1, number, {"a": b"%d" % number})], alive_at=1_001.0)
            numbers.append((await bench.journal.load(1)).fence.number)
        return numbers

    assert bench.wait(cancel_and_go_on()) == list(range(1, 30))


def test_a_server_that_was_away_between_two_commits_is_not_noticed(bench: JournalBench, admin: "redis.Redis") -> None:
    bench.own(1)
    bench.commit(write(1, 1, {"a": b"a1"}))
    assert admin.client_kill_filter(_type="normal", skipme=True) > 0
    connection = bench.journal._commits._connection
    assert connection is not None
    while not bench.wait(connection.can_read()):
        bench.wait(asyncio.sleep(0))
    bench.commit(write(1, 2, {"a": b"a2"}))
    assert bench.load(1).sessions == {"a": b"a2"}


def test_a_load_of_everything_does_not_hold_up_a_commit(bench: JournalBench) -> None:
    bench.own(1, 2)
    bench.commit(write(1, 1, {f"{number}": b"x" * 400 for number in range(10_000)}))

    async def loaded_before_the_commit() -> int:
        loads = [asyncio.ensure_future(bench.journal.load(1)) for _ in range(40)]
        await asyncio.wait(loads, return_when=asyncio.FIRST_COMPLETED)
        await bench.journal.commit([write(2, 1)], alive_at=1_001.0)
        done = sum(load.done() for load in loads)
        await asyncio.wait(loads)
        return done

    assert bench.wait(loaded_before_the_commit()) < 20


def test_a_load_is_one_transaction(bench: JournalBench, admin: "redis.Redis") -> None:
    bench.own(1)
    admin.config_resetstat()
    bench.load(1)
    counted = admin.info("commandstats")
    assert {name: counted[f"cmdstat_{name}"]["calls"] for name in ("multi", "exec", "exists", "hget", "hgetall", "hkeys")} == {
        "multi": 1, "exec": 1, "exists": 1, "hget": 2, "hgetall": 1, "hkeys": 1,
    }  # fmt: skip


def test_nobody_there_is_not_now(loop: asyncio.AbstractEventLoop) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        journal = RedisJournal(f"redis://:{PASSWORD}@127.0.0.1:{free.getsockname()[1]}/0")
        with pytest.raises(JournalUnavailableError) as refused:
            loop.run_until_complete(journal.ping())
    assert PASSWORD not in _told(refused.value, journal)


PASSWORD = "s3cret-but-long"


def _told(error: BaseException, journal: RedisJournal) -> str:
    texts = [repr(journal), str(journal)]
    found: BaseException | None = error
    while found is not None:
        texts += [str(found), repr(found)]
        found = found.__cause__ or found.__context__
    return "\n".join(texts)


def test_a_wrong_password_is_told_without_the_password(url: str, loop: asyncio.AbstractEventLoop) -> None:
    address = RedisAddress.parse(url)
    journal = RedisJournal(f"redis://:{PASSWORD}@127.0.0.1:{address.port}/0")
    with pytest.raises(JournalUnavailableError) as refused:
        loop.run_until_complete(journal.ping())
    assert PASSWORD not in _told(refused.value, journal)
    assert address.password is not None
    assert address.password not in _told(refused.value, journal)


def test_a_foreign_value_under_our_key_is_no_passing_trouble(bench: JournalBench, admin: "redis.Redis") -> None:
    bench.own(1)
    admin.delete(FENCES)
    admin.set(FENCES, "not ours")
    with pytest.raises(JournalError, match="WRONGTYPE") as refused:
        bench.commit(write(1, 1))
    assert not isinstance(refused.value, JournalUnavailableError)


@pytest.mark.parametrize("damaged", [b"", b"garbage", b"1", b"1 x shard-0", b"\xff 1 shard-0"])
def test_a_damaged_fence_counts_as_lost_harms_no_other_slot_and_is_overtaken_by_its_owner(
    bench: JournalBench, admin: "redis.Redis", damaged: bytes
) -> None:
    bench.own(1, 2)
    bench.commit(write(1, 1, {"a": b"a1"}), write(2, 1))
    admin.hset(FENCES, "1", damaged)
    assert bench.wait(bench.journal.fences()) == {1: Fence(0, 0, ""), 2: Fence(1, 1, "shard-0")}
    bench.commit(write(2, 2))
    for asked in (
        bench.journal.commit([write(1, 2)], alive_at=1_001.0),
        bench.journal.touch({1: 1, 2: 1}, alive_at=1_002.0),
        bench.journal.release({1: 1, 2: 1}),
    ):
        with pytest.raises(WipedError) as lost:
            bench.wait(asked)
        assert lost.value.slots == (1,)
    assert bench.claim({1: 1}, owner="shard-0", after_wipe=True)[1].epoch == 2
    bench.commit(write(1, 1, {"a": b"a1"}, epoch=2, replace=True))
    assert bench.load(1).fence == Fence(2, 1, "shard-0")


def test_a_damaged_sign_of_life_counts_as_none_and_a_damaged_id_is_set_aside_like_any(bench: JournalBench, admin: "redis.Redis") -> None:
    bench.own(1)
    bench.commit(write(1, 1, {"a": b"a1"}))
    admin.hset("headcount:alive", "1", "noon")
    admin.hset(slot_key(1), b"\xff\xfe", b"bytes")
    assert bench.claim({1: 1}, owner="shard-1") == {1: Claimed(2, None)}
    assert bench.load(1).sessions == {"a": b"a1", "\udcff\udcfe": b"bytes"}
    bench.commit(write(1, 1, set_aside={"\udcff\udcfe": b"bytes"}, epoch=2))
    assert bench.load(1) == StoredSlot(Fence(2, 1, "shard-1"), b"record 1", {"a": b"a1"}, frozenset({"\udcff\udcfe"}))
    bench.commit(write(1, 2, taken_back=["\udcff\udcfe"], epoch=2))
    assert bench.load(1).set_aside == frozenset()


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> None:
    valkey = EmbeddedValkey(tmp_path / "valkey")
    journal = RedisJournal(valkey.start())
    valkey.watch()
    try:
        acknowledged = loop.run_until_complete(_write_under_fire(journal, valkey, kills=3))
        stored = loop.run_until_complete(journal.load(1))
    finally:
        loop.run_until_complete(journal.close())
        valkey.stop()
    assert acknowledged >= 300
    assert stored.fence.number == acknowledged
    assert stored.sessions == {f"session-{number}": b"%d" % number for number in range(1, acknowledged + 1)}


async def _write_under_fire(journal: RedisJournal, valkey: EmbeddedValkey, *, kills: int) -> int:
    """Commit one session after the other, each until it is acknowledged, and kill the server now and then; return how many."""
    await journal.open_data_set(slots=16, instance="laptop", run="run-1")
    await journal.claim({1: 0}, owner="shard-0")
    killed = 0
    number = 0
    while killed < kills or number % 100:
        number += 1
        batch = [SlotWrite(1, 1, number, b"", {f"session-{number}": b"%d" % number})]
        if number % 100 == 50 and killed < kills:
            sent = asyncio.ensure_future(journal.commit(batch, alive_at=1_001.0))
            for _ in range(killed * 2):
                await asyncio.sleep(0)
            if valkey.pid:
                os.kill(valkey.pid, signal.SIGKILL)
                killed += 1
            await asyncio.wait([sent])
            sent.exception()
        while True:
            try:
                await journal.commit(batch, alive_at=1_001.0)
                break
            except JournalUnavailableError:
                await asyncio.sleep(0.05)
    return number


def test_the_layout_is_the_documented_one(bench: JournalBench, admin: "redis.Redis") -> None:
    bench.own(3)
    bench.commit(write(3, 1, {"a": b"a1"}), finished=(b"{}",), alive_at=1_001.5)
    assert sorted(admin.keys()) == [
        b"headcount:alive", b"headcount:dataset", b"headcount:fences", b"headcount:finished", b"headcount:records", b"headcount:slot:3",
    ]  # fmt: skip
    assert admin.hgetall(FENCES) == {b"3": b"1 1 shard-0"}
    assert admin.hgetall("headcount:alive") == {b"3": b"1001.5"}
    assert admin.hgetall(slot_key(3)) == {b"a": b"a1"}


@pytest.fixture
def tls_url(server: EmbeddedValkey, tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    """A front that speaks TLS and passes everything on, as a provider's does."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", *subject]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    address = RedisAddress.parse(server.start())

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while received := await reader.read(65_536):
            writer.write(received)
        writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(address.host, address.port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True)

    front = loop.run_until_complete(asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context))
    port = front.sockets[0].getsockname()[1]
    yield f"rediss://:{address.password}@127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
    front.close()


def test_a_journal_behind_tls_works_and_an_unknown_certificate_is_refused(url: str, tls_url: str, loop: asyncio.AbstractEventLoop) -> None:
    journal, trusting_nobody = RedisJournal(tls_url), RedisJournal(tls_url.partition("?")[0])
    loop.run_until_complete(journal.open_data_set(slots=16, instance="laptop", run="run-1"))
    loop.run_until_complete(journal.claim({1: 0}, owner="shard-0"))
    loop.run_until_complete(journal.commit([write(1, 1, {"a": b"a1" * 50_000})], alive_at=1_001.0))
    assert loop.run_until_complete(journal.load(1)).sessions == {"a": b"a1" * 50_000}
    with pytest.raises(JournalUnavailableError, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
        loop.run_until_complete(trusting_nobody.ping())
    loop.run_until_complete(journal.close())
    loop.run_until_complete(trusting_nobody.close())
