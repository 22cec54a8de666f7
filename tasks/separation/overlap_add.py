"""The inverse short-time Fourier transform of frames that arrive a few at a time."""

import torch
from torch import Tensor, nn


class OverlapAdd:
    """Frames of `STFT(n_fft, hop, center=False)` back to samples, equal to one inverse transform of all of them.

    Keeps the n_fft - hop samples that later frames still reach. window: (n_fft,), the transform's.
    """

    def __init__(self, n_fft: int, hop: int, window: Tensor) -> None:
        self.n_fft, self.hop, self.window = n_fft, hop, window
        self.sound: Tensor | None = None  # (..., n_fft - hop), not yet divided
        self.weight = window.new_zeros(n_fft - hop)

    def push(self, spectrum: Tensor) -> Tensor:
        """The samples (..., frames * hop) that the next frames, (..., bins, frames) complex, complete."""
        pieces = torch.fft.irfft(spectrum.transpose(-1, -2), self.n_fft) * self.window
        if self.sound is None:
            self.sound = pieces.new_zeros(*pieces.shape[:-2], self.n_fft - self.hop)
        sound = self._sum(pieces, self.sound)
        weight = self._sum((self.window**2).expand(pieces.shape[-2], -1), self.weight)
        done = pieces.shape[-2] * self.hop
        # Copies: a view would keep the whole piece alive.
        self.sound, self.weight = sound[..., done:].clone(), weight[done:].clone()
        return sound[..., :done] / weight[:done].clamp(min=1e-11)

    def flush(self) -> Tensor:
        """The samples (..., n_fft - hop) after the last push."""
        return self.sound / self.weight.clamp(min=1e-11)

    def _sum(self, pieces: Tensor, before: Tensor) -> Tensor:
        """Pieces (..., frames, n_fft) a hop apart and what earlier ones left, (..., (frames - 1) * hop + n_fft)."""
        hop, frames = self.hop, pieces.shape[-2]
        parts = -(-self.n_fft // hop)
        pieces = nn.functional.pad(pieces, (0, parts * hop - self.n_fft))
        total = pieces.new_zeros(*pieces.shape[:-2], frames + parts - 1, hop)
        for part in range(parts):
            total[..., part : part + frames, :] += pieces[..., part * hop : (part + 1) * hop]
        total = total.flatten(-2)[..., : (frames - 1) * hop + self.n_fft]
        total[..., : before.shape[-1]] += before
        return total
