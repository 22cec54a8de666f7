"""Reader of TensorFlow tensor-bundle ("V2") checkpoints without TensorFlow: index and data -> variables by name.

A checkpoint consists of an index, a LevelDB table of protocol buffers from variable name to offset, and a data file of raw
values. Supported: one data file, float32, no compression.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

FOOTER, MAGIC = 48, 0xDB4775248B80FB57
FLOAT = 1  # tensorflow.DataType.DT_FLOAT
CUT_OFF = "the TensorFlow checkpoint index is truncated"
BLOCK_TRAILER = 5  # one byte for the compression, four of checksum


class BundleEntry(NamedTuple):
    """Location of a variable in the data file."""

    dtype: int
    shape: tuple[int, ...]
    offset: int
    size: int


def variables(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    """Float32 variables of a checkpoint by name; others (counters) are ignored.

    Raises ValueError if the index is not a valid table, is compressed, or points outside the data.
    """
    arrays = {}
    for name, entry in _entries(index):
        if entry.dtype != FLOAT:
            continue
        count = int(np.prod(entry.shape, dtype=np.int64))
        if entry.size != 4 * count or entry.offset + entry.size > len(data):
            raise ValueError(f"{name} is outside the checkpoint's data: the file is truncated or belongs to another index")
        arrays[name] = np.frombuffer(data, "<f4", count, entry.offset).reshape(entry.shape)
    return arrays


def _entries(index: bytes) -> Iterator[tuple[str, BundleEntry]]:
    if len(index) < FOOTER or struct.unpack("<Q", index[-8:])[0] != MAGIC:
        raise ValueError("not a TensorFlow checkpoint index: the signature is missing")
    position = len(index) - FOOTER
    for _ in range(2):  # the unused meta index
        _, position = _varint(index, position)
    for _, handle in _records(_block(index, index[position:])):
        for name, value in _records(_block(index, handle)):
            if name:  # the empty name is the header
                yield name.decode(), _entry(value)


def _block(index: bytes, handle: bytes) -> bytes:
    """Content of the block of an (offset, size) handle."""
    offset, position = _varint(handle, 0)
    size, _ = _varint(handle, position)
    if offset + size + BLOCK_TRAILER > len(index):
        raise ValueError(CUT_OFF)
    if index[offset + size]:
        raise ValueError("the TensorFlow checkpoint index is compressed, which is not supported")
    return index[offset : offset + size]


def _records(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a LevelDB block; keys are prefix-compressed."""
    if len(block) < 4:
        raise ValueError(CUT_OFF)
    restarts = struct.unpack("<I", block[-4:])[0]
    end, position, key = len(block) - 4 * (restarts + 1), 0, b""
    while position < end:
        shared, position = _varint(block, position)
        fresh, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + fresh]
        position += fresh
        yield key, block[position : position + length]
        position += length


def _entry(message: bytes) -> BundleEntry:
    """BundleEntryProto: 1 dtype, 2 shape, 4 offset, 5 size."""
    fields = dict(_fields(message))
    shape = tuple(dict(_fields(axis)).get(1, 0) for number, axis in _fields(fields.get(2, b"")) if number == 2)
    return BundleEntry(fields.get(1, 0), shape, fields.get(4, 0), fields.get(5, 0))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protocol buffer."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(message, position)
        elif kind == 2:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
        elif kind == 5:  # four bytes: the checksum
            value, position = message[position : position + 4], position + 4
        else:
            raise ValueError("the TensorFlow checkpoint index has a field of unknown type")
        yield number, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data):
            raise ValueError(CUT_OFF)
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value, position
