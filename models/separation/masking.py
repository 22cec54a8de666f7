"""Masks times a spectrum, as magnitudes and as waveforms: the last steps of a masking network, in little memory."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.blocks.stft import STFT


def masked(masks: Tensor, spectrum: Tensor, magnitude: Tensor, stft: STFT, length: int) -> tuple[Tensor, Tensor]:
    """Magnitudes and waveforms of masked spectra, a few at a time, also for the gradient.

    Plain operations hold every masked spectrum, which is complex, and several more of its size for the gradient.

    Args:
        masks: (batch, sources, channels, bins, frames), not negative
        spectrum: complex (batch, channels, bins, frames) of the mixture; gets no gradient
        magnitude: its absolute value
        stft: the transform that made it
        length: samples of the waveforms

    Returns:
        magnitudes of the masks' size, and waveforms (batch, sources, channels, length)
    """
    return _Masked.apply(masks, spectrum, magnitude, stft, length)


class _Masked(torch.autograd.Function):
    """The gradient of an inverse transform is a transform without reflection, of samples divided by the window's sum."""

    @staticmethod
    def forward(ctx: Any, masks: Tensor, spectrum: Tensor, magnitude: Tensor, stft: STFT, length: int) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(spectrum, magnitude)
        ctx.stft = stft
        waveforms = masks.new_empty(*masks.shape[:3], length)
        for waveform, mask, mixture in zip(waveforms, masks, spectrum, strict=True):
            for rows, some in _few(waveform, mask):
                rows.copy_(stft.inverse(some * mixture, length))
        return masks * magnitude.unsqueeze(1), waveforms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_magnitude: Tensor, by_waveform: Tensor) -> tuple[Tensor, None, None, None, None]:
        spectrum, magnitude = ctx.saved_tensors
        out = torch.empty_like(by_magnitude)
        with torch.autocast(out.device.type, enabled=False):
            envelope = _envelope(ctx.stft, spectrum.shape[-1], by_waveform)
            for filled, mixture, size, *given in zip(out, spectrum, magnitude, by_magnitude, by_waveform, strict=True):
                for rows, by_size, by_wave in _few(filled, *given):
                    found = _adjoint(ctx.stft, by_wave / envelope, mixture.shape[-1])
                    torch.mul(by_size, size, out=rows)
                    rows.addcmul_(found.real, mixture.real).addcmul_(found.imag, mixture.imag)
        return out, None, None, None, None


def _few(*signals: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Parts of signals (sources, ...): single sources on a CPU, whose cache they nearly fit; elsewhere all of them."""
    sources = 1 if signals[0].device.type == "cpu" else len(signals[0])
    return zip(*(signal.split(sources) for signal in signals), strict=True)


def _envelope(stft: STFT, frames: int, like: Tensor) -> Tensor:
    """Sum of the squared windows (samples,) over all frames, by which an inverse transform divides."""
    window = stft.window.to(like.dtype)
    kernel = window.square().view(1, 1, -1)
    total = torch.nn.functional.conv_transpose1d(kernel.new_ones(1, 1, frames), kernel, stride=stft.hop).flatten()
    start = stft.n_fft // 2
    kept = total[start : start + like.shape[-1]]
    # Behind the last frame the inverse gives zeros whatever the spectrum is.
    return torch.nn.functional.pad(kept, (0, like.shape[-1] - len(kept)), value=torch.inf)


def _adjoint(stft: STFT, signal: Tensor, frames: int) -> Tensor:
    """Complex (..., bins, frames): the sum over samples of `signal` times what a bin of a frame adds to them."""
    half = stft.n_fft // 2
    reach = stft.n_fft + stft.hop * (frames - 1)
    padded = torch.nn.functional.pad(signal, (half, reach - half - signal.shape[-1]))
    window = stft.window.to(signal.dtype)
    found = torch.stft(padded.flatten(0, -2), stft.n_fft, stft.hop, window=window, center=False, return_complex=True)
    found *= 2 / stft.n_fft
    # Every bin but the first and the last stands for two.
    found[..., 0, :] /= 2
    found[..., -1, :] /= 2
    return found.unflatten(0, signal.shape[:-1])
