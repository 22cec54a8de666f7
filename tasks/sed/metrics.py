"""Scores of a sound event detector per clip, exact and the same for any number of processes."""

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datamodules.sed.events import Events, EventTable, take
from tasks.metrics.events import collar, counts, intersection, psds, sweep, tuning
from tasks.metrics.events.decode import FrameScores, decode, median_filter
from tasks.metrics.events.tuning import Decoding
from tasks.metrics.ranking import average_precision
from tasks.metrics.rows import RowMetric


class SedRows(NamedTuple):
    """What was said of each clip seen, sorted by clip, on every rank the same."""

    clip: NDArray[np.int64]  # (clips,) position in the corpus
    probabilities: NDArray[np.float32]  # (clips, classes) of the whole clip
    frames: FrameScores  # of its frames, not filtered
    corpus: EventTable  # of these clips alone


class Tuning(NamedTuple):
    """Thresholds and filters for each kind of score, chosen on validation data."""

    clip: NDArray[np.float64]  # (classes,) thresholds
    segment: Decoding
    event: Decoding
    segment_masked: bool = False  # whether only events of classes that are tags of their clip count
    event_masked: bool = False


HEADLINE = ("clip_f1_micro", "segment_f1_micro", "event_f1_macro")
"""The three scores of Boes and Van hamme 2021, section 4.3.2."""


def fixed(classes: int, threshold: float = 0.5, length: int = 7) -> Tuning:
    """One threshold for everything and one median filter, by default the paper's (section 2.2)."""
    decoding = tuning.fixed(classes, threshold, length)
    return Tuning(np.full(classes, threshold), decoding, decoding)


class SedScores(RowMetric):
    """Clip-based, segment-based, event-based and intersection-based scores, and PSDS on request.

    Only frames that are no padding are kept; ranks may hold different numbers of clips, or none, and a clip that
    several ranks saw counts once. `compute`, `rows` and `tune` gather: call them on every rank. `compute` and `tune` need
    `corpus`, what truly sounds.

    Args:
        frame_s: s from one frame of the scores to the next
        threshold: fixed, for clips and frames
        length: of the fixed median filter, frames
        with_psds: add psds1 and psds2
    """

    columns: ClassVar = {"clip": torch.int64, "length": torch.int64, "probabilities": torch.float32, "frames": torch.float32}
    clip: list[Tensor]
    length: list[Tensor]
    probabilities: list[Tensor]
    frames: list[Tensor]

    def __init__(self, frame_s: float, threshold: float = 0.5, length: int = 7, with_psds: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frame_s, self.threshold, self.filter, self.with_psds = frame_s, threshold, length, with_psds
        self.corpus: EventTable | None = None
        self.tuning: Tuning | None = None

    def update(self, frames: Tensor, mask: Tensor, probabilities: Tensor, clip: Tensor) -> None:
        """Add whole clips.

        Args:
            frames: (batch, frames, classes) float32, after the sigmoid
            mask: (batch, frames), true where a frame is none of padding
            probabilities: (batch, classes) float32, of the whole clip
            clip: (batch,) int64, position of the clip in the corpus

        Raises:
            ValueError: half precision, which ties distinct probabilities, or shapes that do not fit.
        """
        for values in (frames, probabilities):
            if values.dtype not in (torch.float32, torch.float64):
                raise ValueError(f"probabilities are {values.dtype}: take torch.sigmoid(logits.float()) before the update")
        batch, _, classes = frames.shape
        if mask.shape != frames.shape[:2] or probabilities.shape != (batch, classes) or clip.shape != (batch,):
            shapes = [tuple(x.shape) for x in (frames, mask, probabilities, clip)]
            raise ValueError(f"expected (batch, frames, classes), (batch, frames), (batch, classes), (batch,), got {shapes}")
        mask = mask.bool()
        self.add(clip=clip, length=mask.sum(1), probabilities=probabilities.detach(), frames=frames.detach()[mask])

    def compute(self) -> dict[str, float]:
        """Scores over all clips seen; those ending in _tuned where `tuning` is set.

        clip_f1_micro, clip_f1_macro, clip_map, segment_f1_micro, segment_f1_macro, segment_er, event_f1_micro,
        event_f1_macro, event_er, intersection_f1, psds1 and psds2, n_clips. All are NaN if a score is not finite: a
        diverged network must not win by silence.
        """
        found = summary(self._rows(), self._fixed(), self.with_psds)
        if self.tuning is not None:
            tuned = summary(self._rows(), self.tuning, False)
            found |= {f"{name}_tuned": value for name, value in tuned.items() if name not in ("n_clips", "clip_map")}
        return found

    def rows(self, corpus: EventTable | None = None) -> SedRows:
        """Scores of all clips seen, gathered from all ranks.

        Args:
            corpus: what truly sounds in the clips (default: the attribute `corpus`)
        """
        return self.gathered(lambda: self._rows(corpus))

    def tune(self) -> Tuning:
        """Thresholds and filters of best F1 of each class on the clips seen, gathered from all ranks."""
        return tune(self.rows())

    def _fixed(self) -> Tuning:
        return fixed(len(self._corpus().classes), self.threshold, self.filter)

    def _corpus(self) -> EventTable:
        if self.corpus is None:
            raise ValueError("Tell the scores what truly sounds first: metric.corpus = Corpus(...).")
        return self.corpus

    def _rows(self, corpus: EventTable | None = None) -> SedRows:
        corpus = self._corpus() if corpus is None else corpus
        classes = len(corpus.classes)
        ids, lengths = self.held("clip").astype(np.int64), self.held("length").astype(np.int64)
        values = self.held("frames").astype(np.float32).reshape(-1, classes)
        ids, first = np.unique(ids, return_index=True)
        starts = (np.cumsum(lengths) - lengths)[first]
        lengths = lengths[first]
        own = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths - starts, lengths)
        corpus = corpus.select(ids)
        scores = FrameScores(values[own], lengths, corpus.durations, self.frame_s)
        probabilities = self.held("probabilities").astype(np.float32).reshape(-1, classes)[first]
        return SedRows(ids, probabilities, scores, corpus)


