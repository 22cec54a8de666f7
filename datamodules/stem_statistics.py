"""Mean and deviation of the training mixtures' spectrum, bin by bin: measured once per data set and transform, then read."""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import DataError
from datamodules.packing import exclusive, write_atomically
from datamodules.stems import WholeTracks, pieces
from datamodules.tracks import Track

log = logging.getLogger(__name__)

VERSION = 1
PIECE_S = 300.0
"""Tracks are transformed whole up to this length, s: an hour's spectrum would not fit into memory."""

THREADS = 4
"""Tracks at a time, each with a spectrum of up to 2 GB."""


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


def statistics(folder: Path, name: str, tracks: WholeTracks, spectrogram: Callable[[Tensor], Tensor], key: str) -> tuple:
    """Mean and deviation (bins,) float32 over all frames of whole tracks, magnitudes averaged over the channels.

    spectrogram: (channels, samples) -> (channels, bins, frames) at any length; `key` changes with its settings. Kept in
    `folder` under `name` and what decides the numbers. Of several processes that ask at once one measures.
    Raises DataError where no track can be read.
    """
    path = folder / f"{name}-{_digest(tracks, key)}.npz"
    with exclusive(path.with_suffix(".lock"), f"the statistics {path}"):
        if (kept := _read(path)) is None:
            moments = _measure(tracks, spectrogram)
            deviation = np.sqrt(moments.spread / moments.count)
            kept = {"mean": moments.mean.astype(np.float32), "std": deviation.astype(np.float32)}
            write_atomically(path, lambda file: np.savez(file, **kept))
    return torch.from_numpy(kept["mean"]), torch.from_numpy(kept["std"])


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


def _digest(tracks: WholeTracks, key: str) -> str:
    """Sixteen hex digits that change with any file that is measured, and with how."""
    digest = hashlib.sha256(f"{VERSION} {key} {tracks.rate} {tracks.channels} {tracks.sources}\n".encode())
    for track in tracks.tracks:
        for wav in _measured(track, tracks):
            digest.update(f"{track.name}|{Path(wav.path).name}|{wav.frames}".encode(errors="surrogateescape"))
            if wav.path:
                stat = os.stat(wav.path)  # noqa: PTH116  as datamodules.pack.fingerprint does
                digest.update(f"|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _measured(track: Track, tracks: WholeTracks) -> Sequence:
    return [track.mixture] if tracks.mixture and track.mixture else [track.stems[source] for source in tracks.sources]


def _measure(tracks: WholeTracks, spectrogram: Callable[[Tensor], Tensor]) -> Moments:
    from tqdm import tqdm

    total = None
    # Threads: the transform lets go of the interpreter, on whatever device it runs. Joined in the order of the tracks.
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        parts = pool.map(lambda index: _track(tracks, index, spectrogram), range(len(tracks)))
        for part in tqdm(parts, "measuring spectra", len(tracks), unit="track", dynamic_ncols=True):
            total = part if total is None else total if part is None else total.joined(part)
    if total is None:
        raise DataError("No training track can be read, so there are no statistics: check the data set with the `prepare` verb.")
    return total


def _track(tracks: WholeTracks, index: int, spectrogram: Callable[[Tensor], Tensor]) -> Moments | None:
    """Of one track; None where it cannot be read, which is said."""
    track = tracks.tracks[index]
    total = None
    for start, samples in pieces(track.frames, tracks.rate, PIECE_S):
        try:
            mixture = tracks.mixed(index, start, samples)
        except DataError as error:
            tracks.report(index, error)
            return None
        with torch.no_grad():
            magnitude = spectrogram(mixture).double().mean(0)
        mean = magnitude.mean(1)
        spread = (magnitude - mean[:, None]).square_().sum(1)
        if not torch.isfinite(mean + spread).all():
            raise DataError(f"The spectrum of {track.name} is not finite: look at its files, or leave the track out.")
        part = Moments(magnitude.shape[1], mean.cpu().numpy(), spread.cpu().numpy())
        total = part if total is None else total.joined(part)
    return total
