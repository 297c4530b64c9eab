"""A running tracker and strangers: what it tells, what it listens on, what its tokens open, and what ids can forge."""

import hmac
import json
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from itertools import count
from pathlib import Path
from urllib.parse import quote

import grpc
import jwt
import pytest
import redis
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client.parser import text_string_to_metric_families

from metrics import scrape
from serve_app.players import examples
from serve_app.players.arrival import ARRIVAL_HEADER, SECRET_VARIABLE
from tests.integration.installation import Installation, wait_until

START, HEARTBEAT, EVENTS = (f"/analytics/live/{name}" for name in ("session/start", "session/heartbeat", "events"))
MARKER = "marker-of-a-request-line"
BY_HAPROXY = {("endpoint", "front_door"), ("reason", "bad_request")}
HOSTILE = 'v"} 1\nheadcount_forged_sessions{x="y"} 7\r\x1b[31m:{}\\'


def password_of(tracker: Installation) -> str:
    (line,) = [line for line in (tracker.data / "valkey/valkey.conf").read_text().splitlines() if line.startswith("requirepass ")]
    return line.split()[1].strip('"')


def secrets_of(tracker: Installation) -> dict[str, str]:
    return {
        "ingest token": tracker.ingest_token,
        "ops token": tracker.ops_token,
        "journal's password": password_of(tracker),
        "Ray's token": (Path(tracker.record.folder) / "ray.token").read_text(),
        "front door's secret": front_doors_secret(tracker),
        "wrong token": "wrong-token-of-a-stranger",
    }


def requests_of_all_kinds(tracker: Installation) -> list[bytes]:
    """Send right and wrong tokens in every place, with a marker in what a log of requests would hold; return what was answered."""
    answers = []
    body = {**examples.START, "session_id": "with-a-marker"}
    shown = {"user-agent": MARKER, "referer": f"http://{MARKER}/"}
    for token in (tracker.ingest_token, tracker.ops_token, "wrong-token-of-a-stranger"):
        for path in (START, "/metrics", f"/nowhere/{MARKER}"):
            method, sent = ("POST", body) if path == START else ("GET", None)
            query = f"?{MARKER}=1&access_token={token}"
            answers.append(tracker.request(method, path + query, body=sent, headers=shown).body)
            answers.append(tracker.request(method, path + query, body=sent, headers=shown, token=token).body)
    answers.extend(
        tracker.request("POST", f"{HEARTBEAT}?{MARKER}", body=garbage, token=tracker.ingest_token, headers=shown).body
        for garbage in (b"{" + tracker.ops_token.encode(), b"\xff\xfe", b'{"session_id":"\x1b[31m"}')
    )
    answers.append(tracker.request("GET", f"/icon.gif?type={MARKER}&access_token={tracker.ingest_token}", headers=shown).body)
    answers.extend(tracker.get(path).body for path in ("/metrics", "/openapi.json", "/docs", "/v1/status", "/v1/concurrency", "/readyz"))
    return answers


def files_of(tracker: Installation) -> Iterator[tuple[Path, bytes]]:
    """Every file of the run: Ray's, Serve's and HAProxy's logs and configurations, what `up` printed and Ray told it."""
    for root in (Path(tracker.record.folder), tracker.data):
        for file in root.rglob("*"):
            if file.is_file() and not file.is_symlink():
                yield file, file.read_bytes()
    yield tracker.folder / "up.log", (tracker.folder / "up.log").read_bytes()


def test_secrets_are_in_no_argument_no_answer_and_no_log_and_request_lines_in_none_either(tracker: Installation) -> None:
    answers = requests_of_all_kinds(tracker)
    secrets = secrets_of(tracker)
    for name, secret in secrets.items():
        assert len(secret) > 20
        assert not [answer for answer in answers if secret.encode() in answer], f"{name} is told"
        for process in tracker.processes():
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert secret.encode() not in arguments, f"{name}: {arguments!r}"
    homes = {"ingest.token", "ops.token", "ingest.valid", "ops.valid", "ray.token", "valkey.conf", "up.log"}
    seen = 0
    for file, held in files_of(tracker):
        seen += file.suffix in {".log", ".out", ".err", ".cfg"}
        assert MARKER.encode() not in held, file
        if file.name not in homes:
            assert not [name for name, secret in secrets.items() if secret.encode() in held], file
        elif file.name != "up.log":
            assert file.stat().st_mode & 0o077 == 0, file
    assert seen > 20
    # `up` prints the two tokens, once each, and no other secret.
    assert tracker.output.count(tracker.ingest_token) <= 1
    assert secrets["journal's password"] not in tracker.output
    assert secrets["Ray's token"] not in tracker.output


