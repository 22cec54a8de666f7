"""Writer of Standard MIDI Files: tracks of timed messages -> bytes."""

import struct
from collections.abc import Sequence

DRUMS = 9  # channel 10, counted from 0
CHANNELS = (*range(9), *range(10, 16))
"""Channels of pitched instruments."""
NAME, TEMPO, METRE, KEY = 0x03, 0x51, 0x58, 0x59
"""Types of meta events."""

Events = list[tuple[int, int, bytes]]  # tick, rank among those of one tick, message


def file_bytes(tracks: Sequence[Events], ticks: int, length: int) -> bytes:
    """A Standard MIDI File, of format 0 if it has a single track, else of format 1.

    Args:
        tracks: messages in any order; those of one tick and rank stay in the order of the list
        ticks: ticks per quarter note
        length: ticks that each track lasts at least
    """
    header = b"MThd" + struct.pack(">IHHH", 6, min(len(tracks) - 1, 1), len(tracks), ticks)
    return header + b"".join(_track(events, length) for events in tracks)


def _track(events: Events, length: int) -> bytes:
    packed, now = bytearray(), 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):
        packed += _base128(tick - now) + message
        now = tick
    packed += _base128(max(0, length - now)) + b"\xff\x2f\x00"
    return b"MTrk" + struct.pack(">I", len(packed)) + bytes(packed)


def meta(kind: int, content: bytes) -> bytes:
    """A meta event."""
    return bytes((0xFF, kind)) + _base128(len(content)) + content


def tempo(microseconds: int) -> bytes:
    """A tempo, in microseconds per quarter note."""
    return meta(TEMPO, microseconds.to_bytes(3, "big"))


def metre(beats: int, beat_type: int) -> bytes:
    """A time signature."""
    return meta(METRE, bytes((beats, beat_type.bit_length() - 1, 24, 8)))


def _base128(number: int) -> bytes:
    """A number in base 128, highest digit first, the top bit set on all but the last."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return bytes(reversed(digits))
