"""What a separator is held against: silence, the mixture, its equal share, and masks that know the answer."""

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
WINDOWS = 4  # of a piece that is masked at once, beside one more on each side


def baselines(stems: Tensor, mixture: Tensor, separator: nn.Module) -> dict[str, NDArray[np.float64]]:
    """`oracle_sdr` of a track with the transform and the Wiener filter that a `Separator` separates with.

    Args:
        stems: (sources, channels, samples)
        mixture: (channels, samples)
        separator: has net.sample_rate, stft and inference
    """
    how = separator.inference
    stft = separator.stft.centred()
    wiener = partial(wiener_windows, window=how.window, iterations=how.niter)
    return oracle_sdr(stems, mixture, separator.net.sample_rate, stft, wiener, how.window)


def oracle_sdr(
    stems: Tensor, mixture: Tensor, rate: int, stft: STFT, wiener: Wiener, window: int = WINDOW
) -> dict[str, NDArray[np.float64]]:
    """Median over frames of the SDR in dB of each baseline, (sources,).

    Silence has 0 dB by definition: its error is the source. (By museval's rule no frame of it would be scored; here
    it is given wherever the source sounds at all.)

    Args:
        stems: (sources, channels, samples), at full scale 1
        mixture: (channels, samples)
        rate: samples per second
        stft: centred transform of the masks
        wiener: turns the masked magnitudes and the mixture's spectrum into spectra, as for the network's estimates
        window: frames that `wiener` filters at once
    """
    count = len(stems)
    true = _interleaved(stems)
    guesses = {
        "mixture": mixture.expand(count, *mixture.shape),
        f"mixture / {count}": (mixture / count).expand(count, *mixture.shape),
        "ideal ratio mask": ideal_ratio(stems, mixture, stft, wiener, window),
    }
    silence = np.where(true.any(axis=(1, 2)), 0.0, np.nan)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*silent over the whole track")  # said once, of the network's own estimate
        return {"silence": silence} | {
            name: evaluate(true, _interleaved(guess), rate).medians()[:, 0] for name, guess in guesses.items()
        }


@torch.no_grad()
def ideal_ratio(stems: Tensor, mixture: Tensor, stft: STFT, wiener: Wiener, window: int = WINDOW) -> Tensor:
    """Estimates (sources, channels, samples) by the true magnitudes' shares of their sum, times the mixture's.

    Pieces begin on Wiener windows of the recording and hear a window more on each side, so memory does not grow with
    the track and no seam is left.
    """
    samples = mixture.shape[-1]
    stft = stft.to(mixture.device)
    context, step = window * stft.hop, WINDOWS * window * stft.hop
    context = max(context, -(-stft.n_fft // context) * context)
    found = torch.empty_like(stems, dtype=torch.float32)
    for start in range(0, samples, step):
        first, last = max(0, start - context), min(samples, start + step + context)
        heard = torch.cat([stems[..., first:last], mixture[None, :, first:last]]).float()
        short = max(0, stft.n_fft - heard.shape[-1])
        *spectra, whole = stft(torch.nn.functional.pad(heard, (0, short)))
        sizes = torch.stack([spectrum.abs() for spectrum in spectra])
        sizes *= whole.abs() / sizes.sum(0).clamp_min(torch.finfo(sizes.dtype).tiny)
        piece = stft.inverse(wiener(sizes, whole), last - first + short)
        stop = min(start + step, samples)
        found[..., start:stop] = piece[..., start - first : stop - first]
    return found


def _interleaved(sound: Tensor) -> NDArray[np.float32]:
    """(sources, samples, channels)."""
    return sound.detach().float().cpu().transpose(1, 2).numpy()
