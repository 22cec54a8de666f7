"""`config.yaml` of a run folder as options of a new command: checked like a checkpoint, without the places of the old run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import LightningDataModule

from tasks.cli import trusted
from tasks.cli.registry import Task, resolve
from tasks.cli.renamed import renamed_config
from tasks.cli.yaml_files import read_yaml

PLACES = ("save_dir", "default_root_dir", "dirpath")
"""Settings that say where a run writes: a run that goes on writes into its own folder, wherever that lies now."""
OF_THE_COMMAND = ("trust", "runs", "name", "ckpt_path", "config", "overwrite")
"""Options that hold for the command that they were typed for."""


def checked_config(path: Path, task: Task) -> str:
    """YAML of a run's `config.yaml`, for `--config`.

    Raises:
        DataError: the file cannot be read, or names what the allow-list refuses (`tasks.cli.trusted`).
    """
    content = renamed_config(read_yaml(path), task.module)
    with trusted.refusing(path):
        if not isinstance(content, dict):
            raise trusted.Untrusted("it holds no settings by name")
        settings = {key: _without_places(value) for key, value in content.items() if key not in OF_THE_COMMAND}
        check_run_settings(settings, task)
    settings["runs"] = str(path.parent.parent.parent)
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def check_run_settings(settings: Mapping[str, Any], task: Task) -> None:
    """Compare the settings of a run with the classes that they are meant for.

    Raises:
        Untrusted: with the sentence that says why.
    """
    from tasks.callbacks import Checkpoint
    from tasks.cli.trainer import Trainer

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
            return None  # the run's own is made anew
        return {key: "." if key in PLACES else _without_places(item) for key, item in value.items()}
    return [_without_places(item) for item in value] if isinstance(value, list) else value
