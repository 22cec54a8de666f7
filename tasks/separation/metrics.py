"""Metrics of source separation: scores per track -> cSDR, ISR, SIR, SAR and uSDR, exact on any number of ranks."""

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.metrics.bss import median_over_tracks
from tasks.metrics.bss.frames import nanmedian
from tasks.metrics.rows import RowMetric

METRICS = ("sdr", "isr", "sir", "sar")


class TrackScores(NamedTuple):
    """Scores of tracks, sorted by track, identical on every rank."""

    track: NDArray[np.int64]  # (tracks,) position in the split
    medians: NDArray[np.float64]  # (tracks, sources, 4): SDR, ISR, SIR, SAR in dB, medians over frames
    usdr: NDArray[np.float64]  # (tracks, sources), dB


class SeparationScores(RowMetric):
    """cSDR (median over tracks of the median over frames) and uSDR (mean over tracks) of every source.

    A track seen by several ranks counts once. `compute` and `scores` gather: call them on every rank.

    Args:
        sources: names of the sources, in order
    """

    columns: ClassVar = {"track": torch.int64, "medians": torch.float64, "usdr": torch.float64}
    track: list[Tensor]
    medians: list[Tensor]
    usdr: list[Tensor]

    def __init__(self, sources: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sources = list(sources)

    def update(self, track: int, medians: NDArray[np.floating], usdr: NDArray[np.floating]) -> None:
        """Add a whole track.

        Args:
            track: position in its split
            medians: (sources, 4) SDR, ISR, SIR, SAR in dB (`WindowScores.medians`); NaN if not scored
            usdr: (sources,) dB

        Raises:
            ValueError: arrays of other shapes.
        """
        medians, usdr = np.asarray(medians, dtype=np.float64), np.asarray(usdr, dtype=np.float64)
        if medians.shape != (len(self.sources), 4) or usdr.shape != (len(self.sources),):
            raise ValueError(f"expected ({len(self.sources)}, 4) and ({len(self.sources)},), got {medians.shape}, {usdr.shape}")
        self.add(track=[track], medians=medians, usdr=usdr)

    def compute(self) -> dict[str, float]:
        """Scores in dB over all tracks: sdr_<source> (cSDR), usdr_<source>, and their means over sources sdr and usdr.

        isr_, sir_ and sar_ likewise if computed; n_tracks is the number of tracks. Tracks without a score of a source
        (silent) are left out of its averages; `n_unscored` is the number of such pairs, if any.
        """
        return summary(self._rows(), self.sources)

    def scores(self) -> TrackScores:
        """Track scores gathered from all ranks."""
        return self.gathered(self._rows)

    def _rows(self) -> TrackScores:
        ids, first = np.unique(self.held("track").astype(np.int64), return_index=True)
        count = len(self.held("track")), len(self.sources)
        medians, usdr = self.held("medians").reshape(*count, 4), self.held("usdr").reshape(*count)
        return TrackScores(ids, medians[first].astype(np.float64), usdr[first].astype(np.float64))


class FrameSDR(RowMetric):
    """Windowed SDR of pieces of tracks on the device, for validation: median over windows, then over tracks.

    As in museval a window counts for all sources or none, here by the references only, so that a network cannot raise its
    score by silence: a silent estimate has 0 dB.

    Args:
        n_sources: number of sources
        sample_rate: Hz
        window: length of a window, s; windows are consecutive from the start of a piece, the remainder is dropped
    """

    columns: ClassVar = {"track": torch.int64, "frame": torch.int64, "values": torch.float64}
    track: list[Tensor]
    frame: list[Tensor]
    values: list[Tensor]

    def __init__(self, n_sources: int, sample_rate: int, window: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_sources, self.window, self.sample_rate = n_sources, int(window * sample_rate), sample_rate

    def update(self, estimate: Tensor, target: Tensor, names: Sequence[str], start: Tensor | None = None) -> None:
        """Add pieces.

        Args:
            estimate: (batch, sources, channels, samples)
            target: same shape
            names: track of each piece
            start: (batch,) start of each piece in its track, s; with it, pieces seen by several ranks count once
        """
        window = min(self.window, target.shape[-1])
        count = target.shape[-1] // window
        target, estimate = (x[..., : count * window].detach().float().unflatten(-1, (count, window)) for x in (target, estimate))
        energy, error = (x.square().sum(dim=(2, 4), dtype=self.kind("values")) for x in (target, estimate - target))
        sdr = 10 * torch.log10(energy / error)  # (batch, sources, frames)
        audible = (target.sum(2) != 0).any(-1).all(1, keepdim=True)
        sdr = torch.where(audible, sdr, torch.nan)
        first = torch.zeros(len(target)) if start is None else start.cpu().double() * self.sample_rate
        frame = first.round().long()[:, None] + torch.arange(count) * window
        frame = frame if start is not None else torch.full_like(frame, -1)  # every window is unique
        track = torch.tensor([_number(name) for name in names])[:, None].expand(-1, count)
        self.add(track=track, frame=frame, values=sdr.transpose(1, 2))

    def compute(self, sources: Sequence[str] | None = None) -> dict[str, float]:
        """SDR in dB: sdr_<source> (sdr_0, ... without names) and their mean sdr; NaN without scored windows."""
        track, frame = self.held("track").astype(np.int64), self.held("frame").astype(np.int64)
        values = self.held("values").astype(np.float64).reshape(len(track), self.n_sources)
        key = np.stack([track, np.where(frame < 0, -1 - np.arange(len(frame)), frame)])
        _, once = np.unique(key, axis=1, return_index=True)
        values, track = values[once], track[once]
        tracks = [nanmedian(values[track == index], axis=0) for index in np.unique(track)]
        medians = median_over_tracks(np.reshape(tracks, (-1, self.n_sources)))
        names = sources or range(self.n_sources)
        scores = {f"sdr_{name}": float(median) for name, median in zip(names, medians, strict=True)}
        return {**scores, "sdr": float(medians.mean())}


def summary(rows: TrackScores, sources: Sequence[str]) -> dict[str, float]:
    """Scores of `SeparationScores.compute` from rows."""
    medians = median_over_tracks(rows.medians)  # (sources, 4)
    scored = np.isfinite(rows.usdr)
    means = np.where(scored, rows.usdr, 0).sum(0) / np.maximum(scored.sum(0), 1)
    means[~scored.any(0)] = np.nan
    scores: dict[str, float] = {}
    for name, column in [*zip(METRICS, medians.T, strict=True), ("usdr", means)]:
        if name not in ("isr", "sir", "sar") or np.isfinite(column).any():
            scores |= {f"{name}_{source}": float(value) for source, value in zip(sources, column, strict=True)}
            scores[name] = float(column.mean())
    scores["n_tracks"] = len(rows.track)
    unscored = int(np.isnan(rows.medians[..., 0]).sum())
    return {**scores, "n_unscored": unscored} if unscored else scores


def _number(name: str) -> int:
    """Hash of a track's name as int64, identical on every rank."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
