"""Earlier names of options: a command line, and the configs in it -> the same under today's names, with a warning each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from tasks.configs import replace_configs
from tasks.file_names import names_file
from tasks.yaml_files import YAMLError, load_yaml

RENAMED = {
    "tagging": {f"output.{name}": f"model.inference.{name}" for name in ("threshold", "top", "calibrated")},
    "sed": {f"output.{name}": f"model.inference.{name}" for name in ("thresholds", "window", "step")},
}
"""Earlier name of an option -> its name, by task. Each is accepted for one version after the renaming."""


def with_current_names(task: str, words: Sequence[str]) -> list[str]:
    """Command line in which renamed options have their names of today.

    Args:
        task: name of the task
        words: options as `--a b` or `--a=b`; those of a config follow it as words, so that later words still win over it
    """
    names = RENAMED.get(task, {})
    if not names:
        return list(words)
    return replace_configs([_renamed(word, names) for word in words], lambda config: _without_old_names(config, names))


def _renamed(word: str, names: Mapping[str, str]) -> str:
    option, equals, value = word.partition("=")
    new = names.get(option.removeprefix("--")) if option.startswith("--") else None
    if new is None:
        return word
    _warn(option, f"--{new}")
    return f"--{new}{equals}{value}"


def _without_old_names(config: str, names: Mapping[str, str]) -> list[str]:
    """Text of a config, a file or YAML, without its renamed options, then these as words; the config as it is without any."""
    try:
        content = load_yaml(Path(config).read_text(encoding="utf-8", errors="replace") if names_file(config) else config)
    except YAMLError:
        return [config]  # which the parser explains
    moved = [word for old, new in names.items() for word in _taken(content, old, new)]
    return [yaml.safe_dump(content, sort_keys=False), *moved] if moved else [config]


def _taken(content: Any, old: str, new: str) -> list[str]:
    """Take an option out of a config; returns it as words under its new name, none where the config lacks it."""
    *path, name = old.split(".")
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    if not isinstance(content, dict) or name not in content:
        return []
    value = content.pop(name)
    _warn(old, new)
    return [f"--{new}", value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).split("\n")[0]]


def _warn(old: str, new: str) -> None:
    rank_zero_warn(f"{old} is called {new} now; the earlier name is accepted until the next version.")
