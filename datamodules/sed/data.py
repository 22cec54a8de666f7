"""Sound event data: whole clips, weakly, strongly or not labelled, mixed in fixed shares to train on."""

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
from datamodules.audio.mean_std import Moments, measured_once, moments, of_all
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

# Mean and deviation of a network's features over the clips it trains on, band by band.

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


# Batches mixed from several streams, a fixed share of each: no stream repeats an item before all its items were used.
#
# Where a stream stands follows from the number of batches behind it, so that nothing is stored and a resumed run goes on exactly.


class IndexStream:
    """An endless sequence of a set's indices: one shuffled pass after another.

    length: items; seed: of the order. Position p is item `order(p // length)[p % length]`.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed = length, seed
        self._cycle, self._order = -1, torch.zeros(0, dtype=torch.long)

    def __getitem__(self, position: int) -> int:
        cycle, place = divmod(position, self.length)
        if cycle != self._cycle:
            self._cycle, self._order = cycle, permutation(self.length, self.seed, cycle)
        return int(self._order[place])


class MixedSampler(EpochSampler):
    """Yields (index, item seed) for one rank, each batch with its share of every stream, streams in order.

    Indices count through the streams one after another: those of the second begin where the first ends. An epoch is
    `steps` batches, wherever the streams then stand; the next goes on from there. Ranks take disjoint parts of each
    stream's share.

    lengths: items of each stream; shares: its items per rank and batch. For the others see `EpochSampler`.
    Raises DataError for a stream without items of which a share is wanted.
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
            raise DataError(f"A stream without clips cannot fill its share of each batch: clips {lengths}, shares {shares}.")
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
    """A list whose table may name clips by absolute paths, by paths relative to its folder."""
    return listed._replace(names=tuple(relative_to(root / listed.folder, listed.names, root)))


