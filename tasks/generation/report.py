"""What `test` and `validate` leave of a composer: metrics.json, its music as files, and how it keeps to the corpus' ways."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from datamodules.common.progress import progress
from tasks.callbacks.media import log_media
from tasks.generation import evaluation
from tasks.generation.evaluation import WHAT, Samples, Verdicts, markov, write_samples
from tasks.generation.tables import OURS, music_rows, rule_rows, text
from tasks.generation.writer import PATTERNS, RATE, PieceFiles, write_piece
from tasks.reporting import results
from tasks.reporting.results import Report
from tasks.reporting.tables import markdown
from tasks.writers.output_files import filled, write_figure

# Tables of a composer's report: nats of a split, then what is measured of the music.

COLUMNS = {
    "nll_cell": "nats/cell",
    "nll_frame": "nats/frame",
    "nll_frame_without_first": "without first",
    "nll_frame_mean_per_piece": "mean per piece",
    "accuracy": "accuracy",
    "onset_accuracy": "onsets",
    "bl_accuracy": "ACC",
}


ODD = 3
"""Pieces unlike any training piece that are named on the screen."""


def describe_split(trainer: Trainer, composer: LightningModule, split: str) -> dict[str, str]:
    """What the numbers were measured on; nats of different views, splits or windows are never set beside each other."""
    data = trainer.datamodule
    cut = f"windows of {data.crop} frames" if data.windows else "whole pieces"
    return {"name": data.name, "subset": data.subset, "split": split, "policy": f"{composer.view.describe()}, {cut}"}


def likelihood_lines(systems: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Nats and accuracies of each system by every protocol; lower nats are better."""
    shown = {key: title for key, title in COLUMNS.items() if any(key in scores for scores in systems.values())}
    rows = [{"": name} | {title: text(scores.get(key)) for key, title in shown.items()} for name, scores in systems.items()]
    return markdown(rows).splitlines()


def verdict_lines(found: Verdicts) -> list[str]:
    """The music of each system beside the corpus' own test pieces."""
    rules = markdown(rule_rows(found.rules)).splitlines()
    odd = [f"  {sentence}" for sentence in found.odd[:ODD]]
    odd += [f"  ... and {len(found.odd) - ODD} more"] if len(found.odd) > ODD else []
    return [*rules, *([""] if rules else []), *markdown(music_rows(found.plain())).splitlines(), *odd]


class GenerationReport(Report):
    """Write and print the likelihood of a split, and write music and judge it.

    Args:
        baseline: `test` also scores the Markov chain of order 4 on the same frames
        pieces: pieces that `test` writes as MIDI, score, picture and sound
        measured: pieces that are written to be judged by voice-leading rules, features and originality; 0: none
        bars: the most bars of each
        resamples: of the bootstrap that the intervals come from
        sound: write previews
        examples: pieces that W&B or TensorBoard gets after each validation (piano roll, sound)
    """

    def __init__(
        self,
        baseline: bool = True,
        pieces: int = 8,
        measured: int = 64,
        bars: int = 16,
        resamples: int = 200,
        sound: bool = True,
        examples: int = 2,
    ) -> None:
        if min(pieces, measured, bars - 1, resamples - 1, examples) < 0:
            raise ValueError(
                "--report.bars and resamples must be positive, pieces, measured and examples not negative: "
                f"{bars}, {resamples}, {pieces}, {measured}, {examples}"
            )
        self.baseline, self.pieces, self.measured, self.bars = baseline, pieces, measured, bars
        self.resamples, self.sound, self.examples = resamples, sound, examples

    def report(self, trainer: Trainer, composer: LightningModule, split: str) -> None:
        """The scores, and for the test split music and what is to be said of it."""
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        from tasks.generation.figures_compared import likelihoods

        data, about = trainer.datamodule, describe_split(trainer, composer, split)
        net = composer.net
        chain = markov(data, net.form, split) if self.baseline and split == "test" else None
        kind = net.likelihood if len(net.scored) == net.form.columns else "conditional"
        # What a reconstruction costs, or three voices given the fourth, is not set beside a chain's likelihood of all.
        beside = {chain.name: chain.scores} if chain and kind not in ("none", "conditional") else {}
        more: dict[str, Any] = {
            "likelihood": kind,
            "supports": sorted(net.supports),
            "survey": vars(composer.survey),
            "baselines": [{"name": name, **scores} for name, scores in beside.items()],
            "validation": composer.validated,
        }
        lines = ["", results.heading(about, f"{int(composer.found['n_pieces'])} pieces")]
        lines += [*likelihood_lines({OURS: composer.found} | beside), f"nats of the system: {WHAT[kind]}"]
        drawn = likelihoods({OURS: composer.rows} | ({chain.name: chain.rows} if beside else {}), title=about["policy"])
        lines += [f"picture       {write_figure(results.result_path(trainer, 'figures/likelihoods.png', split), drawn)}"]
        if split == "test":
            found, said = self._music(trainer, composer, chain)
            more, lines = more | found, [*lines, *said]
        written = results.write_metrics(trainer, composer, about, composer.found, **more)
        print("\n".join([*lines, f"scores        {written}"]), flush=True)

    def _music(self, trainer: Trainer, composer: LightningModule, chain: Any) -> tuple[dict[str, Any], list[str]]:
        """Music as files, and what is measured of it beside the corpus' own and the chain's."""
        data, found, lines = trainer.datamodule, {}, []
        references = data.pieces("test")
        if self.measured:
            sets = evaluation.write_sets(composer, chain, data, self.measured, self.bars)
            verdicts = evaluation.judge(sets, evaluation.as_seen(composer.view, data.pieces("train")), self.resamples)
            place = results.result_path(trainer, "figures/rules.png", "test").parent
            found = {"music": verdicts.plain()}
            lines += ["", *verdict_lines(verdicts), "", f"pictures      {place} ({evaluation.draw(place, verdicts)})"]
        if self.pieces:
            samples = write_samples(composer, references, self.pieces, self.bars, data.seed)
            place = results.result_path(trainer, "pieces", "test")
            said = write_all(place, samples, PieceFiles(sound=self.sound))
            lines += ["", f"pieces        {place} ({len(samples.pieces)} {samples.use})", *said]
        return found, lines

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Piano rolls and sound of a few pieces in the frames of validation pieces, with the same chances each time."""
        from datamodules.generation.writing.midi import preview
        from tasks.generation.figures import piano_roll

        samples = write_samples(pl_module, trainer.datamodule.pieces("validation"), self.examples, 8, trainer.datamodule.seed)
        for number, (piece, given) in enumerate(zip(samples.pieces, samples.given, strict=True)):
            sound = (preview(piece, RATE), RATE) if len(piece.notes) else None
            log_media(trainer, f"val/example_{number}", piano_roll(piece, given, f"example {number}"), sound)


def write_all(place: Path, samples: Samples, wanted: PieceFiles) -> list[str]:
    """Every piece as files of a folder, which is filled whole; returns what could not be made, each kind once."""
    missing: dict[str, None] = {}
    place.parent.mkdir(parents=True, exist_ok=True)
    with filled(place, PATTERNS) as folder:
        pairs = list(zip(samples.pieces, samples.given, strict=True))
        for piece, given in progress(pairs, "drawing pieces", unit="picture"):
            title = f"Piece {int(piece.name)}, {samples.use}"
            missing |= dict.fromkeys(write_piece(folder, piece.name, piece, given, title, wanted))
    return list(missing)
