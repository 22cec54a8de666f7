"""Facts about a run that the command line passes to callbacks and reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer


@dataclass(frozen=True)
class RunInfo:
    """Run of the command line.

    Args:
        task: name of the task
        row: name of the config
        departures: settings in which the run differs from its row -> value of the row, value of the run
        overwrite: whether results of an earlier run are replaced
        report_folder: folder for the report of `prepare`, if the user named one
    """

    task: str = ""
    row: str = "default"
    departures: Mapping[str, list[Any]] = field(default_factory=dict)
    overwrite: bool = False
    report_folder: Path | None = None


def run_info(trainer: Trainer) -> RunInfo:
    """Facts about a Trainer's run; defaults for a Trainer that was not created by the command line."""
    return getattr(trainer, "run", RunInfo())
