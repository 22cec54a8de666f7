"""What can be said of a set of pieces without listening: voice leading, copies, likeness to the corpus, density."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from datamodules.symbolic.data import SymbolicData
from datamodules.symbolic.piece import Piece
from datamodules.symbolic.views import View
from tasks.generation.baselines import Baseline
from tasks.generation.ladder import shortened
from tasks.generation.samples import write_samples
from tasks.generation.systems import HUMAN, OURS
from tasks.metrics.generation.density import density, warnings
from tasks.metrics.generation.originality import Originality, flagged, originality
from tasks.metrics.generation.overlap import Overlap, overlap
from tasks.metrics.generation.resampled import Estimate
from tasks.metrics.generation.rules import check
from tasks.metrics.generation.structure import profile, repetition
from tasks.results import number

if TYPE_CHECKING:
    from tasks.generation.module import Composer


class Verdicts(NamedTuple):
    """By system, the corpus' own test pieces among them."""

    rules: dict[str, dict[str, Estimate]]  # empty where there are not four voices, of all where the system writes none
    originality: dict[str, Originality]
    overlap: dict[str, dict[str, Overlap]]  # of the features with the training pieces'
    density: dict[str, dict[str, Estimate]]  # and how many bars return
    structure: dict[str, list[Estimate]]  # likeness of beats 1, 2, ... apart
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
    composer: "Composer", chain: Baseline | None, data: SymbolicData, count: int, bars: int
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
        {
            name: density(pieces, resamples=resamples) | {"repeated_bars": repetition(pieces)} for name, pieces in sets.items()
        },
        {name: profile(pieces) for name, pieces in sets.items()},
        warnings(sets[OURS], training),
    )


def draw(folder: Path, found: Verdicts) -> int:
    """Pictures of what was found; returns how many."""
    from tasks.figures.generation_compared import novelty_figure, overlap_figure, profile_figure, rules_figure
    from tasks.writers.whole import write_figure

    figures = {
        "rules": rules_figure(found.rules, HUMAN) if found.rules[OURS] else None,
        "novelty": novelty_figure({name: one.novelty for name, one in found.originality.items()}),
        "overlap": overlap_figure(found.overlap, HUMAN),
        "structure": profile_figure(found.structure, HUMAN),
    }
    written = [write_figure(folder / f"{name}.png", figure) for name, figure in figures.items() if figure is not None]
    return len(written)


def _plain(found: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    return {name: {key: _finite(value) for key, value in values.items()} for name, values in found.items()}


def _finite(estimate: Estimate) -> list[float | None]:
    return [number(value) for value in estimate]
