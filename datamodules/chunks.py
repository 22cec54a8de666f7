"""Clips as a loader's items: a random chunk for training, all chunks of a policy for evaluation."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from datamodules.clips import Clips
from datamodules.errors import DataError
from datamodules.unreadable import or_another
from datamodules.windows import Window, crop, cut


class Chunks(NamedTuple):
    """One item on its way into a batch."""

    audio: np.ndarray  # (chunks, samples) int16
    labels: np.ndarray  # (tags,) uint8
    clip: int
    weight: np.ndarray  # (chunks,)
    level: float
    start: np.ndarray  # (chunks,) s
    name: str


class Crops(Dataset):
    """One random chunk of each clip, a function of (index, seed); an unreadable clip is replaced by another."""

    def __init__(self, clips: Clips, window: Window) -> None:
        self.clips, self.window = clips, window

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: tuple[int, int]) -> Chunks:
        index, seed = item
        return or_another(lambda clip: self._try(clip, seed), index, len(self), seed)

    def _try(self, clip: int, seed: int) -> Chunks | None:
        try:
            return self._crop(clip, np.random.default_rng(seed))
        except DataError as error:
            self.clips.report(clip, error)
            return None

    def _crop(self, clip: int, generator: np.random.Generator) -> Chunks:
        claim = self.clips.claim(clip)
        start, audio, got = self._read(clip, claim, generator)
        if got < min(start - self.window.lead + self.window.samples, claim):
            # The header claimed more than decodes: draw again, from what is there.
            start, audio, _ = self._read(clip, self.clips.length(clip), generator)
        return _item(self.clips, clip, audio[None], np.ones(1), np.array([start]) / self.window.sample_rate, None)

    def _read(self, clip: int, samples: int, generator: np.random.Generator) -> tuple[int, np.ndarray, int]:
        """Start, chunk, and where in the clip the audio that was read ends."""
        start = crop(self.window, samples, generator)
        begin = max(0, start - self.window.lead)
        audio = self.clips.read(clip, begin, start - self.window.lead + self.window.samples - begin)
        return start, cut(audio, self.window, start, begin), begin + len(audio)


class ClipChunks(Dataset):
    """All chunks of one clip by a policy; None for a clip that cannot be read."""

    def __init__(self, clips: Clips, window: Window, policy: Callable) -> None:
        self.clips, self.window, self.policy = clips, window, policy

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, clip: int) -> Chunks | None:
        try:
            whole = self.clips.whole(clip)
            starts, weights = self.policy(self.window, len(whole))
            chunks = np.stack([cut(whole, self.window, int(start)) for start in starts])
            return _item(self.clips, clip, chunks, weights, starts / self.window.sample_rate, whole)
        except DataError as error:
            self.clips.report(clip, error)
            return None


def _item(clips: Clips, clip: int, audio: np.ndarray, weight: np.ndarray, start: np.ndarray, whole: np.ndarray | None) -> Chunks:
    return Chunks(audio, clips.labels[clip], clip, weight, clips.level(clip, whole), start, clips.name(clip))
