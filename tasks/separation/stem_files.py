"""Audio files of the stems of one song, written block by block in a temporary folder and moved when complete."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
from torch import Tensor

from datamodules.audio.decoding import system_path
from datamodules.common.errors import DataError
from tasks.cli.lightning_internals import libsndfile_reason
from tasks.writers.output_files import is_plain_name, unwritable_output

STEPS = {"PCM_16": 1 << 15, "PCM_24": 1 << 23}  # of an integer format per unit of amplitude

ENCODING = {"mp3": {"compression_level": 0.0, "bitrate_mode": "CONSTANT"}, "ogg": {"compression_level": 0.2}}
"""320 kbit/s of mp3 at 44.1 kHz, and quality 8 of Ogg Vorbis."""

BLOCK = 1 << 15
"""Frames per call of the encoder: libsndfile's Vorbis encoder overruns its stack with large blocks."""

WAV_LIMIT = 0xFFFF0000  # bytes; longer files are RF64


class StemFiles:
    """Context manager of the open files of one song's stems: moved into `folder` at its end, deleted on an error.

    Args:
        folder: output folder; existing files of the same names are replaced
        names: names of the stems
        sample_rate: of the song, Hz
        channels: of the song
        frames: length of the song as far as known
        ending: wav, flac, mp3 or ogg
        subtype: PCM_16, PCM_24 or FLOAT, for wav and flac

    Raises:
        DataError: the format does not support the song, or the folder is not writable.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], sample_rate: int, channels: int, frames: int, ending: str, subtype: str
    ) -> None:
        self.folder, self.temporary = Path(folder), Path(folder).with_name(f".{os.getpid()}.{Path(folder).name}")
        self.names = [f"{name}.{ending}" for name in names]
        if invalid := [name for name in self.names if not is_plain_name(name)]:
            raise DataError(f"{invalid[0]!r} is not a valid file name for a stem in {folder}: rename the source")
        self.steps = STEPS.get(subtype) if ending in ("wav", "flac") else None
        self.clipped = np.zeros(len(names), dtype=np.int64)
        kind = ending.upper() if ending != "wav" or frames * channels * 4 < WAV_LIMIT else "RF64"
        options = {"subtype": subtype} if ending in ("wav", "flac") else ENCODING[ending]
        self.open: list[soundfile.SoundFile] = []
        try:
            self.temporary.mkdir(parents=True, exist_ok=True)
            for name in self.names:
                path = system_path(self.temporary / name)
                self.open.append(soundfile.SoundFile(path, "w", sample_rate, channels, format=kind, **options))
        except (soundfile.LibsndfileError, ValueError, TypeError) as error:
            self._discard()
            raise DataError(
                f"{ending} does not support {channels} channels at {sample_rate} Hz ({libsndfile_reason(error)}): choose "
                "--output.format wav or flac"
            ) from error
        except OSError as error:
            self._discard()
            raise unwritable_output(self.folder, error) from error

    def write(self, stems: Tensor) -> None:
        """Append stems (names, channels, frames). Raises DataError if writing fails, such as on a full disk."""
        for i, (file, stem) in enumerate(zip(self.open, stems.numpy(), strict=True)):
            for start in range(0, stem.shape[-1], BLOCK):
                block = np.ascontiguousarray(stem[:, start : start + BLOCK].T)
                if self.steps:
                    self.clipped[i] += int((np.abs(block) > 1).sum())
                    block = _integers(block, self.steps)
                try:
                    file.write(block)
                except (OSError, RuntimeError, AssertionError) as error:
                    raise unwritable_output(self.folder, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type | None, *_) -> None:
        try:
            if failed is None:
                self._finish()
        finally:
            self._discard()

    def add(self, name: str, content: bytes) -> None:
        """Add another file beside the stems."""
        (self.temporary / name).write_bytes(content)

    def _finish(self) -> None:
        try:
            for file in self.open:
                file.close()
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(self.temporary.iterdir()):
                path.replace(self.folder / path.name)
        except (OSError, RuntimeError) as error:
            raise unwritable_output(self.folder, error) from error

    def _discard(self) -> None:
        for file in self.open:
            try:
                file.close()
            except (OSError, RuntimeError):  # a full disk: the error is already being raised
                continue
        shutil.rmtree(self.temporary, ignore_errors=True)


def _integers(block: np.ndarray, steps: int) -> np.ndarray:
    """Quantize float32 to the integers of a format, rounded and clipped (libsndfile would scale by one step less)."""
    values = np.clip(np.rint(block.astype(np.float64) * steps), -steps, steps - 1)
    return values.astype(np.int16) if steps == STEPS["PCM_16"] else (values * 256).astype(np.int32)
