"""Alignment data module: labelled pairs of frames for training, whole recordings with scores for evaluation."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.alignment.crops import PairBatch, PairSampling, RecordingCrops, collate
from datamodules.alignment.features import FeatureStore
from datamodules.alignment.listing import Drawn, Listing, Pair, Sound
from datamodules.alignment.reading import read_score
from datamodules.alignment.sounds import EMBEDDED, played
from datamodules.common.base import RootedDataModule
from datamodules.common.errors import DataError
from datamodules.common.input_spec import AlignmentSpec
from datamodules.common.left_out import LeftOut
from datamodules.common.report import Recording, identical_files, warn, write_report
from datamodules.common.splits import SPLITS, Split
from datamodules.common.unread import refuse_unread


class WholeBatch(NamedTuple):
    """Recording and score."""

    performance: Tensor  # (channels, bins, frames) float32
    score: Tensor  # (channels, bins, frames) float32
    truth: Tensor  # (events, 2) float64: s in the score, s in the performance
    index: int  # index in the split
    name: str
    piece: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)


class WholePairs(Dataset):
    """Whole pairs of a split."""

    def __init__(self, pairs: Sequence[Pair], store: FeatureStore) -> None:
        self.pairs, self.store = list(pairs), store

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> WholeBatch:
        pair = self.pairs[index]
        performance, score = (
            torch.from_numpy(np.ascontiguousarray(self.store.read(sound).transpose(1, 2, 0)))
            for sound in (pair.performance, pair.score)
        )
        return WholeBatch(performance, score, torch.from_numpy(pair.truth()), index, pair.name, pair.piece)


# Report of `prepare`


def report(data: "AlignmentDataModule", folder: Path) -> dict:
    """Counts and missing, unreadable and identical files; written to `folder`/report.json.

    Raises:
        DataError: first problem, if strict.
    """
    listing, splits = data.listing, {}
    for split in SPLITS:
        listed = [pair for pair in listing.pairs if pair.split == split]
        usable = _usable(data, split) if listed else []
        splits[split] = {"listed": len(listed), "usable": len(usable), "pieces": len({pair.piece for pair in usable})}
    counts = {"listed": len(listing.pairs), "usable": sum(split["usable"] for split in splits.values()), "splits": splits}
    files = {"missing": listing.flaws, "unreadable": [str(sound.path) for sound in data.unreadable]}
    recordings = dict.fromkeys(
        Recording(str(pair.performance.path), pair.split, pair.performance.path) for pair in listing.pairs if pair.split
    )
    files["identical"] = identical_files(list(recordings))
    warn("In two splits: %s.", files["identical"])
    return write_report(data, folder, counts, files, {"features": str(data.store.folder)})


def _usable(data: "AlignmentDataModule", split: str) -> list:
    try:
        return data.with_features(data.training_pairs()) if split == "train" else data.evaluated(split)
    except DataError:
        if data.strict:
            raise
        return []


__all__ = ["AlignmentDataModule", "PairBatch", "WholeBatch"]


class AlignmentDataModule(RootedDataModule):
    """Base class of data modules: recordings and scores, listed by subclasses.

    Training pairs are performances and renderings of their own MIDI, which have the same timing. If a set has no other score
    than that MIDI, evaluation renders it with a random tempo curve.

    Args:
        split: unit of the split: `piece` (all its recordings together) or `recording` (as in the paper)
        items: training crops per epoch
        frames: embeddings per crop; 1: one patch per pair, as in the paper
        pairs: frame pairs per crop
        near: lowest and highest distance of near non-matching frames, frames
        near_share: probability that a non-matching pair is near instead of anywhere in the crop or, with patches, recording
        by_pitch: non-matching frames have different pitches ("using MIDI-information" in the paper)
        ends: share of crops of several frames that contain the beginning or end of a recording
        velocity: velocity of scores made of a performance's own MIDI; null: as played
        extra: share of additional samples from detuned and, with `worse`, degraded copies; 0.2 in the paper
        cents: maximum detuning of a copy
        worse: degradations of copies (`datamodules.alignment.degrade`)
        limit: maximum number of validation recordings, spread evenly
    """

    spec_class = AlignmentSpec
    per_spec = ("store",)

    task = "alignment"
    name = "alignment"
    layout = "a folder of recordings and scores"

    def __init__(
        self,
        root: str | None = None,
        split: Drawn = "piece",
        items: int = 25_600,
        frames: int = 1,
        pairs: int = 1,
        near: tuple[int, int] = (4, 40),
        near_share: float = 0.5,
        by_pitch: bool = True,
        ends: float = 0.15,
        velocity: int | None = 64,
        extra: float = 0.0,
        cents: float = 30.0,
        worse: list[str] | None = None,
        limit: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        if min(items, frames, pairs) < 1 or not 0 < near[0] <= near[1] or not 0 <= near_share <= 1 or not 0 <= ends <= 1:
            raise ValueError(
                f"items, frames and pairs must be positive, near two rising distances, near_share and ends "
                f"probabilities: {items}, {frames}, {pairs}, {near}, {near_share}, {ends}."
            )
        if extra < 0 or cents < 0 or (limit is not None and limit < 1):
            raise ValueError(f"extra and cents must not be negative and limit positive: {extra}, {cents}, {limit}.")
        if not extra:
            refuse_unread(type(self), {"cents": cents, "worse": worse}, "without --data.extra, whose copies they change")
        self.split, self.items, self.limit = split, items, limit
        self.sampling = PairSampling(frames, pairs, tuple(near), near_share, by_pitch, ends)
        if velocity is not None and not 1 <= velocity <= 127:
            raise ValueError(f"velocity must be within 1 .. 127: {velocity}.")
        self.velocity = velocity
        self.extra, self.cents, self.worse = extra, cents, list(worse or [])

    def __getstate__(self) -> dict[str, Any]:
        """Spawned workers read features from disk and need no front end."""
        return super().__getstate__() | {"_spec": None}

    def read_pairs(self, root: Path) -> Listing:
        """Pairs of recordings and scores below a root. Raises DataError for another layout."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: choose a data set as --data.")

    @cached_property
    def listing(self) -> Listing:
        """Pairs and problems of the data set. Raises DataError for another layout, or if strict for the first problem."""
        result = self.read_pairs(self.find_root())
        if self.strict and result.flaws:
            raise DataError(result.flaws[0])
        self.leave_out("recording", result.flaws)
        return result

    def leave_out(self, kind: str, sentences: Iterable[object]) -> None:
        """Report unused items; each sentence has the item as its subject."""
        self.left_out.extend(LeftOut.from_subject(kind, sentence) for sentence in sentences)
        self.left_out.log_new()

    def listed(self, split: Split) -> list[Pair]:
        """Pairs of a split, sorted by name. Raises DataError if there are none."""
        chosen = sorted((pair for pair in self.listing.pairs if pair.split == split), key=lambda pair: pair.name)
        if not chosen:
            first = f" ({len(self.listing.flaws)} are left out, the first: {self.listing.flaws[0]})" if self.listing.flaws else ""
            raise DataError(
                f"{self.name} has no recording for the {split} split in {self.find_root()}{first}: expected {self.layout}. "
                f"{self.advice()}"
            )
        return chosen

    @cached_property
    def store(self) -> FeatureStore:
        """Feature cache. Raises ValueError before `connect`."""
        spec = self.spec
        return FeatureStore(spec.extract, spec.feature_key(), spec.sample_rate, self.cache_dir, spec.on_cpu())

    def with_features(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Pairs with features, extracted if not cached. Raises DataError if none is left, or if strict for any problem."""
        flaws = self.store.build(sound for pair in pairs for sound in (pair.performance, pair.score))
        if flaws and self.strict:
            raise DataError(next(iter(flaws.values())))
        self.unreadable |= set(flaws)
        self.leave_out("file", flaws.values())
        left = [pair for pair in pairs if pair.performance not in self.unreadable and pair.score not in self.unreadable]
        if not left:
            raise DataError(f"none of {len(pairs)} recordings could be read; first error: {next(iter(flaws.values()), '?')}")
        return left

    @cached_property
    def unreadable(self) -> set[Sound]:
        return set()

    def training_pairs(self) -> list[Pair]:
        """Performances of the training split and their own MIDI in the score's sound."""
        return [with_own_midi(pair, self.velocity) for pair in self.listed("train") if pair.midi]

    def evaluated(self, split: Split) -> list[Pair]:
        """Recordings of a split and scores with another timing."""
        pairs = [with_tempo(pair, self.velocity) if pair.score.path == pair.midi else pair for pair in self.listed(split)]
        if split == "validation" and self.limit and len(pairs) > self.limit:
            pairs = [pairs[index] for index in np.linspace(0, len(pairs) - 1, self.limit).round().astype(int)]
        return self.with_truth(self.with_features(pairs))

    def with_truth(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Pairs with readable reference events. Raises DataError if none is left, or if strict for any problem."""
        flaws = []
        for pair in pairs:
            try:
                if pair.name not in self._truths:
                    self._truths[pair.name] = pair.truth()
            except DataError as error:
                if self.strict:
                    raise
                flaws.append(error)
        self.leave_out("recording", flaws)
        if len(flaws) == len(pairs):
            raise DataError(f"none of {len(pairs)} recordings has reference events; first error: {flaws[0]}")
        known = {pair.name: pair for pair in pairs if pair.name in self._truths}
        return [pair._replace(truth=partial(np.array, self._truths[name])) for name, pair in known.items()]

    @cached_property
    def _truths(self) -> dict[str, np.ndarray]:
        return {}

    def train_set(self) -> RecordingCrops:
        """Random crops of training recordings and their copies."""
        plain = self.training_pairs()
        copies = [self.copy(pair) for pair in plain] if self.extra else []
        pairs = self.with_features(plain + copies)
        weights = [self.extra if pair.name.endswith(COPY) else 1.0 for pair in pairs]
        items = round(self.items * (1 + self.extra))
        return RecordingCrops(pairs, weights, self.store, items, self.spec.context, self.sampling, self.spec.frame_s)

    def copy(self, pair: Pair) -> Pair:
        """Pair with a detuned and degraded performance, seeded by its name."""
        seed = seed_of(pair.name)
        random = np.random.default_rng(seed)
        worse = str(random.choice(self.worse)) if self.worse else None
        sound = pair.performance._replace(cents=round(float(random.uniform(-self.cents, self.cents)), 2), seed=seed)
        return pair._replace(name=pair.name + COPY, performance=sound._replace(worse=worse or sound.worse))

    def validation_set(self) -> WholePairs:
        return WholePairs(self.evaluated("validation"), self.store)

    def test_set(self) -> WholePairs:
        return WholePairs(self.evaluated("test"), self.store)

    def prepare(self, report_dir: Path) -> dict:
        """Report the data, and compute the features for training and evaluation."""
        return report(self, report_dir)

    def collate(self, items: Sequence[PairBatch]) -> PairBatch:
        return collate(items)

    def evaluation_collate(self, items: Sequence[WholeBatch]) -> WholeBatch:
        return items[0]


COPY = " (copy)"


def seed_of(name: str) -> int:
    """Hash of a name as a seed."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")


def with_own_midi(pair: Pair, velocity: int | None = None) -> Pair:
    """Pair whose score is the performance's own MIDI, rendered with SoundFont and program of the score."""
    font, program = pair.score.font or EMBEDDED, pair.score.program
    return pair._replace(score=Sound(pair.midi, font, program=program, velocity=velocity))


def with_tempo(pair: Pair, velocity: int | None = None) -> Pair:
    """Pair whose score, the performance's own MIDI, is rendered with a random tempo curve, seeded by its name."""
    seed = seed_of(pair.name)
    return pair._replace(score=pair.score._replace(curve=seed, velocity=velocity), truth=partial(curve_times, pair.midi, seed))


def curve_times(midi: Path, seed: int) -> np.ndarray:
    """Events (onsets, 2) of a MIDI file: s with the tempo curve of a seed, s in the file."""
    score = read_score(midi)
    return np.stack([np.unique(played(score, seed).onset), np.unique(score.notes.onset)], 1)
