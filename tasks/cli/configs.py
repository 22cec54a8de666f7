"""Configs of all tasks: their folder, the files behind names of rows, and the configs that a config extends."""

import difflib
import os
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import yaml

from datamodules.common.errors import DataError
from tasks.cli.renamed import renamed_config
from tasks.cli.yaml_files import TooLarge, YAMLError, load_yaml
from tasks.writers.output_files import names_file


def configs_folder() -> Path:
    """Folder of the configs: within `tasks` in an install, beside it in a clone or an editable install."""
    package = Path(str(files("tasks")))
    installed = package / "configs"
    return (installed if installed.is_dir() else package.parent / "configs").resolve()


CONFIGS = configs_folder()


def with_config_files(task: str, words: Sequence[str]) -> list[str]:
    """Command line whose `--config` options name files: names of rows become the files that come with the suite.

    Args:
        task: name of the task
        words: command line

    Raises:
        DataError: a config that exists neither in the working folder nor in the suite.
    """
    return replace_configs(words, lambda name: [config_file(task, name)])


def replace_configs(words: Sequence[str], change: Callable[[str], Sequence[str]]) -> list[str]:
    """Command line with other configs.

    Args:
        words: command line; configs are the words after `--config` or `-c`, and behind `--config=`
        change: from a config to the one in its place, and further words that follow it
    """
    replaced: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        prefix = "--config=" if word.startswith("--config=") else ""
        if prefix or before in ("-c", "--config"):
            config, *more = change(word.removeprefix(prefix))
            replaced += [prefix + config, *more]
        else:
            replaced.append(word)
    return replaced


def configs_in(words: Sequence[str]) -> list[str]:
    """Config files that a command line names."""
    configs: list[str] = []

    def note(name: str) -> list[str]:
        configs.append(name)
        return [name]

    replace_configs(words, note)
    return configs


def config_file(task: str, name: str) -> str:
    """File of a config: one in the working folder, else `NAME` and `configs/<task>/NAME.yaml` as they come with the suite.

    Settings written out in place of a name are returned as they are.

    Raises:
        DataError: no such file.
    """
    if names_file(name) or name.startswith("-") or any(sign in name for sign in ("{", "[", "\n", ": ")):
        return name
    path = Path(name)
    candidates = []
    if path.parts[:1] == ("configs",):
        candidates = [CONFIGS.joinpath(*path.parts[1:])]
    elif len(path.parts) == 1 and not path.suffix:
        candidates = [CONFIGS / task / f"{name}.yaml", CONFIGS / f"{name}.yaml"]
    for candidate in candidates:
        if names_file(candidate):
            return str(candidate)
    if os.path.exists(name):  # noqa: PTH110  a pipe, say; a name that is too long for a path is no error here
        return name
    rows = [row.stem for row in (*sorted((CONFIGS / task).glob("*.yaml")), *sorted(CONFIGS.glob("*.yaml")))]
    nearest = difflib.get_close_matches(path.stem[:100], rows, n=3)
    hint = f"did you mean {', '.join(nearest)}? " if nearest else ""
    raise DataError(
        f"unknown config {name[:200]} for {task}: no such file and no such row; {hint}`python -m tasks` lists the rows"
    )


def parents(config: Path, children: tuple[Path, ...] = ()) -> list[Path]:
    """Configs that a config extends, outermost first, by its key `extends`: a file or a list of files.

    Files are relative to the config; `configs/<task>/NAME.yaml` is a row of the suite where no such file is there.

    Args:
        config: YAML file; anything else extends nothing
        children: configs that extend this one

    Raises:
        DataError: a config that does not exist, that extends itself, or that still names its parent in a comment.
    """
    if not names_file(config):
        return []
    names = _extended(config)
    if config.resolve() in children:
        raise DataError(f"{config} extends itself: remove it from the key `extends` of {children[-1].name}")
    chain: list[Path] = []
    for name in names:
        parts = Path(name).parts
        shipped = [CONFIGS.joinpath(*parts[1:])] if parts[:1] == ("configs",) else []
        parent = next((path for path in (config.parent / name, *shipped) if names_file(path)), None)
        if parent is None:
            raise DataError(
                f"{config} extends {name}, which does not exist: expected a file relative to {config.parent}, or "
                "configs/TASK/NAME.yaml of the suite"
            )
        chain += [path for path in (*parents(parent, (*children, config.resolve())), parent) if path not in chain]
    return chain


def with_parents(words: Sequence[str], module: str) -> tuple[list[str], list[str]]:
    """Parents of all configs of a command line, and the command line as the parser reads it.

    Args:
        words: command line
        module: class path of the task's module

    Returns:
        parents, outermost first, each as `parsed_config` gives it; and the words with the configs written likewise

    Raises:
        DataError: as `parents` raises it.
    """
    inherited = dict.fromkeys(path for config in configs_in(words) for path in parents(Path(config)))
    parsed = replace_configs(words, lambda name: [parsed_config(Path(name), module)])
    return [parsed_config(path, module) for path in inherited], parsed


def parsed_config(config: Path, module: str) -> str:
    """Config as the parser reads it: its name, or its text where that has the key `extends`, or names of earlier versions.

    Args:
        config: YAML file
        module: class path of the task's module
    """
    if not names_file(config):
        return str(config)
    text = config.read_text(encoding="utf-8", errors="replace")
    text = without_extends(config, text) if (extends := bool(_extended(config))) else text
    try:
        content = load_yaml(text)
    except YAMLError:
        return str(config)  # the parser says what is wrong
    if (renamed := renamed_config(content, module)) != content:
        return yaml.safe_dump(renamed, sort_keys=False, allow_unicode=True)
    return text if extends else str(config)


def without_extends(config: Path, text: str) -> str:
    """Text of a config without the key `extends`, which no parser knows."""
    root = yaml.compose(text)
    key, value = next((key, value) for key, value in root.value if key.value == "extends")
    if root.flow_style:
        raise DataError(f"{config} has the key `extends` within braces: write it on a line of its own")
    rest = text[: key.start_mark.index] + text[value.end_mark.index :]
    return rest if len(root.value) > 1 else "{}"


def _extended(config: Path) -> list[str]:
    """Names in the key `extends` of a config; none where the file is no mapping, which the parser explains."""
    text = config.read_text(encoding="utf-8", errors="replace")
    try:
        content = load_yaml(text)
    except TooLarge as error:
        raise DataError(f"{config} cannot be read: {error}") from error
    except YAMLError:
        return []
    names = content.get("extends") if isinstance(content, dict) else None
    if names is None and (comment := re.search(r"^# A diff on (\S+\.yaml)", text, re.MULTILINE)):
        raise DataError(
            f"{config} names its parent in the comment `{comment[0]}`, which is not read any more: add the line "
            f"`extends: {comment[1]}`"
        )
    names = [names] if isinstance(names, str) else names or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{config} has another value than files under `extends`: expected a file or a list of files")
    return names
