"""Separation data module: multitrack recordings -> random mixtures for training, segments and whole tracks for evaluation."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from datamodules.audio.mean_std import Moments, cached_mean_std, combined_moments, moments
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
    RandomStems,
    StemBatch,
    Stems,
    TrackBatch,
    TrackSegments,
    WholeTracks,
    collate,
)
from datamodules.separation.tracks import Lengths, Track, TrackFiles, open_track

VERSION = 1
SEGMENT_S = 10.0
"""Length of the segments in which tracks are transformed for statistics, s: memory for small arrays is reused."""

CONTEXT_S = 1.0
"""Context on both sides of a segment, s; its frames are dropped, so that the others equal those of the whole track."""


def statistics(
    cache_dir: str | None, name: str, tracks: WholeTracks, spectrogram: Callable[[Tensor], Tensor], key: str
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (bins,) float32 of the mixture magnitudes over all frames and channels of whole tracks, cached.

    spectrogram: (channels, samples) -> (channels, bins, frames) at any length; `key` changes with its settings. Raises
    DataError if no track can be read.
    """

    def measure() -> Moments:
        hop = _hop(spectrogram)
        return combined_moments(lambda index: _track(tracks, index, spectrogram, hop), len(tracks), "track")

    return cached_mean_std(cached(cache_dir, "statistics", f"{name}-{_key(tracks, key)}.npz"), measure)


def _key(tracks: WholeTracks, key: str) -> str:
    """Fingerprint of the measured files and settings, independent of the location of the data set."""
    wavs = [wav for track in tracks.tracks for wav in _measured(track, tracks)]
    names = [(track.name, [Path(wav.path).name for wav in _measured(track, tracks)], track.frames) for track in tracks.tracks]
    settings = f"{VERSION} {key} {tracks.rate} {tracks.channels} {tracks.sources} {names}"
    return fingerprint(settings, ((b"", os.fsencode(wav.path)) for wav in wavs if wav.path))


def _measured(track: Track, tracks: WholeTracks) -> Sequence:
    return [track.mixture] if tracks.mixture and track.mixture else [track.stems[source] for source in tracks.sources]


def _hop(spectrogram: Callable[[Tensor], Tensor]) -> int:
    """Hop of a spectrogram in samples, from its frames for two lengths; exact if it divides 65,536 or is below 700."""
    short, long = 2**16, 2**20
    with torch.no_grad():
        frames = [spectrogram(torch.zeros(1, length)).shape[-1] for length in (short, long)]
    return round((long - short) / (frames[1] - frames[0]))


def _track(tracks: WholeTracks, index: int, spectrogram: Callable[[Tensor], Tensor], hop: int) -> Moments | None:
    """Moments of one track; None for an unreadable one, which is logged."""
    total = None
    try:
        for magnitude in _frames(tracks, index, spectrogram, hop):
            part = moments(magnitude)
            if part is None:
                raise DataError(f"The spectrum of {tracks.tracks[index].name} is not finite: check its files, or leave it out.")
            total = part if total is None else total.joined(part)
    except DataError as error:
        tracks.report(index, error)
        return None
    return total


