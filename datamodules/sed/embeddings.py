"""Cache of pretrained embeddings: clip -> (n, dim) float16 with times, one file per clip; and video decoding by PyAV."""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datamodules.audio import reading
from datamodules.audio.av_audio import VIDEO_SUFFIXES, open_container, origin
from datamodules.common import checksum
from datamodules.common.cache import cache_root, cached, exclusive, probe, unwritable, write_atomically
from datamodules.common.errors import DataError
from datamodules.common.input_spec import ExtractorLike
from datamodules.common.progress import progress

log = logging.getLogger(__name__)


class Embeddings(NamedTuple):
    """Embeddings of one clip."""

    values: np.ndarray  # (n, dim) float16
    times: np.ndarray  # (n,) s, centre of the input of each embedding


class EmbeddingCache:
    """Embeddings of clips by one extractor, one file per clip, in a folder named by the extractor's fingerprint.

    Args:
        cache_dir: option of the data module
        stream: name of the embeddings among the network's inputs
        extractor: pretrained network
        root: folder of the data set, with videos beside the audio
    """

    def __init__(self, cache_dir: str | Path | None, stream: str, extractor: ExtractorLike, root: Path) -> None:
        self.cache_dir, self.stream = cache_dir, stream
        self.folder = cache_root(cache_dir) / "embeddings" / f"{stream}-{extractor.fingerprint}"
        self._digests: dict[Path, str] = {}
        self.extractor, self.dim, self.kind, self.root = extractor, extractor.dim, extractor.kind, root

    def __getstate__(self) -> dict:
        """State for loader processes: without the network."""
        return self.__dict__ | {"extractor": None}

    def build(self, clips: Sequence[Path], strict: bool = False) -> dict[Path, str]:
        """Extract missing embeddings, in one of several concurrent processes; returns the error message of each unusable clip.

        Raises:
            DataError: the first error, if strict.
        """
        faults: dict[Path, str] = {}
        if not self._missing(clips, faults):
            return faults
        with exclusive(self.folder.with_name(f"{self.folder.name}.lock"), f"the embeddings {self.folder}"):
            missing = self._missing(clips, faults)
            for clip in progress(missing, f"embedding clips ({self.stream})", unit="clip", disable=not missing):
                try:
                    self._store(clip)
                except DataError as error:
                    if strict:
                        raise
                    faults[clip] = str(error)
        return faults

    def read(self, clip: Path) -> Embeddings:
        """Read the embeddings of a clip. Raises DataError if there are none."""
        path = self._path(clip)
        try:
            return _read(path)
        except FileNotFoundError as error:
            raise DataError(f"{clip} has no embeddings of stream {self.stream}: build them with `prepare`.") from error
        except Exception as error:
            raise DataError(f"{path} is damaged: delete it and run `prepare` again.") from error

    def _missing(self, clips: Sequence[Path], faults: dict[Path, str]) -> list[Path]:
        """Clips with missing or damaged embeddings; clips without a source file are added to `faults`."""
        paths: dict[Path, Path] = {}
        for clip in clips:
            try:
                self._adopt(clip, path := self._path(clip))
                paths[clip] = path
            except DataError as error:
                faults[clip] = str(error)
        existing = [path for path in paths.values() if path.is_file()]
        if bad := set(checksum.damaged(existing, "checking embeddings")):
            log.warning("%d of %d embeddings in %s are damaged and computed again.", len(bad), len(existing), self.folder)
            for path in bad:
                path.unlink(missing_ok=True)
        return [clip for clip, path in paths.items() if not path.is_file()]

    def _adopt(self, clip: Path, path: Path) -> None:
        """Rename embeddings of earlier versions, whose names depend on the path and time of change of the file."""
        if path.is_file():
            return
        source = self._source(clip)
        stat = source.stat()
        digest = hashlib.sha256(os.fsencode(f"{source.resolve()}|{stat.st_size}|{stat.st_mtime_ns}")).hexdigest()[:20]
        old = self.folder / digest[:2] / f"{digest}.npy"
        if not old.is_file():
            return
        try:
            embeddings = _read(old)
        except Exception:  # damaged: computed again
            return
        self._write(path, embeddings)
        old.unlink()

    def _source(self, clip: Path) -> Path:
        """Audio or video file of a clip."""
        return video_path(clip, self.root) if self.kind == "video" else clip

    def _path(self, clip: Path) -> Path:
        """File of a clip's embeddings, named by the content of its source, so that copies share it."""
        if clip not in self._digests:
            source = self._source(clip)
            try:
                self._digests[clip] = hashlib.sha256(probe(source).encode()).hexdigest()[:20]
            except OSError as error:
                raise DataError(f"{source} is missing: stream {self.stream} needs it beside {clip.name}.") from error
        digest = self._digests[clip]
        return cached(self.cache_dir, "embeddings", self.folder.name, digest[:2], f"{digest}.npy")

    def _store(self, clip: Path) -> None:
        values, times = embed(self.extractor, self._source(clip))
        self._write(self._path(clip), Embeddings(values.astype(np.float16), times))

    def _write(self, path: Path, embeddings: Embeddings) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda file: [np.save(file, array) for array in embeddings], sealed=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error


