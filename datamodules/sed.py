"""Sound event data: whole clips, weakly, strongly or not labelled, mixed in fixed shares to train on."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from datamodules.base import resume_position
from datamodules.clip_report import size, survey
from datamodules.clip_statistics import statistics
from datamodules.clips import Clips
from datamodules.embeddings import EmbeddingCache
from datamodules.errors import DataError
from datamodules.event_clips import ClipList, EventClips, Item, SoundBatch, StreamClips, WholeClips, collate
from datamodules.events import Corpus, clip_offsets
from datamodules.input_spec import SEDSpec
from datamodules.left_out import LeftOut
from datamodules.packed import PackedData
from datamodules.paths import relative_to
from datamodules.report import warn, write_report
from datamodules.streams import MixedSampler

EVALUATED = ("validation", "test")


def _relative(listed: ClipList, root: Path) -> ClipList:
    """A list whose table may name clips by absolute paths, by paths relative to its folder."""
    return listed._replace(names=tuple(relative_to(root / listed.folder, listed.names, root)))


class SoundEventData(PackedData):
    """Any sound event data set: subclasses read its tables into lists of clips.

    Args:
        streams: how many clips of which list a training batch holds, such as {weak: 24, unlabeled: 24}
        batches_per_epoch: steps of an epoch; lists go round without repeating a clip before all were used
        seconds: longest piece of a clip to train on
    """

    spec_class = SEDSpec
    per_spec = (*PackedData.per_spec, "embedded")

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
        self._corpora: dict[str, Corpus] = {}

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

    def corpus(self, name: Literal["validation", "test"]) -> Corpus:
        """Names, lengths and events of the clips of a list, in the order in which they are evaluated; measured once.

        A clip that turns out unreadable has no length and no events, and no scores either.
        """
        if name not in self._corpora:
            self._corpora[name] = self._corpus(self.clips(name))
        return self._corpora[name]

    def _corpus(self, clips: EventClips) -> Corpus:
        lengths = np.array([clips.samples(i) for i in range(len(clips))]) / self.rate()
        whole = Corpus(clips.listed.names, np.full(len(clips.listed.names), np.inf), tuple(self.classes), clips.listed.events)
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

    def collate(self, items: Sequence[Item | None]) -> SoundBatch:
        """Clips as one batch, those that could not be read left out."""
        return collate(items, self.spec.grid, len(self.classes), self.dims)

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
