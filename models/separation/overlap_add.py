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
        shape, frames = spectrum.shape[:-2], spectrum.shape[-1]
        if self.sound is None:
            self.sound = self.window.new_zeros(*shape, self.n_fft - self.hop)
        # One signal at a time: the pieces of all are four times the samples of all.
        pairs = zip(spectrum.reshape(-1, *spectrum.shape[-2:]), self.sound.flatten(0, -2), strict=True)
        sound = torch.stack([self._sum(self._pieces(one), before) for one, before in pairs]).view(*shape, -1)
        weight = self._sum((self.window**2).expand(frames, -1), self.weight)
        done = frames * self.hop
        # Copies: a view would keep the whole piece alive.
        self.sound, self.weight = sound[..., done:].clone(), weight[done:].clone()
        return sound[..., :done] / weight[:done].clamp(min=1e-11)

    def flush(self) -> Tensor:
        """The samples (..., n_fft - hop) after the last push."""
        return self.sound / self.weight.clamp(min=1e-11)

    def _pieces(self, spectrum: Tensor) -> Tensor:
        """Windowed pieces (frames, n_fft) of a spectrum (bins, frames)."""
        return torch.fft.irfft(spectrum.T, self.n_fft).mul_(self.window)

    def _sum(self, pieces: Tensor, before: Tensor) -> Tensor:
        """Pieces (..., frames, n_fft) a hop apart and what earlier ones left, (..., (frames - 1) * hop + n_fft)."""
        hop, frames = self.hop, pieces.shape[-2]
        parts = -(-self.n_fft // hop)
        if parts * hop > self.n_fft:
            pieces = nn.functional.pad(pieces, (0, parts * hop - self.n_fft))
        total = pieces.new_zeros(*pieces.shape[:-2], frames + parts - 1, hop)
        for part in range(parts):
            total[..., part : part + frames, :] += pieces[..., part * hop : (part + 1) * hop]
        total = total.flatten(-2)[..., : (frames - 1) * hop + self.n_fft]
        total[..., : before.shape[-1]] += before
        return total


# The part of an endless signal that is still needed.


class RingSignal:
    """Samples (channels, n) of a stream: appended at its end, read anywhere in what is kept, forgotten from the front."""

    def __init__(self) -> None:
        self.blocks: list[Tensor] = []
        self.start = self.end = 0

    def append(self, block: Tensor) -> None:
        """Add samples (channels, n) at the end."""
        self.blocks.append(block)
        self.end += block.shape[-1]

    def read(self, start: int, stop: int) -> Tensor:
        """Samples `start .. stop` of the stream, (channels, stop - start). Raises ValueError where they are not kept."""
        if not self.start <= start <= stop <= self.end:
            raise ValueError(f"samples {start} .. {stop} asked for, {self.start} .. {self.end} kept")
        pieces, place = [], self.start
        for block in self.blocks:
            begin, place = place, place + block.shape[-1]
            if begin < stop and place > start:
                pieces.append(block[..., max(start - begin, 0) : stop - begin])
        if not pieces:
            return self.blocks[-1][..., :0]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)

    def forget(self, before: int) -> None:
        """Let go of blocks that end before a sample."""
        while self.blocks and self.start + self.blocks[0].shape[-1] <= before:
            self.start += self.blocks.pop(0).shape[-1]
