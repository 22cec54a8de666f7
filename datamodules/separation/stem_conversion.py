"""Conversion of stems that cannot be read in place: audio file -> cached 16 bit WAV files, optionally resampled.

The files of one source are in one folder with `.source`, which holds a probe of the source's content and is written last, so
that interrupted conversions resume and changed sources are detected. Files end with their checksum; damaged ones are
converted again.
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
    """Conversion of one source to one WAV file per audio stream."""

    source: Path
    targets: tuple[Path, ...]
    rate: int | None = None  # Hz to resample to; None: as the source

    def mark(self) -> str:
        """Content of `.source`."""
        return f"{VERSION}|{self.rate}|{probe(self.source)}"

    def marked(self) -> bool:
        """True if the targets were converted from this source."""
        try:
            return (self.targets[0].parent / MARK).read_text(encoding="utf-8") == self.mark()
        except OSError:
            return False


class SourceReader(NamedTuple):
    """Functions that read one kind of file."""

    header: Callable[[Path], ContainerHeader]
    blocks: Callable[[Path], Iterable[tuple[int, np.ndarray]]]  # (stream, (frames, channels) float32)


def converted(cache_dir: str | None, source: Path, rate: int | None) -> ConversionJob:
    """Conversion job of a source with one stream; its WAV file is named by content, independent of location."""
    job = ConversionJob(source, (), rate)
    digest = hashlib.sha256(job.mark().encode()).hexdigest()[:20]
    return job._replace(targets=(cached(cache_dir, "stems", digest[:2], digest, whole=MARK) / "stem.wav",))


def convert(jobs: Sequence[ConversionJob], folder: Path, reader: SourceReader) -> dict[Path, str]:
    """Convert the remaining sources into `folder`, in one of several concurrent processes.

    Returns the error message of each source that does not decode. Raises DataError for a full disk.
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
        require_space(folder, left, lambda job: _bytes(reader.header(job.source), job.rate), "As WAV files the stems need")
        return _run(left, reader)


def _left(jobs: Sequence[ConversionJob]) -> list[ConversionJob]:
    """Remaining jobs, including those whose files are damaged, which is logged."""
    marked = [job for job in jobs if job.marked()]
    bad = set(checksum.damaged([target for job in marked for target in job.targets], "checking converted stems"))
    damaged = [job for job in marked if not bad.isdisjoint(job.targets)]
    for job in damaged:
        log.warning("The WAV files of %s in %s are damaged: they are converted again.", job.source, job.targets[0].parent)
        (job.targets[0].parent / MARK).unlink(missing_ok=True)
    done = {id(job) for job in marked} - {id(job) for job in damaged}
    return [job for job in jobs if id(job) not in done]


def _run(jobs: Sequence[ConversionJob], reader: SourceReader) -> dict[Path, str]:
    """Convert sources in parallel, copies of a source once; returns an error message for each that does not decode."""
    distinct = {job.targets: job for job in jobs}
    flaws = {}
    with ThreadPoolExecutor(cores()) as pool:
        done = pool.map(lambda job: _convert_one(job, reader), distinct.values())
        for targets, flaw in zip(distinct, progress(done, "converting stems", len(distinct), "file"), strict=True):
            if flaw:
                flaws[targets] = flaw
    return {job.source: flaws[job.targets] for job in jobs if job.targets in flaws}


def _convert_one(job: ConversionJob, reader: SourceReader) -> str | None:
    """Convert one source; returns an error message or None."""
    try:
        header = reader.header(job.source)
        if header.streams != len(job.targets):
            return f"{job.source} has {header.streams} audio streams, expected {len(job.targets)}: download it again."
        return _write(job, header, reader)
    except DataError as error:
        return str(error)
    except OSError as error:
        raise unwritable(job.targets[0].parent, error) from error


def _write(job: ConversionJob, header: ContainerHeader, reader: SourceReader) -> str | None:
    parts = [target.with_name(f"{target.name}.part") for target in job.targets]
    written = np.zeros(len(parts), np.int64)
    rate = job.rate or header.sample_rate
    to_rate = [reading.resampler(header.sample_rate, rate, header.channels, job.source) for _ in parts]
    for part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = [stack.enter_context(wave.open(str(part), "wb")) for part in parts]
        for file in files:
            file.setnchannels(header.channels)
            file.setsampwidth(2)
            file.setframerate(rate)
        for stream, block in reader.blocks(job.source):
            if not np.isfinite(block).all():
                return f"{job.source} holds NaN or infinite samples: write it again or leave the track out."
            files[stream].writeframesraw(reading.to_int16(to_rate[stream](block, False)).tobytes())
            written[stream] += len(block)
        for file, last in zip(files, to_rate, strict=True):
            file.writeframesraw(reading.to_int16(last(np.zeros((0, header.channels), np.float32), True)).tobytes())
    if not written.all():
        return f"{job.source} holds no audio: replace it or leave the track out."
    _name(parts, job)
    return None


def _name(parts: Sequence[Path], job: ConversionJob) -> None:
    """Append checksums, rename the files once they are on disk, then write `.source`."""
    mark = job.targets[0].parent / MARK
    mark.unlink(missing_ok=True)
    for part, target in zip(parts, job.targets, strict=True):
        with part.open("ab") as file:
            file.write(checksum.trailer(part))
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    write_atomically(mark, lambda file: file.write(job.mark().encode()))


def _bytes(header: ContainerHeader, rate: int | None) -> float:
    return 2 * header.streams * header.channels * (rate or header.sample_rate) * header.seconds


def _sound_header(path: Path) -> ContainerHeader:
    head = reading.header(path)
    return ContainerHeader(head.sample_rate, head.channels, 1, head.frames / head.sample_rate)


def _sound_blocks(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    with open_source(path, mono=False) as source:
        yield from ((0, block) for block in source.blocks())
        if source.damage:
            raise DataError(f"{path}: {source.damage}; replace it or leave the track out.")


SOUND = SourceReader(_sound_header, _sound_blocks)
"""Reader of audio files with one stream."""

MP4 = SourceReader(av_audio.header, av_audio.blocks)
"""Reader of containers with several audio streams."""
