"""Untrained checkpoints of every task, as `fit` writes them, from the settings of its tiny config; and what they hold."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning.cli import LightningArgumentParser

from datamodules.common.base import SuiteDataModule
from tasks.cli.configs import CONFIGS
from tasks.cli.registry import Task, resolve

INSTANTIATOR = "pytorch_lightning.cli.instantiate_module"
VIEW = {
    "name": "voice_grid",
    "arguments": {"low": 33, "high": 84, "steps": 4, "voices": 4, "conditions": ["position", "fermata"], "key": "any"},
    "learned": {"centre": 61.0, "highs": [79, 74, 69, 62], "lows": [60, 53, 50, 36]},
}
LINKED = {
    "tagging": {"tags": ["rock/pop", "genre---rock", "not english"]},
    "sed": {"classes": ["Bell", "Bird"]},
    "separation": {"sources": ["drums", "vocals"]},
    "alignment": {},
    "generation": {"view": VIEW},
}


def task_of(name: str) -> Task:
    return importlib.import_module(f"tasks.{name}.__main__").TASK


def settings_of(config: Path) -> list[dict[str, Any]]:
    """Parts `model` and `data` of a task's config and of those below it."""
    files = [config.parent / name for name in ("base.yaml", "default.yaml")] + [config]
    contents = [yaml.safe_load(file.read_text()) for file in files]
    return [{key: content[key] for key in ("model", "data") if key in content} for content in contents]


def content_of(name: str) -> dict[str, Any]:
    """Content of an untrained checkpoint of a task's tiny config."""
    task = task_of(name)
    parser = LightningArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(resolve(task.module), "model")
    parser.add_subclass_arguments(SuiteDataModule, "data")
    parts = [*settings_of(CONFIGS / name / "tiny.yaml"), {"model": LINKED[name]}]
    config = parser.parse_args([word for part in parts for word in ("--config", yaml.safe_dump(part))])
    module = parser.instantiate_classes(config).model
    plain = yaml.safe_load(parser.dump(config, skip_none=False))
    return {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": module.state_dict(),
        "hparams_name": "kwargs",
        "hyper_parameters": plain["model"] | {"_instantiator": INSTANTIATOR},
        "datamodule_hparams_name": "kwargs",
        "datamodule_hyper_parameters": plain["data"]["init_args"]
        | {"_class_path": plain["data"]["class_path"], "_instantiator": INSTANTIATOR},
        "quintet": {"task": name, "row": "tiny", "seed": 0},
    }


def write(content: dict[str, Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def strings(value: Any, where: tuple = ()) -> Iterator[tuple]:
    """Place of every string in a content, weights left out."""
    if isinstance(value, str):
        yield where
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != "state_dict":
                yield from strings(item, (*where, key))
    elif isinstance(value, list):
        for k, item in enumerate(value):
            yield from strings(item, (*where, k))


def replaced(content: Any, where: tuple, change: Callable[[Any], Any]) -> Any:
    """A content with one value changed; nothing else is copied."""
    if not where:
        return change(content)
    copy = list(content) if isinstance(content, list) else dict(content)
    copy[where[0]] = replaced(content[where[0]], where[1:], change)
    return copy
