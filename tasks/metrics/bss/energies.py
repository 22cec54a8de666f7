"""Energies of the parts of an estimate in one window, from spectra alone: Parseval instead of inverse transforms."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.bss.filters import Filters
from tasks.metrics.bss.frames import Array, decibels

HELD = 2**28  # bytes of filter spectra kept from window to window; beyond, they are transformed anew for each


class Projector:
    """ISR, SIR and SAR of windows that are all of one length.

    Args:
        filters: of the whole track
        window: samples of a window
    """

    def __init__(self, filters: Filters, window: int) -> None:
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
