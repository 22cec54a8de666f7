"""Tables of a composer's report: nats of a split, then what is measured of the music."""

from collections.abc import Mapping

from pytorch_lightning import LightningModule, Trainer

from tasks.generation.judged import Verdicts
from tasks.generation.systems import music_rows, rule_rows, text
from tasks.tables import markdown

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


def about(trainer: Trainer, composer: LightningModule, split: str) -> dict[str, str]:
    """What the numbers were measured on; nats of different views, splits or windows are never set beside each other."""
    data = trainer.datamodule
    cut = f"windows of {data.crop} frames" if data.windows else "whole pieces"
    return {"name": data.name, "subset": data.subset, "split": split, "policy": f"{composer.view.describe()}, {cut}"}


def likelihoods(systems: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Nats and accuracies of each system by every protocol; lower nats are better."""
    shown = {key: title for key, title in COLUMNS.items() if any(key in scores for scores in systems.values())}
    rows = [{"": name} | {title: text(scores.get(key)) for key, title in shown.items()} for name, scores in systems.items()]
    return markdown(rows).splitlines()


def verdicts(found: Verdicts) -> list[str]:
    """The music of each system beside the corpus' own test pieces."""
    rules = markdown(rule_rows(found.rules)).splitlines()
    odd = [f"  {sentence}" for sentence in found.odd[:ODD]]
    odd += [f"  ... and {len(found.odd) - ODD} more"] if len(found.odd) > ODD else []
    return [*rules, *([""] if rules else []), *markdown(music_rows(found.plain())).splitlines(), *odd]
