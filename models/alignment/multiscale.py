"""Multiscale DTW (Salvador and Chan 2007), coarse outlines and tuning of recordings.

Features of hours of audio -> warping path in linear memory: a coarse path, then exact DTW in a corridor around it.
"""

import numpy as np
import torch
from torch import Tensor

from models.alignment.costs import FeatureCosts, MetricName, checked
from models.alignment.dtw import STEPS, NoPath, Path, Steps, dtw, within
from models.alignment.front import CQT

EXACT = 1 << 24
"""Largest number of cells for exact DTW: 4096 x 4096."""


def multiscale(
    x: np.ndarray,
    y: np.ndarray,
    metric: MetricName = "euclidean",
    steps: Steps = STEPS["unit"],
    radius: int = 256,
    open_start: bool = False,
    open_end: bool = False,
    exact: int = EXACT,
) -> Path:
    """Warping path of performance x (n, d) and score y (m, d) in memory and time linear in n + m.

    Pairs of frames are averaged until n * m is at most `exact`, and aligned exactly; each finer level then searches within
    `radius` frames (rows and columns) around the path of the level above. Equals `dtw` if no averaging is needed or if the
    exact path stays in the corridor. With open ends, rows before and after the coarse path are cut off.

    Raises ValueError as `dtw` does.
    """
    y = checked(y, "score")
    x = checked(x, "performance", y.shape[1])
    ends = open_start, open_end
    if len(x) * len(y) <= max(exact, 16):
        return dtw(FeatureCosts(x, y, metric), steps, None, *ends)
    coarse = _coarse(x, y, metric, steps, radius, ends, exact)
    while True:
        first, lows, highs = corridor(coarse, len(x), len(y), radius, ends)
        try:
            path = within(FeatureCosts(x[first : first + len(lows)], y, metric), lows, highs, steps, *ends)
        except NoPath:
            if radius > len(x) + len(y):
                raise
            radius *= 4  # steps that bound the tempo may not fit through the corridor
            continue
        return Path(path.rows + np.int32(first), path.columns, path.cost, (len(x), len(y)))


def corridor(coarse: Path, n: int, m: int, radius: int, ends: tuple[bool, bool]) -> tuple[int, np.ndarray, np.ndarray]:
    """Corridor of (n, m) within `radius` rows or columns of a path through frames averaged in pairs.

    Returns the first row and, from it on, the columns lows[i] .. highs[i] - 1 (see `within`). It contains all rows of the
    performance unless an end is open.
    """
    rows, columns = 2 * coarse.rows.astype(np.int64), 2 * coarse.columns.astype(np.int64)
    first = max(0, rows[0] - radius) if ends[0] else 0
    last = min(n, rows[-1] + 2 + radius) if ends[1] else n
    frames = np.arange(first, last)
    # Columns of the path at its first cell at most `radius` rows earlier, and at its last at most `radius` rows later.
    begin = np.searchsorted(rows, frames - radius - 1).clip(max=len(rows) - 1)
    end = (np.searchsorted(rows, frames + radius, "right") - 1).clip(min=0)
    lows = (columns[begin] - radius).clip(0, m - 1)
    highs = (columns[end] + 2 + radius).clip(1, m)
    lows[0], highs[-1] = 0, m
    return int(first), lows, np.maximum(highs, lows + 1)


def _coarse(x, y, metric: MetricName, steps: Steps, radius: int, ends: tuple[bool, bool], exact: int) -> Path:
    halves = _halved(x), _halved(y)
    try:
        return multiscale(*halves, metric, steps, radius, *ends, exact)
    except NoPath:  # lengths at the limit of the steps may be beyond it when halved
        return multiscale(*halves, metric, STEPS["unit"], radius, *ends, exact)


def _halved(frames: np.ndarray) -> np.ndarray:
    """Frames (n, d) averaged in pairs, the last of an odd number alone: (ceil(n / 2), d) float32."""
    even = len(frames) // 2 * 2
    pairs = frames[:even].reshape(-1, 2, frames.shape[1]).mean(1, dtype=np.float32)
    return np.concatenate([pairs, frames[even:].astype(np.float32)])


# Outlines: about five frames per second, enough to find key, repeats and jumps

POOLED = 8
"""Constant-Q frames per frame of the outline."""
AROUND = 24
"""Bins (an octave) whose mean is subtracted from each bin, which leaves the partials of any instrument."""


class Outline:
    """Spectral outline: audio -> partials, about five frames per second."""

    def __init__(self) -> None:
        self.front = CQT()
        self.frame_s = POOLED * self.front.frame_s
        self.per_semitone = 2

    @torch.no_grad()
    def __call__(self, audio: np.ndarray, cents: float = 0.0) -> np.ndarray:
        """Audio (samples,) at the front end's rate, tuned `cents` above 440 Hz -> (frames, bins) float32."""
        return spectral_outline(self.front(torch.from_numpy(audio)[None], cents=cents)[0, 0])

    def shifted(self, outline: np.ndarray, semitones: int) -> np.ndarray:
        """Outline transposed down by `semitones`; bins that leave the range are dropped."""
        bins, moved = self.per_semitone * semitones, np.zeros_like(outline)
        if bins >= 0:
            moved[:, : outline.shape[1] - bins] = outline[:, bins:]
        else:
            moved[:, -bins:] = outline[:, :bins]
        return moved


def spectral_outline(features: Tensor) -> np.ndarray:
    """Log spectrum (bins, frames) -> spectral peaks (frames / POOLED, bins), each frame of norm 1."""
    kernel = torch.ones(1, 1, AROUND + 1, device=features.device) / (AROUND + 1)
    columns = features.T[:, None]
    around = torch.nn.functional.conv1d(torch.nn.functional.pad(columns, (AROUND // 2, AROUND // 2), mode="replicate"), kernel)
    peaks = (columns - around).clamp(min=0)[:, 0]
    pooled = torch.nn.functional.avg_pool1d(peaks.T[None], min(POOLED, len(peaks)), ceil_mode=True)[0].T
    return torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()


def subsequence_path(performance: np.ndarray, score: np.ndarray) -> tuple[Path, float]:
    """Subsequence DTW path of outlines (n, bins) and (m, bins), and its mean cost per cell."""
    path = dtw(FeatureCosts(performance, score, "cosine"), STEPS["unit"], subsequence=True)
    return path, path.cost / len(path.rows)


# Tuning

TUNING_S = 60.0


def tuning_cents(audio: np.ndarray, rate: int) -> float:
    """Tuning of audio (samples,) in cents above 440 Hz, -50 to 50, from the spectral peaks of its loudest minute (librosa)."""
    import librosa

    if not len(audio):
        raise ValueError("cannot estimate the tuning of an empty recording")
    part = _loudest(audio, min(len(audio), int(TUNING_S * rate)))
    pitches, magnitudes = librosa.piptrack(y=part, sr=rate, n_fft=4096, fmin=100.0, fmax=2500.0)
    audible = magnitudes > 0
    if not audible.any():
        return 0.0
    strong = audible & (magnitudes >= np.median(magnitudes[audible]))
    return 100.0 * float(librosa.pitch_tuning(pitches[strong], resolution=0.02))


def _loudest(audio: np.ndarray, samples: int) -> np.ndarray:
    """Excerpt of `samples` with the most energy, in steps of a quarter of its length."""
    starts = range(0, len(audio) - samples + 1, max(1, samples // 4))
    return max((audio[start : start + samples] for start in starts), key=lambda part: float(np.square(part).sum()))
