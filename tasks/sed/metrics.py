"""Metrics of sound event detection: frame and clip probabilities -> clip-, segment-, event-based F1, PSDS."""

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
    """Probabilities and reference events of all clips, sorted by clip, identical on every rank."""

    clip: NDArray[np.int64]  # (clips,) position in the corpus
    probabilities: NDArray[np.float32]  # (clips, classes) of the whole clip
    frames: FrameScores  # of the frames, unfiltered
    corpus: EventTable  # reference events of these clips


class Tuning(NamedTuple):
    """Decision parameters of each kind of score: thresholds and median filters, tuned on validation data."""

    clip: NDArray[np.float64]  # (classes,) thresholds
    segment: Decoding
    event: Decoding
    segment_masked: bool = False  # drop events of classes that are not tags of their clip
    event_masked: bool = False


HEADLINE = ("clip_f1_micro", "segment_f1_micro", "event_f1_macro")
"""The three scores of Boes and Van hamme 2021, section 4.3.2."""


def fixed(classes: int, threshold: float = 0.5, length: int = 7) -> Tuning:
    """One threshold and one median filter (frames) for all classes; default: the paper's (section 2.2)."""
    decoding = tuning.fixed(classes, threshold, length)
    return Tuning(np.full(classes, threshold), decoding, decoding)


class SedScores(RowMetric):
    """Clip-, segment-, event- and intersection-based scores, and optionally PSDS.

    Padding frames are dropped. Ranks may hold different numbers of clips, or none; a clip seen by several ranks counts
    once. `compute` and `rows` gather: call them on every rank. `compute` needs the attribute `corpus`, the reference
    events.

    Args:
        frame_s: time between frames, s
        threshold: fixed threshold for clips and frames
        length: length of the fixed median filter, frames
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

    def update(self, frames: Tensor, mask: Tensor, probabilities: Tensor, clip: Tensor) -> None:
        """Add whole clips.

        Args:
            frames: (batch, frames, classes) float32, after the sigmoid
            mask: (batch, frames), False for padding
            probabilities: (batch, classes) float32, of the whole clip
            clip: (batch,) int64, position of the clip in the corpus

        Raises:
            ValueError: half precision, which ties distinct probabilities, or shapes that do not match.
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
        """Scores over all clips with the fixed decision.

        clip_f1_micro, clip_f1_macro, clip_map, segment_f1_micro, segment_f1_macro, segment_er, event_f1_micro,
        event_f1_macro, event_er, intersection_f1, psds1 and psds2, n_clips. All are NaN if a probability is not finite,
        so that a diverged network cannot win.
        """
        return summary(self._rows(), fixed(len(self._corpus().classes), self.threshold, self.filter), self.with_psds)

    def rows(self, corpus: EventTable | None = None) -> SedRows:
        """Probabilities of all clips, gathered from all ranks.

        Args:
            corpus: reference events of the clips (default: the attribute `corpus`)
        """
        return self.gathered(lambda: self._rows(corpus))

    def _corpus(self) -> EventTable:
        if self.corpus is None:
            raise ValueError("SedScores needs reference events: set metric.corpus = EventTable(...)")
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


def summary(rows: SedRows, decision: Tuning, with_psds: bool = False) -> dict[str, float]:
    """Scores of `SedScores.compute` from rows. PSDS uses the filters of `decision.event` and no threshold."""
    events, classes = rows.corpus.events, len(rows.corpus.classes)
    tags = rows.corpus.tags()
    for_segments, for_events = decode_events(rows, decision)
    clips = counts.count(rows.probabilities, tags, decision.clip)
    segments = counts.score(events, for_segments, classes)
    whole = collar.score(events, for_events, classes)
    scores = {
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
            filtered = median_filter(rows.frames, decision.event.filters)
            scores[name] = psds.from_scores(filtered, rows.corpus, scenario).value if usable else float("nan")
    scores = scores if usable else dict.fromkeys(scores, float("nan"))
    return {**scores, "n_clips": len(rows.clip)}


def decode_events(rows: SedRows, decision: Tuning) -> tuple[Events, Events]:
    """Decoded events of all clips for segment-based and for event-based scores."""
    kinds = ((decision.segment, decision.segment_masked), (decision.event, decision.event_masked))
    tags = rows.probabilities >= decision.clip
    decoded: dict[int, Events] = {}
    for decoding, _ in kinds:
        if id(decoding) not in decoded:
            decoded[id(decoding)] = decode(median_filter(rows.frames, decoding.filters), decoding.thresholds)
    segments, events = (within_tags(decoded[id(kind)], tags) if masked else decoded[id(kind)] for kind, masked in kinds)
    return segments, events


def within_tags(events: Events, tags: NDArray[np.bool_]) -> Events:
    """Keep events whose class is one of the tags (clips, classes) of their clip."""
    return take(events, tags[events.clip, events.label])


def tune(rows: SedRows, mask: bool = True) -> Tuning:
    """Tune thresholds and filters of each class separately for each kind of score (`tasks.metrics.events.tuning`).

    Args:
        rows: probabilities and reference events of validation clips
        mask: allow masks that drop events of classes that are not tags of their clip, if that raises F1 here

    Returns:
        the fixed decision if a probability is not finite
    """
    tags, classes = rows.corpus.tags(), len(rows.corpus.classes)
    if not (np.isfinite(rows.frames.values).all() and np.isfinite(rows.probabilities).all()):
        return fixed(classes)
    clips = tuning.clip_thresholds(lambda k: sweep.clip_based(rows.probabilities[k], tags[k]), len(tags))
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


MASKS = ("segment_masked", "event_masked")


class Tuned(nn.Module):
    """Tuned thresholds, filter lengths and masks as buffers of the checkpoint; initially those of the paper."""

    clip: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        for name, values in _flat(fixed(classes)).items():
            self.register_buffer(name, torch.tensor(values))

    def keep(self, tuning: Tuning) -> None:
        """Store a tuning."""
        for name, values in _flat(tuning).items():
            getattr(self, name).copy_(torch.as_tensor(values))

    def tuning(self) -> Tuning:
        """Stored tuning."""
        buffers = {name: values.cpu().numpy() for name, values in self.named_buffers()}
        segment, event = (Decoding(buffers[f"{kind}_thresholds"], buffers[f"{kind}_filters"]) for kind in ("segment", "event"))
        return Tuning(buffers["clip"], segment, event, *(bool(buffers[name]) for name in MASKS))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load the state; earlier checkpoints have no masks."""
        for name in MASKS:
            state_dict.setdefault(f"{prefix}{name}", torch.tensor(False))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _flat(tuning: Tuning) -> dict[str, np.ndarray]:
    flat = {"clip": np.asarray(tuning.clip, np.float64)}
    for kind, decoding in (("segment", tuning.segment), ("event", tuning.event)):
        flat[f"{kind}_thresholds"] = np.asarray(decoding.thresholds, np.float64)
        flat[f"{kind}_filters"] = np.asarray(decoding.filters, np.int64)
    return flat | {name: np.asarray(getattr(tuning, name), bool) for name in MASKS}