@dataclass(frozen=True)
class Listener:
    program: str
    address: str
    port: int


def listeners(tracker: Installation) -> set[Listener]:
    """Return every listening TCP socket of every process of the run."""
    owners: dict[str, str] = {}
    for process in tracker.processes():
        title = Path(f"/proc/{process.pid}/cmdline").read_text(errors="replace").split("\0")[0].split()[0]
        program = title.partition(".")[0] if title.startswith("ray::") else title
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                owners[target[8:-1]] = Path(program).name if program.startswith("/") else program
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            values = line.split()
            if values[3] == "0A" and values[9] in owners:
                address, port = values[1].split(":")
                words = [bytes.fromhex(address[start : start + 8])[::-1] for start in range(0, len(address), 8)]
                bound = ip_address(b"".join(words))
                if isinstance(bound, IPv6Address) and bound.ipv4_mapped is not None:
                    bound = bound.ipv4_mapped
                found.add(Listener(owners[values[9]], str(bound), int(port, 16)))
    return found


def test_what_listens_is_what_up_printed_and_beyond_loopback_only_the_replicas_guarded_port(tracker: Installation) -> None:
    found = listeners(tracker)
    assert len(found) > 15
    first = int(tracker.output.partition("Inner ports")[2].split()[0].partition("-")[0])
    beyond = {one for one in found if not ip_address(one.address).is_loopback}
    replicas = [one for one in found if one.program == "ray::ServeReplica:headcount:ingest"]
    assert {one.program for one in beyond} <= {"ray::ServeReplica:headcount:ingest"}
    assert {one.address for one in beyond} <= {"::"}
    printed = {tracker.port, *range(first, first + 3), *range(first + 8, first + 168)}
    assert {one.port for one in found if one.program == "haproxy"} == {tracker.port, first, first + 1}
    assert {one.port for one in found if one.port in range(first, first + 200)} <= printed
    assert len([one for one in replicas if one.port in printed]) == len([one for one in replicas if one.address == "::"])
    documented = (Path(__file__).parents[2] / "docs/operations.md").read_text().partition("## Ports")[2].partition("\n## ")[0]
    for one in found:
        assert f"`{one.program.partition(':headcount')[0]}`" in documented, one
    for words in ("on 127.0.0.1", "which asks for Ray's token", f"listens on 127.0.0.1:{tracker.port}"):
        assert words in tracker.output


def test_what_the_front_door_refuses_by_itself_is_counted(tracker: Installation) -> None:
    def counted() -> float:
        samples = scrape.read(tracker.get("/metrics").body.decode())
        return sum(value for (name, labels), value in samples.items() if name == "headcount_rejected_total" and set(labels) >= BY_HAPROXY)

    before = counted()
    for path in ("/icon.gif?u=J\xc3\xb6rg", "/icon.gif?u=" + "x" * 17_000):
        with socket.create_connection(("127.0.0.1", tracker.port), timeout=10) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"))
            assert connection.recv(64).split()[1] == b"400"
    wait_until(lambda: counted() == before + 2, within_s=20, what="two refusals of HAProxy's own are counted")


def front_doors_secret(tracker: Installation) -> str:
    """Return what HAProxy and the replicas share: it is in their environment alone."""
    (found,) = {
        line.partition("=")[2]
        for process in tracker.processes()
        for line in Path(f"/proc/{process.pid}/environ").read_text().split("\0")
        if line.startswith(f"{SECRET_VARIABLE}=")
    }
    return found


def test_who_reaches_a_replica_past_haproxy_is_not_believed_where_a_pixel_comes_from(install: Callable[..., Installation]) -> None:
    tracker = install(SHARDS="1", REPLICAS="1", NEW_PIXEL_SESSIONS_PER_NETWORK="3")
    tracker.start()
    first = int(tracker.output.partition("Inner ports")[2].split()[0].partition("-")[0])
    replicas = range(first + 8, first + 168)
    (port,) = [one.port for one in listeners(tracker) if one.program == "ray::ServeReplica:headcount:ingest" and one.port in replicas]
    new = count()

    def statuses(port: int, network: str = "", secret: str = "") -> list[int]:
        """Show a player to five new viewers."""
        said = {ARRIVAL_HEADER.decode(): f"{secret} {round(time.time() * 1_000)} {network}"} if network else {}
        past = replace(tracker, port=port)
        return [past.request("GET", f"/icon.gif?type=view&v=a&p=b&u={next(new)}", headers=said).status for _ in range(5)]

    # HAProxy says where they come from, whatever they say themselves: three a minute.
    assert statuses(tracker.port, "203.0.113.0", "5" * 32) == [200, 200, 200, 429, 429]
    assert statuses(port, "198.51.100.0", "5" * 32) == [200] * 5
    # Who knows the secret is HAProxy.
    assert statuses(port, "198.51.100.0", front_doors_secret(tracker)) == [200, 200, 200, 429, 429]
    tracker.assert_ledgers_hold()


