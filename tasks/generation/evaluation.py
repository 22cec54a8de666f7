"""Evaluation of generated music: pieces -> likelihood, voice leading, originality, similarity to the corpus, density."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from datamodules.generation.data import GenerationDataModule
from datamodules.generation.encoded import SymbolicBatch
from datamodules.generation.piece import VOICE, Piece
from datamodules.generation.views import View
from models.generation.frame_spec import FrameSpec
from models.generation.generative_model import GenerativeModel
from models.generation.ngram import Ngram
from tasks.generation.figures_compared import novelty_figure, overlap_figure, profile_figure, rules_figure
from tasks.generation.inference import Writer, shortened
from tasks.generation.metrics.features import Overlap, overlap
from tasks.generation.metrics.likelihood import FrameLikelihood, LikelihoodRows, summary
from tasks.generation.metrics.originality import Originality, flagged, originality
from tasks.generation.metrics.rules import check
from tasks.generation.metrics.structure import density, profile, repetition, warnings
from tasks.generation.tables import HUMAN, OURS
from tasks.metrics.bootstrap import Interval
from tasks.reporting.results import number
from tasks.suite_module import SuiteModule
from tasks.writers.output_files import write_figure

# Likelihood

LIKELIHOOD_KINDS = {
    "exact": "exact",
    "estimate": "estimated by annealed importance sampling, on average slightly too low",
    "bound": "an upper bound, estimated with a few samples of the posterior",
    "conditional": "exact, of the generated voices given the others",
    "none": "no likelihood: reconstruction loss or pseudo-likelihood of the system",
}
"""Kind of likelihood -> description in reports."""


@torch.no_grad()
def update_likelihood(metric: FrameLikelihood, net: GenerativeModel, batch: SymbolicBatch) -> None:
    """Add nats (batch, frames) in float32 or better, and accuracies, of a batch to a metric."""
    nll = net.surrogate(batch) if net.likelihood == "none" else net.nll(batch)
    form, guess, columns = net.form, net.guess(batch), net.scored
    options = {"truth": batch.frames[..., columns], "guess": None if guess is None else guess[..., columns]}
    options |= {"hold": form.hold, "rest": form.rest, "piece": batch.piece}
    metric.update(batch.index, nll.float(), batch.valid, len(columns), **options)


# Markov chain baseline

ORDER = 4
ESCAPES = (1.0, 2.0, 4.0)
"""Back-off parameters, of which the best on the validation split is used."""


class Baseline(NamedTuple):
    """Baseline and its likelihoods."""

    name: str
    net: GenerativeModel
    rows: LikelihoodRows

    @property
    def scores(self) -> dict[str, float]:
        """Summary of the likelihoods."""
        return {key: float(value) for key, value in summary(self.rows).items()}


def markov(data: GenerationDataModule, form: FrameSpec, split: str) -> Baseline:
    """Markov chain of order 4 counted in all training keys: per voice, or of whole frames for views without voices."""
    voices = form.kind == "categories" and form.columns > 1
    chain = Ngram(form, order=ORDER, scope="voice" if voices else "frame").eval()
    chain.prepare(data.everything())
    nats = {}
    for escape in ESCAPES:
        chain.set_escape(escape)
        nats[escape] = _rows(chain, data, "validation").nats.sum()
    chain.set_escape(min(nats, key=nats.get))
    name = f"Markov chain, order {ORDER}" + (", own voice" if voices else "")
    return Baseline(name, chain, _rows(chain, data, split))


@torch.no_grad()
def _rows(chain: Ngram, data: GenerationDataModule, split: str) -> LikelihoodRows:
    rows = FrameLikelihood()
    for batch in data.everything(split):
        update_likelihood(rows, chain, batch)
    return rows.own_rows()


# Generated samples


class Samples(NamedTuple):
    """Generated pieces with their inputs."""

    pieces: list[Piece]
    inputs: list[Piece]
    use: str


def write_samples(
    composer: SuiteModule, references: list[Piece], count: int, bars: int, seed: int, net: GenerativeModel | None = None
) -> Samples:
    """Generate pieces with time signature, key and length of test pieces: free if the system can, else from their melodies.

    Args:
        composer: module
        references: test pieces in the view's key
        count: number of pieces
        bars: largest number of bars
        seed: seed
        net: baseline in place of the module's system
    """
    use = next(use for use in ("free", "harmonise", "continue") if use in (net or composer.net).supports)
    templates = [references[int(k)] for k in np.linspace(0, len(references) - 1, count).round()]
    inputs = [_input_of(shortened(piece, piece.pickup + bars * piece.bar), use) for piece in templates]
    pieces = Writer(composer, net).write_all(inputs, use, seed)
    named = [replace(piece, name=f"{number:02d}") for number, piece in enumerate(pieces, 1)]
    return Samples(named, inputs, use)


def _input_of(piece: Piece, use: str) -> Piece:
    """Input of the system from a test piece: its frame and chords, and its melody if that is harmonised."""
    if use == "harmonise":
        return piece.with_notes(piece.notes[piece.notes[:, VOICE] == 0])
    return piece.with_notes(np.zeros((0, 5), np.int32))


# Measures of music


class MusicEvaluation(NamedTuple):
    """Measures by system, including the corpus' test pieces."""

    rules: dict[str, dict[str, Interval]]  # empty for all sets if the system does not generate four voices
    originality: dict[str, Originality]
    overlap: dict[str, dict[str, Overlap]]  # overlap of features with the training pieces
    density: dict[str, dict[str, Interval]]  # and share of repeated bars
    structure: dict[str, list[Interval]]  # similarity of beats at lags 1, 2, ...
    unusual: list[str]  # messages about generated pieces that differ from all training pieces

    def plain(self) -> dict[str, Any]:
        """Plain types for metrics.json; `flagged` marks sets that copy more than the test pieces."""
        human = self.originality[HUMAN]
        copied = {
            name: {key: number(value) for key, value in copies.summary().items()}
            | {"novelty": [_finite(share) for share in copies.novelty], "flagged": flagged(copies, human)}
            for name, copies in self.originality.items()
        }
        return {
            "rules": _plain(self.rules),
            "originality": copied,
            "overlap": _plain(
                {name: {key: v.overlap for key, v in by_feature.items()} for name, by_feature in self.overlap.items()}
            ),
            "density": _plain(self.density),
            "odd": self.unusual,
        }


