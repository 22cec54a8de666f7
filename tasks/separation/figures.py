"""Pictures of separation: mixture and stems side by side, targets against estimates, and scores per track."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torchaudio
from numpy.typing import ArrayLike
from torch import Tensor

from tasks.reporting import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ROW = 165  # px, height of one spectrogram
FRAME = 110  # px, for title and axis
TRACK = 20  # px, height of one track's line
SPREAD = 0.28  # width over which the tracks of a source are spread


def stem_grid(
    levels: ArrayLike,
    *,
    names: Sequence[str],
    mel_hertz: ArrayLike,
    hop_s: float,
    title: str,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> "Figure":
    """Spectrograms of a mixture and its stems under one another, all on one colour scale.

    Args:
        levels: (signals, bands, columns) dB, the mixture first
        names: of the signals
        mel_hertz: (bands,) centre frequency of each band, Hz
        hop_s: time from column to column, s
        title: the file
        start_s: time of the first column, s
        end_s: where the file ends, s, where its last column is cut short

    Raises:
        ValueError: not as many names as signals, or as many frequencies as bands.
    """
    levels = _checked(levels, names, mel_hertz)
    made = style.figure(FRAME + ROW * len(levels), title)
    grid = made.subplots(len(levels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name, values in zip(grid, names, levels, strict=True):
        image = _draw(axes, values, levels.max(), mel_hertz, hop_s, start_s)
        style.dress(axes, "time (s)" if axes is grid[-1] else None, "Hz")
        _name(axes, name)
    if end_s is not None:
        grid[0].set_xlim(start_s, end_s)
    _shared_bar(made, image, list(grid))
    return made


def estimate_grid(
    targets: ArrayLike,
    estimates: ArrayLike,
    *,
    names: Sequence[str],
    mel_hertz: ArrayLike,
    hop_s: float,
    title: str,
    start_s: float = 0.0,
    scores: Sequence[float] | None = None,
) -> "Figure":
    """True stems at the left, the network's at the right, all on one colour scale.

    Args:
        targets: (sources, bands, columns) dB
        estimates: as `targets`
        names: of the sources
        mel_hertz: (bands,) centre frequency of each band, Hz
        hop_s: time from column to column, s
        title: the track
        start_s: time of the first column, s
        scores: SDR of each source in dB, written beside its name

    Raises:
        ValueError: two shapes, or names and frequencies that do not fit them.
    """
    targets, estimates = _checked(targets, names, mel_hertz), _checked(estimates, names, mel_hertz)
    if targets.shape != estimates.shape:
        raise ValueError(f"targets are {targets.shape}, estimates {estimates.shape}")
    made = style.figure(FRAME + ROW * len(targets), title)
    grid = made.subplots(len(targets), 2, sharex=True, sharey=True, squeeze=False)
    peak = max(targets.max(), estimates.max())
    for i, name in enumerate(names):
        score = "" if scores is None else f", SDR {scores[i]:.1f} dB"
        for axes, values, kind in zip(grid[i], (targets[i], estimates[i]), ("target", f"estimate{score}"), strict=True):
            image = _draw(axes, values, peak, mel_hertz, hop_s, start_s)
            style.dress(axes, "time (s)" if i == len(names) - 1 else None, "Hz" if axes is grid[i, 0] else None)
            axes.tick_params(labelleft=axes is grid[i, 0])
            _name(axes, f"{name}: {kind}")
    _shared_bar(made, image, list(grid.ravel()))
    return made


def score_boxes(
    scores: Mapping[str, ArrayLike], *, title: str, label: str = "SDR (dB)", marks: Mapping[str, float] | None = None
) -> "Figure":
    """A point per track and source, with median, quartiles and the median in words.

    Args:
        scores: source -> (tracks,) dB; NaN where a track could not be scored
        title: data set, split, how it was scored
        label: of the axis
        marks: source -> a value to compare with, such as the paper's
    """
    made = style.figure(430, title)
    axes = made.subplots()
    random = np.random.default_rng(0)
    counts = []
    for place, (name, colour) in enumerate(zip(scores, style.colours(len(scores)), strict=True)):
        values = np.asarray(scores[name], dtype=np.float64)
        values = values[np.isfinite(values)]
        counts.append(len(values))
        _box(axes, place, values, random, colour)
        if marks and name in marks:
            axes.hlines(marks[name], place - 0.36, place + 0.27, color=style.INK, linewidth=1.5, linestyle="--")
    axes.axhline(0.0, color=style.FAINT, linewidth=1.5, zorder=0)
    ticks = [f"{style.shorten(name, 20)} ({count})" for name, count in zip(scores, counts, strict=True)]
    axes.set_xticks(range(len(scores)), ticks, parse_math=False)
    axes.set_xlim(-0.5, len(scores) - 0.4)
    style.grid(axes, "y")
    style.dress(axes, "source (tracks); box: quartiles, line: median" + ("; dashed: paper" if marks else ""), label)
    return made


def _box(axes: "Axes", place: float, values: np.ndarray, random: np.random.Generator, colour: str) -> None:
    """A point per track, their quartiles as a box, their median as a line and in words."""
    if not len(values):
        style.text(axes, place, 0, "no track could be scored", ha="center", va="bottom")
        return
    axes.plot(place + SPREAD * (random.random(len(values)) - 0.5), values, "o", color=colour, alpha=0.55, markersize=6)
    low, middle, high = np.percentile(values, [25, 50, 75])
    axes.bar(place, high - low, 0.5, low, facecolor="none", edgecolor=colour, linewidth=1.6)
    axes.hlines(middle, place - 0.25, place + 0.25, color=colour, linewidth=3)
    style.text(axes, place + 0.29, middle, f"{middle:.2f}", va="center", fontsize=style.LABEL)


def _checked(levels: ArrayLike, names: Sequence[str], mel_hertz: ArrayLike) -> np.ndarray:
    levels = np.asarray(levels, dtype=np.float64)
    if levels.ndim != 3 or levels.shape[:2] != (len(names), len(np.asarray(mel_hertz))):
        raise ValueError(f"levels must be ({len(names)} names, {len(np.asarray(mel_hertz))} bands, columns), got {levels.shape}")
    return levels


def _draw(axes: "Axes", values: np.ndarray, peak: float, mel_hertz: ArrayLike, hop_s: float, start_s: float) -> Any:
    """One spectrogram against the loudest of all."""
    image = style.spectrogram(axes, values, mel_hertz, hop_s, start_s, peak)
    axes.set_xlim(start_s, start_s + values.shape[1] * hop_s)
    return image


def _name(axes: "Axes", name: str) -> None:
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 2.5}
    style.text(axes, 0.008, 0.94, name, transform=axes.transAxes, va="top", fontsize=style.LABEL, bbox=box)


def _shared_bar(made: "Figure", image: Any, axes: list["Axes"]) -> None:
    style.colour_bar(made, image, "dB below the loudest", ax=axes, fraction=0.02, pad=0.01, aspect=40)


# Spectrograms of a stream, of as many columns as a picture can show, whatever its length.

LIMIT = 1200
"""Most columns: pixels of a picture's width."""