@pytest.mark.parametrize("server", ["gcs_server", "ray::ServeReplica:headcount:ingest"])
def test_ray_answers_nobody_without_its_token(tracker: Installation, server: str) -> None:
    guarded = {one for one in listeners(tracker) if one.program == server and (one.address == "::" or server == "gcs_server")}
    assert guarded
    method = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo" if server == "gcs_server" else "/ray.serve.ASGIService/HandleRequest"
    right = (Path(tracker.record.folder) / "ray.token").read_text()
    for one in guarded:
        with grpc.insecure_channel(f"127.0.0.1:{one.port}") as channel:
            call = channel.unary_unary(method)
            for shown in ((), (("authorization", "Bearer " + "0" * 64),)):
                with pytest.raises(grpc.RpcError) as refused:
                    call(b"", metadata=shown, timeout=10)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            if server == "gcs_server":
                assert call(b"", metadata=(("authorization", f"Bearer {right}"),), timeout=10)


def test_ids_forge_no_label_no_line_and_no_key_of_the_journal(tracker: Installation) -> None:
    session_id = f"session {HOSTILE}"
    body = {**examples.START, "session_id": session_id, "stream": {**examples.START["stream"], "stream_id": HOSTILE}}
    assert tracker.post(START, body).status == 200
    pixel = f"/icon.gif?type=play&v={quote(HOSTILE, safe='')}&p={quote('z:{1}' + HOSTILE, safe='')}&u={quote('u*?[a]', safe='')}"
    assert tracker.request("GET", pixel).status == 200
    for forged in ("\0zone-1\0video-1\0viewer-1", "a\0", "\0"):
        answer = tracker.post(START, {**body, "session_id": forged})
        assert (answer.status, answer.json()["error"]["fields"][0]["field"]) == (422, "session_id")
        assert tracker.get(f"/v1/sessions/{quote(forged, safe='')}").status == 404

    def shown() -> set[str]:
        families = list(text_string_to_metric_families(tracker.get("/metrics").body.decode()))
        assert not [family.name for family in families if "forged" in family.name]
        (streams,) = [family for family in families if family.name == "headcount_stream_sessions"]
        return {sample.labels["stream_id"] for sample in streams.samples if sample.value}

    wait_until(lambda: HOSTILE in shown(), within_s=10, what="the stream has its own label, letter for letter")
    told = tracker.get(f"/v1/sessions/{quote(session_id, safe='')}")
    assert told.json()["session_id"] == session_id, told
    concurrency = f"/v1/concurrency?stream_id={quote(HOSTILE, safe='')}"
    wait_until(lambda: tracker.get(concurrency).json()["sessions"] == 2, within_s=10, what="the post and the pixel are counted on it")

    port = next(line.split()[1] for line in (tracker.data / "valkey/valkey.conf").read_text().splitlines() if line.startswith("port "))
    with redis.Redis(host="127.0.0.1", port=int(port), password=password_of(tracker)) as journal:
        keys = set(journal.scan_iter(count=1_000))
        assert not [key for key in keys if b"forged" in key or b"\n" in key or b"\0" in key]
        holding = [key for key in keys if journal.type(key) == b"hash" and journal.hexists(key, session_id)]
    assert len(holding) == 1

    for file, held in files_of(tracker):
        if file.suffix in {".log", ".out", ".err"}:
            assert b"\nheadcount_forged" not in held, file
            assert b"\x1b[31m:" not in held, file


def beat(tracker: Installation, token: str) -> int:
    body = {"session_id": "rotating", "timestamp": "2024-11-01T18:15:00Z"}
    return tracker.request("POST", HEARTBEAT, body=body, token=token).status