def summary(rows: SedRows, how: Tuning, with_psds: bool = False) -> dict[str, float]:
    """What `SedScores.compute` says, of rows in hand. PSDS uses the filters of `how.event` and no threshold."""
    events, classes = rows.corpus.events, len(rows.corpus.classes)
    tags = rows.corpus.tags()
    for_segments, for_events = decided(rows, how)
    clips = counts.count(rows.probabilities, tags, how.clip)
    segments = counts.score(events, for_segments, classes)
    whole = collar.score(events, for_events, classes)
    found = {
        "clip_f1_micro": clips.micro_f1,
        "clip_f1_macro": clips.macro_f1,
        "clip_map": float(np.mean(known)) if len(known := _finite(average_precision(rows.probabilities, tags))) else float("nan"),
        "segment_f1_micro": segments.counts.micro_f1,
        "segment_f1_macro": segments.counts.macro_f1,
        "segment_er": segments.error_rate,
        "event_f1_micro": whole.counts.micro_f1,
        "event_f1_macro": whole.counts.macro_f1,
        "event_er": whole.error_rate,
        "intersection_f1": intersection.score(events, for_events, classes).counts.macro_f1,
    }
    usable = bool(np.isfinite(rows.frames.values).all() and np.isfinite(rows.probabilities).all())
    if with_psds:
        for name, scenario in (("psds1", psds.PSDS1), ("psds2", psds.PSDS2)):
            filtered = median_filter(rows.frames, how.event.filters)
            found[name] = psds.from_scores(filtered, rows.corpus, scenario).value if usable else float("nan")
    found = found if usable else dict.fromkeys(found, float("nan"))
    return {**found, "n_clips": len(rows.clip)}


def decided(rows: SedRows, how: Tuning) -> tuple[Events, Events]:
    """Events of all clips for segment-based and for event-based scores."""
    kinds = ((how.segment, how.segment_masked), (how.event, how.event_masked))
    tags = rows.probabilities >= how.clip
    decoded: dict[int, Events] = {}
    for decoding, _ in kinds:
        if id(decoding) not in decoded:
            decoded[id(decoding)] = decode(median_filter(rows.frames, decoding.filters), decoding.thresholds)
    segments, events = (within_tags(decoded[id(one)], tags) if masked else decoded[id(one)] for one, masked in kinds)
    return segments, events


def within_tags(events: Events, tags: NDArray[np.bool_]) -> Events:
    """The events whose class is one of the tags (clips, classes) of their clip."""
    return take(events, tags[events.clip, events.label])


def tune(rows: SedRows, mask: bool = True) -> Tuning:
    """Thresholds and filters of each class, each kind of score for itself (`choice`), and whether masks by tags raise F1.

    A network whose scores are not finite keeps the fixed decision.

    mask: whether events of classes that are no tags of their clip may be dropped, where that raises F1 here
    """
    tags, classes = rows.corpus.tags(), len(rows.corpus.classes)
    if not (np.isfinite(rows.frames.values).all() and np.isfinite(rows.probabilities).all()):
        return fixed(classes)
    clips = tuning.clip_thresholds(lambda some: sweep.clip_based(rows.probabilities[some], tags[some]), len(tags))
    tuned = Tuning(
        clips,
        tuning.decoding(rows.frames, rows.corpus, sweep.segment_based),
        tuning.decoding(rows.frames, rows.corpus, sweep.event_based),
    )
    if not mask:
        return tuned
    plain, masked = summary(rows, tuned), summary(rows, tuned._replace(segment_masked=True, event_masked=True))
    better = [masked[name] > plain[name] for name in ("segment_f1_micro", "event_f1_macro")]
    return tuned._replace(segment_masked=better[0], event_masked=better[1])


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


# The thresholds and filters that were best in validation, kept with the weights.

MASKS = ("segment_masked", "event_masked")


class Tuned(nn.Module):
    """Thresholds, filter lengths and masks of each class as buffers; before any validation those of the paper."""

    clip: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        for name, values in _flat(fixed(classes)).items():
            self.register_buffer(name, torch.tensor(values))

    def keep(self, tuning: Tuning) -> None:
        """Take over what was tuned."""
        for name, values in _flat(tuning).items():
            getattr(self, name).copy_(torch.as_tensor(values))

    def tuning(self) -> Tuning:
        """What is kept."""
        kept = {name: values.cpu().numpy() for name, values in self.named_buffers()}
        segment, event = (Decoding(kept[f"{kind}_thresholds"], kept[f"{kind}_filters"]) for kind in ("segment", "event"))
        return Tuning(kept["clip"], segment, event, *(bool(kept[name]) for name in MASKS))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load; a checkpoint written before there were masks has none."""
        for name in MASKS:
            state_dict.setdefault(f"{prefix}{name}", torch.tensor(False))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _flat(tuning: Tuning) -> dict[str, np.ndarray]:
    flat = {"clip": np.asarray(tuning.clip, np.float64)}
    for kind, decoding in (("segment", tuning.segment), ("event", tuning.event)):
        flat[f"{kind}_thresholds"] = np.asarray(decoding.thresholds, np.float64)
        flat[f"{kind}_filters"] = np.asarray(decoding.filters, np.int64)
    return flat | {name: np.asarray(getattr(tuning, name), bool) for name in MASKS}
