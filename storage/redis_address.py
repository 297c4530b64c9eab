"""
Where the journal's server is, and what its refusals mean.

Decides which URLs are taken and which errors mean "not now". The password is in here and nowhere else: not in a text
that this module makes, nor in an exception's.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio.connection import SSLConnection
from redis.exceptions import (
    BusyLoadingError,
    ExecAbortError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from storage.journal import JournalError, JournalUnavailableError

DEFAULT_PORT: Final = 6379
_TLS_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
"""The only options that a URL may carry: others would undo what the journal needs (a client that sends nothing twice)."""

_NOT_NOW: Final = (
    BusyLoadingError,
    ExecAbortError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisConnectionError,
    RedisTimeoutError,
)
_NOT_NOW_CODES: Final = re.compile(
    r"(?:^|[\s-])(OOM|READONLY|LOADING|BUSY|MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOSCRIPT|UNKILLABLE|NOAUTH|WRONGPASS)\b"
)
"""A script's refusal carries the code inside its text on some versions ("ERR Error running script ... -OOM command not allowed")."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """One primary."""

    host: str
    port: int
    db: int = 0
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls_options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Say where it is, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Read a `redis://` or `rediss://` URL. Raises `ValueError` with a text that shows nothing of the URL but its option names."""
        try:
            parts = urlsplit(url)
            host, port, db = parts.hostname, parts.port, int(parts.path.strip("/") or 0)
            options = tuple(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        except ValueError:
            msg = "the journal's URL cannot be read; a password's special characters must be percent-encoded"
            raise ValueError(msg) from None
        if parts.scheme not in {"redis", "rediss"} or not host or db < 0:
            msg = "the journal's URL must look like redis://host:port/0 or rediss://user:password@host:port/0"
            raise ValueError(msg)
        if unknown := sorted({name for name, _ in options} - (_TLS_OPTIONS if parts.scheme == "rediss" else frozenset())):
            msg = f"the journal's URL carries options that are not taken: {', '.join(unknown)}"
            raise ValueError(msg)
        return cls(
            host=unquote(host),
            port=port or DEFAULT_PORT,
            db=db,
            tls=parts.scheme == "rediss",
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls_options=options,
        )

    def connection_arguments(self) -> dict[str, Any]:
        """Return what a connection pool of redis-py takes."""
        arguments: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "db": self.db,
            "username": self.username,
            "password": self.password,
        }
        if self.tls:
            arguments |= {"connection_class": SSLConnection, **dict(self.tls_options)}
            if "ssl_check_hostname" in arguments:
                arguments["ssl_check_hostname"] = arguments["ssl_check_hostname"].lower() in {"1", "true", "yes"}
        return arguments

    def without_secrets(self, text: str) -> str:
        """Return a text from elsewhere with the password blotted out."""
        return text.replace(self.password, "***") if self.password else text


def translate(error: RedisError, *, address: RedisAddress) -> JournalError:
    """Tell "not now" (which passes, and nothing was half done) from what will not pass by itself."""
    text = address.without_secrets(f"{address}: {type(error).__name__}: {error}")
    if isinstance(error, _NOT_NOW) or _NOT_NOW_CODES.search(str(error)):
        return JournalUnavailableError(text)
    return JournalError(text)
