"""Baselines and oracles of separation: silence, mixture, equal shares and the ideal ratio mask -> SDR per source."""

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.blocks.stft import STFT
from models.separation.wiener import wiener_windows
from tasks.metrics.bss import evaluate

Wiener = Callable[[Tensor, Tensor], Tensor]  # magnitudes (J, C, F, T) and mixture (C, F, T) -> spectra (J, C, F, T)

WINDOW = 300  # frames
WINDOWS = 4  # per piece, plus one window of context on each side


def baselines(stems: Tensor, mixture: Tensor, separator: nn.Module) -> dict[str, NDArray[np.float64]]:
    """`oracle_sdr` of a track with the STFT and Wiener filter of a separator.

    Args:
        stems: (sources, channels, samples)
        mixture: (channels, samples)
        separator: LightningModule of the task
    """
    options = separator.inference
    stft = separator.stft.centred()
    wiener = partial(wiener_windows, window=options.window, iterations=options.niter)
    return oracle_sdr(stems, mixture, separator.net.sample_rate, stft, wiener, options.window)


def oracle_sdr(
    stems: Tensor, mixture: Tensor, sample_rate: int, stft: STFT, wiener: Wiener, window: int = WINDOW
) -> dict[str, NDArray[np.float64]]:
    """Median over windows of the SDR of each baseline, (sources,) in dB.

    Silence has 0 dB by definition, for sources that are not silent (museval would not score it).

    Args:
        stems: (sources, channels, samples), full scale 1
        mixture: (channels, samples)
        sample_rate: Hz
        stft: centred STFT of the masks
        wiener: masked magnitudes and spectrum of the mixture -> spectra, as for the network's estimates
        window: frames per call of `wiener`
    """
    count = len(stems)
    targets = interleaved(stems)
    guesses = {
        "mixture": mixture.expand(count, *mixture.shape),
        f"mixture / {count}": (mixture / count).expand(count, *mixture.shape),
        "ideal ratio mask": ideal_ratio(stems, mixture, stft, wiener, window),
    }
    silence = np.where(targets.any(axis=(1, 2)), 0.0, np.nan)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*silent over the whole track")  # reported for the network's estimates
        return {"silence": silence} | {
            name: evaluate(targets, interleaved(guess), sample_rate).medians()[:, 0] for name, guess in guesses.items()
        }


@torch.no_grad()
def ideal_ratio(stems: Tensor, mixture: Tensor, stft: STFT, wiener: Wiener, window: int = WINDOW) -> Tensor:
    """Estimates (sources, channels, samples) by the ideal ratio mask: magnitude of a source over the sum of magnitudes.

    Processed in pieces that begin on Wiener windows, with a window of context on each side: bounded memory, no seams.
    """
    samples = mixture.shape[-1]
    stft = stft.to(mixture.device)
    context, step = window * stft.hop, WINDOWS * window * stft.hop
    context = max(context, -(-stft.n_fft // context) * context)
    estimates = torch.empty_like(stems, dtype=torch.float32)
    for start in range(0, samples, step):
        first, last = max(0, start - context), min(samples, start + step + context)
        signals = torch.cat([stems[..., first:last], mixture[None, :, first:last]]).float()
        short = max(0, stft.n_fft - signals.shape[-1])
        *spectra, whole = stft(torch.nn.functional.pad(signals, (0, short)))
        sizes = torch.stack([spectrum.abs() for spectrum in spectra])
        sizes *= whole.abs() / sizes.sum(0).clamp_min(torch.finfo(sizes.dtype).tiny)
        piece = stft.inverse(wiener(sizes, whole), last - first + short)
        stop = min(start + step, samples)
        estimates[..., start:stop] = piece[..., start - first : stop - first]
    return estimates


def interleaved(sound: Tensor) -> NDArray[np.float32]:
    """(sources, channels, samples) -> (sources, samples, channels) float32."""
    return sound.detach().float().cpu().transpose(1, 2).contiguous().numpy()