def _frames(tracks: WholeTracks, index: int, spectrogram: Callable[[Tensor], Tensor], hop: int) -> Iterator[Tensor]:
    """All frames of a track's mixture, as (bins, frames) float64 of consecutive segments."""
    step, context = (max(1, round(seconds * tracks.rate / hop)) * hop for seconds in (SEGMENT_S, CONTEXT_S))
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
    """Base of the multitrack data sets: subclasses list the tracks with the files of their stems.

    Args:
        sources: stems to separate, in the order of the network's outputs
        sample_rate: of the data set and the network, Hz; files at other rates are left out
        channels: of the data set and the network; mono files are accepted for any number
        seconds: length of a training chunk; shorter tracks are zero-padded
        samples_per_track: training chunks per track and epoch
        random_tracks: draw each source of a chunk from a random track and position
        gain: limits of the random gain of each training source
        swap: probability of reversing the channels of a training source
        validation_seconds: length of the segments of validation tracks
        mixture: mixture in evaluation: the data set's own `file` if a track has one, or the `sum` of the stems
        lengths: handling of a track whose files differ in length by more than 50 ms: `pad` shorter files with silence,
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
        """State for spawned workers: without the transform, which may not be picklable."""
        return super().__getstate__() | {"_spec": self._spec and SeparationSpec()}

    def read_tracks(self, root: Path) -> list[TrackFiles]:
        """List all tracks with the files of their stems. Raises DataError for an invalid folder."""
        raise NotImplementedError(f"{type(self).__name__} lists no tracks: choose a data set as --data.")

    @property
    def sources(self) -> list[str]:
        """Names of the stems, in the order of the network's outputs."""
        if self.chosen is None:
            raise ValueError("The stems to separate are required: --data.sources '[drums, bass, other, vocals]'.")
        return list(self.chosen)

    @property
    def covers_mixture(self) -> bool:
        """True if the sources add up to the mixture."""
        return True

    def absent(self, split: str) -> str:
        """Advice for a split without tracks."""
        return f"Expected {self.layout}."

    @cached_property
    def listed(self) -> list[TrackFiles]:
        """Tracks of the folder. Raises DataError for a wrong root."""
        return self.read_tracks(self.find_root())

    @cached_property
    def opened(self) -> tuple[list[Track], list[DataError]]:
        """Usable tracks, and the errors of the others. Raises the first error if strict."""
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
        self.left_out.log_new()
        warn("%s", [remark for track in tracks for remark in (*track.remarks, *track.notices)])
        return tracks, flaws

    def tracks(self, split: Split) -> list[Track]:
        """Usable tracks of a split, sorted by name. Raises DataError if there are none."""
        tracks, flaws = self.opened
        chosen = sorted((track for track in tracks if track.split == split), key=lambda track: track.name)
        if not chosen:
            first = f" ({len(flaws)} tracks are left out, the first because {flaws[0]})" if flaws else ""
            raise DataError(
                f"{self.name} has no usable track of the {split} split in {self.find_root()}{first}: {self.absent(split)} "
                f"{self.advice()}"
            )
        return chosen

    def train_set(self) -> RandomStems:
        """Random chunks, samples_per_track per training track."""
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

    def validation_set(self) -> TrackSegments:
        """Segments of the validation tracks, without augmentation."""
        return self._watched(TrackSegments, *self._whole("validation"), seconds=self.validation_seconds)

    def test_set(self) -> WholeTracks:
        """Whole test tracks, one per item."""
        return self._watched(WholeTracks, *self._whole("test"))

    def _watched(self, kind: type[Set], *args: Any, **kwargs: Any) -> Set:
        """Build a set whose unreadable tracks count as left out."""
        stems = kind(*args, **kwargs)
        self.left_out.watch("track", [track.name for track in stems.tracks], stems.unreadable)
        return stems

    def _whole(self, split: Split) -> tuple:
        return self.tracks(split), self.sources, self.channels, self.mixture == "file", self.strict

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (bins,) float32 of the training mixtures' magnitudes, without augmentation; cached.

        Raises:
            ValueError: the specification has no spectrogram.
        """
        if self.spec.spectrogram is None:
            raise ValueError("this network starts from no statistics: its SeparationSpec has no spectrogram")
        tracks = WholeTracks(*self._whole("train"))
        return statistics(self.cache_dir, self.cache_name, tracks, self.spec.spectrogram, self.spec.key)

    def prepare(self, report_dir: Path) -> dict:
        """Convert stems, measure statistics, and report missing, unequal and silent files in report.json."""
        return report(self, report_dir)

    def collate(self, items: StemBatch | Sequence[Chunk | None]) -> StemBatch:
        """Batch of the chunks that are not None; training chunks are a batch already."""
        return items if isinstance(items, StemBatch) else collate(items, len(self.sources), self.channels)

    def evaluation_collate(self, items: Sequence[Chunk | TrackBatch | None]) -> StemBatch | TrackBatch:
        """Batch of segments, or the one whole track."""
        return items[0] if isinstance(items[0], TrackBatch) else self.collate(items)
