"""Find, read and stamp checkpoints; every error is a sentence."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from datamodules.errors import DataError

KEY = "quintet"


class Stamp(Callback):
    """Write into each checkpoint which task it belongs to, so that another task's is refused by name."""

    def __init__(self, task: str) -> None:
        self.task = task

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = {"task": self.task}


def locate(given: str) -> Path:
    """Checkpoint file behind a path or a run folder (its best weights, else its last).

    Raises:
        DataError: nothing there.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        for candidate in (path / "checkpoints" / "best.ckpt", path / "checkpoints" / "last.ckpt", path / "best.ckpt", path / "last.ckpt"):
            if candidate.is_file():
                return candidate
        raise DataError(f"{path} holds no checkpoints/best.ckpt: train one first with `fit`, or name a .ckpt file")
    if not path.is_file():
        raise DataError(f"{path} does not exist: --ckpt_path takes a .ckpt file or a run folder such as runs/tagging/NAME")
    return path


def read(path: Path, task: str | None = None) -> dict[str, Any]:
    """Content of a checkpoint, plain types and tensors only.

    Raises:
        DataError: not a checkpoint, damaged, holding anything but plain data, or of another task.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise DataError(f"{path} is no checkpoint that can be read safely ({type(error).__name__}: {reason})") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise DataError(f"{path} holds no weights under 'state_dict': expected a checkpoint written by `fit`")
    owner = content.get(KEY, {}).get("task")
    if task and owner != task:
        raise DataError(f"{path} is a checkpoint of {'task ' + owner if owner else 'another program'}, expected one of task {task}")
    return content


def hyper_parameters(path: Path, task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the module and of the data module (with `_class_path`) that a checkpoint was trained with."""
    content = read(path, task)
    model = {k: v for k, v in content.get("hyper_parameters", {}).items() if not k.startswith("_")}
    data = dict(content.get("datamodule_hyper_parameters", {}))
    data.pop("_instantiator", None)
    return model, data