def _read(path: Path) -> Embeddings:
    with path.open("rb") as file:
        return Embeddings(np.load(file, allow_pickle=False), np.load(file, allow_pickle=False))


def embed(extractor: ExtractorLike, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and times of a file's audio or images. Raises DataError if it has none or does not decode."""
    if extractor.kind == "video":
        return extractor.extract(images(path, extractor.fps))
    return extractor.extract(reading.read_file(path, extractor.sample_rate))


def video_path(clip: Path, root: Path) -> Path:
    """Video of a clip: root/audio/A/B.wav -> root/video/A/B.mp4 (or another suffix); of a video file itself."""
    if clip.suffix.lower() in VIDEO_SUFFIXES:
        return clip
    try:
        inside = clip.relative_to(root / "audio")
    except ValueError:
        inside = Path(clip.name)
    videos = [(root / "video" / inside).with_suffix(suffix) for suffix in VIDEO_SUFFIXES]
    return next((video for video in videos if video.is_file()), videos[0])


# Video decoding

SLACK_S = 0.002
"""Time stamps are rounded to milliseconds in some containers, s."""
RATE = 25.0
"""Default frame rate of a video without time stamps and rate, images/s."""


def images(path: str | Path, fps: float, height: int = 224, width: int = 224) -> np.ndarray:
    """Images (images, height, width, 3) uint8 RGB of a video at the times 0, 1/fps, ... up to and including its end.

    10 s at 15 images/s give 151 images, as in the paper. Time 0 is the start of the first stream, as for audio; before the
    first image that image is used. Images without time stamps follow each other at the frame rate.

    Raises:
        DataError: the file cannot be opened, has no images, or does not decode.
    """
    message = f"{path} has no images: expected a file with a video stream."
    with open_container(path) as container:
        if not container.streams.video:
            raise DataError(message)
        out = _sample_images(container, fps, height, width, path)
    if not out:
        raise DataError(message)
    return np.stack(out)


def _sample_images(container: Any, fps: float, height: int, width: int, path: str | Path) -> list[np.ndarray]:
    import av

    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or stream.guessed_rate or RATE)
    start, end, current, out = origin(container), 0.0, None, []
    try:
        for frame in container.decode(stream):
            time = end if frame.pts is None else float(frame.pts * frame.time_base) - start
            while current is not None and len(out) / fps < time - SLACK_S:
                out.append(current)
            current, end = frame.to_ndarray(format="rgb24", width=width, height=height), time + 1 / rate
    except av.FFmpegError as error:
        if current is None:
            raise DataError(f"{path} does not decode as a video ({error.strerror}): replace it or leave it out.") from error
    if stream.duration:
        end = max(end, float(((stream.start_time or 0) + stream.duration) * stream.time_base) - start)
    while current is not None and (len(out) / fps <= end + SLACK_S or not out):
        out.append(current)
    return out
