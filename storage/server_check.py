"""
Whether a server can be the journal: opened, asked what it is, and tried with the very commands that the journal needs.

Decides what makes a server unfit (nothing acknowledged would be safe there, or nothing could be written), and what has only to be
said loudly, because it changes what "acknowledged" means. Each is a finding with a line for whoever gave the address. Blocks, for
`within_s` at most; it is for those who have no event loop yet. It writes to a key of its own, and changes nothing.
"""

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha1
from typing import Any, Final, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from storage.beside import beside
from storage.findings import NO_EVICTION, Finding, Level, evicting
from storage.redis_address import RedisAddress, translate
from storage.redis_journal import ALIVE, DATA_SET, FENCES, FINISHED, PROBE, RECORDS, REPLY_S, aside_key, slot_key

WITHIN_S: Final = 1.8
FIRST_WORD_S: Final = 1.0
"""A server that takes longer to let us in, or for one answer, says nothing; whoever waits for the line has two seconds from their first."""
OLDEST_REDIS: Final = (6, 2)
TRIED: Final = f"{PROBE}:tried"
"""A hash, and with `:stream` a stream, that commands are tried on."""


def examine(url: str, *, within_s: float = WITHIN_S) -> list[Finding]:
    """Look at a server; the first finding that makes it unfit is the last. Raises `ValueError` if the URL is no good."""
    address = RedisAddress.parse(url)
    try:
        return beside(lambda: list(_look(address, within_s=within_s))).result(within_s)
    except TimeoutError:
        return [_no_answer(address, within_s)]


def unfit(findings: Sequence[Finding], url: str) -> str | None:
    """Return the line that says why the server cannot be the journal; None: it can."""
    where = RedisAddress.parse(url)
    return next((f"The journal at {where} cannot be used: {finding}" for finding in findings if finding.level is Level.UNFIT), None)


def client_of(address: RedisAddress, *, reply_s: float) -> "redis.Redis":
    """Return a blocking client that sends nothing twice."""
    arguments = address.connection_arguments()
    if arguments.pop("connection_class", None) is not None:
        arguments["ssl"] = True
    return redis.Redis(
        **arguments, socket_timeout=reply_s, socket_connect_timeout=reply_s, retry=Retry(NoBackoff(), 0), protocol=2, driver_info=None
    )


def _look(address: RedisAddress, *, within_s: float) -> Iterator[Finding]:
    reply_s = min(FIRST_WORD_S, within_s)
    with client_of(address, reply_s=reply_s) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            if not _is_no_permission(error):
                yield _why_not_reached(address, error, reply_s)
                return
        yield Finding("reach", Level.OK, f"{address} answers")
        try:
            information = client.info("everything")
        except redis.RedisError as error:
            yield _refused("INFO", error, address)
            return
        for finding in (*about(information), *_about_writes(client, address), _about_sync(client, information)):
            yield finding
            if finding.level is Level.UNFIT:
                return


