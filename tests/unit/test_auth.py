"""Each door opens to its own kind of token only."""

from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from serve_app.access import auth
from serve_app.access.auth import Doorkeeper
from serve_app.access.tokens import Tokens, load_tokens
from serve_app.settings import Settings, SettingsError

NOW = 1_730_484_900.0


def settings(folder: Path, **given: Any) -> Settings:
    return Settings(data_dir=folder, **given)


def doorkeeper(**given: Any) -> Doorkeeper:
    return Doorkeeper(Tokens(ingest="players", ops="people", **given), now=lambda: NOW)


def test_each_token_opens_its_own_door_only() -> None:
    keeper = doorkeeper()
    assert keeper.admits_player(b"Bearer players")
    assert not keeper.admits_player(b"Bearer people")
    assert keeper.admits_operator(b"Bearer people")
    assert not keeper.admits_operator(b"Bearer players")


@pytest.mark.parametrize("shown", [b"bearer players", b"BEARER players", b"Bearer  players ", b"bEaReR players"])
def test_the_schemes_case_does_not_matter(shown: bytes) -> None:
    assert doorkeeper().admits_player(shown)


@pytest.mark.parametrize(
    "shown",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"players",
        b"Basic players",
        b"Bearer player",
        b"Bearer players2",
        b"Bearer \xff",
        b"Bearer " + b"x" * 100_000,
    ],
)
def test_anything_else_stays_outside(shown: bytes | None) -> None:
    assert not doorkeeper().admits_player(shown)
    assert not doorkeeper().admits_operator(shown)


def test_the_query_parameter_counts_only_without_a_header_and_only_for_players() -> None:
    assert doorkeeper().admits_player(None, b"x=1&access_token=players")
    assert not doorkeeper().admits_player(b"Bearer wrong", b"access_token=players")
    assert not doorkeeper().admits_player(None, b"my_access_token=players")
    assert not doorkeeper().admits_player(None, b"access_token=")


@pytest.mark.parametrize("odd", [b"%C3%A9", b"%FF", b"\xff", b"\xc3\xa9", b"%", b"%zz", b"%00", b"\0", b"=", b"a=b", b"+"])
@pytest.mark.parametrize("keys", [{}, {"player_key": "EdDSA"}], ids=["static", "JWT"])
def test_a_query_in_any_bytes_is_judged_by_its_token_alone(odd: bytes, keys: dict[str, str]) -> None:
    keeper = doorkeeper(**{name: pem(KEYS[algorithm]) for name, algorithm in keys.items()})
    good = shown({"exp": NOW + 60}).removeprefix(b"Bearer ") if keys else b"players"
    for stays_out in (b"access_token=" + odd, odd, b"x=" + odd, odd + b"=access_token=" + good, b"x=1;access_token=" + good):
        assert not keeper.admits_player(None, stays_out)
    for comes_in in (b"x=" + odd, odd, odd + b"=1"):
        assert keeper.admits_player(None, b"access_token=" + good + b"&" + comes_in)
        assert keeper.admits_player(None, comes_in + b"&access_token=" + good)


def test_the_first_of_repeated_query_parameters_counts() -> None:
    assert doorkeeper().admits_player(None, b"access_token=players&access_token=wrong")
    assert not doorkeeper().admits_player(None, b"access_token=wrong&access_token=players")
    assert not doorkeeper().admits_player(None, b"access_token=&access_token=players")
    assert not doorkeeper().admits_player(None, b"access_token=%FF&access_token=players")


def test_a_token_in_the_query_may_be_percent_encoded() -> None:
    assert doorkeeper().admits_player(None, b"access_token=%70layer%73")


def test_switched_off_everybody_is_let_in() -> None:
    keeper = doorkeeper(auth=False)
    assert keeper.admits_player(None)
    assert keeper.admits_operator(None)


KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65_537, key_size=2_048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def pem(private: Any) -> str:
    shown: bytes = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return shown.decode()


