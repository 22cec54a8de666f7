"""Mean and deviation of the training mixtures' spectrum, bin by bin: measured once per data set and transform, then read."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from datamodules.cache import cached, fingerprint
from datamodules.errors import DataError
from datamodules.moments import Moments, measured_once, moments, of_all
from datamodules.stems import SHORTEST_S, WholeTracks
from datamodules.tracks import Track

VERSION = 1
PIECE_S = 10.0
"""Tracks are transformed in pieces of about this length, s: small arrays are reused, those of whole tracks never are."""

CONTEXT_S = 1.0
"""Sound on both sides of a piece, s, whose frames are dropped: makes the others equal those of the whole track."""


def statistics(
    cache_dir: str | None, name: str, tracks: WholeTracks, spectrogram: Callable[[Tensor], Tensor], key: str
) -> tuple[Tensor, Tensor]:
    """Mean and deviation (bins,) float32 over all frames of whole tracks, magnitudes averaged over the channels.

    spectrogram: (channels, samples) -> (channels, bins, frames) at any length; `key` changes with its settings. Kept in
    the cache under `name` and what decides the numbers. Of several processes that ask at once one measures.
    Raises DataError where no track can be read.
    """

    def measure() -> Moments:
        hop = _hop(spectrogram)
        return of_all(lambda index: _track(tracks, index, spectrogram, hop), len(tracks), "track")

    return measured_once(cached(cache_dir, "statistics", f"{name}-{_key(tracks, key)}.npz"), measure)


def _key(tracks: WholeTracks, key: str) -> str:
    """Changes with any file that is measured, wherever the set lies, and with how."""
    wavs = [wav for track in tracks.tracks for wav in _measured(track, tracks)]
    names = [(track.name, [Path(wav.path).name for wav in _measured(track, tracks)], track.frames) for track in tracks.tracks]
    settings = f"{VERSION} {key} {tracks.rate} {tracks.channels} {tracks.sources} {names}"
    return fingerprint(settings, ((b"", os.fsencode(wav.path)) for wav in wavs if wav.path))


def _measured(track: Track, tracks: WholeTracks) -> Sequence:
    return [track.mixture] if tracks.mixture and track.mixture else [track.stems[source] for source in tracks.sources]


def _hop(spectrogram: Callable[[Tensor], Tensor]) -> int:
    """Samples between frames, by the answers to two lengths; exact where they divide 65,536 or are fewer than 700."""
    short, long = 2**16, 2**20
    with torch.no_grad():
        frames = [spectrogram(torch.zeros(1, length)).shape[-1] for length in (short, long)]
    return round((long - short) / (frames[1] - frames[0]))


def _track(tracks: WholeTracks, index: int, spectrogram: Callable[[Tensor], Tensor], hop: int) -> Moments | None:
    """Of one track; None where it cannot be read, which is said."""
    total = None
    try:
        for magnitude in _frames(tracks, index, spectrogram, hop):
            part = moments(magnitude)
            if part is None:
                raise DataError(f"The spectrum of {tracks.tracks[index].name} is not finite: look at its files, or leave it out.")
            total = part if total is None else total.joined(part)
    except DataError as error:
        tracks.report(index, error)
        return None
    return total


def _frames(tracks: WholeTracks, index: int, spectrogram: Callable[[Tensor], Tensor], hop: int) -> Iterator[Tensor]:
    """All frames of a track's mixture, each once, as (bins, frames) float64 of successive pieces."""
    step, context = (max(1, round(seconds * tracks.rate / hop)) * hop for seconds in (PIECE_S, CONTEXT_S))
    length = max(tracks.tracks[index].frames, round(SHORTEST_S * tracks.rate))
    for start in range(0, length, step):
        begin, stop = max(0, start - context), start + step
        mixture = tracks.mixed(index, begin, min(stop + context, length) - begin)
        with torch.no_grad():
            magnitude = spectrogram(mixture).mean(0)
        first = (start - begin) // hop
        magnitude = magnitude[:, first : None if stop >= length else first + step // hop].double()
        if magnitude.shape[1]:
            yield magnitude
