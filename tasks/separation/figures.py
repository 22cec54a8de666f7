"""Figures of separation: spectrograms of mixture and stems, of targets and estimates, and scores per track."""

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
SPREAD = 0.28  # horizontal jitter of the tracks of a source
LIMIT = 1200  # maximum columns of a spectrogram, about its width in pixels
BANDS = 128
FRAME_S = 0.09
MIN_POWER = 1e-12


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
    """Spectrograms of a mixture and its stems on one colour scale.

    Args:
        levels: (signals, bands, columns) dB, the mixture first
        names: names of the signals
        mel_hertz: (bands,) centre frequency of each band, Hz
        hop_s: time between columns, s
        title: file
        start_s: time of the first column, s
        end_s: end of the file, s, if before the end of the last column

    Raises:
        ValueError: the number of names or frequencies does not match the levels.
    """
    levels = _checked(levels, names, mel_hertz)
    figure = style.figure(FRAME + ROW * len(levels), title)
    grid = figure.subplots(len(levels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name, values in zip(grid, names, levels, strict=True):
        image = _draw(axes, values, levels.max(), mel_hertz, hop_s, start_s)
        style.dress(axes, "time (s)" if axes is grid[-1] else None, "Hz")
        _name(axes, name)
    if end_s is not None:
        grid[0].set_xlim(start_s, end_s)
    _shared_bar(figure, image, list(grid))
    return figure


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
    """Spectrograms of target stems (left) and estimates (right) on one colour scale.

    Args:
        targets: (sources, bands, columns) dB
        estimates: (sources, bands, columns) dB
        names: names of the sources
        mel_hertz: (bands,) centre frequency of each band, Hz
        hop_s: time between columns, s
        title: track
        start_s: time of the first column, s
        scores: SDR of each source in dB, written beside its name

    Raises:
        ValueError: shapes differ, or names or frequencies do not match them.
    """
    targets, estimates = _checked(targets, names, mel_hertz), _checked(estimates, names, mel_hertz)
    if targets.shape != estimates.shape:
        raise ValueError(f"targets are {targets.shape}, estimates {estimates.shape}")
    figure = style.figure(FRAME + ROW * len(targets), title)
    grid = figure.subplots(len(targets), 2, sharex=True, sharey=True, squeeze=False)
    peak = max(targets.max(), estimates.max())
    for i, name in enumerate(names):
        score = "" if scores is None else f", SDR {scores[i]:.1f} dB"
        for axes, values, kind in zip(grid[i], (targets[i], estimates[i]), ("target", f"estimate{score}"), strict=True):
            image = _draw(axes, values, peak, mel_hertz, hop_s, start_s)
            style.dress(axes, "time (s)" if i == len(names) - 1 else None, "Hz" if axes is grid[i, 0] else None)
            axes.tick_params(labelleft=axes is grid[i, 0])
            _name(axes, f"{name}: {kind}")
    _shared_bar(figure, image, list(grid.ravel()))
    return figure


def score_boxes(
    scores: Mapping[str, ArrayLike], *, title: str, label: str = "SDR (dB)", marks: Mapping[str, float] | None = None
) -> "Figure":
    """Scores per track and source as points, with median and quartiles.

    Args:
        scores: source -> (tracks,) dB; NaN for tracks without a score
        title: data set, split, policy
        label: label of the axis
        marks: source -> reference value, such as that of the paper
    """
    figure = style.figure(430, title)
    axes = figure.subplots()
    random = np.random.default_rng(0)
    counts = []
    for x, (name, colour) in enumerate(zip(scores, style.colours(len(scores)), strict=True)):
        values = np.asarray(scores[name], dtype=np.float64)
        values = values[np.isfinite(values)]
        counts.append(len(values))
        _box(axes, x, values, random, colour)
        if marks and name in marks:
            axes.hlines(marks[name], x - 0.36, x + 0.27, color=style.INK, linewidth=1.5, linestyle="--")
    axes.axhline(0.0, color=style.FAINT, linewidth=1.5, zorder=0)
    ticks = [f"{style.shorten(name, 20)} ({count})" for name, count in zip(scores, counts, strict=True)]
    axes.set_xticks(range(len(scores)), ticks, parse_math=False)
    axes.set_xlim(-0.5, len(scores) - 0.4)
    style.grid(axes, "y")
    style.dress(axes, "source (tracks); box: quartiles, line: median" + ("; dashed: paper" if marks else ""), label)
    return figure


def _box(axes: "Axes", x: float, values: np.ndarray, random: np.random.Generator, colour: str) -> None:
    """Points of tracks, box of quartiles, line and number of the median."""
    if not len(values):
        style.text(axes, x, 0, "no track scored", ha="center", va="bottom")
        return
    axes.plot(x + SPREAD * (random.random(len(values)) - 0.5), values, "o", color=colour, alpha=0.55, markersize=6)
    low, middle, high = np.percentile(values, [25, 50, 75])
    axes.bar(x, high - low, 0.5, low, facecolor="none", edgecolor=colour, linewidth=1.6)
    axes.hlines(middle, x - 0.25, x + 0.25, color=colour, linewidth=3)
    style.text(axes, x + 0.29, middle, f"{middle:.2f}", va="center", fontsize=style.LABEL)


def _checked(levels: ArrayLike, names: Sequence[str], mel_hertz: ArrayLike) -> np.ndarray:
    levels = np.asarray(levels, dtype=np.float64)
    if levels.ndim != 3 or levels.shape[:2] != (len(names), len(np.asarray(mel_hertz))):
        raise ValueError(f"levels must be ({len(names)} names, {len(np.asarray(mel_hertz))} bands, columns), got {levels.shape}")
    return levels


def _draw(axes: "Axes", values: np.ndarray, peak: float, mel_hertz: ArrayLike, hop_s: float, start_s: float) -> Any:
    """Spectrogram relative to a common peak in dB."""
    image = style.spectrogram(axes, values, mel_hertz, hop_s, start_s, peak)
    axes.set_xlim(start_s, start_s + values.shape[1] * hop_s)
    return image


def _name(axes: "Axes", name: str) -> None:
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 2.5}
    style.text(axes, 0.008, 0.94, name, transform=axes.transAxes, va="top", fontsize=style.LABEL, bbox=box)


def _shared_bar(figure: "Figure", image: Any, axes: list["Axes"]) -> None:
    style.colour_bar(figure, image, "dB below the loudest", ax=axes, fraction=0.02, pad=0.01, aspect=40)


class PooledSpectrograms:
    """Mel power spectrograms of a stream of signals, pooled over time to at most `LIMIT` columns.

    `hertz` (bands,) are the centre frequencies of the bands.

    Args:
        sample_rate: Hz
        signals: number of signals
    """

    def __init__(self, sample_rate: int, signals: int) -> None:
        self.n_fft = 2 ** max(4, round(np.log2(FRAME_S * sample_rate)))
        self.hop, self.sample_rate = self.n_fft // 2, sample_rate
        mels = torchaudio.functional.melscale_fbanks
        # Fewer bands at low sample rates, so that each contains a bin.
        bands = min(BANDS, self.n_fft // 16)
        self.filters = mels(self.n_fft // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate, norm="slaney")  # (bins, bands)
        top = 2595 * np.log10(1 + sample_rate / 1400)
        self.hertz = 700 * (10 ** (np.linspace(0, top, bands + 2)[1:-1] / 2595) - 1)
        self.window = torch.hann_window(self.n_fft)
        self.sums = torch.zeros(signals, bands, LIMIT)
        self.pooled, self.frames = 1, 0  # frames per column, frames so far
        self.remainder: Tensor | None = None  # samples of the next frame

    def push(self, audio: Tensor) -> None:
        """Add audio (signals, channels, n)."""
        audio = audio if self.remainder is None else torch.cat([self.remainder, audio], dim=-1)
        frames = max((audio.shape[-1] - self.n_fft) // self.hop + 1, 0)
        self.remainder = audio[..., frames * self.hop :].clone()
        for first in range(0, frames, LIMIT):
            count = min(LIMIT, frames - first)
            part = audio[..., first * self.hop : (first + count - 1) * self.hop + self.n_fft]
            self._add(torch.stack([self._bands(signal) for signal in part]))

    def close(self) -> tuple[np.ndarray, float]:
        """Levels (signals, bands, columns) in dB, at least one column, and time between columns in s."""
        if not self.frames and self.remainder is not None:
            self._add(self._bands(torch.nn.functional.pad(self.remainder, (0, self.n_fft - self.remainder.shape[-1]))))
        columns = max(-(-self.frames // self.pooled), 1)
        count = torch.full((columns,), float(self.pooled))
        count[-1] = self.frames - (columns - 1) * self.pooled or 1
        power = self.sums[..., :columns] / count
        return (10 * torch.log10(power.clamp(min=MIN_POWER))).numpy(), self.pooled * self.hop / self.sample_rate

    def _bands(self, audio: Tensor) -> Tensor:
        """Audio (..., channels, samples) -> power (..., bands, frames), mean over channels."""
        frames = audio.unfold(-1, self.n_fft, self.hop) * self.window
        return (torch.fft.rfft(frames).abs().square().mean(dim=-3) @ self.filters).mT

    def _add(self, power: Tensor) -> None:
        while power.shape[-1]:
            if self.frames == LIMIT * self.pooled:
                merged = self.sums.unflatten(-1, (-1, 2)).sum(dim=-1)
                self.sums = torch.cat([merged, torch.zeros_like(merged)], dim=-1)
                self.pooled *= 2
            count = min(power.shape[-1], LIMIT * self.pooled - self.frames)
            column = (self.frames + torch.arange(count)) // self.pooled
            self.sums.index_add_(2, column, power[..., :count])
            self.frames, power = self.frames + count, power[..., count:]


def levels(audio: Tensor, sample_rate: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Audio (signals, channels, n) -> levels (signals, bands, columns) in dB, band centres in Hz, time between columns in s."""
    columns = PooledSpectrograms(sample_rate, len(audio))
    columns.push(audio.detach().float().cpu())
    return columns.close()[0], columns.hertz, columns.close()[1]
