"""Distortion filters of BSSEval v4: references and estimates -> least-squares filters per track, ISR, SIR and SAR per window."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.bss.frames import Array, decibels

BLOCKS = 8  # per FFT call
CACHE_BYTES = 2**28  # maximum size of cached filter spectra

# Relative ridges on the diagonal, tried in turn: mono or band-limited references make the system numerically singular.
# On four MP3 loops the scores then differ from museval's by at most 0.02 dB; an LU decomposition or least squares differ by up to
# 9 dB and take twenty times as long.
RIDGES = (0.0, *(10.0**power for power in range(-14, -5)))


class DistortionFilters(NamedTuple):
    """Filters from references to the part of an estimate that they explain; channels of one source are adjacent."""

    all_sources: NDArray[np.float64]  # (reference channels, taps, estimate channels)
    own: NDArray[np.float64]  # (sources, reference channels, taps, estimate channels)


def distortion_filters(reference: Array, estimate: Array, taps: int) -> DistortionFilters:
    """Least-squares filters over the whole track, with delays of 0 to taps - 1 samples.

    Args:
        reference: (sources, samples, channels)
        estimate: same shape
        taps: length of each filter; memory is (sources * channels * taps)^2 doubles (134 MB for 8 times 512)
    """
    sources, _, channels = reference.shape
    inner = correlations(reference, estimate, taps)
    all_sources = np.arange(sources * channels)
    own = []
    for first in range(0, sources * channels, channels):
        channels_of_source = all_sources[first : first + channels]
        own.append(_solve(inner, channels_of_source, sources * channels + channels_of_source))
    return DistortionFilters(_solve(inner, all_sources, sources * channels + all_sources), np.stack(own))


def correlations(reference: Array, estimate: Array, taps: int) -> NDArray[np.float64]:
    """Cross-correlations of reference channels with all channels: (references, references + estimates, taps).

    Entry [i, j, l] is the sum over n of x_i[n] x_j[n + l], x the channels of the references, then of the estimates.
    Computed by FFTs of 8 * taps samples, since lags are shorter than a block.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(8 * taps, real=True)
    step = size - taps + 1  # new samples per block
    rows = reference.shape[0] * reference.shape[2]
    total = np.zeros((size // 2 + 1, rows, 2 * rows), dtype=np.complex128)
    for start in range(0, reference.shape[1], BLOCKS * step):
        whole = _blocks(reference, estimate, start, step, size)
        head = whole[:rows].copy()
        head[..., step:] = 0
        # One small matrix product per frequency: (rows, blocks) times (blocks, 2 rows).
        total += rfft(head).conj().transpose(2, 0, 1) @ rfft(whole).transpose(2, 1, 0)
    return irfft(total, n=size, axis=0)[:taps].transpose(1, 2, 0)


def _blocks(reference: Array, estimate: Array, start: int, step: int, size: int) -> NDArray[np.float64]:
    """Channels of both in blocks of `size` samples, `step` apart, zero-padded: (channels, blocks, size)."""
    length = (BLOCKS - 1) * step + size
    sounds = [sound[:, start : start + length].swapaxes(1, 2) for sound in (reference, estimate)]
    flat = np.zeros((2, *sounds[0].shape[:2], length))
    flat[..., : sounds[0].shape[-1]] = sounds
    rows = flat.reshape(-1, length)
    return np.lib.stride_tricks.sliding_window_view(rows, size, axis=1)[:, ::step].copy()


def _solve(inner: NDArray[np.float64], references: NDArray[np.int64], estimates: NDArray[np.int64]) -> NDArray[np.float64]:
    """Least-squares filters (references, taps, estimates)."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    taps = inner.shape[-1]
    right = inner[np.ix_(references, estimates)].transpose(0, 2, 1).reshape(-1, len(estimates))
    for ridge in RIDGES:
        gram = _gram(inner, references)
        gram.flat[:: len(gram) + 1] *= 1 + ridge
        try:
            # The matrix is symmetric; its transpose has the memory order for an in-place factorization.
            factor = cho_factor(gram.T, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            continue
        return cho_solve(factor, right, check_finite=False).reshape(len(references), taps, len(estimates))
    raise ValueError("no distortion filters: the references are singular or not finite")


def _gram(inner: NDArray[np.float64], references: NDArray[np.int64]) -> NDArray[np.float64]:
    """Gram matrix of all delayed references, (references * taps, references * taps), with museval's epsilon."""
    count, taps = len(references), inner.shape[-1]
    gram = np.empty((count, taps, count, taps))
    for row, i in enumerate(references):
        for column, j in enumerate(references):
            # Lags -(taps - 1) .. taps - 1 of x_i against x_j; row l, column m of the block is lag m - l.
            lags = np.concatenate([inner[i, j, :0:-1], inner[j, i]])
            gram[row, :, column] = np.lib.stride_tricks.sliding_window_view(lags, taps)[::-1]
    gram = gram.reshape(count * taps, count * taps)
    gram.flat[:: count * taps + 1] += np.finfo(np.float64).eps
    return gram


class Projector:
    """ISR, SIR and SAR of windows of one length, from spectra by Parseval's theorem.

    Args:
        filters: distortion filters of the whole track
        window: length of a window in samples
    """

    def __init__(self, filters: DistortionFilters, window: int) -> None:
        from scipy.fft import next_fast_len

        self.sources, self.channels, taps, _ = filters.own.shape
        self.size = next_fast_len(window + taps - 1, real=True)  # avoids circular convolution
        spectra = len(filters.all_sources) * (len(filters.all_sources) + self.channels)
        cached = None if spectra * (self.size // 2 + 1) * 16 <= CACHE_BYTES else 1
        self._all_sources = lru_cache(cached)(self._transformed(filters.all_sources))
        self._own = lru_cache(cached)(self._transformed(np.concatenate(list(filters.own), axis=-1)))

    def ratios(self, reference: Array, estimate: Array) -> NDArray[np.float64]:
        """ISR, SIR and SAR in dB, (3, sources), of one window of reference and estimate, each (sources, window, channels)."""
        from scipy.fft import rfft

        references, estimates = (
            rfft(np.asarray(x, dtype=np.float64).swapaxes(1, 2).reshape(self.sources * self.channels, -1), self.size)
            for x in (reference, estimate)
        )
        energies = np.zeros((self.sources, 6))
        for row in range(len(estimates)):
            source = row // self.channels
            own = references[source * self.channels : (source + 1) * self.channels]
            target, spatial, full = references[row], _filtered(self._own(row), own), _filtered(self._all_sources(row), references)
            parts = (target, spatial - target, spatial, full - spatial, full, estimates[row] - full)
            energies[source] += [self._energy(part) for part in parts]
        return np.array([[decibels(e[i], e[i + 1]) for e in energies] for i in (0, 2, 4)])

    def _transformed(self, filters: NDArray[np.float64]) -> Callable[[int], NDArray[np.complex128]]:
        """Function of an estimate channel: spectra (references, bins) of its filters."""
        from scipy.fft import rfft

        return lambda channel: rfft(filters[:, :, channel], self.size)

    def _energy(self, spectrum: NDArray[np.complex128]) -> float:
        """Energy of a real signal of `size` samples from its half spectrum."""
        twice = np.vdot(spectrum, spectrum).real * 2 - abs(spectrum[0]) ** 2
        return float(twice - abs(spectrum[-1]) ** 2 if self.size % 2 == 0 else twice) / self.size


def _filtered(filters: NDArray[np.complex128], spectra: NDArray[np.complex128]) -> NDArray[np.complex128]:
    total = filters[0] * spectra[0]
    for response, spectrum in zip(filters[1:], spectra[1:], strict=True):
        total += response * spectrum
    return total
