"""BSSEval v4 scores of a separated track per window, medians over tracks, and uSDR of the whole track."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.bss.filters import Projector, distortion_filters
from tasks.metrics.bss.frames import Array, WindowScores, frame_slices, nanmedian, scored_frames, snr, wholly_silent

TAPS = 512


def evaluate(
    reference: Array,
    estimate: Array,
    sample_rate: int,
    window: float = 1.0,
    hop: float = 1.0,
    mode: str = "sdr",
    taps: int = TAPS,
    names: Sequence[str] | None = None,
) -> WindowScores:
    """Scores of every source in every window, equal to `museval.evaluate(mode="v4")`.

    A window in which any reference or estimate is silent (channels sum to zero at every sample) is NaN for all
    sources. A source whose reference or estimate is silent over the whole track, for which museval raises ValueError,
    is NaN with a warning and excludes no windows of the others. If its reference is not zero, it remains an interferer
    in SIR and SAR of the others.

    Args:
        reference: reference sources (sources, samples, channels), floating point
        estimate: estimated sources, same shape and order
        sample_rate: Hz
        window: length of a window, s; infinite for the whole track
        hop: time between windows, s
        mode: "sdr" (no filters), or "full" with ISR, SIR and SAR
        taps: length of the distortion filters
        names: names of the sources, for the warning

    Raises:
        ValueError: shapes that differ, samples that are not finite, or an unknown mode.
    """
    check(reference, estimate, mode)
    samples = reference.shape[1]
    size, step = (samples if np.isinf(length) else int(length * sample_rate) for length in (window, hop))
    if size < 1 or step < 1:
        raise ValueError(f"expected windows of at least one sample, got {window} s every {hop} s at {sample_rate} Hz")
    slices = frame_slices(samples, size, step)
    quiet = [wholly_silent(sounds) for sounds in (reference, estimate)]
    _warn(quiet, names)
    sources = np.flatnonzero(~(quiet[0] | quiet[1])).tolist()
    scores = WindowScores(*np.full((4, len(reference), len(slices)), np.nan))
    frames = scored_frames(reference, estimate, sources, slices)
    for i in frames:
        scores.sdr[sources, i] = [snr(reference[j, slices[i]], estimate[j, slices[i]]) for j in sources]
    if mode == "full" and frames:
        _add_filtered(scores, reference, estimate, sources, [(i, slices[i]) for i in frames], taps)
    return scores


def usdr(reference: Array, estimate: Array) -> NDArray[np.float64]:
    """uSDR of the Sound Demixing Challenges: energy ratio over the whole track, 1e-7 added to both energies.

    Args:
        reference: (sources, samples, channels), full scale 1
        estimate: same shape

    Returns:
        (sources,) in dB; NaN for a reference of zeros
    """
    values = np.empty(len(reference))
    for j, (target, guess) in enumerate(zip(reference, estimate, strict=True)):
        energy, error = _energies(target, guess)
        values[j] = 10 * np.log10((energy + 1e-7) / (error + 1e-7)) if energy > 0 else np.nan
    return values


def median_over_tracks(medians: Array) -> NDArray[np.float64]:
    """cSDR, ISR, SIR, SAR: medians over windows (tracks, ...) -> median over tracks (...)."""
    return nanmedian(np.asarray(medians, dtype=np.float64), axis=0)


def check(reference: Array, estimate: Array, mode: str = "sdr") -> None:
    """Check shapes and types. Raises ValueError unless both are (sources, samples, channels) of finite floats."""
    if mode not in ("sdr", "full"):
        raise ValueError(f"unknown mode {mode!r}; choose from sdr, full")
    if reference.ndim != 3 or reference.shape != estimate.shape or 0 in reference.shape:
        raise ValueError(f"expected (sources, samples, channels) twice, got {reference.shape} and {estimate.shape}")
    for what, sounds in (("reference", reference), ("estimate", estimate)):
        if not np.issubdtype(sounds.dtype, np.floating):
            raise ValueError(f"{what} is {sounds.dtype}: expected floating point, full scale 1")
        for j, sound in enumerate(sounds):
            if not np.isfinite(np.vdot(sound, sound)) and not np.isfinite(sound).all():
                raise ValueError(f"{what} {j} has samples that are not finite")


def _energies(target: Array, guess: Array, block: int = 2**18) -> tuple[float, float]:
    """Energy of the target and of the error in float64, in blocks."""
    energy = error = 0.0
    for start in range(0, len(target), block):
        reference = target[start : start + block].astype(np.float64).ravel()
        difference = guess[start : start + block].ravel() - reference
        energy, error = energy + reference @ reference, error + difference @ difference
    return energy, error


def _add_filtered(
    scores: WindowScores, reference: Array, estimate: Array, sources: list[int], frames: list[tuple[int, slice]], taps: int
) -> None:
    """Add ISR, SIR and SAR of sources and windows to `scores` in place."""
    # All references, scored or not: each may interfere.
    filters = distortion_filters(reference, estimate, taps)
    projector = Projector(filters, frames[0][1].stop - frames[0][1].start)
    for i, window in frames:
        ratios = projector.ratios(reference[:, window], estimate[:, window])[:, sources]
        scores.isr[sources, i], scores.sir[sources, i], scores.sar[sources, i] = ratios


def _warn(quiet: list[NDArray[np.bool_]], names: Sequence[str] | None) -> None:
    for j in np.flatnonzero(quiet[0] | quiet[1]):
        what = " and ".join(name for name, flags in zip(("reference", "estimate"), quiet, strict=True) if flags[j])
        name = names[j] if names else f"source {j}"
        warnings.warn(f"{name}: its {what} is silent over the whole track, so it gets no score (NaN)", stacklevel=3)
