"""
Who may come in: players with the ingest token or a JWT, operators with the ops token; neither with the other's.

Decides where tokens come from and whether one that was shown is good. It does not know HTTP beyond the
`Authorization` header and the query parameter `access_token`, and has no clock: it is told the time.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from serve_app.settings import Settings, SettingsError

INGEST_FILE: Final = "ingest.token"
OPS_FILE: Final = "ops.token"
VERIFIED_MAX: Final = 10_000
"""JWTs remembered as good until they expire; past it the oldest is verified again."""
TOKEN_CHARS_MAX: Final = 8_192

_RSA_BITS_MIN: Final = 2_048
_SCHEME: Final = b"bearer "
_PARAMETER: Final = b"access_token="
_JWT_OPTIONS: Final[jwt.types.Options] = {
    "require": ["exp"],
    # Times are judged here, against the clock that we are told; an audience is whatever its issuer likes.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """The secrets of one installation, picklable, and kept out of every print and log."""

    ingest: str = field(repr=False)
    ops: str = field(repr=False)
    player_key: str | None = field(default=None, repr=False)
    """PEM of the public key whose JWTs are the players' tokens instead of `ingest`."""
    auth: bool = True
    """False: everybody is let in everywhere."""


def load_tokens(settings: Settings) -> Tokens:
    """
    Return the tokens: from the settings, else from their files in the data folder, which are made if need be.

    Raises `SettingsError` for a file that holds no token, and for a key that is not one we can pin an algorithm to.
    """
    player_key = None
    if settings.jwt_public_key_file is not None:
        player_key = settings.jwt_public_key_file.read_text()
        pinned_algorithm(player_key)
    tokens = Tokens(
        ingest=settings.ingest_token or _kept_in(settings.data_dir / INGEST_FILE),
        ops=settings.ops_token or _kept_in(settings.data_dir / OPS_FILE),
        player_key=player_key,
        auth=settings.auth == "on",
    )
    if tokens.ingest == tokens.ops:
        problem = "the ingest token and the ops token are the same: players would read operators' pages"
        raise SettingsError((problem,))
    return tokens


def _kept_in(file: Path) -> str:
    """Return the token in a file; make both if the file is not there, so that no reader ever sees a half of it."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as opened:
                opened.write(secrets.token_urlsafe(32) + "\n")
                opened.flush()
                os.fsync(opened.fileno())
            # Unlike a rename, a link never replaces what somebody else made meanwhile.
            with contextlib.suppress(FileExistsError):
                os.link(unfinished, file)
        finally:
            unfinished.unlink()
    file.chmod(0o600)
    token = file.read_text().strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError((f"{file} holds no token: delete it and start again",))
    return token


def pinned_algorithm(pem: str) -> str:
    """Return the one algorithm that a public key is used with. Raises `SettingsError` for any other kind of key."""
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        key = None
    if isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS_MIN:
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA"
    raise SettingsError(("HEADCOUNT_JWT_PUBLIC_KEY_FILE: must be a PEM public key: RSA of 2048 bits or more, P-256 or Ed25519",))


class Doorkeeper:
    """Judges what is shown at the door. One per replica; bounded memory."""

    def __init__(self, tokens: Tokens, *, now: Callable[[], float]) -> None:
        self._open = not tokens.auth
        self._ingest = _digest(tokens.ingest.encode())
        self._ops = _digest(tokens.ops.encode())
        self._player_key: Any = None
        if tokens.player_key is not None:
            self._algorithm = pinned_algorithm(tokens.player_key)
            # Read once: PyJWT reads a PEM anew at each call, which costs more than the verification.
            self._player_key = jwt.get_algorithm_by_name(self._algorithm).prepare_key(tokens.player_key)
        self._now = now
        self._verified: dict[bytes, tuple[float, float]] = {}

    def admits_player(self, authorization: bytes | None, query: bytes = b"") -> bool:
        """Say whether a player's request may pass. The header goes before the query parameter `access_token`."""
        if self._open:
            return True
        token = shown_token(authorization, query)
        if token is None:
            return False
        return hmac.compare_digest(_digest(token), self._ingest) if self._player_key is None else self._is_good_jwt(token)

    def admits_operator(self, authorization: bytes | None) -> bool:
        """Say whether an operator's request may pass; only the header counts."""
        if self._open:
            return True
        token = shown_token(authorization)
        return token is not None and hmac.compare_digest(_digest(token), self._ops)

    def _is_good_jwt(self, token: bytes) -> bool:
        digest = _digest(token)
        known = self._verified.get(digest)
        now = self._now()
        if known is None:
            known = self._verify(token)
            if known is None:
                return False
            if len(self._verified) >= VERIFIED_MAX:
                del self._verified[next(iter(self._verified))]
            self._verified[digest] = known
        not_before, expires_at = known
        if now >= expires_at:
            del self._verified[digest]
            return False
        return now >= not_before

    def _verify(self, token: bytes) -> tuple[float, float] | None:
        """Return (not before, expiry) of a JWT with a good signature; None for any other."""
        try:
            claims: Mapping[str, object] = jwt.decode(token, self._player_key, algorithms=[self._algorithm], options=_JWT_OPTIONS)
        except (jwt.PyJWTError, ValueError):
            return None
        not_before, expires_at = claims.get("nbf", 0), claims["exp"]
        if not _is_number(not_before) or not _is_number(expires_at):
            return None
        return float(not_before), float(expires_at)  # type: ignore[arg-type]  # numbers, as just seen


def shown_token(authorization: bytes | None, query: bytes = b"") -> bytes | None:
    """Return the bearer token of a request, unjudged; None if there is none."""
    if authorization is not None:
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            return None
        token = authorization[len(_SCHEME) :].strip()
    else:
        token = _token_in(query)
    return token if 0 < len(token) <= TOKEN_CHARS_MAX else None


def _token_in(query: bytes) -> bytes:
    """Return the first `access_token` of a query, as bytes: nothing else in it is decoded, and nothing as text."""
    if _PARAMETER not in query:
        return b""
    for part in query.split(b"&"):
        if part.startswith(_PARAMETER):
            return unquote_to_bytes(part[len(_PARAMETER) :].replace(b"+", b" "))
    return b""


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
