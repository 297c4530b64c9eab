"""
Where tokens come from, and how one follows another while everything runs.

There are two kinds: players' (ingest) and operators' (ops). Each has one token to use and at most two that are let in. They come from the environment
(`NEW,OLD`), or else from a folder: `ops.token` holds the one to use and nothing more, as Prometheus reads it; `ops.valid` is there
once a token has followed another, and holds those that are let in, newest first. A new token is let in before it is
the one to use, and the one before it stays: so nobody is refused who was given a valid token.

It judges no request: `auth.py` does.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

from serve_app.access.keys import NOT_A_KEY, public_keys
from serve_app.settings import TOKENS_MAX, Settings, SettingsError
from sessions.growing import grows
from storage.whole_file import make_whole, write_whole

LOOK_EVERY_S: Final = 1.0
"""How often a replica looks whether the files have changed."""
_LOCK: Final = ".tokens.lock"

_log = structlog.get_logger(__name__)


class TokenKind(StrEnum):
    """Whose token it is."""

    INGEST = "ingest"
    OPS = "ops"

    @property
    def file(self) -> str:
        """Name of the file with the token to use."""
        return f"{self.value}.token"

    @property
    def valid_file(self) -> str:
        """Name of the file with those that are let in."""
        return f"{self.value}.valid"


@grows
@dataclass(frozen=True, slots=True)
class Tokens:
    """
    The secrets of one installation, picklable, and kept out of every print and log.

    Ray keeps it for replicas that it starts anew: it grows as `sessions/growing.py` says, at its end, by fields with a default.
    """

    ingest: str = field(repr=False)
    """The one to use."""
    ops: str = field(repr=False)
    ingest_too: tuple[str, ...] = field(default=(), repr=False)
    """Let in as well: the one before, or the one to come."""
    ops_too: tuple[str, ...] = field(default=(), repr=False)
    player_key: str | None = field(default=None, repr=False)
    """PEM of one public key, or of two, whose JWTs are the players' tokens instead of `ingest`."""
    auth: bool = True
    """False: everybody is let in everywhere."""

    @property
    def all_ingest(self) -> frozenset[str]:
        """Every token that players may show."""
        return frozenset((self.ingest, *self.ingest_too))

    @property
    def all_ops(self) -> frozenset[str]:
        """Every token that operators may show."""
        return frozenset((self.ops, *self.ops_too))


def load_tokens(settings: Settings, *, make: bool = True) -> Tokens:
    """
    Return the tokens: from the settings, else from their folder, where they are made if need be and `make`.

    Raises `SettingsError` for a file that holds no token, one token for both kinds, and a key that no algorithm can be pinned to.
    """
    ingest = settings.tokens_given(TokenKind.INGEST) or _kept_in(settings, TokenKind.INGEST, make=make)
    ops = settings.tokens_given(TokenKind.OPS) or _kept_in(settings, TokenKind.OPS, make=make)
    if set(ingest) & set(ops):
        problem = "the ingest token and the ops token are the same: every player could read the operators' pages"
        raise SettingsError((problem,))
    player_key = None
    if settings.jwt_public_key_file is not None:
        try:
            player_key = settings.jwt_public_key_file.read_text()
        except UnicodeDecodeError:  # DER, most likely
            raise SettingsError((NOT_A_KEY,)) from None
        public_keys(player_key)
    return Tokens(
        ingest=ingest[0],
        ops=ops[0],
        ingest_too=ingest[1:],
        ops_too=ops[1:],
        player_key=player_key,
        auth=settings.auth == "on",
    )


async def follow(settings: Settings, adopt: Callable[[Tokens], None]) -> None:
    """Hand over the tokens now, and again whenever their files change. If they cannot be read, that is logged, and the tokens before stay valid."""
    seen: object = None
    told: object = None
    while True:
        found = await asyncio.to_thread(_state_of, settings)
        if found != seen:
            try:
                adopt(await asyncio.to_thread(load_tokens, settings, make=False))
            except (SettingsError, OSError) as error:
                # Tried again although the files stay as they are: what failed may have been us (no descriptor left, no right yet).
                if found != told:
                    _log.warning("the tokens cannot be read: the last ones stay valid", problem=str(error))
                told = found
            else:
                seen, told = found, None
        await asyncio.sleep(LOOK_EVERY_S)


