"""Mean and deviation of many spectra, bin by bin: measured once for all processes and runs, then read."""

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
    """Of float64 values by bin: how many, their mean, and the sum of squared distances from it (bins,)."""

    count: int
    mean: np.ndarray
    spread: np.ndarray

    def joined(self, other: "Moments") -> "Moments":
        """Of both together (Chan, Golub, LeVeque 1979)."""
        count = self.count + other.count
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        return Moments(count, mean, self.spread + other.spread + step**2 * (self.count * other.count / count))


def moments(spectrum: Tensor) -> Moments | None:
    """Of a spectrum (bins, frames) float64, which is overwritten; None without frames or where it is not finite."""
    if not spectrum.shape[1]:
        return None
    mean = spectrum.mean(1)
    spread = spectrum.sub_(mean[:, None]).square_().sum(1)
    if not torch.isfinite(mean + spread).all():
        return None
    return Moments(spectrum.shape[1], mean.cpu().numpy(), spread.cpu().numpy())


def measured_once(path: Path, measure: Callable[[], Moments]) -> tuple[Tensor, Tensor]:
    """Mean and deviation (bins,) float32 kept in `path`; of several processes that ask at once one measures."""
    if (kept := _read(path)) is not None:  # without a lock: a shared cache may allow no writing
        return torch.from_numpy(kept["mean"]), torch.from_numpy(kept["std"])
    with exclusive(path.with_suffix(".lock"), f"the statistics {path}"):
        if (kept := _read(path)) is None:
            found = measure()
            kept = {"mean": found.mean.astype(np.float32), "std": np.sqrt(found.spread / found.count).astype(np.float32)}
            write_atomically(path, lambda file: np.savez(file, **kept))
    return torch.from_numpy(kept["mean"]), torch.from_numpy(kept["std"])


def of_all(read: Callable[[int], Moments | None], count: int, unit: str) -> Moments:
    """Of items 0 .. count - 1 together, joined in their order. Raises DataError where not one can be read."""

    total = None
    # Threads: the transform lets go of the interpreter, on whatever device it runs.
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for part in progress(pool.map(read, range(count)), "measuring spectra", count, unit):
            total = part if total is None else total if part is None else total.joined(part)
    if total is None:
        raise DataError(f"No training {unit} can be read, so there are no statistics: check the data with the `prepare` verb.")
    return total


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """The kept arrays; None where there are none, or none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {"mean": kept["mean"], "std": kept["std"]}
    except FileNotFoundError:
        return None
    except Exception:
        log.warning("%s cannot be read and is measured again.", path)
        return None