def test_tokens_rotate_without_a_restart_and_nobody_is_left_outside(tracker: Installation) -> None:
    before = tracker.processes()
    old_ingest, old_ops = tracker.ingest_token, tracker.ops_token
    refused: list[int] = []
    rotated = threading.Event()

    def keep_beating() -> None:
        while not rotated.is_set():
            refused.extend(status for status in (beat(tracker, old_ingest), beat(tracker, tracker.ingest_token)) if status != 200)
            refused.extend(
                status
                for token in (old_ops, tracker.ops_token)
                if (status := tracker.request("GET", "/v1/concurrency", token=token).status) != 200
            )

    beating = threading.Thread(target=keep_beating)
    beating.start()
    try:
        assert tracker.run("token", "rotate").returncode == 0
    finally:
        rotated.set()
        beating.join()
    assert refused == []
    assert old_ingest != tracker.ingest_token
    assert old_ops != tracker.ops_token
    # Neither of a door's two tokens opens the other.
    for ingest in (old_ingest, tracker.ingest_token):
        assert beat(tracker, ingest) == 200
        assert tracker.request("GET", "/metrics", token=ingest).status == 401
    for ops in (old_ops, tracker.ops_token):
        assert tracker.request("GET", "/metrics", token=ops).status == 200
        assert beat(tracker, ops) == 401

    said = tracker.run("token", "revoke", "--ingest")
    assert said.returncode == 0
    assert tracker.ingest_token not in said.stdout
    wait_until(
        lambda: [beat(tracker, old_ingest) for _ in range(8)] == [401] * 8, within_s=10, what="the old token is shut out by every replica"
    )
    assert beat(tracker, tracker.ingest_token) == 200
    assert tracker.request("GET", "/metrics", token=old_ops).status == 200
    assert before <= tracker.processes(), "a process was started anew"
    assert json.loads(tracker.request("POST", HEARTBEAT, body={}, token=old_ingest).body)["error"]["code"] == "unauthorized"


class Issuer:
    """Signs JWTs, good ones and all others."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        self.public = self.key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def signed(self, *, key: rsa.RSAPrivateKey | None = None, algorithm: str = "RS256", **claims: float) -> str:
        return jwt.encode({"exp": time.time() + 600, **claims}, key or self.key, algorithm=algorithm)

    def by_the_public_key(self) -> str:
        """As HS256 with our public key as its secret: the classic confusion."""
        parts = ({"alg": "HS256", "typ": "JWT"}, {"exp": time.time() + 600})
        told = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
        signature = urlsafe_b64encode(hmac.digest(self.public, told, "sha256")).rstrip(b"=")
        return b".".join((told, signature)).decode()


def test_with_a_public_key_only_its_own_jwts_in_their_time_and_algorithm_open_the_players_door(tmp_path: Path) -> None:
    issuer = Issuer()
    file = tmp_path / "player.pem"
    file.write_bytes(issuer.public)
    settings = {"JWT_PUBLIC_KEY_FILE": str(file), "SHARDS": "1", "REPLICAS": "1", "SLOTS": "8"}
    tracker = Installation(tmp_path / "jwt", settings=settings)
    try:
        tracker.start()
        good = issuer.signed()
        assert beat(tracker, good) == 200
        body = {"session_id": "rotating", "timestamp": "2024-11-01T18:15:00Z"}
        assert tracker.request("POST", f"{HEARTBEAT}?access_token={good}", body=body).status == 200
        assert beat(tracker, issuer.signed(nbf=time.time() - 5, iat=time.time())) == 200
        stranger = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        header, claims, signature = good.split(".")
        refused = {
            "algorithm none": jwt.encode({"exp": time.time() + 600}, None, algorithm="none"),
            "no signature": f"{header}.{claims}.",
            "other claims": ".".join((header, issuer.signed(exp=time.time() + 1_200).split(".")[1], signature)),
            "wrong key": issuer.signed(key=stranger),
            "expired": issuer.signed(exp=time.time() - 1),
            "not valid yet": issuer.signed(nbf=time.time() + 60),
            "from the future": issuer.signed(iat=time.time() + 120),
            "wrong algorithm, right key": issuer.signed(algorithm="RS512"),
            "signed by the public key": issuer.by_the_public_key(),
            "for ever": jwt.encode({"sub": "player"}, issuer.key, algorithm="RS256"),
            "ops token": tracker.ops_token,
        }
        assert {why: beat(tracker, token) for why, token in refused.items()} == dict.fromkeys(refused, 401)
        assert tracker.request("POST", HEARTBEAT, body=body).status == 401
        assert tracker.request("GET", "/metrics", token=good).status == 401
    finally:
        tracker.clean_up()
