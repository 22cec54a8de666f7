"""Degradations of recordings that preserve onset times: reverberation, filters, noise; and random tempo curves.

The degradations for training and for tests differ in their rooms and noise.
"""

from collections.abc import Callable

import numpy as np

Degradation = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def degrade(audio: np.ndarray, rate: int, name: str, seed: int) -> np.ndarray:
    """Apply the degradation `name` of DEGRADATIONS: audio (samples,) float32 -> same length and peak."""
    if name not in DEGRADATIONS:
        raise ValueError(f"unknown degradation {name}: choose from {', '.join(sorted(DEGRADATIONS))}")
    peak = np.abs(audio).max(initial=0.0)
    if not peak:
        return audio
    random = np.random.default_rng(seed)
    worse = audio.astype(np.float64) / peak
    for step in DEGRADATIONS[name]:
        worse = step(worse, rate, random)
    return (worse * (peak / np.abs(worse).max())).astype(np.float32)


def room(shortest: float, longest: float, wet: tuple[float, float]) -> Degradation:
    """Reverberation: noise after 5 ms with a decay time (60 dB) of shortest .. longest s; `wet`: level relative to the sound."""

    def apply(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        from scipy.signal import fftconvolve

        seconds = random.uniform(shortest, longest)
        time = np.arange(int(seconds * rate)) / rate
        tail = random.normal(size=len(time)) * 10 ** (-3 * time / seconds) * (time > 0.005)
        tail *= random.uniform(*wet) / np.sqrt((tail**2).sum())
        tail[0] = 1.0
        return fftconvolve(audio, tail)[: len(audio)]

    return apply


def band(low: tuple[float, float], high: tuple[float, float]) -> Degradation:
    """Causal band-pass of order 2 with edges (Hz) drawn from the ranges; causal, so that onsets stay where they are."""

    def apply(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        from scipy.signal import butter, sosfilt

        edges = random.uniform(*low), min(random.uniform(*high), 0.45 * rate)
        return sosfilt(butter(2, edges, "bandpass", fs=rate, output="sos"), audio)

    return apply


def tilt(db: float) -> Degradation:
    """Spectral tilt of at most `db` dB from 100 Hz to 10 kHz."""

    def apply(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        spectrum = np.fft.rfft(audio)
        octaves = np.log2(np.maximum(np.fft.rfftfreq(len(audio), 1 / rate), 50.0) / 1000.0)
        slope = random.uniform(-db, db) / np.log2(100.0)
        return np.fft.irfft(spectrum * 10 ** (slope * octaves / 20), len(audio))

    return apply


def noise(snr: tuple[float, float], colour: float) -> Degradation:
    """Noise at a signal-to-noise ratio in dB, power spectrum frequency ** -colour (0: white, 1: pink)."""

    def apply(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        hiss = np.fft.rfft(random.normal(size=len(audio)))
        hiss = np.fft.irfft(hiss * np.maximum(np.fft.rfftfreq(len(audio), 1 / rate), 20.0) ** (-colour / 2), len(audio))
        level = np.sqrt((audio**2).mean() / (hiss**2).mean()) * 10 ** (-random.uniform(*snr) / 20)
        return audio + level * hiss

    return apply


def crackle(a_second: float, level: float) -> Degradation:
    """Clicks of a worn record: random impulses of at most `level` times the peak."""

    def apply(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        positions = random.integers(0, len(audio), random.poisson(a_second * len(audio) / rate))
        worse = audio.copy()
        worse[positions] += random.uniform(-level, level, len(positions))
        return worse

    return apply


def saturate(most: float) -> Degradation:
    """Soft clipping with a drive of at most `most`."""

    def apply(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        drive = random.uniform(1.0, most)
        return np.tanh(drive * audio) / drive

    return apply


DEGRADATIONS: dict[str, tuple[Degradation, ...]] = {
    # for training
    "room": (room(0.3, 0.9, (0.3, 0.8)), tilt(8.0)),
    "hiss": (tilt(10.0), noise((15.0, 30.0), 0.0)),
    "narrow": (band((60.0, 250.0), (3000.0, 8000.0)), noise((20.0, 35.0), 0.0)),
    "tape": (room(0.2, 0.6, (0.2, 0.5)), saturate(3.0), tilt(6.0), noise((20.0, 30.0), 0.0)),
    # for tests
    "shellac": (room(1.0, 1.4, (0.6, 1.0)), band((140.0, 160.0), (4200.0, 4800.0)), noise((18.0, 22.0), 1.0), crackle(8.0, 0.5)),
    "cylinder": (
        room(0.4, 0.6, (0.3, 0.5)),
        band((240.0, 260.0), (3000.0, 3400.0)),
        noise((6.0, 10.0), 1.0),
        crackle(20.0, 0.7),
    ),
    "hall": (room(1.6, 2.4, (0.8, 1.3)), noise((25.0, 30.0), 1.0)),
}


# Random tempo curves: even time -> time of a performance

SLOWEST, FASTEST = 0.6, 1.6
KNOT_S = 2.5
"""Mean distance of the knots of a tempo curve, s."""


class Curve:
    """Random tempo curve: even time -> played time, both in s, with a tempo of SLOWEST .. FASTEST.

    Log tempo at knots about KNOT_S apart is a mean-reverting random walk, determined by seed and duration.
    """

    def __init__(self, seed: int, duration: float) -> None:
        random = np.random.default_rng(seed)
        count = max(3, int(duration / KNOT_S) + 3)
        knots = np.concatenate([[0.0], np.cumsum(random.uniform(0.5, 1.5, count) * KNOT_S)])
        drift, log_tempo = random.normal(0, 0.15), []
        for step in random.normal(0, 0.18, count + 1):
            drift = 0.75 * drift + step
            log_tempo.append(drift)
        tempo = np.clip(np.exp(log_tempo), SLOWEST, FASTEST)
        # Tempo changes linearly in even time; ten points a knot make the integral of its inverse exact enough.
        self.even = np.linspace(0.0, max(knots[-1], duration + KNOT_S), 10 * len(knots))
        pace = 1.0 / np.interp(self.even, knots, tempo)
        self.played = np.concatenate([[0.0], np.cumsum(np.diff(self.even) * (pace[1:] + pace[:-1]) / 2)])

    def __call__(self, even: np.ndarray) -> np.ndarray:
        return np.interp(even, self.even, self.played)
