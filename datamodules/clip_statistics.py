"""Mean and deviation of a network's features over the clips it trains on, band by band."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.cache import cached, fingerprint
from datamodules.clips import Clips
from datamodules.errors import DataError
from datamodules.moments import Moments, measured_once, moments, of_all

VERSION = 1


def statistics(
    cache_dir: str | None, name: str, root: Path, lists: Sequence[Clips], features: Callable[[Tensor], Tensor], rate: int
) -> tuple[Tensor, Tensor]:
    """Mean and deviation (bands,) float32 over all frames of all clips.

    features: (1, samples) int16 at `rate` Hz -> (frames, bands); root: what the clips' paths are relative to. Kept in the cache
    under `name` and what decides the numbers.
    Raises DataError where no clip can be read.
    """
    places = [(clips, clip) for clips in lists for clip in range(len(clips))]

    def read(index: int) -> Moments | None:
        clips, clip = places[index]
        try:
            audio = torch.from_numpy(clips.whole(clip))[None]
        except DataError as error:
            clips.report(clip, error)
            return None
        with torch.no_grad():
            return moments(features(audio).double().T.contiguous())

    path = cached(cache_dir, "statistics", f"{name}-{_key(root, lists, features, rate)}.npz")
    return measured_once(path, lambda: of_all(read, len(places), "clip"))


def _key(root: Path, lists: Sequence[Clips], features: Callable[[Tensor], Tensor], rate: int) -> str:
    """Changes with any file that is measured and with what the features answer to noise, whatever their settings are called."""
    noise = np.random.Generator(np.random.PCG64(0)).uniform(-8192, 8192, rate).round()
    with torch.no_grad():
        answer = features(torch.from_numpy(noise).to(torch.int16)[None]).double()
    heard = hashlib.sha256(answer.mul(100).round().long().numpy().tobytes()).hexdigest()[:10]
    paths = [os.fsencode(str(path)) for clips in lists for path in clips.paths]
    return fingerprint(f"{VERSION} {rate} {heard}", ((path, os.fsencode(root) + b"/" + path) for path in paths))
