"""What `validate` and `test` of every task leave: metrics.json, which `compare` reads, and a heading on screen."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from tasks.run_info import run_info
from tasks.writers.whole import write_json


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
