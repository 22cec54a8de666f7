"""Stored `config.yaml` of a run -> checked config of a new command, without the paths of the old run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import LightningDataModule

from tasks.callbacks import Checkpoint
from tasks.cli import trusted
from tasks.cli.registry import Task, resolve
from tasks.cli.renamed import renamed_config
from tasks.cli.trainer import Trainer
from tasks.cli.yaml_files import read_yaml

PLACES = ("save_dir", "default_root_dir", "dirpath")
"""Settings with output folders: a resumed run writes into its own folder, which may have moved."""
OF_THE_COMMAND = ("trust", "runs", "name", "ckpt_path", "config", "overwrite")
"""Options that apply to a single command."""


def checked_config(path: Path, task: Task) -> str:
    """YAML of a run's `config.yaml`, for `--config`.

    Raises:
        DataError: the file cannot be read, or the allow-list refuses it (`tasks.cli.trusted`).
    """
    content = renamed_config(read_yaml(path), task.module)
    with trusted.refusing(path):
        if not isinstance(content, dict):
            raise trusted.Untrusted("expected a mapping of settings")
        settings = {key: _without_places(value) for key, value in content.items() if key not in OF_THE_COMMAND}
        check_run_settings(settings, task)
    settings["runs"] = str(path.parent.parent.parent)
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def check_run_settings(settings: Mapping[str, Any], task: Task) -> None:
    """Check the settings of a run against the annotations of their classes.

    Raises:
        Untrusted: a setting is refused.
    """
    parts = {"model": resolve(task.module), "trainer": Trainer, "checkpoint": Checkpoint}
    if task.report:
        parts["report"] = resolve(task.report)
    trusted.check_names(settings)
    for key, value in settings.items():
        if key in parts and isinstance(value, Mapping):
            trusted.check_settings(value, parts[key], key)
        elif key == "data":
            trusted.check_value(value, LightningDataModule, key)
        else:
            trusted.check_value(value, None, key)


def _without_places(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get("class_path") == "pytorch_lightning.loggers.CSVLogger":
            return None  # the new session gets its own
        return {key: "." if key in PLACES else _without_places(item) for key, item in value.items()}
    return [_without_places(item) for item in value] if isinstance(value, list) else value
