"""What a disk, a bad cable or an unlucky hand does to stored bytes: a bit turned over, the end cut off, something added."""

from random import Random

FLIPPED, CUT, LENGTHENED = "flipped", "cut", "lengthened"
KINDS = (FLIPPED, CUT, LENGTHENED)


def damaged(stored: bytes, *, kind: str, random: Random) -> bytes:
    """Return other bytes than these."""
    if kind == CUT:
        return stored[: random.randrange(len(stored))]
    if kind == LENGTHENED:
        return stored + random.randbytes(random.randint(1, 8))
    flipped = bytearray(stored)
    for bit in random.sample(range(8 * len(stored)), random.randint(1, 8)):
        flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)
