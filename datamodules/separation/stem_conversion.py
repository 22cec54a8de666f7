"""Sound files that cannot be read in place, converted once to 16 bit WAV, at their own rate or resampled.

The files made from one source lie in a folder of their own with `.source`, which holds a probe of the source's content and
is written last: a run that was killed goes on, a source that was exchanged is noticed, and a copy of it is not. Each ends
with its checksum, so that damaged ones are made again.
"""

import hashlib
import logging
import os
import wave
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.audio import av_audio, reading
from datamodules.audio.av_audio import ContainerHeader
from datamodules.audio.decoding import open_source
from datamodules.common import checksum
from datamodules.common.cache import cached, exclusive, probe, require_space, unwritable, write_atomically
from datamodules.common.errors import DataError
from datamodules.common.progress import progress
from datamodules.common.workers import cores

log = logging.getLogger(__name__)

VERSION = 3
MARK = ".source"


class ConversionJob(NamedTuple):
    """A source and the WAV file that each of its sound streams becomes."""

    source: Path
    targets: tuple[Path, ...]
    rate: int | None = None  # Hz to resample to; None: as the source

    def mark(self) -> str:
        """What `.source` holds."""
        return f"{VERSION}|{self.rate}|{probe(self.source)}"

    def marked(self) -> bool:
        """Whether all were made from this source."""
        try:
            return (self.targets[0].parent / MARK).read_text(encoding="utf-8") == self.mark()
        except OSError:
            return False


class Kind(NamedTuple):
    """How one kind of file is read."""

    header: Callable[[Path], ContainerHeader]
    blocks: Callable[[Path], Iterable[tuple[int, np.ndarray]]]  # (stream, (frames, channels) float32)


def converted(cache_dir: str | None, source: Path, rate: int | None) -> ConversionJob:
    """A source with the place of its one WAV file, which its content names, wherever the source lies."""
    job = ConversionJob(source, (), rate)
    digest = hashlib.sha256(job.mark().encode()).hexdigest()[:20]
    return job._replace(targets=(cached(cache_dir, "stems", digest[:2], digest, whole=MARK) / "stem.wav",))


def convert(jobs: Sequence[ConversionJob], folder: Path, kind: Kind) -> dict[Path, str]:
    """Convert what is not yet; a sentence for each source that does not decode. `folder` is where they are kept.

    Of several processes that ask at once one works, the others wait. Raises DataError for a disk that is full.
    """
    if not _left(jobs):
        return {}
    with exclusive(folder.with_name(f"{folder.name}.lock"), f"the converted stems in {folder}"):
        left = _left(jobs)
        if not left:
            return {}
        folder.mkdir(parents=True, exist_ok=True)
        for stray in folder.rglob("*.part"):
            stray.unlink()
        if old := sorted(path for path in folder.glob("*-????????????") if path.is_dir()):
            log.warning("%s holds stems that an earlier version converted, which are not used any more: delete it.", old[0])
        require_space(folder, left, lambda job: _bytes(kind.header(job.source), job.rate), "As WAV files the stems need")
        return _run(left, kind)


def _left(jobs: Sequence[ConversionJob]) -> list[ConversionJob]:
    """Jobs to do; files that are damaged are said."""
    marked = [job for job in jobs if job.marked()]
    bad = set(checksum.damaged([target for job in marked for target in job.targets], "checking converted stems"))
    damaged = [job for job in marked if not bad.isdisjoint(job.targets)]
    for job in damaged:
        log.warning("What %s was converted to is damaged in %s: it is converted again.", job.source, job.targets[0].parent)
        (job.targets[0].parent / MARK).unlink(missing_ok=True)
    done = {id(job) for job in marked} - {id(job) for job in damaged}
    return [job for job in jobs if id(job) not in done]


def _run(jobs: Sequence[ConversionJob], kind: Kind) -> dict[Path, str]:
    """Convert sources side by side, copies of one source once; a sentence for each source that does not decode."""
    distinct = {job.targets: job for job in jobs}
    flaws = {}
    with ThreadPoolExecutor(cores()) as pool:
        done = pool.map(lambda job: _one(job, kind), distinct.values())
        for targets, flaw in zip(distinct, progress(done, "converting stems", len(distinct), "file"), strict=True):
            if flaw:
                flaws[targets] = flaw
    return {job.source: flaws[job.targets] for job in jobs if job.targets in flaws}


def _one(job: ConversionJob, kind: Kind) -> str | None:
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


def _write(job: ConversionJob, claim: ContainerHeader, kind: Kind) -> str | None:
    parts = [target.with_name(f"{target.name}.part") for target in job.targets]
    written = np.zeros(len(parts), np.int64)
    rate = job.rate or claim.sample_rate
    to_rate = [reading.resampler(claim.sample_rate, rate, claim.channels, job.source) for _ in parts]
    for part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = [stack.enter_context(wave.open(str(part), "wb")) for part in parts]
        for file in files:
            file.setnchannels(claim.channels)
            file.setsampwidth(2)
            file.setframerate(rate)
        for stream, block in kind.blocks(job.source):
            if not np.isfinite(block).all():
                return f"{job.source} holds NaN or infinite samples: write it again or leave the track out."
            files[stream].writeframesraw(reading.to_int16(to_rate[stream](block, False)).tobytes())
            written[stream] += len(block)
        for file, last in zip(files, to_rate, strict=True):
            file.writeframesraw(reading.to_int16(last(np.zeros((0, claim.channels), np.float32), True)).tobytes())
    if not written.all():
        return f"{job.source} holds no sound: replace it or leave the track out."
    _name(parts, job)
    return None


def _name(parts: Sequence[Path], job: ConversionJob) -> None:
    """Give files their names once they are on disk with their checksums, and say then what they were made from."""
    mark = job.targets[0].parent / MARK
    mark.unlink(missing_ok=True)
    for part, target in zip(parts, job.targets, strict=True):
        with part.open("ab") as file:
            file.write(checksum.trailer(part))
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    write_atomically(mark, lambda file: file.write(job.mark().encode()))


def _bytes(claim: ContainerHeader, rate: int | None) -> float:
    return 2 * claim.streams * claim.channels * (rate or claim.sample_rate) * claim.seconds


def _sound_header(path: Path) -> ContainerHeader:
    head = reading.header(path)
    return ContainerHeader(head.sample_rate, head.channels, 1, head.frames / head.sample_rate)


def _sound_blocks(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    with open_source(path, mono=False) as source:
        yield from ((0, block) for block in source.blocks())
        if source.damage:
            raise DataError(f"{path}: {source.damage}; replace it or leave the track out.")


SOUND = Kind(_sound_header, _sound_blocks)
"""Files that libsndfile decodes."""

MP4 = Kind(av_audio.header, av_audio.blocks)
"""Containers with several sound streams."""
