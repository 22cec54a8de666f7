"""Sound event data module: lists of weakly, strongly and unlabelled clips -> batches with a fixed share of each list."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.audio.clips import Clips
from datamodules.audio.mean_std import Moments, cached_mean_std, combined_moments, moments
from datamodules.audio.packed import PackedDataModule, size, survey
from datamodules.common.base import EpochSampler, permutation, resume_position
from datamodules.common.cache import cached, fingerprint
from datamodules.common.errors import DataError
from datamodules.common.file_search import relative_to
from datamodules.common.input_spec import SEDSpec
from datamodules.common.left_out import LeftOut
from datamodules.common.report import warn, write_report
from datamodules.common.workers import mix
from datamodules.sed.embeddings import EmbeddingCache
from datamodules.sed.event_clips import ClipList, EventClips, EventItem, SoundBatch, StreamClips, WholeClips, collate
from datamodules.sed.events import EventTable, clip_offsets

VERSION = 1


def statistics(
    cache_dir: str | None, name: str, root: Path, lists: Sequence[Clips], features: Callable[[Tensor], Tensor], rate: int
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (bands,) float32 over all frames of all clips, cached by name, files and features.

    features: (1, samples) int16 at `rate` Hz -> (frames, bands). Raises DataError if no clip can be read.
    """
    items = [(clips, clip) for clips in lists for clip in range(len(clips))]

    def read(index: int) -> Moments | None:
        clips, clip = items[index]
        try:
            audio = torch.from_numpy(clips.whole(clip))[None]
        except DataError as error:
            clips.report(clip, error)
            return None
        with torch.no_grad():
            return moments(features(audio).double().T.contiguous())

    path = cached(cache_dir, "statistics", f"{name}-{_key(root, lists, features, rate)}.npz")
    return cached_mean_std(path, lambda: combined_moments(read, len(items), "clip"))


def _key(root: Path, lists: Sequence[Clips], features: Callable[[Tensor], Tensor], rate: int) -> str:
    """Fingerprint of the measured files and of the features of fixed noise."""
    noise = np.random.Generator(np.random.PCG64(0)).uniform(-8192, 8192, rate).round()
    with torch.no_grad():
        values = features(torch.from_numpy(noise).to(torch.int16)[None]).double()
    digest = hashlib.sha256(values.mul(100).round().long().numpy().tobytes()).hexdigest()[:10]
    paths = [os.fsencode(str(path)) for clips in lists for path in clips.paths]
    return fingerprint(f"{VERSION} {rate} {digest}", ((path, os.fsencode(root) + b"/" + path) for path in paths))


class IndexStream:
    """Endless sequence of a set's indices, one shuffled pass after another: position p is `order(p // length)[p % length]`.

    Args:
        length: number of items
        seed: of the order
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed = length, seed
        self._cycle, self._order = -1, torch.zeros(0, dtype=torch.long)

    def __getitem__(self, position: int) -> int:
        cycle, index = divmod(position, self.length)
        if cycle != self._cycle:
            self._cycle, self._order = cycle, permutation(self.length, self.seed, cycle)
        return int(self._order[index])


class MixedSampler(EpochSampler):
    """Sampler of (index, item seed) for one rank: each batch holds a fixed share of every stream, streams in order.

    Indices count through the concatenated streams. An epoch is `steps` batches, and the next one continues the streams;
    their positions follow from the number of batches, so that a resumed run is exact. No stream repeats an item before all
    its items were used. Ranks take disjoint parts of each share.

    Args:
        lengths: items of each stream
        shares: items of each stream per rank and batch
        steps: batches per epoch
        seed, rank, world, epoch, start: as in `EpochSampler`

    Raises:
        DataError: a stream with a share has no items.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        shares: Sequence[int],
        steps: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
        start: int = 0,
    ) -> None:
        if any(share and not length for length, share in zip(lengths, shares, strict=True)):
            raise DataError(f"A stream without clips cannot fill its share of the batches: clips {lengths}, shares {shares}.")
        self.lengths, self.shares = tuple(lengths), tuple(shares)
        super().__init__(steps * sum(shares) * world, sum(shares), seed, rank, world, epoch, start)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first = [sum(self.lengths[:k]) for k in range(len(self.lengths))]
        streams = [IndexStream(length, mix(self.seed, k)) for k, length in enumerate(self.lengths)]
        for step in range(self.epoch * self.steps + self.start, (self.epoch + 1) * self.steps):
            for k, (stream, share) in enumerate(zip(streams, self.shares, strict=True)):
                begin = (step * self.world + self.rank) * share
                for position in range(begin, begin + share):
                    yield first[k] + stream[position], mix(self.seed, k, position)


EVALUATED = ("validation", "test")


