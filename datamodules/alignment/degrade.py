"""Degradations of recordings that keep every onset in its place: rooms, old carriers, cheap microphones.

Two families that share no kind of noise or room: what training may hear, and what is kept for tests.
"""

from collections.abc import Callable

import numpy as np

Worsen = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def degrade(audio: np.ndarray, rate: int, name: str, seed: int) -> np.ndarray:
    """Audio (samples,) float32 made worse in the way `name` (a key of DEGRADATIONS), of the same length and peak.

    Raises ValueError for an unknown name.
    """
    if name not in DEGRADATIONS:
        raise ValueError(f"no degradation is called {name}: choose one of {', '.join(sorted(DEGRADATIONS))}")
    peak = np.abs(audio).max(initial=0.0)
    if not peak:
        return audio
    random = np.random.default_rng(seed)
    worse = audio.astype(np.float64) / peak
    for step in DEGRADATIONS[name]:
        worse = step(worse, rate, random)
    return (worse * (peak / np.abs(worse).max())).astype(np.float32)


def room(shortest: float, longest: float, wet: tuple[float, float]) -> Worsen:
    """Reverberation: noise that decays by 60 dB in so many s, after 5 ms; `wet`: its share beside the direct sound."""

    def worsen(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        from scipy.signal import fftconvolve

        seconds = random.uniform(shortest, longest)
        time = np.arange(int(seconds * rate)) / rate
        tail = random.normal(size=len(time)) * 10 ** (-3 * time / seconds) * (time > 0.005)
        tail *= random.uniform(*wet) / np.sqrt((tail**2).sum())
        tail[0] = 1.0
        return fftconvolve(audio, tail)[: len(audio)]

    return worsen


def band(low: tuple[float, float], high: tuple[float, float]) -> Worsen:
    """A band-pass of order 2 each way, its edges drawn in Hz; forwards alone, so that nothing is heard before its onset."""

    def worsen(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        from scipy.signal import butter, sosfilt

        edges = random.uniform(*low), min(random.uniform(*high), 0.45 * rate)
        return sosfilt(butter(2, edges, "bandpass", fs=rate, output="sos"), audio)

    return worsen


def tilt(db: float) -> Worsen:
    """A spectrum that falls or rises by at most so many dB from 100 Hz to 10 kHz."""

    def worsen(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        spectrum = np.fft.rfft(audio)
        octaves = np.log2(np.maximum(np.fft.rfftfreq(len(audio), 1 / rate), 50.0) / 1000.0)
        slope = random.uniform(-db, db) / np.log2(100.0)
        return np.fft.irfft(spectrum * 10 ** (slope * octaves / 20), len(audio))

    return worsen


def noise(snr: tuple[float, float], colour: float) -> Worsen:
    """Noise at so many dB under the music, its power falling by frequency ** colour (0: white, 1: pink)."""

    def worsen(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        hiss = np.fft.rfft(random.normal(size=len(audio)))
        hiss = np.fft.irfft(hiss * np.maximum(np.fft.rfftfreq(len(audio), 1 / rate), 20.0) ** (-colour / 2), len(audio))
        level = np.sqrt((audio**2).mean() / (hiss**2).mean()) * 10 ** (-random.uniform(*snr) / 20)
        return audio + level * hiss

    return worsen


def crackle(a_second: float, level: float) -> Worsen:
    """Clicks of a worn record: impulses at random, as loud as `level` of the peak at most."""

    def worsen(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        places = random.integers(0, len(audio), random.poisson(a_second * len(audio) / rate))
        worse = audio.copy()
        worse[places] += random.uniform(-level, level, len(places))
        return worse

    return worsen


def saturate(most: float) -> Worsen:
    """A soft clipper driven by at most so much."""

    def worsen(audio: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
        drive = random.uniform(1.0, most)
        return np.tanh(drive * audio) / drive

    return worsen


DEGRADATIONS: dict[str, tuple[Worsen, ...]] = {
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
"""Mean distance of the points between which the tempo changes, s."""


class Curve:
    """A rising map from even time to played time, both in s, whose tempo wanders between SLOWEST and FASTEST.

    A function of its seed and length alone: the tempo at knots about KNOT_S apart is drawn as a random walk in log tempo
    that is drawn back to 0, and time is its integral.
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
        """Played time of even times within the duration, s."""
        return np.interp(even, self.even, self.played)
