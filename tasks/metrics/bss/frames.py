"""Windows of BSSEval v4: silence rule, SDR of a window, medians over windows."""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

DIGITS = 5  # decimals in museval's JSON
PREVIEW = 512  # samples; enough to find most windows not silent


class WindowScores(NamedTuple):
    """Scores in dB of every source (rows) in every window (columns); NaN for windows that are not scored."""

    sdr: NDArray[np.float64]  # (sources, frames)
    isr: NDArray[np.float64]  # as `sir` and `sar`: all NaN in mode sdr
    sir: NDArray[np.float64]
    sar: NDArray[np.float64]

    def medians(self) -> NDArray[np.float64]:
        """Median over the scored windows, (sources, 4) in the order SDR, ISR, SIR, SAR.

        Of values rounded as in museval's JSON (`as_written`), so that museval's aggregation gives the same.
        """
        return nanmedian(as_written(np.stack(self)), axis=-1).T


def as_written(values: Array) -> NDArray[np.float64]:
    """Values rounded as in museval's JSON: five decimals, NaN for infinite values."""
    values = np.asarray(values, dtype=np.float64)
    rounded = np.array([round(float(value), DIGITS) for value in values.ravel()]).reshape(values.shape)
    return np.where(np.isfinite(values), rounded, np.nan)


def nanmedian(values: Array, axis: int) -> NDArray[np.float64]:
    """`numpy.nanmedian` without warnings; NaN for an empty axis."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(values, axis=axis) if values.shape[axis] else np.full(np.delete(values.shape, axis), np.nan)


def frame_slices(samples: int, window: int, hop: int) -> list[slice]:
    """Windows as in museval: the remainder is dropped; a track no longer than `window` is one window."""
    if window >= samples:
        return [slice(0, samples)]
    return [slice(i * hop, i * hop + window) for i in range((samples - window + hop) // hop)]


def wholly_silent(sources: Array) -> NDArray[np.bool_]:
    """Mask (sources,) of the sources (sources, samples, channels) that are silent: channels sum to zero at every sample.

    As in museval, a source in exact antiphase is silent although it is not zero.
    """
    return np.array([silent(source) for source in sources], dtype=bool)


def silent(source: Array) -> bool:
    """True if the channels of (samples, channels) sum to zero at every sample."""
    return not (_sum(source[:PREVIEW]).any() or _sum(source[PREVIEW:]).any())


def scored_frames(reference: Array, estimate: Array, sources: list[int], slices: list[slice]) -> list[int]:
    """Indices of windows in which no reference and no estimate of `sources` is silent.

    As in museval, one silent source excludes the window for all sources.
    """

    def audible(window: slice) -> bool:
        return not any(silent(sounds[j, window]) for j in sources for sounds in (reference, estimate))

    return [i for i, window in enumerate(slices) if audible(window)]


def snr(reference: Array, estimate: Array) -> float:
    """SDR in dB: energy of the reference over energy of the difference, over all samples and channels, in float64.

    Equal to museval's SDR to 1e-14 dB, whose error components sum to the difference. Infinite for equal signals (museval:
    about 300 dB).
    """
    target = np.asarray(reference, dtype=np.float64).ravel()
    error = np.asarray(estimate, dtype=np.float64).ravel() - target
    return decibels(target @ target, error @ error)


def decibels(numerator: float, denominator: float) -> float:
    """Ratio of two energies in dB, infinite for a denominator of zero."""
    with np.errstate(divide="ignore"):  # a numerator of zero: minus infinity
        return float(10 * np.log10(numerator / denominator)) if denominator > 0 else float("inf")


def _sum(source: Array) -> Array:
    total = source[..., 0]
    for channel in range(1, source.shape[-1]):
        total = total + source[..., channel]
    return total
