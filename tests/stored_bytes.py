"""Stored bytes as other builds write them, spelled out apart from the codec."""

import zlib
from collections.abc import Sequence

import msgspec


def sealed(version: int, values: Sequence[object]) -> bytes:
    """Return values as a build writes them that ends its bytes with a checksum."""
    content = bytes((version,)) + msgspec.msgpack.encode((*values, 0xFFFF_FFFF))[:-4]
    return content + zlib.crc32(content).to_bytes(4, "big")


def unsealed(version: int, values: Sequence[object]) -> bytes:
    """Return values as 0.1.0 wrote them."""
    return bytes((version,)) + msgspec.msgpack.encode(values)
