"""Checkpoints: path or run folder -> checked content, settings or module; stamp of task, row, version and batches."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import instantiate_module
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from datamodules.common.errors import DataError
from tasks.cli import trusted
from tasks.cli.lightning_internals import ADVICE_ON_MODULES, CLASS_PATH, INSTANTIATOR, is_without_mmap, refused_global
from tasks.cli.registry import find_tasks, resolve, suite_version, task_named
from tasks.cli.renamed import renamed_checkpoint

KEY = "quintet"
FORMAT = 1
"""Format of a checkpoint's content, increased when an earlier version of the suite would misread it; 0 if absent."""


class Stamp(Callback):
    """Store task, row, version and batch settings in each checkpoint, and warn of resumed runs with other batches.

    Args:
        task: name of the task
        row: name of the config
        departures: settings in which the run differs from its row
    """

    def __init__(self, task: str, row: str, departures: Mapping[str, list[Any]] | None = None) -> None:
        self.task, self.row, self.departures = task, row, dict(departures or {})

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = new_stamp(self.task, self.row, departures=self.departures, **batches_of(trainer))

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Warn of each difference that makes a resumed run diverge from an uninterrupted one."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        stored, current = checkpoint.get(KEY, {}), batches_of(trainer)
        changed = [name for name in BATCHES if name in stored and stored[name] != current[name]]
        if changed:
            before, now = (", ".join(f"{BATCHES[name]} {kind[name]}" for name in changed) for kind in (stored, current))
            rank_zero_warn(
                f"{trainer.ckpt_path} was trained with {before}; this run continues with {now}, so its weights will differ "
                "from an uninterrupted run."
            )


def new_stamp(task: str, row: str, **facts: Any) -> dict[str, Any]:
    """Stamp of a checkpoint written by this version of the suite.

    Args:
        task: name of the task
        row: name of the config
        facts: departures from the row, seed, and the values of `BATCHES` of a training
    """
    return {"task": task, "row": row, "version": suite_version(), "format": FORMAT, **facts}


BATCHES = {
    "seed": "seed",
    "batch_size": "a global batch size of",
    "accumulation": "batches accumulated per step:",
    "processes": "processes:",
}
"""Settings that determine the batches of a training -> their names in messages."""


def batches_of(trainer: Trainer) -> dict[str, int]:
    """Values of `BATCHES`; the batch size is summed over ranks."""
    data = trainer.datamodule
    return {
        "seed": int(data.seed),
        "batch_size": data.batch_size * (trainer.world_size if data.batch_scope == "rank" else 1),
        "accumulation": trainer.accumulate_grad_batches,
        "processes": trainer.world_size,
    }


def locate(location: str, names: tuple[str, ...] = ("best", "last")) -> Path:
    """Checkpoint file of a path or run folder (best weights, else last).

    Raises:
        DataError: no checkpoint found.
    """
    path = Path(location).expanduser()
    if path.is_dir():
        for candidate in (folder / f"{name}.ckpt" for folder in (path / "checkpoints", path) for name in names):
            if candidate.is_file():
                return candidate
        raise DataError(f"{path} has no checkpoints/{names[0]}.ckpt: train one first with `fit`, or name a .ckpt file")
    if not path.is_file():
        raise DataError(f"{path} does not exist: --ckpt_path takes a .ckpt file or a run folder, runs/TASK/NAME")
    return path


def load_mapped(path: str | Path, weights_only: bool | None = True) -> dict[str, Any]:
    """Content of a checkpoint with memory-mapped tensors, by default plain types and tensors only.

    A command reads its checkpoint several times, mostly for its settings. Changes are private to the process, and the content
    stays valid when the file is replaced.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=weights_only, mmap=True)
    except RuntimeError as error:
        if not is_without_mmap(error):
            raise
        return torch.load(path, map_location="cpu", weights_only=weights_only)


def with_current_parts(content: dict[str, Any]) -> dict[str, Any]:
    """Content of a checkpoint with current names of classes, arguments, weights and callbacks."""
    known = content.get(KEY)
    owner = known.get("task") if isinstance(known, dict) else None
    if not isinstance(owner, str) or owner not in find_tasks():
        return content
    return renamed_checkpoint(content, owner, task_named(owner).module)


def read(path: Path, task: str | None = None) -> dict[str, Any]:
    """Content of a checkpoint, plain types and tensors only.

    Raises:
        DataError: not a checkpoint, damaged, with other than plain data, with files or classes outside the allow-list
            (`tasks.cli.trusted`), of a newer format, or of another task.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other formats, which the error below covers
            content = load_mapped(path)
    except Exception as error:
        raise DataError(f"{path} was not read: {_why_unsafe(error)}") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise DataError(f"{path} has no weights under 'state_dict': expected a checkpoint written by `fit`")
    known = content[KEY] if isinstance(content.get(KEY), dict) else {}
    _refuse_newer(path, known)
    owner = known.get("task")
    if task and owner != task:
        writer = f"task {owner}" if owner else "another program"
        raise DataError(f"{path} is a checkpoint of {writer}, expected one of task {task}")
    content = with_current_parts(content)
    with trusted.refusing(path):
        trusted.check_content(content)
    return content


