"""Find, read and stamp checkpoints; every error is a sentence."""

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from datamodules.errors import DataError

KEY = "quintet"


class Stamp(Callback):
    """Write into each checkpoint whose it is: another task's is refused by name, and scores name their row and seed."""

    def __init__(self, task: str, row: str) -> None:
        self.task, self.row = task, row

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = {"task": self.task, "row": self.row, "seed": int(trainer.datamodule.seed)}


def locate(given: str, names: tuple[str, ...] = ("best", "last")) -> Path:
    """Checkpoint file behind a path or a run folder (its best weights, else its last).

    Raises:
        DataError: nothing there.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        for candidate in (folder / f"{name}.ckpt" for folder in (path / "checkpoints", path) for name in names):
            if candidate.is_file():
                return candidate
        raise DataError(f"{path} holds no checkpoints/{names[0]}.ckpt: train one first with `fit`, or name a .ckpt file")
    if not path.is_file():
        raise DataError(f"{path} does not exist: --ckpt_path takes a .ckpt file or a run folder, runs/TASK/NAME")
    return path


def read(path: Path, task: str | None = None) -> dict[str, Any]:
    """Content of a checkpoint, plain types and tensors only.

    Raises:
        DataError: not a checkpoint, damaged, holding anything but plain data, or of another task.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other formats, which the sentence below covers
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path} was not read: {_why_unsafe(error)}") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise DataError(f"{path} holds no weights under 'state_dict': expected a checkpoint written by `fit`")
    owner = content.get(KEY, {}).get("task")
    if task and owner != task:
        whose = f"task {owner}" if owner else "another program"
        raise DataError(f"{path} is a checkpoint of {whose}, expected one of task {task}")
    return content


def stamp(path: Path, task: str) -> dict[str, Any]:
    """What `Stamp` wrote into a checkpoint."""
    return read(path, task)[KEY]


def _why_unsafe(error: Exception) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found:
        return f"it asks to load {found[1]}, and a checkpoint that holds more than plain data could run any code"
    return "it is damaged, cut short or no checkpoint at all (a run keeps checkpoints/best.ckpt and last.ckpt)"


def hyper_parameters(path: Path, task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the module and of the data module (with `_class_path`) that a checkpoint was trained with."""
    content = read(path, task)
    model = {k: v for k, v in content.get("hyper_parameters", {}).items() if not k.startswith("_")}
    data = dict(content.get("datamodule_hyper_parameters", {}))
    data.pop("_instantiator", None)
    return model, data


def load_module(module: type[LightningModule], task: str, path: str | Path, device: str = "cpu") -> LightningModule:
    """Module of a checkpoint file or run folder, in evaluation mode, plain weights only.

    Raises:
        DataError: no such checkpoint, or one of another task.
    """
    file = locate(str(path))
    read(file, task)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*already saved during checkpointing.*")  # advice to who wrote the module
        return module.load_from_checkpoint(file, map_location=device, weights_only=True).eval()