def about(information: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge by what `INFO` tells."""
    name = "Valkey" if "valkey_version" in information else "Redis"
    version = str(information.get("valkey_version") or information.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if name == "Redis" and numbers < OLDEST_REDIS:
        yield Finding("version", Level.UNFIT, f"it is Redis {version}", "Redis 6.2 or newer, or Valkey, is needed")
    else:
        yield Finding("version", Level.OK, f"{name} {version}")
    if information.get("redis_mode") == "sentinel":
        yield Finding("role", Level.UNFIT, "it is a Sentinel, not a server that keeps data", "give the address of the primary")
    elif information.get("cluster_enabled"):
        yield Finding("role", Level.UNFIT, "it is a node of a Redis Cluster", "one primary that is no part of a cluster is needed")
    elif information.get("role") != "master":
        primary = f"{information.get('master_host')}:{information.get('master_port')}"
        yield Finding("role", Level.UNFIT, f"it is a replica, and takes no writes; its primary is {primary}", "give the primary's address")
    else:
        yield Finding("role", Level.OK, "a primary")
    policy = information.get("maxmemory_policy", NO_EVICTION)
    if policy != NO_EVICTION:
        yield evicting(str(policy))
    else:
        yield Finding("eviction", Level.OK, "it drops nothing when it is full (noeviction)")


def _about_writes(client: "redis.Redis", address: RedisAddress) -> Iterator[Finding]:
    """Try every command on every kind of key."""
    keys = (DATA_SET, FENCES, RECORDS, ALIVE, FINISHED, slot_key(0), aside_key(0))
    script = "redis.call('TIME') return redis.call('EXISTS', KEYS[1])"
    tries: tuple[tuple[Any, ...], ...] = (
        ("EXISTS", DATA_SET),
        ("SET", PROBE, "1"),
        ("HSET", TRIED, "a", "1"),
        ("HGET", TRIED, "a"),
        ("HMGET", TRIED, "a"),
        ("HGETALL", TRIED),
        ("HKEYS", TRIED),
        ("HDEL", TRIED, "a"),
        ("XADD", f"{TRIED}:stream", "MAXLEN", "~", "1", "*", "a", "1"),
        ("UNLINK", TRIED, f"{TRIED}:stream"),
        ("TIME",),
        ("MULTI",),
        ("EXEC",),
        ("SCRIPT LOAD", script),
        ("EVALSHA", sha1(script.encode(), usedforsecurity=False).hexdigest(), len(keys), *keys),
    )
    with client.client() as one:  # type: ignore[no-untyped-call]  # MULTI and EXEC want one connection
        for name, *arguments in tries:
            try:
                one.execute_command(name, *arguments)
            except redis.RedisError as error:
                yield _refused(name, error, address)
                return
    yield Finding("writes", Level.OK, "it takes writes, and its user may run every command on every key that is needed")


def _about_sync(client: "redis.Redis", information: Mapping[str, Any]) -> Finding:
    """Say what "acknowledged" means by how the server keeps its file."""
    if not information.get("aof_enabled"):
        return Finding(
            "sync",
            Level.WARNING,
            "it keeps no append-only file: whatever was acknowledged since its last snapshot is lost when it stops or dies, unless the "
            "shards still hold it",
            "set appendonly yes and appendfsync always",
        )
    try:
        mode = client.config_get("appendfsync").get("appendfsync")
    except redis.RedisError:
        return Finding(
            "sync",
            Level.WARNING,
            "it does not tell how often it syncs its append-only file (CONFIG is not allowed): if not at every write, what was acknowledged "
            "in the last seconds is lost when its machine dies",
            "see that appendfsync is always",
        )
    if mode == "always":
        return Finding("sync", Level.OK, "what is acknowledged is on its disk (appendfsync always)")
    lost = "the last two seconds" if mode == "everysec" else "the last half a minute"
    return Finding(
        "sync",
        Level.WARNING,
        f"it syncs its append-only file later than it answers (appendfsync {mode}): acknowledged means that it survives the end of the "
        f"server's process, but {lost} may be lost when its machine dies",
        "set appendfsync always",
    )


def _why_not_reached(address: RedisAddress, error: Exception, within_s: float) -> Finding:
    where, text, cause = f"{address.host}:{address.port}", str(error), _root(error)
    said = address.without_secrets(text).splitlines()[0] if text else type(error).__name__
    if isinstance(cause, ssl.SSLCertVerificationError):
        told = (f"its certificate is not trusted ({cause.verify_message})", "name the CA that signed it: ?ssl_ca_certs=FILE")
    elif isinstance(cause, ssl.SSLError):
        told = (f"it does not speak TLS, or not with us ({cause.reason or said})", "is it redis:// rather than rediss://?")
    elif isinstance(cause, socket.gaierror):
        told = (f"no such host: {address.host}", "is the name right, and does this machine know it?")
    elif isinstance(cause, ConnectionRefusedError):
        told = (f"nothing listens at {where} (connection refused)", "is it started, and is the port right?")
    elif isinstance(error, redis.BusyLoadingError):
        return Finding("reach", Level.WARNING, "it is still loading its file", "wait")
    elif isinstance(error, redis.TimeoutError):
        return _no_answer(address, within_s)
    elif isinstance(error, redis.AuthenticationError) or "WRONGPASS" in text or "NOAUTH" in text or "AUTH" in text:
        told = _why_not_let_in(address, said)
    elif "DB index" in text:
        told = (f"it has no database {address.db}", "give another number at the end of the URL")
    else:
        told = (f"it is not Redis, or it closes the connection ({said})", "does it want TLS (rediss://)? Is the port right?")
    return Finding("reach", Level.UNFIT, *told)


def _why_not_let_in(address: RedisAddress, said: str) -> tuple[str, str]:
    if address.password is None:
        return "it wants a password, and the URL has none", "redis://:PASSWORD@… or redis://USER:PASSWORD@…"
    if "without any password configured" in said:
        return "it has no password, and the URL has one", "leave it out of the URL"
    return (
        f"it refuses the password{f' of user {address.username}' if address.username else ''}",
        "see the URL; special characters must be percent-encoded",
    )


def _no_answer(address: RedisAddress, within_s: float) -> Finding:
    text = f"{address.host}:{address.port} did not answer within {within_s:.1f} s"
    no_tls = ", or does it speak no TLS (redis://)" if address.tls else ""
    return Finding("reach", Level.UNFIT, text, f"is a firewall in between, is the server held{no_tls}?")


def _refused(command: str, error: Exception, address: RedisAddress) -> Finding:
    said = address.without_secrets(str(error))
    if _is_no_permission(error):
        user = address.username or "default"
        if "key" in said.lower() and "command" not in said.lower():
            return Finding(
                "permissions", Level.UNFIT, f"its user {user} may not touch every key headcount:*", f"ACL SETUSER {user} ~headcount:*"
            )
        rule = f"+{command.lower().replace(' ', '|')}"
        return Finding("permissions", Level.UNFIT, f"its user {user} may not run {command}", f"ACL SETUSER {user} {rule}")
    if isinstance(error, redis.ResponseError) and "unknown command" in said.lower():
        return Finding(
            "permissions", Level.UNFIT, f"it does not know {command}: the command was renamed or taken away", "let it have its name"
        )
    return Finding("writes", Level.UNFIT, f"{command} failed: {said}", "see its log: is it full, or its disk?")


def _is_no_permission(error: Exception) -> bool:
    return isinstance(error, NoPermissionError) or "NOPERM" in str(error)


def _root(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


class Measured(NamedTuple):
    """What a server does, and how much room it has."""

    writes_s: list[float]
    """How long each of some acknowledged writes took, one after the other."""
    clock_ahead_s: float
    """By how much its clock is ahead of ours, as far as the way there and back lets it be known."""
    used_bytes: int
    limit_bytes: int
    """What it may use; without a limit of its own, its machine's memory."""


WRITES_MEASURED: Final = 20


def measure(url: str, *, now: Callable[[], float], monotonic: Callable[[], float]) -> Measured:
    """Write a few times, and compare clocks. Raises `JournalError`."""
    address = RedisAddress.parse(url)
    try:
        with client_of(address, reply_s=REPLY_S) as client:
            client.set(PROBE, 1)
            writes_s: list[float] = []
            for number in range(WRITES_MEASURED):
                began_at = monotonic()
                client.set(PROBE, number)
                writes_s.append(monotonic() - began_at)
            asked_at = now()
            seconds, micros = client.time()
            ahead_s = seconds + micros / 1e6 - (asked_at + now()) / 2
            memory = client.info("memory")
    except redis.RedisError as error:
        raise translate(error, address=address) from None
    limit = memory.get("maxmemory") or memory.get("total_system_memory") or 0
    return Measured(writes_s, ahead_s, int(memory.get("used_memory", 0)), int(limit))
