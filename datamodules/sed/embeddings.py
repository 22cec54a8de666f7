"""What pretrained networks say of each clip: computed once, kept on disk clip by clip, so that a killed run goes on."""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datamodules.audio import reading
from datamodules.audio.av_audio import FILMS, open_container, origin
from datamodules.common import checksum
from datamodules.common.cache import cache_root, cached, exclusive, probe, unwritable, write_atomically
from datamodules.common.errors import DataError
from datamodules.common.input_spec import ExtractorLike
from datamodules.common.progress import progress

log = logging.getLogger(__name__)


class Embeddings(NamedTuple):
    """Of one clip: values (n, dim) float16 and the centre (n,) s of what each of them heard or saw."""

    values: np.ndarray
    times: np.ndarray


class EmbeddingCache:
    """Embeddings of clips by one extractor, a file for each clip.

    cache_dir: as of the data module; they lie in a folder of this extractor's. stream: its name among the network's inputs;
    root: of the data set, in which films lie beside the audio.
    """

    def __init__(self, cache_dir: str | Path | None, stream: str, extractor: ExtractorLike, root: Path) -> None:
        self.cache_dir, self.stream = cache_dir, stream
        self.folder = cache_root(cache_dir) / "embeddings" / f"{stream}-{extractor.fingerprint}"
        self._digests: dict[Path, str] = {}
        self.extractor, self.dim, self.kind, self.root = extractor, extractor.dim, extractor.kind, root

    def __getstate__(self) -> dict:
        """Loader processes read; they need no network."""
        return self.__dict__ | {"extractor": None}

    def build(self, clips: Sequence[Path], strict: bool = False) -> dict[Path, str]:
        """Extract what is missing; returns one sentence for each clip that has no signal or cannot be read.

        Of several processes that ask at once one extracts. Raises the first such sentence as DataError if strict.
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
        """Embeddings of a clip. Raises DataError where there are none."""
        path = self._path(clip)
        try:
            return _read(path)
        except FileNotFoundError as error:
            raise DataError(f"{clip} has no embeddings of stream {self.stream}: build them with `prepare`.") from error
        except Exception as error:
            raise DataError(f"{path} is damaged: delete it and run `prepare` again.") from error

    def _missing(self, clips: Sequence[Path], faults: dict[Path, str]) -> list[Path]:
        """Clips without embeddings, or with damaged ones, which is said; those without a signal go to `faults`."""
        paths: dict[Path, Path] = {}
        for clip in clips:
            try:
                self._adopt(clip, path := self._path(clip))
                paths[clip] = path
            except DataError as error:
                faults[clip] = str(error)
        there = [path for path in paths.values() if path.is_file()]
        if bad := set(checksum.damaged(there, "checking embeddings")):
            log.warning("%d of %d embeddings in %s are damaged and computed again.", len(bad), len(there), self.folder)
            for path in bad:
                path.unlink(missing_ok=True)
        return [clip for clip, path in paths.items() if not path.is_file()]

    def _adopt(self, clip: Path, path: Path) -> None:
        """Take over embeddings of earlier versions, whose names held the file's place and time of change."""
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
        """The file that a clip's signal is read from."""
        return film_of(clip, self.root) if self.kind == "video" else clip

    def _path(self, clip: Path) -> Path:
        """Where a clip's embeddings lie: the name changes with the file's content alone, so that copies have the same."""
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
    """Embeddings and times of a file, its sound or its images. Raises DataError where it has none or does not decode."""
    if extractor.kind == "video":
        return extractor.extract(images(path, extractor.fps))
    return extractor.extract(reading.read_file(path, extractor.sample_rate))


def film_of(clip: Path, root: Path) -> Path:
    """For a clip root/audio/A/B.wav the film root/video/A/B.mp4 (or another ending), for a film that film."""
    if clip.suffix.lower() in FILMS:
        return clip
    try:
        inside = clip.relative_to(root / "audio")
    except ValueError:
        inside = Path(clip.name)
    films = [(root / "video" / inside).with_suffix(ending) for ending in FILMS]
    return next((film for film in films if film.is_file()), films[0])


# Images of films by PyAV, an optional extra: the only place that decodes video.

SLACK_S = 0.002
"""Time stamps are rounded to milliseconds in some containers, s."""
RATE = 25.0
"""Images a second where a film says nothing of the time, neither stamps nor a rate."""


def images(path: str | Path, fps: float, height: int = 224, width: int = 224) -> np.ndarray:
    """Images (images, height, width, 3) uint8 RGB of a film at the times 0, 1/fps, ... up to its end: at each the one shown.

    Both ends count, as in the paper: 10 s at 15 images/s are 151. Second 0 is where the first stream starts, as for sound;
    until the first image that one is shown. Without time stamps images follow each other at the film's rate.

    Raises DataError where the file does not open, has no images, or does not decode.
    """
    nothing = f"{path} has no images: expected a film with a video track."
    with open_container(path) as film:
        if not film.streams.video:
            raise DataError(nothing)
        out = _shown(film, fps, height, width, path)
    if not out:
        raise DataError(nothing)
    return np.stack(out)


def _shown(film: Any, fps: float, height: int, width: int, path: str | Path) -> list[np.ndarray]:
    import av

    stream = film.streams.video[0]
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or stream.guessed_rate or RATE)
    start, end, shown, out = origin(film), 0.0, None, []
    try:
        for frame in film.decode(stream):
            time = end if frame.pts is None else float(frame.pts * frame.time_base) - start
            while shown is not None and len(out) / fps < time - SLACK_S:
                out.append(shown)
            shown, end = frame.to_ndarray(format="rgb24", width=width, height=height), time + 1 / rate
    except av.FFmpegError as error:
        if shown is None:
            raise DataError(f"{path} does not decode as a film ({error.strerror}): replace it or leave it out.") from error
    if stream.duration:
        end = max(end, float(((stream.start_time or 0) + stream.duration) * stream.time_base) - start)
    while shown is not None and (len(out) / fps <= end + SLACK_S or not out):
        out.append(shown)
    return out