def write_sets(
    composer: SuiteModule, chain: Baseline | None, data: GenerationDataModule, count: int, bars: int
) -> dict[str, list[Piece]]:
    """Pieces of the system and of the chain in the frames of test pieces, and the test pieces themselves, as long."""
    references = data.pieces("test")
    sets = {OURS: write_samples(composer, references, count, bars, data.seed).pieces}
    if chain:
        sets[chain.name] = write_samples(composer, references, count, bars, data.seed, chain.net).pieces
    sets[HUMAN] = as_seen(composer.view, [shortened(piece, piece.pickup + bars * piece.bar) for piece in references])
    return sets


def as_seen(view: View, pieces: Sequence[Piece]) -> list[Piece]:
    """Encode and decode pieces, so that references have the same losses of the view as generated pieces."""
    return [replace(view.decode(view.encode(piece).frames, piece), name=piece.name) for piece in pieces]


def evaluate_music(sets: Mapping[str, Sequence[Piece]], training: Sequence[Piece], resamples: int) -> MusicEvaluation:
    """Measure sets of pieces.

    Args:
        sets: system -> pieces
        training: training pieces (see `as_seen`)
        resamples: number of bootstrap resamples
    """
    four = {name: [piece for piece in pieces if piece.voices == 4] for name, pieces in sets.items()}
    if not four.get(OURS):
        four = dict.fromkeys(sets, ())
    return MusicEvaluation(
        {name: check(pieces, resamples=resamples) if pieces else {} for name, pieces in four.items()},
        {name: originality(pieces, training, resamples=resamples) for name, pieces in sets.items()},
        {name: overlap(pieces, training, resamples=resamples) for name, pieces in sets.items()},
        {name: density(pieces, resamples=resamples) | {"repeated_bars": repetition(pieces)} for name, pieces in sets.items()},
        {name: profile(pieces) for name, pieces in sets.items()},
        warnings(sets[OURS], training),
    )


def draw(folder: Path, evaluation: MusicEvaluation) -> int:
    """Write figures of an evaluation; returns their number."""
    figures = {
        "rules": rules_figure(evaluation.rules, HUMAN) if evaluation.rules[OURS] else None,
        "novelty": novelty_figure({name: copies.novelty for name, copies in evaluation.originality.items()}),
        "overlap": overlap_figure(evaluation.overlap, HUMAN),
        "structure": profile_figure(evaluation.structure, HUMAN),
    }
    written = [write_figure(folder / f"{name}.png", figure) for name, figure in figures.items() if figure is not None]
    return len(written)


def _plain(intervals: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    return {name: {key: _finite(value) for key, value in values.items()} for name, values in intervals.items()}


def _finite(estimate: Interval) -> list[float | None]:
    return [number(value) for value in estimate]
