"""Lightning's Trainer with the two verbs it lacks."""

import json
from pathlib import Path
from typing import Any, Self

import pytorch_lightning as pl

from datamodules.errors import DataError
from tasks.run_info import RunInfo


class Trainer(pl.Trainer):
    """Trainer whose methods are the suite's verbs.

    `checkpoint` is the file whose weights predict.
    """

    run = RunInfo()
    checkpoint: str | None = None

    @classmethod
    def of_run(cls, run: RunInfo, **options: Any) -> Self:
        """Trainer for a run of the command line, which is no argument of the constructor: those are options for users."""
        trainer = cls(**options)
        trainer.run = run
        return trainer

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
            report = datamodule.prepare(self.run.report_folder or datamodule.report_folder())
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
            sentence = f"{self.run.task} cannot export yet: {kind} has no export_program (tasks/export.py says what it returns)"
            raise DataError(sentence)
        folder = Path(self.default_root_dir) / "export"
        differences = export(model, self.run.task, ckpt_path, folder, self.run.overwrite)
        for shape, worst in differences.items():
            print(f"input {shape}: exported program equals the network to {worst:.1e}")
        print(f"exported     {folder}")
