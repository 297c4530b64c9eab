"""
Whether a server could listen on a port now, and which of a range is free.

A connection that lingers from an earlier server does not count. It holds nothing: a moment later somebody else may have the port.
"""

import secrets
import socket
from contextlib import closing
from errno import EADDRNOTAVAIL


def why_not(host: str, port: int) -> int:
    """Return the error number of opening a port; 0: it can be opened."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            return error.errno or EADDRNOTAVAIL
    return 0


def is_free(host: str, port: int) -> bool:
    """Say whether a server could listen there now."""
    return why_not(host, port) == 0


def any_free(ports: range) -> int:
    """Return a free port of 127.0.0.1; at random, so that two who ask at one moment do not get the same. It must have one."""
    while not is_free("127.0.0.1", port := secrets.choice(ports)):
        continue
    return port
