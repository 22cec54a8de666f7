"""Separation data: chunks of stems mixed at random to train on, pieces and whole tracks to evaluate, from any multitrack set."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch import Tensor

from datamodules.errors import DataError
from datamodules.input_spec import SeparationSpec
from datamodules.report import warn
from datamodules.rooted import RootedData
from datamodules.splits import Split
from datamodules.stem_report import report
from datamodules.stem_statistics import statistics
from datamodules.stems import Chunk, Pieces, RandomStems, StemBatch, Stems, TrackBatch, WholeTracks, collate
from datamodules.tracks import Lengths, Track, TrackFiles, open_track

__all__ = ["SeparationData", "StemBatch", "TrackBatch"]

Set = TypeVar("Set", bound=Stems)


class SeparationData(RootedData):
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
