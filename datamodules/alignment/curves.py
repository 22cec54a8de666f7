"""Made tempo curves: how a player's time runs against even time."""

import numpy as np

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
