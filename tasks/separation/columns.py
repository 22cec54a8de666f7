"""Spectrograms of a stream, of as many columns as a picture can show, whatever its length."""

import numpy as np
import torch
import torchaudio
from torch import Tensor

LIMIT = 1200
"""Most columns: pixels of a picture's width."""

BANDS = 128
FRAME_S = 0.09
LOWEST = 1e-12


class Columns:
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
    columns = Columns(rate, len(audio))
    columns.push(audio.detach().float().cpu())
    return columns.close()[0], columns.hertz, columns.close()[1]
