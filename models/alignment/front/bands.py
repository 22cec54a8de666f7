"""Weights of FFT bins in each band of a spectrum: mel, linear, semitones."""

import numpy as np

A4 = 440.0
A4_MIDI = 69


def hertz_of(midi: np.ndarray | float) -> np.ndarray:
    """Frequency in Hz of MIDI numbers, fractions allowed."""
    return A4 * 2.0 ** ((np.asarray(midi, float) - A4_MIDI) / 12)


def midi_of(hertz: np.ndarray | float) -> np.ndarray:
    """MIDI number, with its fraction, of frequencies in Hz."""
    return A4_MIDI + 12 * np.log2(np.asarray(hertz, float) / A4)


def mel_edges(f_min: float, f_max: float, bands: int) -> np.ndarray:
    """Hz (bands + 2,) evenly spaced on Slaney's scale: linear below 1 kHz, logarithmic above."""
    low, step = 15.0, np.log(6.4) / 27  # 1 kHz is 15 mel
    mel = [f * low / 1000 if f < 1000 else low + np.log(f / 1000) / step for f in (f_min, f_max)]
    even = np.linspace(*mel, bands + 2)
    return np.where(even < low, even * 1000 / low, 1000 * np.exp(step * (even - low)))


def triangles(edges: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    """(bands, bins): each band rises from one edge to the next, where it is 1, and falls to the one after."""
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.clip(np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)), 0.0, None)


def semitones(first: int, count: int, hertz: np.ndarray) -> np.ndarray:
    """(count, bins): what share of each bin's own width lies in the semitones of MIDI numbers first, first + 1, ...

    hertz: evenly spaced from 0. A bin wider than a semitone, in the bass, is spread over all that it covers.
    """
    half = (hertz[1] - hertz[0]) / 2
    edges = hertz_of(first + np.arange(count + 1) - 0.5)
    inside = np.minimum(hertz + half, edges[1:, None]) - np.maximum(hertz - half, edges[:-1, None])
    return np.clip(inside, 0.0, None) / (2 * half)
