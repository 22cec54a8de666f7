"""The course of a recording in a few frames a second: enough to find key, way through the repeats and jumps by, not onsets."""

import numpy as np
import torch
from torch import Tensor

from models.alignment.costs import FeatureCosts
from models.alignment.dtw import STEPS, Path, dtw
from models.alignment.front import CQT

POOLED = 8
"""Frames of the constant-Q spectrum that make one of the outline."""
AROUND = 24
"""Bins, an octave, over whose mean a bin has to rise: what is left are partials, whatever the instrument."""


class Outline:
    """Sound -> its partials, about five times a second."""

    def __init__(self) -> None:
        self.front = CQT()
        self.frame_s = POOLED * self.front.frame_s
        self.per_semitone = 2

    @torch.no_grad()
    def __call__(self, audio: np.ndarray, cents: float = 0.0) -> np.ndarray:
        """Audio (samples,) at the front end's rate, tuned `cents` above 440 Hz -> (frames, bins) float32."""
        return outlined(self.front(torch.from_numpy(audio)[None], cents=cents)[0, 0])

    def shifted(self, outline: np.ndarray, semitones: int) -> np.ndarray:
        """The outline of the same sound, so many semitones lower; what leaves the range is lost."""
        bins, moved = self.per_semitone * semitones, np.zeros_like(outline)
        if bins >= 0:
            moved[:, : outline.shape[1] - bins] = outline[:, bins:]
        else:
            moved[:, -bins:] = outline[:, :bins]
        return moved


def outlined(features: Tensor) -> np.ndarray:
    """Log spectrum (bins, frames) -> what rises above its surroundings (frames / POOLED, bins), of length 1 a frame."""
    kernel = torch.ones(1, 1, AROUND + 1, device=features.device) / (AROUND + 1)
    columns = features.T[:, None]
    around = torch.nn.functional.conv1d(torch.nn.functional.pad(columns, (AROUND // 2, AROUND // 2), mode="replicate"), kernel)
    peaks = (columns - around).clamp(min=0)[:, 0]
    pooled = torch.nn.functional.avg_pool1d(peaks.T[None], min(POOLED, len(peaks)), ceil_mode=True)[0].T
    return torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()


def course(performance: np.ndarray, score: np.ndarray) -> tuple[Path, float]:
    """The best path of outlines (n, bins) and (m, bins), beginning and ending anywhere in the performance; mean cost a cell."""
    path = dtw(FeatureCosts(performance, score, "cosine"), STEPS["unit"], subsequence=True)
    return path, path.cost / len(path.rows)
