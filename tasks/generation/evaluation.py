"""What can be said of a set of pieces without listening: voice leading, copies, likeness to the corpus, density."""

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

# Nats of a batch by a system, into the rows that scores are made of.

WHAT = {
    "exact": "exact",
    "estimate": "estimated by annealed importance sampling, on the average a little too low",
    "bound": "an upper bound, estimated at a few points of the posterior",
    "conditional": "exact, of the voices that it writes, given the others",
    "none": "no likelihood: its own reconstruction or pseudo-likelihood",
}
"""What the numbers of each kind of system are."""


@torch.no_grad()
def score_into(scores: FrameLikelihood, net: GenerativeModel, batch: SymbolicBatch) -> None:
    """Add the nats (batch, frames) of every frame, computed in float32 or better, and whether the likeliest was right."""
    nll = net.surrogate(batch) if net.likelihood == "none" else net.nll(batch)
    form, guess, columns = net.form, net.guess(batch), net.scored
    told = {"truth": batch.frames[..., columns], "guess": None if guess is None else guess[..., columns]}
    told |= {"hold": form.hold, "rest": form.rest, "piece": batch.piece}
    scores.update(batch.index, nll.float(), batch.valid, len(columns), **told)


# The Markov chain that a system has to beat, on the same frames: counted in every key it is trained in.

ORDER = 4
ESCAPES = (1.0, 2.0, 4.0)
"""How readily a chain backs off: the best on the validation split is taken."""


class Baseline(NamedTuple):
    """A chain and what it scores."""

    name: str
    net: GenerativeModel
    rows: LikelihoodRows

    @property
    def scores(self) -> dict[str, float]:
        """What reports show of the rows."""
        return {key: float(value) for key, value in summary(self.rows).items()}


def markov(data: GenerationDataModule, form: FrameSpec, split: str) -> Baseline:
    """The chain of order 4: each voice on its own history, or whole frames where the view has no voices."""
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
        score_into(rows, chain, batch)
    return rows.own_rows()


# Music that a system writes unasked, to be measured and heard: in the metre, key and length of test pieces.


class Samples(NamedTuple):
    """What was written, and what was given for it."""

    pieces: list[Piece]
    given: list[Piece]
    use: str


def write_samples(
    composer: SuiteModule, references: list[Piece], count: int, bars: int, seed: int, net: GenerativeModel | None = None
) -> Samples:
    """So many pieces, each in the frame of a test piece: free where the system can, else around its melody.

    references: test pieces in the view's key; bars: at most so many of each; net: a baseline that writes in the system's stead
    """
    use = next(use for use in ("free", "harmonise", "continue") if use in (net or composer.net).supports)
    chosen = [references[int(k)] for k in np.linspace(0, len(references) - 1, count).round()]
    given = [_given(shortened(piece, piece.pickup + bars * piece.bar), use) for piece in chosen]
    pieces = Writer(composer, net).write_all(given, use, seed)
    named = [replace(piece, name=f"{number:02d}") for number, piece in enumerate(pieces, 1)]
    return Samples(named, given, use)


def _given(piece: Piece, use: str) -> Piece:
    """Of a test piece what the system is told: the frame, its chords, and the melody where that is to be harmonised."""
    if use == "harmonise":
        return piece.with_notes(piece.notes[piece.notes[:, VOICE] == 0])
    return piece.with_notes(np.zeros((0, 5), np.int32))


class Verdicts(NamedTuple):
    """By system, the corpus' own test pieces among them."""

    rules: dict[str, dict[str, Interval]]  # empty where there are not four voices, of all where the system writes none
    originality: dict[str, Originality]
    overlap: dict[str, dict[str, Overlap]]  # of the features with the training pieces'
    density: dict[str, dict[str, Interval]]  # and how many bars return
    structure: dict[str, list[Interval]]  # likeness of beats 1, 2, ... apart
    odd: list[str]  # a sentence for each of our pieces that is unlike any training piece

    def plain(self) -> dict[str, Any]:
        """Everything as plain types; originality says which sets copy more than the test pieces do."""
        human = self.originality[HUMAN]
        copied = {
            name: {key: number(value) for key, value in one.summary().items()}
            | {"novelty": [_finite(share) for share in one.novelty], "flagged": flagged(one, human)}
            for name, one in self.originality.items()
        }
        return {
            "rules": _plain(self.rules),
            "originality": copied,
            "overlap": _plain({name: {key: value.overlap for key, value in one.items()} for name, one in self.overlap.items()}),
            "density": _plain(self.density),
            "odd": self.odd,
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
    """Pieces as a view shows them: what it loses, no system that writes in it can be blamed for."""
    return [replace(view.decode(view.encode(piece).frames, piece), name=piece.name) for piece in pieces]


def judge(sets: Mapping[str, Sequence[Piece]], training: Sequence[Piece], resamples: int) -> Verdicts:
    """All that can be measured of each set, beside the training pieces as the view shows them."""
    four = {name: [piece for piece in pieces if piece.voices == 4] for name, pieces in sets.items()}
    if not four.get(OURS):
        four = dict.fromkeys(sets, ())
    return Verdicts(
        {name: check(pieces, resamples=resamples) if pieces else {} for name, pieces in four.items()},
        {name: originality(pieces, training, resamples=resamples) for name, pieces in sets.items()},
        {name: overlap(pieces, training, resamples=resamples) for name, pieces in sets.items()},
        {name: density(pieces, resamples=resamples) | {"repeated_bars": repetition(pieces)} for name, pieces in sets.items()},
        {name: profile(pieces) for name, pieces in sets.items()},
        warnings(sets[OURS], training),
    )


def draw(folder: Path, found: Verdicts) -> int:
    """Pictures of what was found; returns how many."""
    from tasks.generation.figures_compared import novelty_figure, overlap_figure, profile_figure, rules_figure
    from tasks.writers.output_files import write_figure

    figures = {
        "rules": rules_figure(found.rules, HUMAN) if found.rules[OURS] else None,
        "novelty": novelty_figure({name: one.novelty for name, one in found.originality.items()}),
        "overlap": overlap_figure(found.overlap, HUMAN),
        "structure": profile_figure(found.structure, HUMAN),
    }
    written = [write_figure(folder / f"{name}.png", figure) for name, figure in figures.items() if figure is not None]
    return len(written)


def _plain(found: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    return {name: {key: _finite(value) for key, value in values.items()} for name, values in found.items()}


def _finite(estimate: Interval) -> list[float | None]:
    return [number(value) for value in estimate]