def _relative(listed: ClipList, root: Path) -> ClipList:
    """Convert absolute paths of a list to paths relative to its folder."""
    return listed._replace(names=tuple(relative_to(root / listed.folder, listed.names, root)))


class SEDDataModule(PackedDataModule):
    """Base of the sound event data sets: subclasses read their tables into lists of clips.

    Args:
        streams: clips of each list in a training batch, such as {weak: 24, unlabeled: 24}
        batches_per_epoch: steps of an epoch; no clip is repeated before all clips of its list were used
        seconds: longest excerpt of a clip in training
    """

    spec_class = SEDSpec
    per_spec = (*PackedDataModule.per_spec, "embedded")

    task = "sed"
    name = "sed"
    layout = "a sound event data set's folder"

    def __init__(
        self,
        root: str | None = None,
        streams: dict[str, int] | None = None,
        batches_per_epoch: int = 250,
        seconds: float = 10.0,
        **kwargs: Any,
    ) -> None:
        streams = {"weak": 24, "unlabeled": 24} if streams is None else {k: v for k, v in streams.items() if v}
        if not streams or min(streams.values()) < 0 or batches_per_epoch < 1 or seconds <= 0:
            raise ValueError(
                "streams must give positive numbers of clips, and batches_per_epoch and seconds be positive: "
                f"{streams}, {batches_per_epoch}, {seconds}."
            )
        super().__init__(root, batch_size=sum(streams.values()), **kwargs)
        self.streams, self.batches_per_epoch, self.seconds = streams, batches_per_epoch, seconds
        self._corpora: dict[str, EventTable] = {}

    def __getstate__(self) -> dict[str, Any]:
        """State for loader processes: without networks, which may not be picklable."""
        spec = self._spec and replace(self._spec, extractors={}, features=None)
        return super().__getstate__() | {"_spec": spec}

    @property
    def dims(self) -> dict[str, int]:
        """Dimension of each embedding stream."""
        return {stream: cache.dim for stream, cache in self.embedded[0].items()}

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the labels."""
        raise NotImplementedError(f"{type(self).__name__} knows no classes: choose a data set as --data.")

    def read_lists(self, root: Path) -> dict[str, ClipList]:
        """Read all lists of the data set, including `validation` and `test`. Raises DataError for invalid tables."""
        raise NotImplementedError(f"{type(self).__name__} lists no clips: choose a data set as --data.")

    @cached_property
    def lists(self) -> dict[str, ClipList]:
        """Lists used for training and evaluation. Raises DataError for a wrong root or an unknown stream."""
        lists, root = self.read_lists(self.find_root()), self.find_root()
        for stream in self.streams:
            if stream not in lists or stream in EVALUATED:
                offered = ", ".join(name for name in lists if name not in EVALUATED)
                raise DataError(f"{self.name} has no training list {stream!r}: --data.streams takes {offered}.")
        used = {name: _relative(lists[name], root) for name in (*self.streams, *EVALUATED) if name in lists}
        warn("%s", [remark for clips in used.values() for remark in clips.remarks])
        self.left_out.extend((row for clips in used.values() for row in clips.left_out), logged=True)
        return used

    def listing(self) -> tuple[Path, np.ndarray]:
        """Root and paths of all clips, in the order of `lists`."""
        return self.find_root(), np.array([f"{clips.folder}/{name}" for clips in self.lists.values() for name in clips.names])

    def row_splits(self) -> list[str]:
        """Split of each clip in the order of `lists`; `train` for all training lists."""
        return [name if name in EVALUATED else "train" for name, clips in self.lists.items() for _ in clips.names]

    def rate(self) -> int:
        """Sampling rate of the network, Hz. Raises ValueError before `connect`."""
        return self.spec.grid.sample_rate

    @cached_property
    def embedded(self) -> tuple[dict[str, EmbeddingCache], dict[Path, str]]:
        """Embedding caches by stream, with all present clips extracted, and error messages of clips without embeddings."""
        root, paths = self.listing()
        clips = [root / path for path in paths[self.files.present]]
        extractors = self.spec.extractors.items()
        caches = {name: EmbeddingCache(self.cache_dir, name, extractor, root) for name, extractor in extractors}
        faults: dict[Path, str] = {}
        for cache in caches.values():
            faults |= cache.build(clips, self.strict)
        names = {clip: str(clip.relative_to(root)) for clip in faults}
        self.left_out.extend(LeftOut.from_sentence("clip", names[clip], fault, clip) for clip, fault in faults.items())
        self.left_out.log_new()
        return caches, faults

    def clips(self, name: str) -> EventClips:
        """Readable clips of a list. Raises DataError if there are none."""
        (root, paths), present, chosen = self.listing(), self.files.present, self.lists[name]
        first = sum(len(clips.names) for clips in list(self.lists.values())[: list(self.lists).index(name)])
        caches, faults = self.embedded
        usable = (present >= first) & (present < first + len(chosen.names)) & self.readable()
        rows = np.array([row for row in np.flatnonzero(usable) if root / paths[present[row]] not in faults], np.int64)
        if not len(rows):
            raise DataError(
                f"{self.name} has no readable clip of the list {name} ({len(chosen.names)} are listed) in "
                f"{root / chosen.folder}: --data.root must name {self.layout}. {self.advice()}"
            )
        clips = Clips(paths[present[rows]], np.zeros((len(rows), 0)), rows, *self.store, self.strict)
        position = present[rows] - first
        return EventClips(clips, position, chosen, caches, root, self.spec.grid, self.spec.align, len(self.classes))

    def corpus(self, name: Literal["validation", "test"]) -> EventTable:
        """Names, durations and events of the clips of a list, in the order of evaluation.

        An unreadable clip has duration 0 and no events; it has no scores either.
        """
        if name not in self._corpora:
            self._corpora[name] = self._corpus(self.clips(name))
        return self._corpora[name]

    def _corpus(self, clips: EventClips) -> EventTable:
        lengths = np.array([clips.samples(i) for i in range(len(clips))]) / self.rate()
        whole = EventTable(clips.listed.names, np.full(len(clips.listed.names), np.inf), tuple(self.classes), clips.listed.events)
        chosen = whole.select(clips.position)
        return chosen._replace(durations=lengths, events=clip_offsets(chosen.events, lengths))

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (bands,) float32 of `spec.features` over the training clips, cached.

        Raises:
            ValueError: the specification has no features.
        """
        if self.spec.features is None:
            raise ValueError("this network is not standardised by its training set: its SEDSpec has no features")
        lists = [self.clips(stream).clips for stream in self.streams]
        return statistics(self.cache_dir, self.cache_name, self.find_root(), lists, self.spec.features, self.rate())

    def train_set(self) -> StreamClips:
        """Concatenated streams; the seed of an item draws its excerpt."""
        return StreamClips([self.clips(stream) for stream in self.streams], self.seconds)

    def validation_set(self) -> WholeClips:
        """All validation clips."""
        return WholeClips(self.clips("validation"))

    def test_set(self) -> WholeClips:
        """All test clips."""
        return WholeClips(self.clips("test"))

    def train_sampler(self, dataset: StreamClips) -> MixedSampler:
        """Sampler of batches with a share of each stream."""
        shares, position = [self.rank_batch(share) for share in self.streams.values()], resume_position(self.trainer)
        return MixedSampler(dataset.lengths, shares, self.batches_per_epoch, self.seed, *self.ranks(), *position)

    @property
    def collate(self) -> Callable[[Sequence[EventItem | None]], SoundBatch]:
        """Collate function: clips -> batch without unreadable ones."""
        return partial(collate, grid=self.spec.grid, classes=len(self.classes), dims=self.dims)

    def prepare(self, report_dir: Path) -> dict:
        """Report present, missing and unreadable clips; build the pack (unless `pack: never`), embeddings and statistics."""
        pack = None if self.pack == "never" else self.build_pack()
        (lists, usable), (caches, faults) = survey(self, pack), self.embedded
        measured = None if self.spec.features is None else [len(values) for values in self.statistics()]
        results = {
            "pack": size(pack),
            "embeddings": {name: str(cache.folder) for name, cache in caches.items()},
            "bands": measured and measured[0],
        }
        lists["without_embeddings"] = sorted(faults.values())
        lists["remarks"] = [remark for clips in self.lists.values() for remark in clips.remarks]
        return write_report(self, report_dir, self._counts(usable), lists, results)

    def _counts(self, usable: np.ndarray) -> dict:
        """Listed and usable clips of each list, with the usable clips and events per class."""
        counts, first = {}, 0
        for name, clips in self.lists.items():
            mine = usable[(usable >= first) & (usable < first + len(clips.names))] - first
            counts[name] = {"listed": len(clips.names), "usable": len(mine)}
            if clips.tags is not None:
                counts[name]["clips_per_class"] = dict(zip(self.classes, clips.tags[mine].sum(0).tolist(), strict=True))
            if clips.events is not None:
                labels = clips.events.label[np.isin(clips.events.clip, mine)]
                events = np.bincount(labels, minlength=len(self.classes)).tolist()
                counts[name]["events_per_class"] = dict(zip(self.classes, events, strict=True))
                counts[name]["without_events"] = len(mine) - int(clips.tags[mine].any(1).sum())
            first += len(clips.names)
        return {"lists": counts}
