"""What Ray's driver makes of what it is told, before there is any Ray."""

import subprocess
import sys

from serve_app.machine.driver_messages import JournalAt, Stop, line

LISTEN = """
import sys
from serve_app.machine.driver import Orders
orders = Orders()
orders.journal.add_done_callback(lambda journal: print(journal.result().url, orders.stop.is_set(), flush=True))
orders.stop.set = lambda: print("stop", flush=True)
orders.listen(sys.stdin.buffer)
print("still there")
"""


def told(sent: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", LISTEN], input=sent, capture_output=True, timeout=60, check=False)


def test_it_hears_of_the_journal_then_of_the_stop_and_ends_with_whoever_gave_orders() -> None:
    ended = told(line(JournalAt("redis://one/0", "instance")) + line(Stop()))
    assert ended.stdout == b"redis://one/0 False\nstop\n"
    # Nobody is left to give orders: it does not wait for Ray, which the kernel ends.
    assert ended.returncode == 1


def test_it_ends_at_once_if_nobody_ever_says_anything() -> None:
    ended = told(b"")
    assert (ended.returncode, ended.stdout) == (1, b"")
