"""Which URLs are taken, which refusals pass by themselves, and that no text shows a password."""

import pytest
from redis import exceptions
from redis.asyncio.connection import SSLConnection

from storage.journal import JournalUnavailableError
from storage.redis_address import RedisAddress, translate
from storage.redis_journal import RedisJournal

ADDRESS = RedisAddress("db.example", 6380, password="hidden")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379/0"),
        ("redis://:hidden@127.0.0.1:7000/3", "redis://127.0.0.1:7000/3"),
        ("rediss://user:hidden@db.example/", "rediss://db.example:6379/0"),
        ("redis://:hidden@[::1]:7000/0", "redis://[::1]:7000/0"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    address = RedisAddress.parse(url)
    assert str(address) == shown
    assert "hidden" not in repr(address)
    assert "hidden" not in repr(RedisJournal(url))


def test_credentials_are_percent_decoded() -> None:
    address = RedisAddress.parse("redis://us%40er:p%2Fa%3As%40s@db.example:7000/0")
    assert (address.username, address.password, address.host, address.port) == ("us@er", "p/a:s@s", "db.example", 7000)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hidden",
        "http://:hidden@db.example",
        "unix:///hidden.sock",
        "redis://:hidden@",
        "redis://:hidden@db.example:port/0",
        "redis://:hid/hidden@db.example:7000/0",
        "redis://:hidden@db.example/zero",
        "redis://:hidden@db.example/-1",
        "redis://:hidden@db.example/0?hidden",
        "redis://:hidden@[db.example/0",
        "redis://:hidden@db.example:99999/0",
    ],
)
def test_a_url_that_is_no_good_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="journal's URL") as refused:
        RedisAddress.parse(url)
    assert "hidden" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    "option", ["retry_on_timeout=true", "health_check_interval=1", "protocol=3", "socket_timeout=0", "ssl_cert_reqs=none"]
)
def test_an_option_that_would_change_how_the_journal_talks_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=option.partition("=")[0]):
        RedisAddress.parse(f"redis://db.example/0?{option}")


def test_tls_is_verified_unless_told_otherwise() -> None:
    plain = RedisAddress.parse("rediss://db.example/0").connection_arguments()
    assert plain["connection_class"] is SSLConnection
    assert [name for name in plain if name.startswith("ssl_")] == []
    told = RedisAddress.parse("rediss://db.example/0?ssl_ca_certs=/ca.pem&ssl_check_hostname=false").connection_arguments()
    assert (told["ssl_ca_certs"], told["ssl_check_hostname"]) == ("/ca.pem", False)
    assert "connection_class" not in RedisAddress.parse("redis://db.example/0").connection_arguments()


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("Error 111 connecting to db.example:6380."),
        exceptions.TimeoutError("Timeout reading from db.example:6380"),
        exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        exceptions.ReadOnlyError("You can't write against a read only replica."),
        exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        exceptions.ResponseError("OOM command not allowed when used memory > 'maxmemory'. script: f_, on @user_script:1."),
        exceptions.ResponseError(
            "Error running script (call to f_0): @user_script:7: @user_script: 7: -OOM command not allowed when used memory > 'maxmemory'."
        ),
        exceptions.ResponseError("BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."),
        exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
        exceptions.ResponseError("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
        exceptions.AuthenticationError("invalid username-password pair or user is disabled."),
        exceptions.ExecAbortError("Transaction discarded because of previous errors."),
        exceptions.NoScriptError("No matching script."),
    ],
)
def test_what_passes_by_itself_is_not_now(error: exceptions.RedisError) -> None:
    assert isinstance(translate(error, address=ADDRESS), JournalUnavailableError)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        exceptions.NoPermissionError("this user has no permissions to run the 'evalsha' command"),
        exceptions.ResponseError("Error running script: attempt to index a nil value"),
    ],
)
def test_what_does_not_pass_by_itself_is_loud(error: exceptions.RedisError) -> None:
    assert not isinstance(translate(error, address=ADDRESS), JournalUnavailableError)


def test_a_servers_text_is_told_with_the_password_blotted_out() -> None:
    told = str(translate(exceptions.ConnectionError("AUTH hidden failed"), address=ADDRESS))
    assert told == "redis://db.example:6380/0: ConnectionError: AUTH *** failed"
