"""Memory-saving masking: masks and mixture spectrum -> magnitudes and waveforms of sources."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.blocks.stft import STFT


def masked(masks: Tensor, spectrum: Tensor, magnitude: Tensor, stft: STFT, length: int) -> tuple[Tensor, Tensor]:
    """Magnitudes and waveforms of masked spectra, computed a few at a time, also in the backward pass.

    Plain operations would store every complex masked spectrum and several tensors of its size for the gradient.

    Args:
        masks: (batch, sources, channels, bins, frames), not negative
        spectrum: complex spectrum of the mixture (batch, channels, bins, frames), without gradient
        magnitude: its absolute value
        stft: transform of the spectrum
        length: samples of the waveforms

    Returns:
        Magnitudes with the shape of the masks, and waveforms (batch, sources, channels, length).
    """
    return _Masked.apply(masks, spectrum, magnitude, stft, length)


class _Masked(torch.autograd.Function):
    """Gradient of an inverse STFT: an STFT without reflection, of samples divided by the window envelope."""

    @staticmethod
    def forward(ctx: Any, masks: Tensor, spectrum: Tensor, magnitude: Tensor, stft: STFT, length: int) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(spectrum, magnitude)
        ctx.stft = stft
        waveforms = masks.new_empty(*masks.shape[:3], length)
        for waveform, mask, mixture in zip(waveforms, masks, spectrum, strict=True):
            for rows, part in _few(waveform, mask):
                rows.copy_(stft.inverse(part * mixture, length))
        return masks * magnitude.unsqueeze(1), waveforms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_magnitude: Tensor, by_waveform: Tensor) -> tuple[Tensor, None, None, None, None]:
        spectrum, magnitude = ctx.saved_tensors
        out = torch.empty_like(by_magnitude)
        with torch.autocast(out.device.type, enabled=False):
            envelope = _envelope(ctx.stft, spectrum.shape[-1], by_waveform)
            for filled, mixture, size, *gradients in zip(out, spectrum, magnitude, by_magnitude, by_waveform, strict=True):
                for rows, by_size, by_wave in _few(filled, *gradients):
                    adjoint = _adjoint(ctx.stft, by_wave / envelope, mixture.shape[-1])
                    torch.mul(by_size, size, out=rows)
                    rows.addcmul_(adjoint.real, mixture.real).addcmul_(adjoint.imag, mixture.imag)
        return out, None, None, None, None


def _few(*signals: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split signals (sources, ...): single sources on a CPU, which nearly fit its cache; all at once elsewhere."""
    sources = 1 if signals[0].device.type == "cpu" else len(signals[0])
    return zip(*(signal.split(sources) for signal in signals), strict=True)


def _envelope(stft: STFT, frames: int, like: Tensor) -> Tensor:
    """Sum of squared windows (samples,) over all frames, the divisor of the inverse transform."""
    window = stft.window.to(like.dtype)
    kernel = window.square().view(1, 1, -1)
    total = torch.nn.functional.conv_transpose1d(kernel.new_ones(1, 1, frames), kernel, stride=stft.hop).flatten()
    start = stft.n_fft // 2
    kept = total[start : start + like.shape[-1]]
    # Behind the last frame the inverse transform is 0.
    return torch.nn.functional.pad(kept, (0, like.shape[-1] - len(kept)), value=torch.inf)


def _adjoint(stft: STFT, signal: Tensor, frames: int) -> Tensor:
    """Adjoint of the unnormalised inverse transform: signal (..., samples) -> complex (..., bins, frames)."""
    half = stft.n_fft // 2
    reach = stft.n_fft + stft.hop * (frames - 1)
    padded = torch.nn.functional.pad(signal, (half, reach - half - signal.shape[-1]))
    window = stft.window.to(signal.dtype)
    spectrum = torch.stft(padded.flatten(0, -2), stft.n_fft, stft.hop, window=window, center=False, return_complex=True)
    spectrum *= 2 / stft.n_fft
    # All bins but the first and the last count twice.
    spectrum[..., 0, :] /= 2
    spectrum[..., -1, :] /= 2
    return spectrum.unflatten(0, signal.shape[:-1])
