"""Dynamic time warping of hours: a coarse path first, then the same kernel in a corridor round it (Salvador and Chan 2007)."""

import numpy as np
import torch
from torch import Tensor

from models.alignment.costs import FeatureCosts, MetricName, checked
from models.alignment.dtw import STEPS, NoPath, Path, Steps, dtw, within
from models.alignment.front import CQT

EXACT = 1 << 24
"""Cells up to which the exact path is computed: 4096 x 4096."""


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
    """A path through the distances of x (n, d), performance, and y (m, d), score, in memory and time linear in n + m.

    Pairs of frames are averaged until n * m is at most `exact`, and that is aligned exactly; then each level searches within
    `radius` of its frames, rows and columns, around the path of the level above. Equals `dtw` where no averaging was needed,
    and where its path stays in the corridor. Rows are cut off before and after the coarse path if ends are open.

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
    """The frames of (n, m) within `radius` rows or columns of a path through frames averaged in pairs.

    Returns the first row and, for rows from there on, the columns lows[i] .. highs[i] - 1 (`within`). All rows of the
    performance are in it unless that end is open.
    """
    rows, columns = 2 * coarse.rows.astype(np.int64), 2 * coarse.columns.astype(np.int64)
    first = max(0, rows[0] - radius) if ends[0] else 0
    last = min(n, rows[-1] + 2 + radius) if ends[1] else n
    frames = np.arange(first, last)
    # The path's columns at the first cell that is not more than radius rows before, and at the last not more than that after.
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
    """Frames (n, d) averaged in pairs, the last by itself if there is an odd one: (ceil(n / 2), d) float32."""
    even = len(frames) // 2 * 2
    pairs = frames[:even].reshape(-1, 2, frames.shape[1]).mean(1, dtype=np.float32)
    return np.concatenate([pairs, frames[even:].astype(np.float32)])


# The course of a recording in a few frames a second: enough to find key, way through the repeats and jumps by, not onsets.

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


# How far a recording is tuned from 440 Hz.

LISTENED_S = 60.0


def tuning_cents(audio: np.ndarray, rate: int) -> float:
    """Cents above 440 Hz, -50 to 50, of audio (samples,): by the peaks of its loudest minute's spectrum, by librosa."""
    import librosa

    if not len(audio):
        raise ValueError("the tuning of an empty recording was asked for")
    part = _loudest(audio, min(len(audio), int(LISTENED_S * rate)))
    pitches, magnitudes = librosa.piptrack(y=part, sr=rate, n_fft=4096, fmin=100.0, fmax=2500.0)
    heard = magnitudes > 0
    if not heard.any():
        return 0.0
    strong = heard & (magnitudes >= np.median(magnitudes[heard]))
    return 100.0 * float(librosa.pitch_tuning(pitches[strong], resolution=0.02))


def _loudest(audio: np.ndarray, samples: int) -> np.ndarray:
    """The stretch of so many samples that holds most energy, by quarters of its length."""
    starts = range(0, len(audio) - samples + 1, max(1, samples // 4))
    return max((audio[start : start + samples] for start in starts), key=lambda part: float(np.square(part).sum()))