class SEDDataModule(PackedDataModule):
    """Any sound event data set: subclasses read its tables into lists of clips.

    Args:
        streams: how many clips of which list a training batch holds, such as {weak: 24, unlabeled: 24}
        batches_per_epoch: steps of an epoch; lists go round without repeating a clip before all were used
        seconds: longest piece of a clip to train on
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
        """Loader processes need no networks, which may not travel."""
        spec = self._spec and replace(self._spec, extractors={}, features=None)
        return super().__getstate__() | {"_spec": spec}

    @property
    def dims(self) -> dict[str, int]:
        """Numbers per frame of each embedding stream."""
        return {stream: cache.dim for stream, cache in self.embedded[0].items()}

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the labels."""
        raise NotImplementedError(f"{type(self).__name__} knows no classes: choose a data set as --data.")

    def read_lists(self, root: Path) -> dict[str, ClipList]:
        """Every list of the data set by name, `validation` and `test` among them.

        Raises DataError where the tables are not as expected.
        """
        raise NotImplementedError(f"{type(self).__name__} lists no clips: choose a data set as --data.")

    @cached_property
    def lists(self) -> dict[str, ClipList]:
        """The lists that are trained or evaluated on. Raises DataError for a wrong root or a stream that is no list."""
        lists, root = self.read_lists(self.find_root()), self.find_root()
        for stream in self.streams:
            if stream not in lists or stream in EVALUATED:
                offered = ", ".join(name for name in lists if name not in EVALUATED)
                raise DataError(f"{self.name} has no list {stream!r} to train on: --data.streams takes {offered}.")
        used = {name: _relative(lists[name], root) for name in (*self.streams, *EVALUATED) if name in lists}
        warn("%s", [remark for one in used.values() for remark in one.remarks])
        self.left_out.extend((row for one in used.values() for row in one.left_out), said=True)
        return used

    def listing(self) -> tuple[Path, np.ndarray]:
        """The root, and the paths of all clips in the order of `lists`."""
        return self.find_root(), np.array([f"{one.folder}/{name}" for one in self.lists.values() for name in one.names])

    def row_splits(self) -> list[str]:
        """Split of each clip in the order of `lists`: `train` for all lists that are trained on."""
        return [name if name in EVALUATED else "train" for name, one in self.lists.items() for _ in one.names]

    def rate(self) -> int:
        """The network's rate. Raises ValueError before `connect`."""
        return self.spec.grid.sample_rate

    @cached_property
    def embedded(self) -> tuple[dict[str, EmbeddingCache], dict[Path, str]]:
        """Embeddings by stream of every clip that is there, extracted where they are not kept; and why a clip has none."""
        root, paths = self.listing()
        clips = [root / path for path in paths[self.files.present]]
        extractors = self.spec.extractors.items()
        caches = {name: EmbeddingCache(self.cache_dir, name, extractor, root) for name, extractor in extractors}
        faults: dict[Path, str] = {}
        for cache in caches.values():
            faults |= cache.build(clips, self.strict)
        names = {clip: str(clip.relative_to(root)) for clip in faults}
        self.left_out.extend(LeftOut.from_sentence("clip", names[clip], fault, clip) for clip, fault in faults.items())
        self.left_out.say()
        return caches, faults

    def clips(self, name: str) -> EventClips:
        """The readable clips of a list. Raises DataError where there are none."""
        (root, paths), present, chosen = self.listing(), self.files.present, self.lists[name]
        first = sum(len(one.names) for one in list(self.lists.values())[: list(self.lists).index(name)])
        caches, faults = self.embedded
        usable = (present >= first) & (present < first + len(chosen.names)) & self.readable()
        rows = np.array([row for row in np.flatnonzero(usable) if root / paths[present[row]] not in faults], np.int64)
        if not len(rows):
            raise DataError(
                f"{self.name} has no readable clip of the list {name} ({len(chosen.names)} are named) in "
                f"{root / chosen.folder}: --data.root must name {self.layout}. {self.advice()}"
            )
        clips = Clips(paths[present[rows]], np.zeros((len(rows), 0)), rows, *self.store, self.strict)
        place = present[rows] - first
        return EventClips(clips, place, chosen, caches, root, self.spec.grid, self.spec.align, len(self.classes))

    def corpus(self, name: Literal["validation", "test"]) -> EventTable:
        """Names, lengths and events of the clips of a list, in the order in which they are evaluated; measured once.

        A clip that turns out unreadable has no length and no events, and no scores either.
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
        """Mean and deviation (bands,) float32 of `features` over the clips that are trained on, each once.

        Measured once for all processes and runs. Raises ValueError for a network that is not standardised by them.
        """
        if self.spec.features is None:
            raise ValueError("this network is not standardised by its training set: its SEDSpec has no features")
        lists = [self.clips(stream).clips for stream in self.streams]
        return statistics(self.cache_dir, self.cached_as, self.find_root(), lists, self.spec.features, self.rate())

    def train_set(self) -> StreamClips:
        """The streams one after another; an item's seed draws its piece."""
        return StreamClips([self.clips(stream) for stream in self.streams], self.seconds)

    def validation_set(self) -> WholeClips:
        """Every validation clip."""
        return WholeClips(self.clips("validation"))

    def test_set(self) -> WholeClips:
        """Every test clip."""
        return WholeClips(self.clips("test"))

    def train_sampler(self, dataset: StreamClips) -> MixedSampler:
        """Batches with each stream's share, wherever the streams stand."""
        rank, world = self.ranks()
        shares = [self.rank_batch(share) for share in self.streams.values()]
        place = resume_position(self.trainer)
        return MixedSampler(dataset.lengths, shares, self.batches_per_epoch, self.seed, rank, world, *place)

    @property
    def collate(self) -> Callable[[Sequence[EventItem | None]], SoundBatch]:
        """Clips -> one batch without those that could not be read; sizes are looked up once per loader."""
        return partial(collate, grid=self.spec.grid, classes=len(self.classes), dims=self.dims)

    def prepare(self, report_dir: Path) -> dict:
        """Say what is present, missing and unreadable; build the pack (unless `pack: never`), embeddings and statistics."""
        pack = None if self.pack == "never" else self.build_pack()
        (lists, usable), (caches, faults) = survey(self, pack), self.embedded
        measured = None if self.spec.features is None else [len(values) for values in self.statistics()]
        made = {
            "pack": size(pack),
            "embeddings": {name: str(cache.folder) for name, cache in caches.items()},
            "bands": measured and measured[0],
        }
        lists["without_embeddings"] = sorted(faults.values())
        lists["remarks"] = [remark for one in self.lists.values() for remark in one.remarks]
        return write_report(self, report_dir, self._counts(usable), lists, made)

    def _counts(self, usable: np.ndarray) -> dict:
        """Per list: how many clips it names, how many can be used, and in how many of these each class occurs or how often."""
        counts, first = {}, 0
        for name, one in self.lists.items():
            mine = usable[(usable >= first) & (usable < first + len(one.names))] - first
            counts[name] = {"listed": len(one.names), "usable": len(mine)}
            if one.tags is not None:
                counts[name]["clips_per_class"] = dict(zip(self.classes, one.tags[mine].sum(0).tolist(), strict=True))
            if one.events is not None:
                kept = one.events.label[np.isin(one.events.clip, mine)]
                counts[name]["events_per_class"] = dict(
                    zip(self.classes, np.bincount(kept, minlength=len(self.classes)).tolist(), strict=True)
                )
                counts[name]["without_events"] = len(mine) - int(one.tags[mine].any(1).sum())
            first += len(one.names)
        return {"lists": counts}