def rotate(settings: Settings, kind: TokenKind, *, wait: Callable[[], object]) -> None:
    """
    Make a new token the one to use; the one before stays valid, older ones do not.

    `wait` returns once every replica has looked at the files again. Raises `SettingsError` where the token is not ours to change.
    """
    folder = _folder_of(settings, kind)
    with _locked(folder):
        old = _kept_in(settings, kind)[0]
        new = secrets.token_urlsafe(32)
        _put(folder / kind.valid_file, new, old)
        wait()
        _put(folder / kind.file, new)


def revoke(settings: Settings, kind: TokenKind) -> None:
    """Let in nobody but whoever shows the token to use. Raises `SettingsError` as `rotate` does."""
    folder = _folder_of(settings, kind)
    with _locked(folder):
        _put(folder / kind.valid_file, _kept_in(settings, kind)[0])


def _state_of(settings: Settings) -> object:
    """Return what changes whenever a file of tokens or keys does."""
    watched = [settings.tokens_folder / name for kind in TokenKind for name in (kind.file, kind.valid_file)]
    if settings.jwt_public_key_file is not None:
        watched.append(settings.jwt_public_key_file)
    return tuple(_stamp(file) for file in watched)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _folder_of(settings: Settings, kind: TokenKind) -> Path:
    if settings.tokens_given(kind):
        problem = f"the {kind} token comes from HEADCOUNT_{kind.upper()}_TOKEN: set it to NEW,OLD and start again"
        raise SettingsError((problem,))
    if settings.tokens_dir is not None:
        problem = f"the tokens come from HEADCOUNT_TOKENS_DIR ({settings.tokens_dir}): change its files, and every replica follows within a second"
        raise SettingsError((problem,))
    return settings.tokens_folder


def _kept_in(settings: Settings, kind: TokenKind, *, make: bool = True) -> tuple[str, ...]:
    """Return the tokens of one kind, the one to use first. In a folder of somebody else's nothing is made or mended."""
    file, valid = settings.tokens_folder / kind.file, settings.tokens_folder / kind.valid_file
    if make and settings.tokens_dir is None:
        if not file.exists():
            valid.unlink(missing_ok=True)  # whoever deletes a token wants none of its time
            _make(file)
        for kept in (file, valid):
            if kept.exists():
                kept.chmod(0o600)
    try:
        (token,) = _read(file)
        more = _read(valid) if valid.exists() else ()
    except (ValueError, OSError):
        raise SettingsError((f"{file} holds no token: delete it and start again",)) from None
    if len(more) > TOKENS_MAX:
        raise SettingsError((f"{valid} holds more than {TOKENS_MAX} tokens",))
    return (token, *(other for other in more if other != token))


def _read(file: Path) -> tuple[str, ...]:
    """Return a file's tokens, one a line. Raises `ValueError` if one is not such as a header can carry, or there is none."""
    tokens = tuple(line.strip() for line in file.read_text().strip().split("\n"))
    for token in tokens:
        if not token or not token.isascii() or not token.isprintable() or " " in token or "," in token:
            raise ValueError
    return tokens


def _make(file: Path) -> None:
    """Make a token, so that no reader ever sees a half of it, and two who make one at once agree."""
    file.parent.mkdir(parents=True, exist_ok=True)
    make_whole(file, f"{secrets.token_urlsafe(32)}\n")


def _put(file: Path, *tokens: str) -> None:
    """Write tokens, all or nothing."""
    write_whole(file, "".join(f"{token}\n" for token in tokens))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one change of tokens wait for another."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600), "a") as file:  # noqa: PTH123 - a descriptor
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
