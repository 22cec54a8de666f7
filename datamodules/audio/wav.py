"""WAV files read in place at any frame: the header parsed once, samples handed out as they lie on disk.

Reads are positional (`preadv`) on a few kept handles: as fast as a memory map of the file, but a file that is cut while
a run reads it is an error by name instead of a dead process, and thousands of files need no handle each.
"""

import os
import struct
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from datamodules.common.errors import DataError, printable

# Plausible sampling rates: a header beyond them is damaged, and resampling from it would fill the memory.

LOWEST, HIGHEST = 1_000, 768_000
"""Hz; telephones have 8,000, the fastest converters 768,000."""


def check_rate(path: str | Path, rate: int) -> int:
    """The rate that a file's header claims.

    Args:
        path: of the file, for the sentence
        rate: in Hz

    Raises:
        DataError: below 1 kHz or above 768 kHz.
    """
    if not LOWEST <= rate <= HIGHEST:
        raise DataError(
            f"{printable(str(path))} claims a sampling rate of {rate} Hz, expected 1 to 768 kHz: its header is damaged, "
            "replace it or leave it out."
        )
    return rate


PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
UNKNOWN = 0xFFFFFFFF
"""Size of a chunk that was streamed, or too long for 32 bits, as in RF64."""

KEPT = 256
"""Open files that a process keeps."""


class Wav(NamedTuple):
    """A PCM16 or float32 WAV file; picklable, opens the file where and when it is read.

    `frames` are those on disk: where a header claims more, `damage` says so in one sentence. `source`: the user's file, where
    this one was made from it; messages name that.
    """

    path: str
    rate: int  # Hz
    channels: int
    frames: int
    dtype: str  # numpy's name of a sample: "<i2" or "<f4"
    offset: int  # bytes before the first frame
    damage: str | None = None
    source: str | None = None

    @property
    def name(self) -> str:
        """The user's file."""
        return self.source or self.path

    def read(self, start: int, frames: int) -> np.ndarray:
        """Frames `start .. start + frames`, as far as they go, as (frames, channels) in the file's own type."""
        frames = max(0, min(frames, self.frames - start))
        sound = np.empty((frames, self.channels), self.dtype)
        self.read_into(sound, start)
        return sound

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Fill `out`, contiguous (frames, channels) of the file's type, from frame `start`. Raises DataError if cut short."""
        left = memoryview(out).cast("B") if out.size else b""
        place = self.offset + start * self.channels * np.dtype(self.dtype).itemsize
        while left:
            try:
                file = _handle(self.path)  # held, since another thread may push it out of the cache, which closes it
                done = os.preadv(file.fileno(), [left], place)
            except OSError as error:
                raise DataError(f"{self.name} cannot be read ({error.strerror}): copy it again or leave it out.") from error
            if not done:
                raise DataError(f"{self.name} became shorter since it was opened: copy it again and start anew.")
            left, place = left[done:], place + done


class Missing(DataError):
    """A file that is not there."""

    kind = "missing"


class NotInPlace(DataError):
    """A sound file that is in order but holds no PCM16 or float32: it has to be converted."""


def open_wav(path: str | Path, source: str | Path | None = None) -> Wav:
    """Parse a header; `source`: the user's file that messages name, where this one was made from it.

    Raises Missing, NotInPlace for other kinds of samples, else DataError for what is no WAV.
    """
    path, name = os.fspath(path), os.fspath(source or path)
    try:
        with FileIO(path) as file:
            wav = _parse(name, file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError as error:
        raise Missing(f"{name} is missing: copy it again or leave the track out.") from error
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror}): mend that or leave the track out.") from error
    return wav._replace(path=path, source=None if source is None else name)


def _parse(path: str, file: BinaryIO, size: int) -> Wav:
    """Walk the chunks up to the samples."""
    if not size:
        raise DataError(f"{path} is empty (0 bytes): copy or download it again.")
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        raise DataError(f"{path} is no WAV file: expected RIFF ... WAVE at its beginning; convert it to 16 bit WAV.")
    kind, long = None, 0
    while len(header := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", header)
        place = file.tell()
        if name == b"ds64":
            long = struct.unpack("<QQ", file.read(16))[1]
        elif name == b"fmt ":
            kind = _format(path, file.read(min(length, 40)))
        elif name == b"data":
            if kind is None:
                break
            return _samples(path, kind, place, size, long if length == UNKNOWN and long else length)
        file.seek(place + length + length % 2)
    raise DataError(f"{path} is a WAV file without {'samples' if kind else 'a format'}: copy it again or leave it out.")


def _format(path: str, chunk: bytes) -> tuple[str, int, int]:
    """(sample type, rate, channels) of a format chunk."""
    if len(chunk) < 16:
        raise DataError(f"{path} has a format chunk of {len(chunk)} bytes where a WAV file has 16: copy it again.")
    code, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", chunk[:16])
    if code == EXTENSIBLE and len(chunk) >= 26:
        code = struct.unpack("<H", chunk[24:26])[0]  # the first two bytes of the sub-format's GUID
    dtype = {(PCM, 16): "<i2", (FLOAT, 32): "<f4"}.get((code, bits))
    if dtype is None:
        raise NotInPlace(f"{path} holds {bits} bit samples of WAV format {code}: convert it to 16 bit PCM or 32 bit float.")
    if not channels or not rate or frame != channels * bits // 8:
        raise DataError(f"{path} has a broken header ({channels} channels, {rate} Hz, {frame} bytes a frame): copy it again.")
    return dtype, check_rate(path, rate), channels


def _samples(path: str, kind: tuple[str, int, int], place: int, size: int, length: int) -> Wav:
    dtype, rate, channels = kind
    frame = channels * np.dtype(dtype).itemsize
    there = size - place
    claimed = there if length in (0, UNKNOWN) else length  # what was streamed to disk tells no length
    frames = min(claimed, there) // frame
    if not frames:
        raise DataError(f"{path} holds no audio: copy it again or leave it out.")
    damage = None
    if claimed > there:
        seconds = claimed / frame / rate
        damage = f"{path} is cut short: {frames / rate:.2f} s of the {seconds:.2f} s that its header claims; copy it again."
    elif not length:
        damage = f"{path} tells no length, as if its writer was stopped: {frames / rate:.2f} s are there; write it again."
    return Wav(path, rate, channels, frames, dtype, place, damage)


@lru_cache(KEPT)
def _handle(path: str) -> FileIO:
    """An open file; closed when enough others were opened since. Raises OSError."""
    return FileIO(path)
