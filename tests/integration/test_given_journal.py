"""The journal that is given: what makes it unfit is said in one line, before anything is started for it."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import pytest

from storage.findings import Finding, Level
from storage.journal import JournalUnavailableError, SlotWrite
from storage.redis_journal import RedisJournal
from storage.server_check import about, examine, unfit
from tests.integration.installation import Installation
from tests.integration.servers import PASSWORD, Server, admin, certificate, deaf, free_port, server, tls_front

Install = Callable[..., Installation]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("server") / "s") as one:
        yield one


@pytest.fixture
def plain(served: Server) -> Iterator[Server]:
    yield served
    with admin(served) as client:
        client.replicaof("NO", "ONE")
        for name, value in {"maxmemory": "0", "maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}.items():
            client.config_set(name, value)


def worst(url: str) -> Finding:
    return examine(url)[-1]


def as_user(served: Server, *rules: str) -> str:
    with admin(served) as client:
        client.execute_command("ACL", "SETUSER", "tracker", "reset", "on", f">{PASSWORD}", *rules)
    return f"redis://tracker:{PASSWORD}@127.0.0.1:{served.port}/0"


def test_a_server_as_it_should_be_has_nothing_against_it(plain: Server) -> None:
    findings = examine(plain.url)
    assert [finding.level for finding in findings] == [Level.OK] * len(findings)
    assert unfit(findings, plain.url) is None


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl"])
def test_a_server_that_drops_keys_is_refused_though_config_is_not_allowed(plain: Server, policy: str) -> None:
    with admin(plain) as client:
        client.config_set("maxmemory-policy", policy)
    problem = unfit(examine(as_user(plain, "+@all", "-config", "~headcount:*")), plain.url)
    assert problem is not None
    assert f"drop sessions without a word when its memory is full (maxmemory-policy {policy}); set maxmemory-policy noeviction" in problem
    assert PASSWORD not in problem


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("appendfsync", "everysec", "the last two seconds may be lost when its machine dies"),
        ("appendfsync", "no", "the last half a minute may be lost when its machine dies"),
        ("appendonly", "no", "no append-only file: whatever was acknowledged since its last snapshot is lost"),
    ],
)
def test_a_server_that_syncs_late_is_fit_and_it_is_said_what_acknowledged_means_then(
    plain: Server, name: str, value: str, said: str
) -> None:
    with admin(plain) as client:
        client.config_set(name, value)
    found = worst(plain.url)
    assert (found.what, found.level) == ("sync", Level.WARNING)
    assert said in found.text
    assert unfit([found], plain.url) is None


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (("+@all", "-@scripting", "~*"), "may not run SCRIPT LOAD; ACL SETUSER tracker +script|load"),
        (("+@all", "-evalsha", "~*"), "may not run EVALSHA; ACL SETUSER tracker +evalsha"),
        (("+@all", "~other:*"), "may not touch every key headcount:*; ACL SETUSER tracker ~headcount:*"),
        (("+@all", "~headcount:dataset", "~headcount:probe*"), "may not touch every key headcount:*"),
        (("+@all", "-hset", "~*"), "may not run HSET; ACL SETUSER tracker +hset"),
        (("+@all", "-time", "~*"), "may not run TIME; ACL SETUSER tracker +time"),
        (("+@all", "-info", "~*"), "may not run INFO; ACL SETUSER tracker +info"),
    ],
)
def test_what_a_user_may_not_do_is_named_with_the_rule_that_is_missing(plain: Server, rules: tuple[str, ...], said: str) -> None:
    found = worst(as_user(plain, *rules))
    assert (found.what, found.level) == ("permissions", Level.UNFIT)
    assert said in str(found)


def test_a_user_with_no_more_than_the_documented_rules_can_do_all_that_a_tracker_does(plain: Server) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/operations.md").read_text()
    rules = " ".join(line.removeprefix("ACL SETUSER headcount ") for line in page.splitlines() if line.startswith("ACL SETUSER headcount "))
    url = as_user(plain, *rules.removeprefix("on >PASSWORD ").split())
    assert {finding.level for finding in examine(url)} <= {Level.OK, Level.WARNING}

    async def live() -> None:
        journal = RedisJournal(url)
        await journal.open_data_set(slots=16, instance="laptop", run="run-1")
        await journal.claim({1: 0}, owner="shard-0")
        write = SlotWrite(1, 1, 1, b"record", {"a": b"a", "b": b"b"}, forgotten=["c"], set_aside={"b": b"b"}, replace=True)
        await journal.commit([write], finished=[b"{}"], alive_at=1_001.0)
        assert (await journal.load(1)).sessions == {"a": b"a"}
        assert await journal.set_aside(1) == {"b": b"b"}
        await journal.touch({1: 1}, alive_at=1_002.0)
        await journal.keep_plan(b"plan", run="run-1")
        assert (await journal.renew_lease(run="run-1"), await journal.plan(), len(await journal.fences())) == (True, b"plan", 1)
        await journal.release({1: 1})
        await journal.ping()
        await journal.close()

    asyncio.run(live())
    with admin(plain) as client:
        client.flushall()


def test_a_wrong_password_and_a_missing_one_are_told_apart(plain: Server) -> None:
    assert "refuses the password" in worst(plain.url.replace(PASSWORD, "wrong")).text
    assert "wants a password, and the URL has none" in worst(f"redis://127.0.0.1:{plain.port}/0").text


def test_a_replica_names_its_primary(plain: Server) -> None:
    with admin(plain) as client:
        client.replicaof("127.0.0.1", "1")
    assert "it is a replica, and takes no writes; its primary is 127.0.0.1:1; give the primary's address" in str(worst(plain.url))


def test_a_node_of_a_cluster_is_told(tmp_path: Path) -> None:
    with server(tmp_path / "node", "--cluster-enabled", "yes") as node:
        assert "it is a node of a Redis Cluster" in worst(node.url).text


def test_a_full_server_says_that_it_takes_no_writes(plain: Server) -> None:
    with admin(plain) as client:
        client.config_set("maxmemory", 1)
    found = worst(plain.url)
    assert (found.what, found.level) == ("writes", Level.UNFIT)
    assert "maxmemory" in found.text


def test_a_closed_port_an_unknown_host_and_a_database_that_is_not_there_are_told(plain: Server) -> None:
    assert "nothing listens at" in worst(f"redis://127.0.0.1:{free_port()}/0").text
    assert "no such host: nobody.invalid" in worst("redis://nobody.invalid/0").text
    assert "it has no database 77" in worst(f"redis://:{PASSWORD}@127.0.0.1:{plain.port}/77").text


def test_a_server_that_says_nothing_is_given_up_within_two_seconds() -> None:
    with deaf() as port:
        began_at = time.monotonic()
        assert "did not answer within 1.0 s" in worst(f"redis://127.0.0.1:{port}/0").text
        assert time.monotonic() - began_at < 5.0


def test_a_certificate_of_an_unknown_ca_is_told_and_a_known_one_is_fit(plain: Server, tmp_path: Path) -> None:
    made = certificate(tmp_path / "tls")
    with tls_front(plain.port, made) as port:
        url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"
        assert "its certificate is not trusted (self-signed certificate)" in worst(url).text.replace("self signed", "self-signed")
        assert "name the CA that signed it: ?ssl_ca_certs=FILE" in worst(url).remedy
        assert worst(f"{url}?ssl_ca_certs={made[0]}").level is Level.OK
        # And without TLS the front hangs up, or says nothing that we know.
        assert worst(f"redis://:{PASSWORD}@127.0.0.1:{port}/0").level is Level.UNFIT


@pytest.mark.parametrize(
    ("information", "said"),
    [
        ({"redis_version": "6.0.16", "role": "master"}, "it is Redis 6.0.16; Redis 6.2 or newer, or Valkey, is needed"),
        ({"redis_version": "6.2.14", "role": "master", "redis_mode": "sentinel"}, "it is a Sentinel"),
    ],
)
def test_a_server_that_is_too_old_or_a_sentinel_is_told(information: dict[str, str], said: str) -> None:
    assert any(said in str(finding) for finding in about(information) if finding.level is Level.UNFIT)


def test_a_server_that_has_come_to_drop_keys_is_hung_up_on_when_the_connection_is_made_anew(plain: Server) -> None:
    async def live() -> None:
        journal = RedisJournal(plain.url)
        await journal.open_data_set(slots=16, instance="laptop", run="run-1")
        await journal.claim({1: 0}, owner="shard-0")
        await journal.commit([SlotWrite(1, 1, 1, b"record")], alive_at=1_001.0)
        with admin(plain) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.client_kill_filter(_type="normal", skipme=True)
            for asked in (lambda: journal.commit([SlotWrite(1, 1, 2, b"record")], alive_at=1_002.0), journal.ping):
                # The old connections' end may be what is noticed first.
                said = [await _refusal(asked) for _ in range(3)]
                assert "drop sessions without a word" in said[-1]
                assert "set maxmemory-policy noeviction" in said[-1]
            client.config_set("maxmemory-policy", "noeviction")
            await journal.commit([SlotWrite(1, 1, 2, b"record")], alive_at=1_002.0)
            await journal.close()
            client.flushall()

    asyncio.run(live())


async def _refusal(asked: Callable[[], Coroutine[None, None, None]]) -> str:
    with pytest.raises(JournalUnavailableError) as refused:
        await asked()
    return str(refused.value)


# `headcount up`.


def test_up_names_the_cause_and_starts_nothing(install: Install, plain: Server) -> None:
    with admin(plain) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    for url, said in (
        (plain.url, "maxmemory-policy allkeys-lru"),
        (plain.url.replace(PASSWORD, "wrong"), "it refuses the password"),
        (f"redis://127.0.0.1:{free_port()}/0", "connection refused"),
    ):
        tracker = install(REDIS_URL=url)
        ended = tracker.run("up")
        assert ended.returncode == 1
        assert said in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1
        assert PASSWORD not in ended.stdout + ended.stderr
        assert "Ray" not in ended.stdout


def test_up_gives_a_server_that_says_nothing_up_and_ends_what_it_had_begun(install: Install) -> None:
    with deaf() as port:
        tracker = install(REDIS_URL=f"redis://127.0.0.1:{port}/0")
        ended = tracker.run("up")
        assert ended.returncode == 1
        assert "did not answer within 1.0 s" in ended.stderr
    assert tracker.processes() == set()


def test_up_starts_on_a_server_that_syncs_late_and_says_so_loudly(install: Install, plain: Server) -> None:
    with admin(plain) as client:
        client.config_set("appendfsync", "everysec")
    tracker = install(REDIS_URL=plain.url)
    tracker.start()
    assert "THE JOURNAL: it syncs its append-only file later than it answers (appendfsync everysec)" in tracker.output
    doctor = tracker.run("doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "appendfsync everysec" in doctor.stdout
    assert tracker.stop() == 0
