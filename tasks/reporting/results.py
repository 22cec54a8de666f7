"""Results of `validate` and `test`: metrics -> metrics.json for `compare`; base class of the tasks' reports."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from tasks.callbacks.media import shows_media
from tasks.cli.run_info import run_info
from tasks.writers.output_files import write_json


def result_path(trainer: Trainer, name: str, split: str) -> Path:
    """Path in the run folder, such as `metrics.json` for the test split and `metrics_validation.json` for validation."""
    path = Path(trainer.default_root_dir) / name
    return path if split == "test" else path.with_stem(f"{path.stem}_{split}")


def write_metrics(
    trainer: Trainer, module: LightningModule, about: Mapping[str, str], metrics: Mapping[str, Any], **more: Any
) -> Path:
    """Write metrics.json of a split.

    Args:
        trainer: Trainer
        module: evaluated module
        about: evaluation data: `name`, `subset`, `split`, `policy` and anything else that changes numbers; `compare` averages
            over seeds if all of it is equal
        metrics: name -> number, NaN is written as null; names that begin with `n_` are counts and belong to `about`
        more: further content of the task, plain types

    Returns:
        Path of the file.
    """
    path, run = result_path(trainer, "metrics.json", about["split"]), run_info(trainer)
    content = {
        "task": run.task,
        "row": run.row,
        "departures": dict(run.departures),
        "seed": trainer.datamodule.seed,
        "checkpoint": Path(trainer.ckpt_path).name if trainer.ckpt_path else None,
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
    """First line of a printed table: evaluation data and a count such as `12 tracks`."""
    return f"{about['name']}, subset {about['subset']}, {about['split']} split, {count}"


def number(value: Any) -> float | None:
    """Finite number, or None."""
    return float(value) if math.isfinite(value) else None


class Report(Callback):
    """Base class of the tasks' reports.

    Attributes:
        examples: number of validation examples logged to W&B or TensorBoard after each validation of a training
    """

    examples: int = 0

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the test split."""
        self.report(trainer, pl_module, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the validation split in `validate`; log examples during training, if a logger takes them."""
        if trainer.state.fn == "validate":
            self.report(trainer, pl_module, "validation")
        elif self.examples and not trainer.sanity_checking and shows_media(trainer):
            training = pl_module.training
            pl_module.eval()
            with torch.no_grad():
                self.show_examples(trainer, pl_module)
            pl_module.train(training)

    def report(self, trainer: Trainer, module: LightningModule, split: str) -> None:
        """Write and print the results of the `test` or `validation` split; called on every rank."""
        raise NotImplementedError

    def show_examples(self, trainer: Trainer, module: LightningModule) -> None:
        """Log the same examples of the validation split each time; called on rank 0 with the module in evaluation mode."""
