"""Scores of a separator per track, exact and the same for any number of processes."""

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
    """One row per track, sorted by track, on every rank the same."""

    track: NDArray[np.int64]  # (tracks,) position in the split
    medians: NDArray[np.float64]  # (tracks, sources, 4): SDR, ISR, SIR, SAR in dB, medians over frames
    usdr: NDArray[np.float64]  # (tracks, sources), dB


class SeparationScores(RowMetric):
    """cSDR (median over tracks of the median over frames) and uSDR (mean over tracks) of every source.

    A track that several ranks saw counts once. `compute` and `scores` gather: call them on every rank.

    Args:
        sources: names of the stems, in order
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
            medians: (sources, 4) of SDR, ISR, SIR, SAR (`Frames.medians`); NaN for what was not or cannot be scored
            usdr: (sources,)

        Raises:
            ValueError: arrays of other shapes.
        """
        medians, usdr = np.asarray(medians, dtype=np.float64), np.asarray(usdr, dtype=np.float64)
        if medians.shape != (len(self.sources), 4) or usdr.shape != (len(self.sources),):
            raise ValueError(f"expected ({len(self.sources)}, 4) and ({len(self.sources)},), got {medians.shape}, {usdr.shape}")
        self.add(track=[track], medians=medians, usdr=usdr)

    def compute(self) -> dict[str, float]:
        """Scores in dB over all tracks: sdr_<source> (that is cSDR), usdr_<source>, their means over sources sdr and usdr.

        isr_, sir_ and sar_ likewise where they were computed; n_tracks counts the tracks. A track in which a source
        cannot be scored (silent) is left out of that source's averages; `n_unscored` counts such pairs if there are any.
        """
        return summary(self._rows(), self.sources)

    def scores(self) -> TrackScores:
        """Rows of all tracks seen, gathered from all ranks."""
        return self.gathered(self._rows)

    def _rows(self) -> TrackScores:
        ids, first = np.unique(self.held("track").astype(np.int64), return_index=True)
        count = len(self.held("track")), len(self.sources)
        medians, usdr = self.held("medians").reshape(*count, 4), self.held("usdr").reshape(*count)
        return TrackScores(ids, medians[first].astype(np.float64), usdr[first].astype(np.float64))


class FrameSDR(RowMetric):
    """Windowed SDR of pieces of tracks, on the device: median over each track's windows, then over tracks.

    For validation in training. As in museval a window counts for all sources or none, by the references alone: were
    a silent estimate to take its window away, a network could raise its score by silence. Such an estimate has 0 dB.

    Args:
        n_sources: of the estimates
        rate: samples per second
        window: s; windows follow each other from the start of a piece, the remainder is dropped
    """

    columns: ClassVar = {"track": torch.int64, "frame": torch.int64, "values": torch.float64}
    track: list[Tensor]
    frame: list[Tensor]
    values: list[Tensor]

    def __init__(self, n_sources: int, rate: int, window: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_sources, self.window, self.rate = n_sources, int(window * rate), rate

    def update(self, estimate: Tensor, target: Tensor, names: Sequence[str], start: Tensor | None = None) -> None:
        """Add pieces.

        Args:
            estimate: (batch, sources, channels, samples)
            target: same shape
            names: of the tracks that the pieces belong to
            start: (batch,) s, where in its track a piece begins; with it, pieces that several ranks saw count once
        """
        window = min(self.window, target.shape[-1])
        count = target.shape[-1] // window
        target, estimate = (x[..., : count * window].detach().float().unflatten(-1, (count, window)) for x in (target, estimate))
        energy, error = (x.square().sum(dim=(2, 4), dtype=self.kind("values")) for x in (target, estimate - target))
        sdr = 10 * torch.log10(energy / error)  # (batch, sources, frames)
        heard = (target.sum(2) != 0).any(-1).all(1, keepdim=True)
        sdr = torch.where(heard, sdr, torch.nan)
        first = torch.zeros(len(target)) if start is None else start.cpu().double() * self.rate
        frame = first.round().long()[:, None] + torch.arange(count) * window
        frame = frame if start is not None else torch.full_like(frame, -1)  # every window is one of its own
        track = torch.tensor([_number(name) for name in names])[:, None].expand(-1, count)
        self.add(track=track, frame=frame, values=sdr.transpose(1, 2))

    def compute(self, sources: Sequence[str] | None = None) -> dict[str, float]:
        """SDR in dB: sdr_<source> (sdr_0, ... without names) and their mean sdr; NaN without a window to score."""
        track, frame = self.held("track").astype(np.int64), self.held("frame").astype(np.int64)
        values = self.held("values").astype(np.float64).reshape(len(track), self.n_sources)
        key = np.stack([track, np.where(frame < 0, -1 - np.arange(len(frame)), frame)])
        _, once = np.unique(key, axis=1, return_index=True)
        values, track = values[once], track[once]
        tracks = [nanmedian(values[track == one], axis=0) for one in np.unique(track)]
        medians = median_over_tracks(np.reshape(tracks, (-1, self.n_sources)))
        names = sources or range(self.n_sources)
        scores = {f"sdr_{name}": float(median) for name, median in zip(names, medians, strict=True)}
        return {**scores, "sdr": float(medians.mean())}


def summary(rows: TrackScores, sources: Sequence[str]) -> dict[str, float]:
    """What `SeparationScores.compute` says, of rows in hand."""
    medians = median_over_tracks(rows.medians)  # (sources, 4)
    scored = np.isfinite(rows.usdr)
    means = np.where(scored, rows.usdr, 0).sum(0) / np.maximum(scored.sum(0), 1)
    means[~scored.any(0)] = np.nan
    found: dict[str, float] = {}
    for name, column in [*zip(METRICS, medians.T, strict=True), ("usdr", means)]:
        if name not in ("isr", "sir", "sar") or np.isfinite(column).any():
            found |= {f"{name}_{source}": float(value) for source, value in zip(sources, column, strict=True)}
            found[name] = float(column.mean())
    found["n_tracks"] = len(rows.track)
    unscored = int(np.isnan(rows.medians[..., 0]).sum())
    return {**found, "n_unscored": unscored} if unscored else found


def _number(name: str) -> int:
    """A number for a track's name, the same on every rank."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
