"""Tables of a composer's report: nats of a split, then what is measured of the music."""

from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from tasks.generation.judged import Verdicts
from tasks.metrics.generation.resampled import Estimate
from tasks.tables import markdown

OURS = "this system"
COLUMNS = {
    "nll_cell": "nats/cell",
    "nll_frame": "nats/frame",
    "nll_frame_without_first": "without first",
    "nll_frame_mean_per_piece": "mean per piece",
    "accuracy": "accuracy",
    "onset_accuracy": "onsets",
    "bl_accuracy": "ACC",
}
RULES = ("parallels", "hidden_fifths", "hidden_octaves", "crossings", "overlaps", "out_of_range", "wide_spacing", "leading_tones")


def about(trainer: Trainer, composer: LightningModule, split: str) -> dict[str, str]:
    """What the numbers were measured on; nats of different views, splits or windows are never set beside each other."""
    data = trainer.datamodule
    cut = f"windows of {data.crop} frames" if data.windows else "whole pieces"
    return {"name": data.name, "subset": data.subset, "split": split, "policy": f"{composer.view.describe()}, {cut}"}


def likelihoods(systems: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Nats and accuracies of each system by every protocol; lower nats are better."""
    shown = {key: title for key, title in COLUMNS.items() if any(key in scores for scores in systems.values())}
    rows = [{"": name} | {title: _number(scores.get(key)) for key, title in shown.items()} for name, scores in systems.items()]
    return markdown(rows).splitlines()


def verdicts(found: Verdicts) -> list[str]:
    """The music of each system beside the corpus' own test pieces."""
    rules = markdown(rule_rows(found.rules, RULES)).splitlines()
    return [*rules, *([""] if rules else []), *markdown(music_rows(found.plain())).splitlines()]


def rule_rows(rules: Mapping[str, Mapping[str, Estimate]], shown: Sequence[str]) -> list[dict[str, Any]]:
    """Faults per 100 changes of chord, of the systems that write four voices."""
    return [
        {"faults per 100 changes": name} | {rule.replace("_", " "): _number(_value(rates[rule]), 2) for rule in shown}
        for name, rates in rules.items()
        if rates
    ]


def music_rows(plain: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Originality, likeness to the corpus and density of each system, of what a report has kept as plain values."""
    rows = []
    for name in plain["originality"]:
        copied, overlap, density = plain["originality"][name], plain["overlap"].get(name, {}), plain["density"].get(name, {})
        likeness = [value[0] for value in overlap.values() if value[0] is not None]
        rows.append(
            {
                "music": name,
                "copied run median": _number(copied["copied_median"], 0),
                "95 %": _number(copied["copied_p95"], 0) + (" !" if copied.get("flagged") else ""),
                "longest": _number(copied["copied_max"], 0),
                "new 4-grams": _number(copied["novelty"][3][0] if len(copied["novelty"]) > 3 else None, 2),
                "overlap with training": _number(sum(likeness) / len(likeness) if likeness else None, 2),
                "empty frames": _number((density.get("empty_rate") or [None])[0], 3),
                "repeated bars": _number((density.get("repeated_bars") or [None])[0], 2),
                "notes per bar": _number((density.get("notes_per_bar") or [None])[0], 1),
            }
        )
    return rows


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def _value(estimate: Sequence[float | None]) -> float | None:
    """Of a value with its interval, fresh or as a report has kept it."""
    return estimate[0]