def shown(claims: dict[str, Any], algorithm: str = "EdDSA", key: Any = None) -> bytes:
    return b"Bearer " + jwt.encode(claims, key or KEYS[algorithm], algorithm=algorithm).encode()


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_signed_jwt_is_an_ingest_token_until_it_expires(algorithm: str) -> None:
    now = NOW
    keeper = Doorkeeper(Tokens(ingest="players", ops="people", player_key=pem(KEYS[algorithm])), now=lambda: now)
    token = shown({"exp": NOW + 60, "aud": "anyone", "sub": "viewer"}, algorithm)
    assert keeper.admits_player(token)
    assert keeper.admits_player(None, b"access_token=" + token.removeprefix(b"Bearer "))
    assert keeper.admits_player(token)
    now = NOW + 60
    assert not keeper.admits_player(token)
    assert not keeper.admits_operator(token)


def test_with_jwts_the_static_ingest_token_is_worth_nothing() -> None:
    keeper = doorkeeper(player_key=pem(KEYS["EdDSA"]))
    assert not keeper.admits_player(b"Bearer players")
    assert keeper.admits_operator(b"Bearer people")


def forged(algorithm: str, claims: dict[str, Any]) -> bytes:
    """Sign with the public key as a secret, which a verifier that trusts the header's algorithm would take."""
    secret = pem(KEYS[algorithm]).encode()
    import base64
    import hashlib
    import hmac
    import json

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    return b"Bearer " + signed + b"." + base64.urlsafe_b64encode(hmac.digest(secret, signed, hashlib.sha256)).rstrip(b"=")


BAD_JWTS = {
    "expired": shown({"exp": NOW}),
    "without exp": shown({"sub": "x"}),
    "exp is no number": shown({"exp": "soon"}),
    "exp is true": shown({"exp": True}),
    "exp is beyond any float": shown({"exp": 10**400}),
    "exp is infinite": shown({"exp": float("1e400")}),
    "nbf is beyond any float": shown({"exp": NOW + 60, "nbf": -(10**400)}),
    "not yet": shown({"exp": NOW + 60, "nbf": NOW + 1}),
    "issued in the future": shown({"exp": NOW + 600, "iat": NOW + 61}),
    "iat is no number": shown({"exp": NOW + 60, "iat": "now"}),
    "another's key": shown({"exp": NOW + 60}, key=ed25519.Ed25519PrivateKey.generate()),
    "another algorithm": shown({"exp": NOW + 60}, "RS256"),
    "no algorithm": b"Bearer " + jwt.encode({"exp": NOW + 60}, None, algorithm="none").encode(),
    "public key as a secret": forged("EdDSA", {"exp": NOW + 60}),
    "no JWT": b"Bearer a.b.c",
    "dots": b"Bearer ...",
}


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_jwt_of_another_algorithm_or_key_or_time_stays_outside_whatever_the_key(algorithm: str) -> None:
    keeper = doorkeeper(player_key=pem(KEYS[algorithm]))
    unsigned = b"Bearer " + jwt.encode({"exp": NOW + 60}, None, algorithm="none").encode()
    others = [shown({"exp": NOW + 60}, other) for other in KEYS if other != algorithm]
    late, early, future = (shown({"exp": NOW + 90, **odd}, algorithm) for odd in ({"exp": NOW}, {"nbf": NOW + 1}, {"iat": NOW + 61}))
    for token in (unsigned, forged(algorithm, {"exp": NOW + 60}), *others, late, early, future):
        assert not keeper.admits_player(token)
    assert keeper.admits_player(shown({"exp": NOW + 60, "iat": NOW + 59, "nbf": NOW}, algorithm))


def test_two_keys_are_good_at_once_each_with_its_own_algorithm() -> None:
    keeper = doorkeeper(player_key=pem(KEYS["ES256"]) + "\n" + pem(KEYS["RS256"]))
    assert keeper.admits_player(shown({"exp": NOW + 60}, "RS256"))
    assert keeper.admits_player(shown({"exp": NOW + 60}, "ES256"))
    assert not keeper.admits_player(shown({"exp": NOW + 60}, "EdDSA"))
    assert not keeper.admits_player(forged("RS256", {"exp": NOW + 60}))


