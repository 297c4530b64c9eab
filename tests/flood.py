"""
A flood of heartbeats: so many connections, each asking again as soon as it is answered. A program, so that it costs the test no time.

    python tests/flood.py PORT TOKEN SESSIONS

It reads lines: each is how many connections to have from then on. At the end of its input it stops, and says what it was answered, by
status. It is nice: the machine is the tracker's first, and how long an answer took is for others to say.
"""

import json
import os
import resource
import selectors
import socket
import sys
from collections import Counter
from datetime import UTC, datetime
from itertools import count
from random import Random

HEARTBEAT = "/analytics/live/session/heartbeat"
AT_ONCE = 100
"""New connections between two looks at the answers: more would overflow the listener's queue."""


class Flood:
    def __init__(self, port: int, token: str, sessions: int) -> None:
        self.port = port
        self.token = token
        self.sessions = sessions
        self.random = Random(1)
        self.selector = selectors.DefaultSelector()
        self.open = 0
        self.wanted = 0
        self.answers: Counter[str] = Counter()

    def run(self) -> None:
        os.set_blocking(sys.stdin.fileno(), False)
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        for _ in count():
            for key, _events in self.selector.select(0.1):
                if key.fileobj is sys.stdin:
                    if not self.hear(sys.stdin.buffer.read() or b""):
                        return
                else:
                    self.read(key.fileobj)  # type: ignore[arg-type]
            for _each in range(min(AT_ONCE, self.wanted - self.open)):
                self.connect()

    def hear(self, said: bytes) -> bool:
        lines = said.split()
        if lines:
            self.wanted = int(lines[-1])
        return bool(lines)

    def connect(self) -> None:
        connection = socket.socket()
        connection.settimeout(5.0)
        try:
            connection.connect(("127.0.0.1", self.port))
        except OSError as error:
            self.answers[type(error).__name__] += 1
            connection.close()
            return
        connection.setblocking(False)
        self.open += 1
        self.selector.register(connection, selectors.EVENT_READ)
        self.ask(connection)

    def ask(self, connection: socket.socket) -> None:
        at = datetime.now(UTC).isoformat()
        body = f'{{"session_id":"flood-{self.random.randrange(self.sessions)}","stream_id":"flood","timestamp":"{at}"}}'
        head = (
            f"POST {HEARTBEAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            connection.send((head + body).encode())
        except OSError:
            self.drop(connection, "broken off")

    def read(self, connection: socket.socket) -> None:
        # An answer is some hundred bytes: mostly it comes in one piece, and its beginning says all.
        try:
            answer = connection.recv(4_096)
        except OSError:
            self.drop(connection, "broken off")
            return
        if not answer:
            self.drop(connection, "")
            return
        if not answer.startswith(b"HTTP/"):
            return
        self.answers[answer[9:12].decode("latin-1")] += 1
        if b"\r\nconnection: close" in answer.lower() or self.open > self.wanted:
            self.drop(connection, "")
        else:
            self.ask(connection)

    def drop(self, connection: socket.socket, why: str) -> None:
        self.selector.unregister(connection)
        connection.close()
        self.open -= 1
        if why:
            self.answers[why] += 1


if __name__ == "__main__":
    os.nice(19)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    flood = Flood(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    flood.run()
    sys.stdout.write(json.dumps(flood.answers))
