"""Sound files that cannot be read in place, converted once to 16 bit WAV of their own rate and channels.

A converted file gets its name when it is whole and on disk, and the time of change of its source: that of another time
is converted again, so that a run that was killed goes on and a source that was exchanged is noticed.
"""

import hashlib
import os
import wave
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules import audio, av_audio
from datamodules.av_audio import Header
from datamodules.cache import cache_root, exclusive, require_space, unwritable
from datamodules.decoding import open_source
from datamodules.errors import DataError
from datamodules.workers import cores

VERSION = 2
CLOCK_S = 2.0
"""Times of change are kept by some file systems no finer than this, s."""


class Job(NamedTuple):
    """A source and the WAV file that each of its sound streams becomes."""

    source: Path
    targets: tuple[Path, ...]

    def done(self) -> bool:
        """Whether all are there and of this source."""
        time = self.source.stat().st_mtime
        return all(target.is_file() and abs(target.stat().st_mtime - time) < CLOCK_S for target in self.targets)


class Kind(NamedTuple):
    """How one kind of file is read."""

    header: Callable[[Path], Header]
    blocks: Callable[[Path], Iterable[tuple[int, np.ndarray]]]  # (stream, (frames, channels) float32)


def converted_folder(cache_dir: str | None, name: str, root: Path) -> Path:
    """Where the converted files of a data set lie: a folder for each root."""
    digest = hashlib.sha256(f"{VERSION} ".encode() + os.fsencode(root.resolve())).hexdigest()[:12]
    return cache_root(cache_dir) / "stems" / f"{name}-{digest}"


def convert(jobs: Sequence[Job], folder: Path, kind: Kind) -> dict[Path, str]:
    """Convert what is not yet; a sentence for each source that does not decode. `folder` holds all targets.

    Of several processes that ask at once one works, the others wait. Raises DataError for a disk that is full.
    """
    with exclusive(folder.with_name(f"{folder.name}.lock"), f"the converted stems in {folder}"):
        left = [job for job in jobs if not job.done()]
        if not left:
            return {}
        folder.mkdir(exist_ok=True)
        for stray in folder.rglob("*.part"):
            stray.unlink()
        require_space(folder, left, lambda job: _bytes(kind.header(job.source)), "As WAV files the stems need")
        return _run(left, kind)


def _run(jobs: Sequence[Job], kind: Kind) -> dict[Path, str]:
    from tqdm import tqdm

    flaws = {}
    with ThreadPoolExecutor(cores()) as pool:
        done = pool.map(lambda job: _one(job, kind), jobs)
        for job, flaw in zip(jobs, tqdm(done, "converting stems", len(jobs), unit="file", dynamic_ncols=True), strict=True):
            if flaw:
                flaws[job.source] = flaw
    return flaws


def _one(job: Job, kind: Kind) -> str | None:
    """Convert one source; what is wrong with it."""
    try:
        claim = kind.header(job.source)
        if claim.streams != len(job.targets):
            return f"{job.source} has {claim.streams} sound streams where {len(job.targets)} are expected: download it again."
        return _write(job, claim, kind)
    except DataError as error:
        return str(error)
    except OSError as error:
        raise unwritable(job.targets[0].parent, error) from error


def _write(job: Job, claim: Header, kind: Kind) -> str | None:
    parts = [target.with_name(f"{target.name}.part") for target in job.targets]
    written = np.zeros(len(parts), np.int64)
    for part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = [stack.enter_context(wave.open(str(part), "wb")) for part in parts]
        for file in files:
            file.setnchannels(claim.channels)
            file.setsampwidth(2)
            file.setframerate(claim.sample_rate)
        for stream, block in kind.blocks(job.source):
            if not np.isfinite(block).all():
                return f"{job.source} holds NaN or infinite samples: write it again or leave the track out."
            files[stream].writeframesraw(audio.to_int16(block).tobytes())
            written[stream] += len(block)
    if not written.all():
        return f"{job.source} holds no sound: replace it or leave the track out."
    _name(parts, job)
    return None


def _name(parts: Sequence[Path], job: Job) -> None:
    """Give files their names once they are on disk."""
    stat = job.source.stat()
    for part, target in zip(parts, job.targets, strict=True):
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.utime(part, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        part.replace(target)


def _bytes(claim: Header) -> float:
    return 2 * claim.streams * claim.channels * claim.sample_rate * claim.seconds


def _sound_header(path: Path) -> Header:
    head = audio.header(path)
    return Header(head.sample_rate, head.channels, 1, head.frames / head.sample_rate)


def _sound_blocks(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    with open_source(path, mono=False) as source:
        yield from ((0, block) for block in source.blocks())
        if source.damage:
            raise DataError(f"{path}: {source.damage}; replace it or leave the track out.")


SOUND = Kind(_sound_header, _sound_blocks)
"""Files that libsndfile decodes."""

MP4 = Kind(av_audio.header, av_audio.blocks)
"""Containers with several sound streams."""