def test_with_a_new_key_nothing_that_was_verified_before_is_remembered() -> None:
    keeper = doorkeeper(player_key=pem(KEYS["ES256"]))
    token = shown({"exp": NOW + 60}, "ES256")
    assert keeper.admits_player(token)
    keeper.adopt(Tokens(ingest="players", ops="people", player_key=pem(KEYS["RS256"])))
    assert not keeper.admits_player(token)


def test_every_valid_token_opens_its_own_door_and_only_that() -> None:
    keeper = Doorkeeper(Tokens(ingest="new", ingest_too=("old",), ops="fresh", ops_too=("stale",)), now=lambda: NOW)
    assert [keeper.admits_player(b"Bearer " + token) for token in (b"new", b"old", b"fresh", b"stale")] == [True, True, False, False]
    assert [keeper.admits_operator(b"Bearer " + token) for token in (b"new", b"old", b"fresh", b"stale")] == [False, False, True, True]


def test_tokens_are_compared_in_constant_time_and_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Doorkeeper(Tokens(ingest="new", ingest_too=("old",), ops="people"), now=lambda: NOW)
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(auth.hmac, "compare_digest", lambda *pair: compared.append(pair) or pair[0] == pair[1])
    for token in (b"new", b"old", b"neither"):
        keeper.admits_player(b"Bearer " + token)
    assert len(compared) == 6
    assert {len(digest) for pair in compared for digest in pair} == {32}


@pytest.mark.parametrize("token", BAD_JWTS.values(), ids=BAD_JWTS.keys())
def test_a_bad_jwt_stays_outside(token: bytes) -> None:
    assert not doorkeeper(player_key=pem(KEYS["EdDSA"])).admits_player(token)


def test_what_was_verified_is_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "VERIFIED_MAX", 3)
    keeper = doorkeeper(player_key=pem(KEYS["EdDSA"]))
    decoded: list[Any] = []
    real = jwt.decode
    monkeypatch.setattr(auth.jwt, "decode", lambda *given, **named: decoded.append(1) or real(*given, **named))
    tokens = [shown({"exp": NOW + 60, "sub": str(n)}) for n in range(5)]
    for token in tokens:
        assert keeper.admits_player(token)
        assert keeper.admits_player(token)
    assert len(decoded) == 5
    assert len(keeper._verified) == 3


@pytest.mark.parametrize(
    "key",
    [
        "no key",
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(public_exponent=65_537, key_size=1_024)),
        KEYS["EdDSA"].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
    ],
    ids=["no key", "P-384", "RSA of 1024 bits", "private"],
)
def test_a_key_without_a_pinned_algorithm_is_refused_at_start(tmp_path: Path, key: str) -> None:
    (tmp_path / "key.pem").write_text(key)
    with pytest.raises(SettingsError, match="HEADCOUNT_JWT_PUBLIC_KEY_FILE"):
        load_tokens(settings(tmp_path, jwt_public_key_file=tmp_path / "key.pem"))


def test_the_key_travels_with_the_tokens(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(pem(KEYS["ES256"]))
    assert load_tokens(settings(tmp_path, jwt_public_key_file=tmp_path / "key.pem")).player_key == pem(KEYS["ES256"])


def test_the_other_doors_token_is_called_by_its_name() -> None:
    doorkeeper = Doorkeeper(Tokens(ingest="players", ops="operators"), now=lambda: 1_000.0)
    assert doorkeeper.why_no_player(b"Bearer operators") == "this is the ops token: players' routes need the ingest token"
    assert doorkeeper.why_no_player(None, b"access_token=operators") == "this is the ops token: players' routes need the ingest token"
    assert doorkeeper.why_no_operator(b"Bearer players") == "this is an ingest token: operators' routes need the ops token"
    assert doorkeeper.why_no_player(b"Bearer neither") == doorkeeper.why_no_operator(b"Bearer neither") == ""
    assert doorkeeper.why_no_player(None) == doorkeeper.why_no_operator(None) == ""