BANDS = 128
FRAME_S = 0.09
LOWEST = 1e-12


class PooledSpectrograms:
    """Mel power spectrograms of several signals, pooled over time so that there are never more than `LIMIT` columns.

    rate: Hz. signals: how many. `hertz` (bands,): centre frequency of each band.
    """

    def __init__(self, rate: int, signals: int) -> None:
        self.n_fft = 2 ** max(4, round(np.log2(FRAME_S * rate)))
        self.hop, self.rate = self.n_fft // 2, rate
        mels = torchaudio.functional.melscale_fbanks
        # Fewer bands at low rates: each should hold a bin.
        bands = min(BANDS, self.n_fft // 16)
        self.filters = mels(self.n_fft // 2 + 1, 0.0, rate / 2, bands, rate, norm="slaney")  # (bins, bands)
        top = 2595 * np.log10(1 + rate / 1400)
        self.hertz = 700 * (10 ** (np.linspace(0, top, bands + 2)[1:-1] / 2595) - 1)
        self.window = torch.hann_window(self.n_fft)
        self.sums = torch.zeros(signals, bands, LIMIT)
        self.pooled, self.seen = 1, 0  # frames in a column, frames so far
        self.kept: Tensor | None = None

    def push(self, audio: Tensor) -> None:
        """Add samples (signals, channels, n)."""
        audio = audio if self.kept is None else torch.cat([self.kept, audio], dim=-1)
        frames = max((audio.shape[-1] - self.n_fft) // self.hop + 1, 0)
        self.kept = audio[..., frames * self.hop :].clone()
        for first in range(0, frames, LIMIT):
            count = min(LIMIT, frames - first)
            part = audio[..., first * self.hop : (first + count - 1) * self.hop + self.n_fft]
            self._add(torch.stack([self._bands(signal) for signal in part]))

    def close(self) -> tuple[np.ndarray, float]:
        """Levels (signals, bands, columns) in dB and the time from column to column, s; a column at least."""
        if not self.seen and self.kept is not None:
            self._add(self._bands(torch.nn.functional.pad(self.kept, (0, self.n_fft - self.kept.shape[-1]))))
        columns = max(-(-self.seen // self.pooled), 1)
        count = torch.full((columns,), float(self.pooled))
        count[-1] = self.seen - (columns - 1) * self.pooled or 1
        power = self.sums[..., :columns] / count
        return (10 * torch.log10(power.clamp(min=LOWEST))).numpy(), self.pooled * self.hop / self.rate

    def _bands(self, audio: Tensor) -> Tensor:
        """Power (..., bands, frames) of audio (..., channels, samples), the mean over channels."""
        frames = audio.unfold(-1, self.n_fft, self.hop) * self.window
        return (torch.fft.rfft(frames).abs().square().mean(dim=-3) @ self.filters).mT

    def _add(self, power: Tensor) -> None:
        while power.shape[-1]:
            if self.seen == LIMIT * self.pooled:
                merged = self.sums.unflatten(-1, (-1, 2)).sum(dim=-1)
                self.sums = torch.cat([merged, torch.zeros_like(merged)], dim=-1)
                self.pooled *= 2
            count = min(power.shape[-1], LIMIT * self.pooled - self.seen)
            place = (self.seen + torch.arange(count)) // self.pooled
            self.sums.index_add_(2, place, power[..., :count])
            self.seen, power = self.seen + count, power[..., count:]


def levels(audio: Tensor, rate: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Levels (signals, bands, columns) in dB, band centres in Hz and column step in s of audio (signals, channels, n)."""
    columns = PooledSpectrograms(rate, len(audio))
    columns.push(audio.detach().float().cpu())
    return columns.close()[0], columns.hertz, columns.close()[1]
