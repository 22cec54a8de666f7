"""Streaming inverse STFT (overlap-add), and a buffer of recent samples."""

import torch
from torch import Tensor, nn


class OverlapAdd:
    """Inverse of `STFT(n_fft, hop, center=False)` for blocks of frames, equal to one inverse transform of all frames.

    Keeps the last n_fft - hop samples, which later frames overlap. window: (n_fft,) of the transform.
    """

    def __init__(self, n_fft: int, hop: int, window: Tensor) -> None:
        self.n_fft, self.hop, self.window = n_fft, hop, window
        self.sound: Tensor | None = None  # (..., n_fft - hop), not yet divided
        self.weight = window.new_zeros(n_fft - hop)

    def push(self, spectrum: Tensor) -> Tensor:
        """Samples (..., frames * hop) completed by the next frames (..., bins, frames), complex."""
        shape, frames = spectrum.shape[:-2], spectrum.shape[-1]
        if self.sound is None:
            self.sound = self.window.new_zeros(*shape, self.n_fft - self.hop)
        # One signal at a time: overlapping pieces take four times the memory of the samples.
        pairs = zip(spectrum.reshape(-1, *spectrum.shape[-2:]), self.sound.flatten(0, -2), strict=True)
        sound = torch.stack([self._sum(self._pieces(signal), before) for signal, before in pairs]).view(*shape, -1)
        weight = self._sum((self.window**2).expand(frames, -1), self.weight)
        done = frames * self.hop
        # Copies: a view would keep the whole block alive.
        self.sound, self.weight = sound[..., done:].clone(), weight[done:].clone()
        return sound[..., :done] / weight[:done].clamp(min=1e-11)

    def flush(self) -> Tensor:
        """Remaining samples (..., n_fft - hop) after the last push."""
        return self.sound / self.weight.clamp(min=1e-11)

    def _pieces(self, spectrum: Tensor) -> Tensor:
        """Windowed pieces (frames, n_fft) of a spectrum (bins, frames)."""
        return torch.fft.irfft(spectrum.T, self.n_fft).mul_(self.window)

    def _sum(self, pieces: Tensor, before: Tensor) -> Tensor:
        """Overlap-add of pieces (..., frames, n_fft) and the previous rest, (..., (frames - 1) * hop + n_fft)."""
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


class RingSignal:
    """Buffer of recent samples (channels, n) of a stream: appended at the end, removed from the front."""

    def __init__(self) -> None:
        self.blocks: list[Tensor] = []
        self.start = self.end = 0

    def append(self, block: Tensor) -> None:
        """Add samples (channels, n) at the end."""
        self.blocks.append(block)
        self.end += block.shape[-1]

    def read(self, start: int, stop: int) -> Tensor:
        """Samples `start .. stop` of the stream, (channels, stop - start). Raises ValueError if they are not in the buffer."""
        if not self.start <= start <= stop <= self.end:
            raise ValueError(f"samples {start} .. {stop} are not in the buffer, which has {self.start} .. {self.end}")
        pieces, position = [], self.start
        for block in self.blocks:
            begin, position = position, position + block.shape[-1]
            if begin < stop and position > start:
                pieces.append(block[..., max(start - begin, 0) : stop - begin])
        if not pieces:
            return self.blocks[-1][..., :0]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)

    def forget(self, before: int) -> None:
        """Remove blocks that end before a sample."""
        while self.blocks and self.start + self.blocks[0].shape[-1] <= before:
            self.start += self.blocks.pop(0).shape[-1]
