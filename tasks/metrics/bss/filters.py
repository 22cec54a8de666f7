"""Least-squares distortion filters of BSSEval v4: one block-Toeplitz system for all estimates, solved once per track."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.bss.frames import Array, decibels

BLOCKS = 8  # transformed at once

# Mono or band-limited references make the system singular to the last digit: it is then tried again with its diagonal
# this much larger. Scores of four MP3 loops then differ from museval's, whose rounding errors do the same, by 0.02 dB at
# most; by 9 dB and in twenty times the time with an LU decomposition that goes on, or least squares where it does not.
RIDGES = (0.0, *(10.0**power for power in range(-14, -5)))


class DistortionFilters(NamedTuple):
    """Filters that map references to the part of an estimate that they explain; `channels` of one source in a row."""

    everything: NDArray[np.float64]  # (sources * channels of references, taps, sources * channels of estimates)
    own: NDArray[np.float64]  # (sources, channels of its reference, taps, channels of its estimate)


def distortion_filters(reference: Array, estimate: Array, taps: int) -> DistortionFilters:
    """Filters of least squared error over the whole track, from delays of 0 to taps - 1 samples.

    Args:
        reference: (sources, samples, channels)
        estimate: same shape
        taps: length of each filter; sources * channels * taps squared doubles are held (134 MB for 8 times 512)
    """
    sources, _, channels = reference.shape
    inner = correlations(reference, estimate, taps)
    everything = np.arange(sources * channels)
    own = []
    for first in range(0, sources * channels, channels):
        mine = everything[first : first + channels]
        own.append(_solve(inner, mine, sources * channels + mine))
    return DistortionFilters(_solve(inner, everything, sources * channels + everything), np.stack(own))


def correlations(reference: Array, estimate: Array, taps: int) -> NDArray[np.float64]:
    """Inner products of every reference channel with every later signal: (refs, refs + estimates, taps).

    Entry [i, j, l] is the sum over n of x_i[n] x_j[n + l], x the channels of the references, then of the estimates.
    Transforms of 8 * taps samples suffice whatever the length of the track: lags are shorter than a block.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(8 * taps, real=True)
    step = size - taps + 1  # samples that a block adds
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
    """Channels of both in blocks of `size` samples, `step` apart, zeros behind the end: (channels, blocks, size)."""
    length = (BLOCKS - 1) * step + size
    sounds = [sound[:, start : start + length].swapaxes(1, 2) for sound in (reference, estimate)]
    flat = np.zeros((2, *sounds[0].shape[:2], length))
    flat[..., : sounds[0].shape[-1]] = sounds
    rows = flat.reshape(-1, length)
    return np.lib.stride_tricks.sliding_window_view(rows, size, axis=1)[:, ::step].copy()


def _solve(inner: NDArray[np.float64], references: NDArray[np.int64], estimates: NDArray[np.int64]) -> NDArray[np.float64]:
    """Filters (references, taps, estimates) of least squared error."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    taps = inner.shape[-1]
    right = inner[np.ix_(references, estimates)].transpose(0, 2, 1).reshape(-1, len(estimates))
    for ridge in RIDGES:
        gram = _gram(inner, references)
        gram.flat[:: len(gram) + 1] *= 1 + ridge
        try:
            # Symmetric, so its transpose is it in the order in which it can be factored in place.
            factor = cho_factor(gram.T, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            continue
        return cho_solve(factor, right, check_finite=False).reshape(len(references), taps, len(estimates))
    raise ValueError("the references determine no distortion filters: are their samples finite?")


def _gram(inner: NDArray[np.float64], references: NDArray[np.int64]) -> NDArray[np.float64]:
    """Inner products of all delayed references, (references * taps, references * taps), with museval's epsilon."""
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


# Energies of the parts of an estimate in one window, from spectra alone: Parseval instead of inverse transforms.

HELD = 2**28  # bytes of filter spectra kept from window to window; beyond, they are transformed anew for each


class Projector:
    """ISR, SIR and SAR of windows that are all of one length.

    Args:
        filters: of the whole track
        window: samples of a window
    """

    def __init__(self, filters: DistortionFilters, window: int) -> None:
        from scipy.fft import next_fast_len

        self.sources, self.channels, taps, _ = filters.own.shape
        self.size = next_fast_len(window + taps - 1, real=True)  # no shorter, or the filtered window would fold over
        spectra = len(filters.everything) * (len(filters.everything) + self.channels)
        held = None if spectra * (self.size // 2 + 1) * 16 <= HELD else 1
        self._everything = lru_cache(held)(self._transformed(filters.everything))
        self._own = lru_cache(held)(self._transformed(np.concatenate(list(filters.own), axis=-1)))

    def ratios(self, reference: Array, estimate: Array) -> NDArray[np.float64]:
        """ISR, SIR and SAR in dB, (3, sources), of one window (sources, window, channels) of each."""
        from scipy.fft import rfft

        heard, said = (
            rfft(np.asarray(x, dtype=np.float64).swapaxes(1, 2).reshape(self.sources * self.channels, -1), self.size)
            for x in (reference, estimate)
        )
        energies = np.zeros((self.sources, 6))
        for row in range(len(said)):
            source = row // self.channels
            mine = heard[source * self.channels : (source + 1) * self.channels]
            target, spatial, full = heard[row], _filtered(self._own(row), mine), _filtered(self._everything(row), heard)
            parts = (target, spatial - target, spatial, full - spatial, full, said[row] - full)
            energies[source] += [self._energy(part) for part in parts]
        return np.array([[decibels(e[i], e[i + 1]) for e in energies] for i in (0, 2, 4)])

    def _transformed(self, filters: NDArray[np.float64]) -> Callable[[int], NDArray[np.complex128]]:
        """Spectra (references, bins) of the filters that end in one channel of the estimates."""
        from scipy.fft import rfft

        return lambda channel: rfft(filters[:, :, channel], self.size)

    def _energy(self, spectrum: NDArray[np.complex128]) -> float:
        """Sum of squared samples of a real signal of `size` samples with this half of its spectrum."""
        twice = np.vdot(spectrum, spectrum).real * 2 - abs(spectrum[0]) ** 2
        return float(twice - abs(spectrum[-1]) ** 2 if self.size % 2 == 0 else twice) / self.size


def _filtered(filters: NDArray[np.complex128], spectra: NDArray[np.complex128]) -> NDArray[np.complex128]:
    total = filters[0] * spectra[0]
    for one, spectrum in zip(filters[1:], spectra[1:], strict=True):
        total += one * spectrum
    return total
