"""Separation data: chunks of stems mixed at random to train on, pieces and whole tracks to evaluate, from any multitrack set."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from datamodules.audio.mean_std import Moments, measured_once, moments, of_all
from datamodules.common.base import RootedDataModule
from datamodules.common.cache import cached, fingerprint
from datamodules.common.errors import DataError
from datamodules.common.input_spec import SeparationSpec
from datamodules.common.report import warn
from datamodules.common.splits import Split
from datamodules.separation.stem_report import report
from datamodules.separation.stems import (
    SHORTEST_S,
    Chunk,
    Pieces,
    RandomStems,
    StemBatch,
    Stems,
    TrackBatch,
    WholeTracks,
    collate,
)
from datamodules.separation.tracks import Lengths, Track, TrackFiles, open_track

# Mean and deviation of the training mixtures' spectrum, bin by bin: measured once per data set and transform, then read.

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


__all__ = ["SeparationDataModule", "StemBatch", "TrackBatch"]

Set = TypeVar("Set", bound=Stems)


class SeparationDataModule(RootedDataModule):
    """Any multitrack data set: subclasses say which files are the stems of which track.

    Args:
        sources: stems to separate, in the order of the network's outputs
        sample_rate: of the data set and the network, Hz; files at other rates are left out by name
        channels: of the data set and the network; mono files are taken for any number
        seconds: length of a training chunk; a shorter track is followed by zeros
        samples_per_track: training chunks per track and epoch
        random_tracks: draw each source of a chunk from a track and a place of its own
        gain: limits of each training source's random factor
        swap: probability that a training source's channels are exchanged
        validation_seconds: length of the pieces that validation tracks are cut into
        mixture: what is separated in evaluation: the data set's own `file` where a track has one, or the `sum` of the stems
        lengths: what to do with a track whose files differ in length by more than 50 ms: `pad` the shorter ones with silence,
            `trim` all to the shortest, or `skip` the track
    """

    spec_class = SeparationSpec

    task = "separation"
    name = "separation"
    layout = "a folder of multitrack recordings"

    def __init__(
        self,
        root: str | None = None,
        sources: list[str] | None = None,
        sample_rate: int = 44_100,
        channels: int = 2,
        seconds: float = 6.0,
        samples_per_track: int = 64,
        random_tracks: bool = True,
        gain: tuple[float, float] = (0.25, 1.25),
        swap: float = 0.5,
        validation_seconds: float = 10.0,
        mixture: Literal["file", "sum"] = "file",
        lengths: Lengths = "pad",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        if sources is not None and (len(sources) < 2 or len(set(sources)) < len(sources)):
            raise ValueError(f"sources must name two stems or more, each once: {sources}.")
        if min(sample_rate, channels, samples_per_track) < 1 or seconds <= 0 or validation_seconds < 1:
            raise ValueError("sample_rate, channels, seconds, samples_per_track must be positive, validation_seconds at least 1.")
        if not 0 <= gain[0] <= gain[1] or not 0 <= swap <= 1:
            raise ValueError(f"gain must be two rising factors and swap a probability: {gain}, {swap}.")
        self.chosen, self.sample_rate, self.channels, self.lengths = sources, sample_rate, channels, lengths
        self.seconds, self.samples_per_track, self.random_tracks = seconds, samples_per_track, random_tracks
        self.gain, self.swap, self.validation_seconds, self.mixture = tuple(gain), swap, validation_seconds, mixture

    def __getstate__(self) -> dict[str, Any]:
        """Spawned workers need no transform, which may not travel."""
        return super().__getstate__() | {"_spec": self._spec and SeparationSpec()}

    def read_tracks(self, root: Path) -> list[TrackFiles]:
        """Every track with the files of its stems. Raises DataError where the folder is not as expected."""
        raise NotImplementedError(f"{type(self).__name__} lists no tracks: choose a data set as --data.")

    @property
    def sources(self) -> list[str]:
        """Names of the stems, in the order of the network's outputs."""
        if self.chosen is None:
            raise ValueError("Name the stems to separate: --data.sources '[drums, bass, other, vocals]'.")
        return list(self.chosen)

    @property
    def covers_mixture(self) -> bool:
        """Whether the sources are all of a recording, so that a song holds nothing else."""
        return True

    def absent(self, split: str) -> str:
        """What to do about a split without tracks."""
        return f"Expected {self.layout}."

    @cached_property
    def listed(self) -> list[TrackFiles]:
        """What the folder holds. Raises DataError for a wrong root."""
        return self.read_tracks(self.find_root())

    @cached_property
    def opened(self) -> tuple[list[Track], list[DataError]]:
        """Usable tracks, and what is wrong with each other one. Raises the first of these if strict."""
        tracks, flaws = [], []
        for files in self.listed:
            try:
                track = open_track(files, self.sample_rate, self.channels, self.lengths)
                if self.strict and track.remarks:
                    raise DataError(track.remarks[0])
                tracks.append(track)
            except DataError as error:
                if self.strict:
                    raise
                flaws.append(error)
                self.left_out.add("track", files.name, str(error).rstrip("."))
        self.left_out.say()
        warn("%s", [remark for track in tracks for remark in (*track.remarks, *track.notices)])
        return tracks, flaws

    def tracks(self, split: Split) -> list[Track]:
        """The usable tracks of a split, sorted by name. Raises DataError where there are none."""
        tracks, flaws = self.opened
        chosen = sorted((track for track in tracks if track.split == split), key=lambda track: track.name)
        if not chosen:
            first = f" (of all tracks {len(flaws)} are left out, the first because {flaws[0]})" if flaws else ""
            raise DataError(
                f"{self.name} has no usable track of the {split} split in {self.find_root()}{first}: {self.absent(split)} "
                f"{self.advice()}"
            )
        return chosen

    def train_set(self) -> RandomStems:
        """Random chunks, samples_per_track for every training track."""
        return self._watched(
            RandomStems,
            self.tracks("train"),
            self.sources,
            self.channels,
            strict=self.strict,
            samples=round(self.seconds * self.sample_rate),
            per_track=self.samples_per_track,
            random_tracks=self.random_tracks,
            gain=self.gain,
            swap=self.swap,
            ring=self.rank_batch(),
            workers=self.num_workers,
        )

    def validation_set(self) -> Pieces:
        """The validation tracks in pieces, without augmentation."""
        return self._watched(Pieces, *self._whole("validation"), seconds=self.validation_seconds)

    def test_set(self) -> WholeTracks:
        """The test tracks, one whole track an item."""
        return self._watched(WholeTracks, *self._whole("test"))

    def _watched(self, kind: type[Set], *args: Any, **kwargs: Any) -> Set:
        """A set of tracks; those that turn out unreadable while it is used count as left out."""
        stems = kind(*args, **kwargs)
        self.left_out.watch("track", [track.name for track in stems.tracks], stems.unreadable)
        return stems

    def _whole(self, split: Split) -> tuple:
        return self.tracks(split), self.sources, self.channels, self.mixture == "file", self.strict

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (bins,) float32 of the training mixtures' magnitudes, over whole tracks without augmentation.

        Measured once for all processes and runs. Raises ValueError for a network that starts from none.
        """
        if self.spec.spectrogram is None:
            raise ValueError("this network starts from no statistics: its SeparationSpec has no spectrogram")
        tracks = WholeTracks(*self._whole("train"))
        return statistics(self.cache_dir, self.cached_as, tracks, self.spec.spectrogram, self.spec.key)

    def prepare(self, report_dir: Path) -> dict:
        """Say what is present, missing, unequal, silent; convert what has to be, measure statistics; writes report.json."""
        return report(self, report_dir)

    def collate(self, items: StemBatch | Sequence[Chunk | None]) -> StemBatch:
        """Chunks as one batch, those that could not be read left out; training chunks come as one already."""
        return items if isinstance(items, StemBatch) else collate(items, len(self.sources), self.channels)

    def evaluation_collate(self, items: Sequence[Chunk | TrackBatch | None]) -> StemBatch | TrackBatch:
        """Pieces as a batch, or the one whole track."""
        return items[0] if isinstance(items[0], TrackBatch) else self.collate(items)
