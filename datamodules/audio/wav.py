"""WAV files read in place at any frame: path -> header -> (frames, channels) int16 or float32 as stored.

Reads are positional (`preadv`) on a few cached handles: as fast as a memory map, but a file that is truncated during a run
raises a DataError instead of killing the process, and thousands of files do not need a handle each.
"""

import os
import struct
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from datamodules.common.errors import DataError, printable

LOWEST, HIGHEST = 1_000, 768_000
"""Plausible sampling rates, Hz: resampling from others, of a damaged header, would exhaust the memory."""


def check_rate(path: str | Path, rate: int) -> int:
    """Return the sampling rate (Hz) of a header. Raises DataError below 1 kHz or above 768 kHz."""
    if not LOWEST <= rate <= HIGHEST:
        raise DataError(
            f"{printable(str(path))} claims a sampling rate of {rate} Hz, expected 1 to 768 kHz: its header is damaged, "
            "replace it or leave it out."
        )
    return rate


PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
UNKNOWN = 0xFFFFFFFF
"""Size of a streamed chunk, or of one too long for 32 bits, as in RF64."""

KEPT = 256
"""Open files kept per process."""


class Wav(NamedTuple):
    """PCM16 or float32 WAV file; picklable, opened on first read in each process."""

    path: str
    rate: int  # Hz
    channels: int
    frames: int  # on disk
    dtype: str  # of a sample: "<i2" or "<f4"
    offset: int  # bytes before the first frame
    damage: str | None = None  # message if the header declares more frames
    source: str | None = None  # user's file that this one was converted from, for messages

    @property
    def name(self) -> str:
        """Path for messages: the user's file."""
        return self.source or self.path

    def read(self, start: int, frames: int) -> np.ndarray:
        """Read frames `start .. start + frames`, fewer at the end, as (frames, channels) in the file's own type."""
        frames = max(0, min(frames, self.frames - start))
        sound = np.empty((frames, self.channels), self.dtype)
        self.read_into(sound, start)
        return sound

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Fill `out`, contiguous (frames, channels) of the file's type, from frame `start`. Raises DataError if truncated."""
        left = memoryview(out).cast("B") if out.size else b""
        position = self.offset + start * self.channels * np.dtype(self.dtype).itemsize
        while left:
            try:
                file = _handle(self.path)  # a reference: eviction from the cache by another thread closes the file
                done = os.preadv(file.fileno(), [left], position)
            except OSError as error:
                raise DataError(f"{self.name} cannot be read ({error.strerror}): copy it again or leave it out.") from error
            if not done:
                raise DataError(f"{self.name} became shorter since it was opened: copy it again and start anew.")
            left, position = left[done:], position + done


class MissingFile(DataError):
    """Missing file."""

    kind = "missing"


class NeedsConversion(DataError):
    """Valid audio file that is neither PCM16 nor float32."""


def open_wav(path: str | Path, source: str | Path | None = None) -> Wav:
    """Parse the header of a WAV file.

    Args:
        path: WAV file
        source: user's file that it was converted from, for messages

    Raises:
        MissingFile: the file does not exist.
        NeedsConversion: samples of another type.
        DataError: not a WAV file, or damaged.
    """
    path, name = os.fspath(path), os.fspath(source or path)
    try:
        with FileIO(path) as file:
            wav = _parse(name, file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError as error:
        raise MissingFile(f"{name} is missing: copy it again or leave the track out.") from error
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror}): correct that or leave the track out.") from error
    return wav._replace(path=path, source=None if source is None else name)


def _parse(path: str, file: BinaryIO, size: int) -> Wav:
    """Read the chunks up to the samples."""
    if not size:
        raise DataError(f"{path} is empty (0 bytes): copy or download it again.")
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        raise DataError(f"{path} is not a WAV file: expected RIFF ... WAVE at its beginning; convert it to 16 bit WAV.")
    kind, long = None, 0
    while len(header := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", header)
        begin = file.tell()
        if name == b"ds64":
            long = struct.unpack("<QQ", file.read(16))[1]
        elif name == b"fmt ":
            kind = _format(path, file.read(min(length, 40)))
        elif name == b"data":
            if kind is None:
                break
            return _samples(path, kind, begin, size, long if length == UNKNOWN and long else length)
        file.seek(begin + length + length % 2)
    raise DataError(f"{path} is a WAV file without {'samples' if kind else 'a format'}: copy it again or leave it out.")


def _format(path: str, chunk: bytes) -> tuple[str, int, int]:
    """(sample type, rate, channels) of a format chunk."""
    if len(chunk) < 16:
        raise DataError(f"{path} has a format chunk of {len(chunk)} bytes, expected 16: copy it again.")
    code, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", chunk[:16])
    if code == EXTENSIBLE and len(chunk) >= 26:
        code = struct.unpack("<H", chunk[24:26])[0]  # the first two bytes of the sub-format's GUID
    dtype = {(PCM, 16): "<i2", (FLOAT, 32): "<f4"}.get((code, bits))
    if dtype is None:
        raise NeedsConversion(f"{path} holds {bits} bit samples of WAV format {code}: convert it to 16 bit PCM or 32 bit float.")
    if not channels or not rate or frame != channels * bits // 8:
        raise DataError(f"{path} has a broken header ({channels} channels, {rate} Hz, {frame} bytes a frame): copy it again.")
    return dtype, check_rate(path, rate), channels


def _samples(path: str, kind: tuple[str, int, int], begin: int, size: int, length: int) -> Wav:
    dtype, rate, channels = kind
    frame = channels * np.dtype(dtype).itemsize
    on_disk = size - begin
    claimed = on_disk if length in (0, UNKNOWN) else length  # streamed files declare no length
    frames = min(claimed, on_disk) // frame
    if not frames:
        raise DataError(f"{path} holds no audio: copy it again or leave it out.")
    damage = None
    if claimed > on_disk:
        seconds = claimed / frame / rate
        damage = f"{path} is truncated: {frames / rate:.2f} s of the {seconds:.2f} s that its header claims; copy it again."
    elif not length:
        damage = f"{path} declares no length, its writer was stopped: it holds {frames / rate:.2f} s; write it again."
    return Wav(path, rate, channels, frames, dtype, begin, damage)


@lru_cache(KEPT)
def _handle(path: str) -> FileIO:
    """Open file, closed when it is evicted from the cache. Raises OSError."""
    return FileIO(path)
