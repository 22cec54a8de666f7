"""Windows of a track, the rule which of them are scored, and their signal-to-noise ratio."""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

DIGITS = 5  # after the decimal point in museval's JSON
FIRST_LOOK = 512  # samples: most windows are found not silent in their first few


class WindowScores(NamedTuple):
    """Scores in dB of every source (rows) in every window (columns); NaN where a window is not scored."""

    sdr: NDArray[np.float64]  # (sources, frames)
    isr: NDArray[np.float64]  # all NaN where only SDR was asked for, as the two below
    sir: NDArray[np.float64]
    sar: NDArray[np.float64]

    def medians(self) -> NDArray[np.float64]:
        """Median over the scored windows, (sources, 4) in the order SDR, ISR, SIR, SAR.

        Of the values as museval writes them (`as_written`), so that its own aggregation of the JSON gives the same.
        """
        return median_over_frames(self).T


def as_written(values: Array) -> NDArray[np.float64]:
    """Values as they come back from museval's JSON: five decimals, infinite ones missing."""
    values = np.asarray(values, dtype=np.float64)
    rounded = np.array([round(float(value), DIGITS) for value in values.ravel()]).reshape(values.shape)
    return np.where(np.isfinite(values), rounded, np.nan)


def median_over_frames(frames: WindowScores) -> NDArray[np.float64]:
    """Median over the scored windows, (4, sources) in the order SDR, ISR, SIR, SAR; NaN where none is scored."""
    return nanmedian(as_written(np.stack(frames)), axis=-1)


def nanmedian(values: Array, axis: int) -> NDArray[np.float64]:
    """Median of the values that are numbers, NaN without any, and no warning about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(values, axis=axis) if values.shape[axis] else np.full(np.delete(values.shape, axis), np.nan)


def frame_slices(samples: int, window: int, hop: int) -> list[slice]:
    """Windows as museval cuts them: the remainder is dropped, a track no longer than the window is one frame."""
    if window >= samples:
        return [slice(0, samples)]
    return [slice(i * hop, i * hop + window) for i in range((samples - window + hop) // hop)]


def wholly_silent(sources: Array) -> NDArray[np.bool_]:
    """Which of (sources, samples, channels) are silent all along: their channels add up to zero at every sample.

    museval's definition: a source in exact antiphase counts as silent though it is not zero.
    """
    return np.array([silent(source) for source in sources], dtype=bool)


def silent(source: Array) -> bool:
    """Whether the channels of (samples, channels) add up to zero at every sample."""
    return not (_sum(source[:FIRST_LOOK]).any() or _sum(source[FIRST_LOOK:]).any())


def scored_frames(reference: Array, estimate: Array, sources: list[int], slices: list[slice]) -> list[int]:
    """Windows in which none of the named sources is silent, neither as reference nor as estimate.

    One silent source takes the window from all of them: so does museval.
    """

    def heard(window: slice) -> bool:
        return not any(silent(sounds[j, window]) for j in sources for sounds in (reference, estimate))

    return [i for i, window in enumerate(slices) if heard(window)]


def snr(reference: Array, estimate: Array) -> float:
    """10 log10 of energy of the reference over energy of the difference, over all samples and channels, in float64.

    museval's SDR is this to 1e-14 dB: the parts that its filters tell apart add up to the whole difference. Infinite
    where both are equal (museval's cancellation leaves some 300 dB there).
    """
    target = np.asarray(reference, dtype=np.float64).ravel()
    error = np.asarray(estimate, dtype=np.float64).ravel() - target
    return decibels(target @ target, error @ error)


def decibels(numerator: float, denominator: float) -> float:
    """Ratio of two energies in dB, infinite for a denominator of zero."""
    with np.errstate(divide="ignore"):  # nothing of an estimate may be explained: minus infinity
        return float(10 * np.log10(numerator / denominator)) if denominator > 0 else float("inf")


def _sum(source: Array) -> Array:
    total = source[..., 0]
    for channel in range(1, source.shape[-1]):
        total = total + source[..., channel]
    return total
