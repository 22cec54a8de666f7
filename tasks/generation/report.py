"""Report of music generation: likelihoods of a split -> metrics.json; generated pieces as files, and their evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from datamodules.common.progress import progress
from datamodules.generation.writing.midi import preview
from tasks.callbacks.media import log_media
from tasks.generation import evaluation
from tasks.generation.evaluation import LIKELIHOOD_KINDS, MusicEvaluation, Samples, markov, write_samples
from tasks.generation.figures import piano_roll
from tasks.generation.figures_compared import likelihoods
from tasks.generation.tables import OURS, music_rows, rule_rows, text
from tasks.generation.writer import PATTERNS, RATE, PieceFiles, write_piece
from tasks.reporting import results
from tasks.reporting.results import Report
from tasks.reporting.tables import markdown
from tasks.writers.output_files import filled, write_figure

COLUMNS = {
    "nll_cell": "nats/cell",
    "nll_frame": "nats/frame",
    "nll_frame_without_first": "without first",
    "nll_frame_mean_per_piece": "mean per piece",
    "accuracy": "accuracy",
    "onset_accuracy": "onsets",
    "bl_accuracy": "ACC",
}


MAX_UNUSUAL = 3
"""Number of printed messages about unusual pieces."""


def describe_split(trainer: Trainer, composer: LightningModule, split: str) -> dict[str, str]:
    """Evaluation data; likelihoods of different views, splits or windows are not comparable."""
    data = trainer.datamodule
    cut = f"windows of {data.crop} frames" if data.windows else "whole pieces"
    return {"name": data.name, "subset": data.subset, "split": split, "policy": f"{composer.view.describe()}, {cut}"}


def likelihood_lines(systems: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Lines with nats and accuracies of each system; lower nats are better."""
    columns = {key: title for key, title in COLUMNS.items() if any(key in scores for scores in systems.values())}
    rows = [{"": name} | {title: text(scores.get(key)) for key, title in columns.items()} for name, scores in systems.items()]
    return markdown(rows).splitlines()


def music_lines(music: MusicEvaluation) -> list[str]:
    """Lines with the measures of each system's music and of the test pieces."""
    rules = markdown(rule_rows(music.rules)).splitlines()
    unusual = [f"  {sentence}" for sentence in music.unusual[:MAX_UNUSUAL]]
    unusual += [f"  ... and {len(music.unusual) - MAX_UNUSUAL} more"] if len(music.unusual) > MAX_UNUSUAL else []
    return [*rules, *([""] if rules else []), *markdown(music_rows(music.plain())).splitlines(), *unusual]


class GenerationReport(Report):
    """Write and print the likelihoods of a split; generate and evaluate music.

    Args:
        baseline: evaluate the Markov chain of order 4 on the same frames in `test`
        pieces: number of pieces that `test` writes as MIDI, score, figure and audio
        measured: number of pieces generated for the evaluation (voice leading, features, originality); 0: none
        bars: largest number of bars of a piece
        resamples: number of bootstrap resamples of the intervals
        sound: write previews
        examples: number of pieces logged to W&B or TensorBoard after each validation (piano roll, audio)
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
        """Write and print likelihoods; for the test split also pieces and their evaluation."""
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        data, about = trainer.datamodule, describe_split(trainer, composer, split)
        net = composer.net
        chain = markov(data, net.form, split) if self.baseline and split == "test" else None
        kind = net.likelihood if len(net.scored) == net.form.columns else "conditional"
        # Reconstruction losses and conditional likelihoods are not comparable with the chain's likelihood.
        comparable = {chain.name: chain.scores} if chain and kind not in ("none", "conditional") else {}
        more: dict[str, Any] = {
            "likelihood": kind,
            "supports": sorted(net.supports),
            "survey": vars(composer.survey),
            "baselines": [{"name": name, **scores} for name, scores in comparable.items()],
            "validation": composer.validated,
        }
        lines = ["", results.heading(about, f"{int(composer.summary['n_pieces'])} pieces")]
        lines += [*likelihood_lines({OURS: composer.summary} | comparable), f"nats of the system: {LIKELIHOOD_KINDS[kind]}"]
        figure = likelihoods({OURS: composer.rows} | ({chain.name: chain.rows} if comparable else {}), title=about["policy"])
        lines += [f"picture       {write_figure(results.result_path(trainer, 'figures/likelihoods.png', split), figure)}"]
        if split == "test":
            measures, music = self._music(trainer, composer, chain)
            more, lines = more | measures, [*lines, *music]
        written = results.write_metrics(trainer, composer, about, composer.summary, **more)
        print("\n".join([*lines, f"scores        {written}"]), flush=True)

    def _music(self, trainer: Trainer, composer: LightningModule, chain: Any) -> tuple[dict[str, Any], list[str]]:
        """Write generated pieces, and evaluate music of system, chain and corpus; returns content and lines."""
        data, measures, lines = trainer.datamodule, {}, []
        references = data.pieces("test")
        if self.measured:
            sets = evaluation.write_sets(composer, chain, data, self.measured, self.bars)
            training = evaluation.as_seen(composer.view, data.pieces("train"))
            music = evaluation.evaluate_music(sets, training, self.resamples)
            folder = results.result_path(trainer, "figures/rules.png", "test").parent
            measures = {"music": music.plain()}
            lines += ["", *music_lines(music), "", f"pictures      {folder} ({evaluation.draw(folder, music)})"]
        if self.pieces:
            samples = write_samples(composer, references, self.pieces, self.bars, data.seed)
            folder = results.result_path(trainer, "pieces", "test")
            missing = write_all(folder, samples, PieceFiles(sound=self.sound))
            lines += ["", f"pieces        {folder} ({len(samples.pieces)} {samples.use})", *missing]
        return measures, lines

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log piano rolls and audio of a few pieces generated in the frames of validation pieces with a fixed seed."""
        samples = write_samples(pl_module, trainer.datamodule.pieces("validation"), self.examples, 8, trainer.datamodule.seed)
        for number, (piece, fixed) in enumerate(zip(samples.pieces, samples.inputs, strict=True)):
            sound = (preview(piece, RATE), RATE) if len(piece.notes) else None
            log_media(trainer, f"val/example_{number}", piano_roll(piece, fixed, f"example {number}"), sound)


def write_all(target: Path, samples: Samples, options: PieceFiles) -> list[str]:
    """Write the files of all pieces into a folder atomically; returns distinct messages about missing files."""
    missing: dict[str, None] = {}
    target.parent.mkdir(parents=True, exist_ok=True)
    with filled(target, PATTERNS) as folder:
        pairs = list(zip(samples.pieces, samples.inputs, strict=True))
        for piece, fixed in progress(pairs, "drawing pieces", unit="picture"):
            title = f"Piece {int(piece.name)}, {samples.use}"
            missing |= dict.fromkeys(write_piece(folder, piece.name, piece, fixed, title, options))
    return list(missing)
