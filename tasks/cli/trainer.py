"""Lightning's Trainer with the methods `prepare` and `export`."""

import json
from pathlib import Path
from typing import Any, Self

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning import LightningModule
from torch import Tensor

from datamodules.common.errors import DataError
from tasks.cli.checkpoints import hyper_parameters, locate, read
from tasks.cli.run_info import RunInfo
from tasks.writers.output_files import whole, write_text


class Trainer(pl.Trainer):
    """Trainer whose methods are the suite's subcommands.

    Attributes:
        run: facts about the run
        checkpoint: checkpoint of `predict`
    """

    run = RunInfo()
    checkpoint: str | None = None

    @classmethod
    def of_run(cls, run: RunInfo, **options: Any) -> Self:
        """Create a Trainer for a run; `run` is no constructor argument, because those are options of the command line."""
        trainer = cls(**options)
        trainer.run = run
        return trainer

    def validate(self, model: pl.LightningModule, datamodule: pl.LightningDataModule, ckpt_path: str) -> None:
        """Evaluate a checkpoint on the validation split.

        Args:
            ckpt_path: checkpoint file or run folder
        """
        super().validate(model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=False, weights_only=True)

    def test(self, model: pl.LightningModule, datamodule: pl.LightningDataModule, ckpt_path: str) -> None:
        """Evaluate a checkpoint on the test split and write the tables.

        Args:
            ckpt_path: checkpoint file or run folder
        """
        super().test(model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=False, weights_only=True)

    def predict(self, model: pl.LightningModule, datamodule: pl.LightningDataModule, ckpt_path: str) -> None:
        """Run a checkpoint on files, folders or globs; the writer saves the results, and none are kept in memory.

        Args:
            ckpt_path: checkpoint file or run folder
        """
        self.checkpoint = str(ckpt_path)
        super().predict(model, datamodule=datamodule, ckpt_path=ckpt_path, return_predictions=False, weights_only=True)

    def prepare(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Check a data set folder, report present, missing and unreadable files, and build its pack."""
        datamodule.connect(model.input_spec())
        try:
            report = datamodule.prepare(self.run.report_folder or datamodule.report_folder())
        except DataError as error:
            # Errors of data sets end with the advice to run `prepare`, which is running here.
            raise DataError(str(error).removesuffix(datamodule.advice()).rstrip()) from error
        print(json.dumps(report, indent=1, ensure_ascii=False, default=str))

    def export(self, model: pl.LightningModule, datamodule: pl.LightningDataModule, ckpt_path: str) -> None:
        """Write model.safetensors, config.yaml and model.pt2 of a checkpoint, checked against the module.

        Args:
            ckpt_path: checkpoint file or run folder
        """
        if not hasattr(model, "export_program"):
            kind = type(model).__name__
            raise DataError(f"{self.run.task} cannot export yet: {kind} has no export_program (see tasks/cli/trainer.py)")
        folder = Path(self.default_root_dir) / "export"
        differences = export(model, self.run.task, ckpt_path, folder, self.run.overwrite)
        for shape, worst in differences.items():
            print(f"input {shape}: exported program equals the network to {worst:.1e}")
        print(f"exported     {folder}")


TOLERANCE = 1e-4
"""Largest difference between an exported program and its network."""


def export(module: LightningModule, task: str, ckpt_path: str, folder: Path, overwrite: bool) -> dict[str, float]:
    """Write model.safetensors, config.yaml and model.pt2 (a torch.export program from waveform to scores).

    The module provides `export_program()` -> (nn.Module, example inputs, dynamic shapes, further inputs to compare).

    Returns:
        Shape of each compared input -> largest difference between program and network.

    Raises:
        DataError: the folder holds an export, or a difference is above `TOLERANCE`.
    """
    from safetensors.torch import save_file

    if (folder / "model.safetensors").exists() and not overwrite:
        raise DataError(f"{folder} already holds an export: add --overwrite true")
    path = locate(ckpt_path)
    module.load_state_dict(read(path, task)["state_dict"])
    module.eval()
    program, example, dynamic, others = module.export_program()
    exported = torch.export.export(program.eval(), example, dynamic_shapes=dynamic)
    with whole(folder / "model.pt2") as temporary:
        torch.export.save(exported, str(temporary))
        loaded = torch.export.load(str(temporary)).module()
    differences = _compare(program, loaded, [example, *others])
    with whole(folder / "model.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in module.state_dict().items()}, str(temporary))
    model, _ = hyper_parameters(path, task)
    write_text(folder / "config.yaml", yaml.safe_dump({"task": task, "model": model}, sort_keys=False, allow_unicode=True))
    return differences


@torch.no_grad()
def _compare(program: torch.nn.Module, loaded: Any, inputs: list[tuple[Tensor, ...]]) -> dict[str, float]:
    differences = {}
    for example in inputs:
        expected, actual = (out if isinstance(out, tuple) else (out,) for out in (program(*example), loaded(*example)))
        worst = max(float((a - b).abs().max()) for a, b in zip(expected, actual, strict=True))
        shape = example[0].shape
        differences[" x ".join(map(str, shape))] = worst
        if not worst <= TOLERANCE:
            raise DataError(f"the exported program differs from the network by {worst:.2g} on input {tuple(shape)}")
    return differences
