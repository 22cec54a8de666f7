"""Strengths of systems from comparisons of two (Bradley and Terry 1952)."""

import numpy as np
from numpy.typing import NDArray

STEPS, CLOSE = 10_000, 1e-9
GHOST = 0.1
"""Of a win, that every system is given over every other: who never loses is strong, but not infinitely so."""


def bradley_terry(wins: NDArray[np.float64], ghost: float = GHOST) -> NDArray[np.float64]:
    """Log strengths (..., systems) of which the most likely explain the wins, their mean 0.

    System i is preferred to j with chance 1 / (1 + exp(strength j - strength i)). Iterated by minorisation (Hunter 2004).

    Args:
        wins: (..., systems, systems) how often the row was preferred to the column; several sets at once, as a bootstrap draws
        ghost: wins added between every two; with 0, wins must lead from every system to every other

    Raises:
        ValueError: wins that are no squares of counts.
    """
    wins = np.asarray(wins, np.float64)
    if wins.ndim < 2 or wins.shape[-1] != wins.shape[-2] or (wins < 0).any():
        raise ValueError(f"wins must be counts (systems, systems), got {wins.shape}")
    wins = np.where(np.eye(wins.shape[-1], dtype=bool), 0.0, wins + ghost)
    met, own = wins + wins.swapaxes(-1, -2), wins.sum(-1)
    log = np.zeros(own.shape)
    for _ in range(STEPS):
        strength, before = np.exp(log), log
        expected = (met / (strength[..., :, None] + strength[..., None, :])).sum(-1)
        log = np.log(np.maximum(own, 1e-300)) - np.log(np.maximum(expected, 1e-300))
        log -= log.mean(-1, keepdims=True)
        if np.abs(log - before).max(initial=0) < CLOSE:
            break
    return log
