"""Lightning's Trainer with the two verbs it lacks."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytorch_lightning as pl

from datamodules.errors import DataError


class Trainer(pl.Trainer):
    """Trainer whose methods are the suite's verbs; the command line sets `task`, `row`, `overwrite`, `report_folder`.

    `checkpoint` is the file whose weights predict.
    """

    task: str = ""
    row: str = "default"
    departures: Mapping[str, list[Any]] = MappingProxyType({})  # settings in which the run differs from its row
    overwrite: bool = False
    report_folder: Path | None = None  # of `prepare`, where the user named one
    failed_files: tuple[str, ...] = ()
    checkpoint: str | None = None

    def validate(self, model: pl.LightningModule, datamodule: pl.LightningDataModule, ckpt_path: str) -> None:
        """Score a checkpoint on the validation split.

        Args:
            ckpt_path: checkpoint file or run folder
        """
        super().validate(model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=False, weights_only=True)

    def test(self, model: pl.LightningModule, datamodule: pl.LightningDataModule, ckpt_path: str) -> None:
        """Score a checkpoint on the test split and write its tables.

        Args:
            ckpt_path: checkpoint file or run folder
        """
        super().test(model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=False, weights_only=True)

    def predict(self, model: pl.LightningModule, datamodule: pl.LightningDataModule, ckpt_path: str) -> None:
        """Run a checkpoint on files, folders or globs; the writer leaves the results, so nothing is kept in memory.

        Args:
            ckpt_path: checkpoint file or run folder
        """
        self.checkpoint = str(ckpt_path)
        super().predict(model, datamodule=datamodule, ckpt_path=ckpt_path, return_predictions=False, weights_only=True)

    def prepare(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Check a data set folder, report what is present, missing or unreadable, and build its pack."""
        datamodule.connect(model.input_spec())
        try:
            report = datamodule.prepare(self.report_folder or datamodule.report_folder())
        except DataError as error:
            # Messages of data sets end with the `prepare` command that says more: this one.
            raise DataError(str(error).removesuffix(datamodule.advice()).rstrip()) from error
        print(json.dumps(report, indent=1, ensure_ascii=False, default=str))

    def export(self, model: pl.LightningModule, datamodule: pl.LightningDataModule, ckpt_path: str) -> None:
        """Write model.safetensors, config.yaml and model.pt2 of a checkpoint, checked against the module.

        Args:
            ckpt_path: checkpoint file or run folder
        """
        from tasks.export import export

        if not hasattr(model, "export_program"):
            kind = type(model).__name__
            raise DataError(f"{self.task} cannot export yet: {kind} has no export_program (tasks/export.py says what it returns)")
        folder = Path(self.default_root_dir) / "export"
        differences = export(model, self.task, ckpt_path, folder, self.overwrite)
        for shape, worst in differences.items():
            print(f"input {shape}: exported program equals the network to {worst:.1e}")
        print(f"exported     {folder}")
