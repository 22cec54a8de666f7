"""Mean and standard deviation per frequency bin over many spectra, cached for all processes and runs."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.common.cache import exclusive, write_atomically
from datamodules.common.errors import DataError
from datamodules.common.progress import progress

log = logging.getLogger(__name__)

THREADS = 4


class Moments(NamedTuple):
    """Count, mean (bins,) and sum of squared deviations from it (bins,), float64."""

    count: int
    mean: np.ndarray
    deviations: np.ndarray

    def joined(self, other: "Moments") -> "Moments":
        """Moments of both sets together (Chan, Golub, LeVeque 1979)."""
        count = self.count + other.count
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        return Moments(count, mean, self.deviations + other.deviations + step**2 * (self.count * other.count / count))


def moments(spectrum: Tensor) -> Moments | None:
    """Moments of a spectrum (bins, frames) float64, which is overwritten; None without frames or if not finite."""
    if not spectrum.shape[1]:
        return None
    mean = spectrum.mean(1)
    deviations = spectrum.sub_(mean[:, None]).square_().sum(1)
    if not torch.isfinite(mean + deviations).all():
        return None
    return Moments(spectrum.shape[1], mean.cpu().numpy(), deviations.cpu().numpy())


def cached_mean_std(path: Path, measure: Callable[[], Moments]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (bins,) float32 cached in `path`; one of several concurrent processes measures them."""
    if (kept := _read(path)) is not None:  # without a lock: a shared cache may be read-only
        return torch.from_numpy(kept["mean"]), torch.from_numpy(kept["std"])
    with exclusive(path.with_suffix(".lock"), f"the statistics {path}"):
        if (kept := _read(path)) is None:
            count, mean, deviations = measure()
            kept = {"mean": mean.astype(np.float32), "std": np.sqrt(deviations / count).astype(np.float32)}
            write_atomically(path, lambda file: np.savez(file, **kept))
    return torch.from_numpy(kept["mean"]), torch.from_numpy(kept["std"])


def combined_moments(read: Callable[[int], Moments | None], count: int, unit: str) -> Moments:
    """Moments of items 0 .. count - 1 together, joined in order. Raises DataError if none can be read."""
    total = None
    # Threads: the transform releases the interpreter lock on any device.
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for part in progress(pool.map(read, range(count)), "measuring spectra", count, unit):
            total = part if total is None else total if part is None else total.joined(part)
    if total is None:
        raise DataError(f"No training {unit} can be read, so there are no statistics: check the data with `prepare`.")
    return total


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """Cached arrays; None if absent or unreadable."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {"mean": kept["mean"], "std": kept["std"]}
    except FileNotFoundError:
        return None
    except Exception:
        log.warning("%s cannot be read and is measured again.", path)
        return None
