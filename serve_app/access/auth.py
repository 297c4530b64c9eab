"""
Who may come in: players with an ingest token or a JWT, operators with an ops token; neither with the other's.

Decides whether a token that was shown is good. It does not know HTTP beyond the `Authorization` header and the query
parameter `access_token`, nor where tokens come from (`tokens.py`), and has no clock: it is told the time.
"""

import hashlib
import hmac
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import jwt

from serve_app.access.keys import public_keys
from serve_app.access.tokens import Tokens

VERIFIED_MAX: Final = 10_000
"""JWTs remembered as good until they expire; past it the oldest is verified again."""
TOKEN_CHARS_MAX: Final = 8_192
ISSUED_AHEAD_S: Final = 60.0
"""How far the issuer's clock may run ahead of ours; a JWT with an `iat` beyond that is not good yet."""

_MOMENT_MAX: Final = 1e15
"""Seconds: no moment is further away, and an integer of four hundred digits is no float."""
OPS_AT_INGEST: Final = "this is the ops token: players' routes need the ingest token"
INGEST_AT_OPS: Final = "this is an ingest token: operators' routes need the ops token"

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


class Doorkeeper:
    """Judges the tokens that requests bring. One per replica; bounded memory."""

    def __init__(self, tokens: Tokens, *, now: Callable[[], float]) -> None:
        self._now = now
        self.adopt(tokens)

    def adopt(self, tokens: Tokens) -> None:
        """Judge by these tokens from now on. Raises `SettingsError`, and changes nothing, for a key that cannot be used."""
        keys = () if tokens.player_key is None else public_keys(tokens.player_key)
        # Read once: PyJWT reads a PEM anew at each call, which costs more than the verification.
        self._player_keys: tuple[tuple[str, Any], ...] = tuple(
            (algorithm, jwt.get_algorithm_by_name(algorithm).prepare_key(pem)) for algorithm, pem in keys
        )
        self._open = not tokens.auth
        self._ingest = frozenset(_digest(token.encode()) for token in tokens.all_ingest)
        self._ops = frozenset(_digest(token.encode()) for token in tokens.all_ops)
        self._verified: dict[bytes, tuple[float, float]] = {}

    def admits_player(self, authorization: bytes | None, query: bytes = b"") -> bool:
        """Say whether a player's request may pass. The header goes before the query parameter `access_token`."""
        if self._open:
            return True
        token = shown_token(authorization, query)
        if token is None:
            return False
        return self._is_good_jwt(token) if self._player_keys else _is_one_of(token, self._ingest)

    def admits_operator(self, authorization: bytes | None) -> bool:
        """Say whether an operator's request may pass; only the header counts."""
        if self._open:
            return True
        token = shown_token(authorization)
        return token is not None and _is_one_of(token, self._ops)

    def why_no_player(self, authorization: bytes | None, query: bytes = b"") -> str:
        """Return what to say of a refused player's token if it is an operator's; empty if it is not."""
        token = shown_token(authorization, query)
        return OPS_AT_INGEST if token is not None and _is_one_of(token, self._ops) else ""

    def why_no_operator(self, authorization: bytes | None) -> str:
        """Return what to say of a refused operator's token if it is a player's; empty if it is not."""
        token = shown_token(authorization)
        is_players = token is not None and (self._is_good_jwt(token) if self._player_keys else _is_one_of(token, self._ingest))
        return INGEST_AT_OPS if is_players else ""

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
        """Return (not before, expiry) of a JWT that one of the keys signed; None for any other."""
        for algorithm, key in self._player_keys:
            try:
                claims: Mapping[str, object] = jwt.decode(token, key, algorithms=[algorithm], options=_JWT_OPTIONS)
            except (jwt.PyJWTError, ValueError):
                continue
            return _term(claims)
        return None


def _term(claims: Mapping[str, object]) -> tuple[float, float] | None:
    """Return (not before, expiry); a token from the future (`nbf`, `iat`) is good only then. None: they are no numbers."""
    times = (claims.get("nbf", 0), claims.get("iat", 0), claims["exp"])
    if not all(_is_number(time) for time in times):
        return None
    not_before, issued_at, expires_at = map(float, times)  # type: ignore[arg-type]  # numbers, as just seen
    return max(not_before, issued_at - ISSUED_AHEAD_S), expires_at


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


def _is_one_of(token: bytes, digests: Collection[bytes]) -> bool:
    """Compare with each, in a time that tells nothing of any."""
    shown = _digest(token)
    return sum([hmac.compare_digest(shown, digest) for digest in digests]) > 0


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_MOMENT_MAX <= value <= _MOMENT_MAX
