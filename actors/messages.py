"""
What crosses the border between an ingest replica and a shard: one `bytes` each way, for many requests.

A batch is how long its items have waited, in four bytes as milliseconds, and a msgpack array of items `[slot, kind, fields…]`; a reply is an array with one entry per item, in order:
a receipt's fields, or one of the `NotTaken` codes.

How it grows: items, events, what happened in them, receipts and their rejections each as `sessions/growing.py` says, at their end, by fields with
a default. Bytes of the same build are read at no extra cost: only what does not fit is read again, with care. A kind
of event that a shard does not know is answered *moved*, as is a slot that is not its own, and so is sent again until a newer shard has the
slot; a code of `NotTaken` that a replica does not know is taken as `RECOVERING`: send again. A new word in a closed list, as a type of event, needs shards that
know it: they are renewed before the replicas (`docs/operations.md`, "Upgrade").
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

import msgspec

from sessions.changes import Receipt
from sessions.events import Beacon, End, Event, Happening, Happenings, Heartbeat, Report, Reports, Start
from sessions.growing import fit


class GarbledError(ValueError):
    """Bytes that no build of ours wrote."""


class NotTaken(IntEnum):
    """Why a shard did not apply an item at all; the replica decides whether to send it again."""

    MOVED = 1
    """The slot is owned elsewhere: read the map and send again."""
    NO_JOURNAL = 2
    """The journal is away: 503, the player retries."""
    RECOVERING = 3
    """The slot is being loaded: send again."""
    OVERLOADED = 4
    """A bound of the shard was reached: 503."""


KINDS: Final[tuple[type[Event], ...]] = (Start, Heartbeat, Happenings, End, Beacon, Reports)
_CODES: Final[dict[type[Event], int]] = {kind: code for code, kind in enumerate(KINDS)}

NOWHERE: Final = -1
"""The slot of an item that this build cannot read: nobody owns it."""
_WAITED_BYTES: Final = 4

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()
_UNLIKE: Final = (LookupError, TypeError, ValueError)
"""What reading as our like wrote it ends in, if it did not."""
_GARBLED: Final = (msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What reading such bytes ends in: they are judged by trying, which costs a good batch nothing."""


def encode_item(slot: int, event: Event) -> bytes:
    """Encode one request; items are concatenated by `encode_batch`."""
    return _encoder.encode((slot, _CODES[type(event)], event))


def encode_batch(items: Sequence[bytes], *, waited_s: float = 0.0) -> bytes:
    """Join encoded items into one msgpack array, without decoding them; `waited_s`: the mean of how long they have waited so far."""
    count = len(items)
    if count < 16:  # noqa: PLR2004 - the format's own bounds
        header = bytes((0x90 | count,))
    elif count < 1 << 16:
        header = b"\xdc" + count.to_bytes(2, "big")
    else:
        header = b"\xdd" + count.to_bytes(4, "big")
    return b"".join((min(int(waited_s * 1_000), 0xFFFF_FFFF).to_bytes(_WAITED_BYTES, "big"), header, *items))


def waited_before_s(batch: bytes) -> float:
    """Return how long the items of a batch had waited when it was sent."""
    return int.from_bytes(batch[:_WAITED_BYTES], "big") / 1_000


def decode_batch(batch: bytes) -> list[tuple[int, Event]]:
    """Return (slot, event) of each item, in order; `NOWHERE`, if it is of a kind that only a newer build knows. Raises `GarbledError`."""
    try:
        items = _decoder.decode(memoryview(batch)[_WAITED_BYTES:])
        try:
            return [(slot, _event_of(code, fields)) for slot, code, fields in items]
        except _UNLIKE:
            return [_item_of_another_build(*item[:3]) for item in items]
    except _GARBLED as error:
        msg = f"no batch of requests: {error}"
        raise GarbledError(msg) from error


def _event_of(code: int, fields: Sequence[Any]) -> Event:
    event = KINDS[code](*fields)
    if isinstance(event, Happenings):
        return event._replace(happenings=tuple(Happening(*happening) for happening in event.happenings))
    if isinstance(event, Reports):
        return event._replace(reports=tuple(_with_said(Report(*report)) for report in event.reports))
    return event


def _with_said(report: Report) -> Report:
    return report._replace(said=tuple([(which, value) for which, value, *_ in report.said]) if report.said else ())


def _item_of_another_build(slot: int, code: int, fields: Sequence[Any]) -> tuple[int, Event]:
    if code >= len(KINDS):
        return NOWHERE, Heartbeat("", 0.0)
    event = fit(KINDS[code], fields)
    if isinstance(event, Happenings):
        return slot, event._replace(happenings=tuple(fit(Happening, happening) for happening in event.happenings))
    if isinstance(event, Reports):
        return slot, event._replace(reports=tuple(_with_said(fit(Report, report)) for report in event.reports))
    return slot, event


def encode_reply(outcomes: Sequence[Receipt | NotTaken]) -> bytes:
    """Encode one outcome per item, in order."""
    return _encoder.encode(outcomes)


def decode_reply(reply: bytes) -> list[Receipt | NotTaken]:
    """Return one outcome per item, in order. Raises `GarbledError`."""
    try:
        entries = _decoder.decode(reply)
        try:
            return [NotTaken(entry) if isinstance(entry, int) else _receipt_of(entry) for entry in entries]
        except _UNLIKE:
            return [_outcome_of_another_build(entry) for entry in entries]
    except _GARBLED as error:
        msg = f"no reply of a shard: {error}"
        raise GarbledError(msg) from error


def _receipt_of(entry: list[Any]) -> Receipt:
    entry[4] = tuple([(event_id, reason) for event_id, reason, *_ in entry[4]]) if entry[4] else ()
    return Receipt._make(entry)


def _outcome_of_another_build(entry: int | list[Any]) -> Receipt | NotTaken:
    if isinstance(entry, int):
        return NotTaken(entry) if entry in _REASONS else NotTaken.RECOVERING
    receipt = fit(Receipt, entry)
    return receipt._replace(rejected=tuple((event_id, reason) for event_id, reason, *_ in receipt.rejected))


_REASONS: Final = frozenset(NotTaken)
