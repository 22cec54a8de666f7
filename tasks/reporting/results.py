"""What `validate` and `test` of every task leave: metrics.json, which `compare` reads, and a heading on screen."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from tasks.callbacks.media import shows_media
from tasks.cli.run_info import run_info
from tasks.writers.output_files import write_json


def place(trainer: Trainer, name: str, split: str) -> Path:
    """File in the run folder: `metrics.json` of the test split, `metrics_validation.json` of the other."""
    path = Path(trainer.default_root_dir) / name
    return path if split == "test" else path.with_stem(f"{path.stem}_{split}")


def write_metrics(
    trainer: Trainer, module: LightningModule, about: Mapping[str, str], metrics: Mapping[str, Any], **more: Any
) -> Path:
    """Write metrics.json of a split and return its path; JSON has no NaN, so what could not be scored is null.

    Args:
        about: what the numbers were measured on: the data's `name`, `subset`, `split`, `policy`, and whatever else makes
            numbers differ; `compare` averages over seeds only where all of it is equal
        metrics: a number a name; those that begin with `n_` are counts and belong to `about`
        more: what else the task keeps, plain types
    """
    path, run = place(trainer, "metrics.json", about["split"]), run_info(trainer)
    content = {
        "task": run.task,
        "row": run.row,
        "departures": dict(run.departures),
        "seed": trainer.datamodule.seed,
        "checkpoint": Path(trainer.ckpt_path).name if trainer.ckpt_path else None,  # whose weights were scored
        "data": dict(about),
        "metrics": {name: number(value) for name, value in metrics.items()},
        "left_out": trainer.datamodule.left_out.as_json(),
        **more,
        "epoch": trainer.current_epoch,
        "step": trainer.global_step,
        "parameters": sum(p.numel() for p in getattr(module, "net", module).parameters() if p.requires_grad),
    }
    write_json(path, content)
    return path


def heading(about: Mapping[str, str], count: str) -> str:
    """First line of a printed table: what the numbers below were measured on; count: such as `12 tracks`."""
    return f"{about['name']}, subset {about['subset']}, {about['split']} split, {count}"


def number(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if math.isfinite(value) else None


# What the reports of all tasks share: when a split is reported, and when a few fixed examples are shown instead.


class Report(Callback):
    """Base of a task's report.

    `examples`: how many validation examples W&B or TensorBoard gets after each validation of a training.
    """

    examples: int = 0

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Everything there is to say about the test split."""
        self.report(trainer, pl_module, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same for the `validate` verb; during training the examples, where a logger takes them."""
        if trainer.state.fn == "validate":
            self.report(trainer, pl_module, "validation")
        elif self.examples and not trainer.sanity_checking and shows_media(trainer):
            training = pl_module.training
            pl_module.eval()
            with torch.no_grad():
                self.show_examples(trainer, pl_module)
            pl_module.train(training)

    def report(self, trainer: Trainer, module: LightningModule, split: str) -> None:
        """Write and print the scores of the `test` or `validation` split; called on every rank."""
        raise NotImplementedError

    def show_examples(self, trainer: Trainer, module: LightningModule) -> None:
        """Log the same `examples` of the validation split each time; called on rank 0, the module in evaluation mode."""
