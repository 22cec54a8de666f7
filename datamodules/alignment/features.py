"""Feature cache: sound -> features on disk, read in crops without decoding."""

import logging
import multiprocessing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.alignment.listing import Sound
from datamodules.alignment.sounds import fingerprint, hear
from datamodules.common import checksum
from datamodules.common.cache import cache_root, cached, exclusive, write_atomically
from datamodules.common.errors import DataError
from datamodules.common.input_spec import Extract
from datamodules.common.progress import progress
from datamodules.common.workers import in_processes

log = logging.getLogger(__name__)


class FeatureStore:
    """Feature cache of one front end.

    Args:
        extract: front end
        key: hash of its settings
        rate: sample rate of its input, Hz
        cache_dir: cache folder of the data module
        apart: allow several extraction processes; false on a GPU
    """

    def __init__(self, extract: Extract, key: str, rate: int, cache_dir: str | None = None, apart: bool = True) -> None:
        self.extract, self.key, self.rate, self.cache_dir, self.apart = extract, key, rate, cache_dir, apart
        self.folder = cache_root(cache_dir) / "alignment" / "features" / key

    def __getstate__(self) -> dict[str, Any]:
        """Spawned workers read features from disk and need no front end."""
        return vars(self) | {"extract": None}

    def path(self, sound: Sound) -> Path:
        """Path of the features of a sound, existing or not."""
        return cached(self.cache_dir, "alignment", "features", self.key, f"{fingerprint(sound)}.npy")

    def build(self, sounds: Iterable[Sound]) -> dict[Sound, str]:
        """Compute missing features under a lock; returns the error message of each unreadable sound."""
        sounds = list(dict.fromkeys(sounds))
        if not self._missing(sounds):
            return {}
        with exclusive(self.folder / ".lock", "the same features"):
            missing = self._missing(sounds)
            return {sound: error for sound, error in zip(missing, self._extract_all(missing), strict=True) if error}

    def _missing(self, sounds: list[Sound]) -> list[Sound]:
        paths = {sound: self._existing_path(sound) for sound in sounds}
        present = [path for path in paths.values() if path]
        if bad := set(checksum.damaged(present, "checking features")):
            log.warning("%d of %d files of features in %s are damaged and computed again.", len(bad), len(present), self.folder)
            for path in bad:
                path.unlink(missing_ok=True)
        return [sound for sound, path in paths.items() if path is None or path in bad]

    def _existing_path(self, sound: Sound) -> Path | None:
        try:
            return path if (path := self.path(sound)).is_file() else None
        except (OSError, DataError):
            return None

    def _extract_all(self, sounds: list[Sound]) -> list[str | None]:
        calls = [(sound,) for sound in sounds]
        # A front end cannot be pickled to spawned processes.
        many = self.apart and len(calls) > 3 and multiprocessing.get_start_method() == "fork"
        work = in_processes(self._extract_one, calls) if many else (self._extract_one(*call) for call in calls)
        return list(progress(work, "extracting features, once", len(calls), "recording", disable=len(calls) < 4))

    def _extract_one(self, sound: Sound) -> str | None:
        try:
            audio = hear(sound, self.rate, self.cache_dir)
            cents = -sound.cents if sound.font is None else 0.0
            frames = np.ascontiguousarray(self.extract(audio, cents).transpose(2, 0, 1))
            if not np.isfinite(frames).all():
                return f"{sound.path} gives non-finite features: replace or remove it."
            write_atomically(self.path(sound), lambda file: np.save(file, frames), sealed=True)
        except DataError as error:
            return str(error)
        except (OSError, ValueError) as error:
            return f"{sound.path} cannot be used: {error}"
        return None

    def read(self, sound: Sound) -> np.ndarray:
        """Features (frames, channels, bins) float32, memory-mapped. Raises DataError if they are missing."""
        try:
            return np.load(self.path(sound), mmap_mode="r")
        except FileNotFoundError:
            raise DataError(f"features of {sound.path} not found in {self.folder}: start again to compute them.") from None


def crop(features: np.ndarray, start: int, frames: int) -> np.ndarray:
    """Frames start .. start + frames of (frames, channels, bins) as (channels, bins, frames); the last frame pads both ends."""
    places = np.arange(start, start + frames)
    places = np.where(places < 0, len(features) - 1, np.minimum(places, len(features) - 1))
    inside = places[places < len(features) - 1]
    first = int(inside.min()) if len(inside) else len(features) - 1
    piece = np.asarray(features[first : int(inside.max()) + 1 if len(inside) else None])
    ordered = np.concatenate([piece, features[-1:]])[np.where(places == len(features) - 1, len(piece), places - first)]
    return np.ascontiguousarray(ordered.transpose(1, 2, 0))