def _refuse_newer(path: Path, stamp: dict[str, Any]) -> None:
    written = stamp.get("format", 0)
    if isinstance(written, int) and written <= FORMAT:
        return
    version = stamp.get("version")
    is_plain = isinstance(version, str) and re.fullmatch(r"[\w.+!-]{1,40}", version, re.ASCII)
    raise DataError(
        f"{path} has checkpoint format {written!r:.20}, and quintet {suite_version()} reads formats up to {FORMAT}: "
        f"install {f'quintet {version}' if is_plain else 'a later version of quintet'}, which wrote it"
    )


def stamp(path: Path, task: str) -> dict[str, Any]:
    """Stamp of a checkpoint (see `Stamp`)."""
    return read(path, task)[KEY]


def stamped_departures(path: Path, task: str) -> dict[str, list[Any]] | None:
    """Settings in which a checkpoint's training differed from its row; None if they were not recorded."""
    known = stamp(path, task).get("departures")
    if not isinstance(known, dict) or not all(isinstance(pair, list) and len(pair) == 2 for pair in known.values()):
        return None
    return known


def _why_unsafe(error: Exception) -> str:
    if name := refused_global(error):
        return f"it asks to load {name}, and a checkpoint with more than plain data could run any code"
    return "it is damaged, truncated or not a checkpoint (a run writes checkpoints/best.ckpt and last.ckpt)"


def hyper_parameters(
    path: Path, task: str, module: type | None = None, with_data: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the module and of the data module (with its class under `CLASS_PATH`) stored in a checkpoint.

    Args:
        path: checkpoint file
        task: expected task
        module: class to build with the arguments, which are compared with its constructor
        with_data: whether the data module will be built too

    Raises:
        DataError: see `read`; or arguments that the class does not accept.
    """
    content = read(path, task)
    if module:
        _check_arguments(path, content, module, with_data)
    model = {k: v for k, v in content.get("hyper_parameters", {}).items() if not k.startswith("_")}
    data = dict(content.get("datamodule_hyper_parameters", {}))
    data.pop(INSTANTIATOR, None)
    return model, data


def _check_arguments(path: Path, content: dict[str, Any], module: type, with_data: bool = False) -> None:
    with trusted.refusing(path):
        trusted.check_settings(content.get("hyper_parameters", {}), module, "model")
        if with_data and (data := content.get("datamodule_hyper_parameters")):
            spec = {"class_path": data.get(CLASS_PATH), "init_args": data}
            trusted.check_value(spec, LightningDataModule, "data")


def load_module(path: str | Path, device: str = "cpu", task: str | None = None) -> LightningModule:
    """Module of a checkpoint file or run folder in evaluation mode; only plain weights are read.

    Args:
        path: checkpoint file or run folder
        device: device of the weights
        task: expected task; None: any

    Raises:
        DataError: checkpoint not found, or of another task or program.
    """
    file = locate(str(path))
    content = read(file, task)
    owner = content[KEY]["task"] if KEY in content else None
    if not isinstance(owner, str) or owner not in find_tasks():
        raise DataError(f"{file} is a checkpoint of another program: expected one written by `fit` or by import_weights")
    module = resolve(task_named(owner).module)
    _check_arguments(file, content, module)
    settings = {name: value for name, value in content["hyper_parameters"].items() if not name.startswith("_")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ADVICE_ON_MODULES)
        network = instantiate_module(module, settings)
    network.on_load_checkpoint(content)
    network.load_state_dict(content["state_dict"])
    return network.to(device).eval()
