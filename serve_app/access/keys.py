"""
The public keys of whoever signs players' JWTs: which kinds are taken, each with the one algorithm that it is used with.

It verifies no token: see `auth.py`. That an algorithm comes from the key, and never from the token, is decided here.
"""

import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from serve_app.settings import SettingsError

KEYS_MAX: Final = 2
"""Public keys in one file: the new one, and the one before it."""

NOT_A_KEY: Final = "HEADCOUNT_JWT_PUBLIC_KEY_FILE: must be a PEM public key: RSA of 2048 bits or more, P-256 or Ed25519"
_RSA_BITS_MIN: Final = 2_048
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)


def public_keys(text: str) -> tuple[tuple[str, str], ...]:
    """Return (algorithm, PEM) of the keys of a file, one or two. Raises `SettingsError` as `pinned_algorithm` does."""
    pems = [found[0] for found in _PEM.finditer(text)] or [text]
    if len(pems) > KEYS_MAX:
        raise SettingsError((f"HEADCOUNT_JWT_PUBLIC_KEY_FILE: must hold at most {KEYS_MAX} keys",))
    return tuple((pinned_algorithm(pem), pem) for pem in pems)


def pinned_algorithm(pem: str) -> str:
    """Return the one algorithm that a public key is used with. Raises `SettingsError` for any other kind of key."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS_MIN:
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA"
    raise SettingsError((NOT_A_KEY,))
