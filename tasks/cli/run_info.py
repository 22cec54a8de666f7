"""Facts about a run that the command line knows and its callbacks report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer


@dataclass(frozen=True)
class RunInfo:
    """A run of the command line.

    Args:
        task: name of the task
        row: name of the config
        departures: settings in which the run differs from its row, with the row's value and its own
        overwrite: whether results that an earlier run left are made again
        report_folder: where `prepare` writes its report, where the user named a folder
    """

    task: str = ""
    row: str = "default"
    departures: Mapping[str, list[Any]] = field(default_factory=dict)
    overwrite: bool = False
    report_folder: Path | None = None


def run_info(trainer: Trainer) -> RunInfo:
    """Facts about a Trainer's run; those of no run for a Trainer that the command line has not made."""
    return getattr(trainer, "run", RunInfo())
