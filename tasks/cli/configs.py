"""Config files: name of a row -> file, `extends` -> chain of parents, words of a command line -> words with files."""

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
    """Folder of the configs: inside `tasks` in an install, next to it in a clone or an editable install."""
    package = Path(str(files("tasks")))
    installed = package / "configs"
    return (installed if installed.is_dir() else package.parent / "configs").resolve()


CONFIGS = configs_folder()


def with_config_files(task: str, words: Sequence[str]) -> list[str]:
    """Replace names of rows after `--config` by the files of the suite.

    Args:
        task: name of the task
        words: command line

    Raises:
        DataError: config not found in the working folder or the suite.
    """
    return replace_configs(words, lambda name: [config_file(task, name)])


def replace_configs(words: Sequence[str], change: Callable[[str], Sequence[str]]) -> list[str]:
    """Replace the configs of a command line.

    Args:
        words: command line; configs are the words after `--config`, `-c` or `--config=`
        change: config -> its replacement, and further words to insert after it
    """
    replaced: list[str] = []
    for previous, word in zip(["", *words], words, strict=False):
        prefix = "--config=" if word.startswith("--config=") else ""
        if prefix or previous in ("-c", "--config"):
            config, *more = change(word.removeprefix(prefix))
            replaced += [prefix + config, *more]
        else:
            replaced.append(word)
    return replaced


def configs_in(words: Sequence[str]) -> list[str]:
    """Configs of a command line."""
    configs: list[str] = []

    def collect(name: str) -> list[str]:
        configs.append(name)
        return [name]

    replace_configs(words, collect)
    return configs


def config_file(task: str, name: str) -> str:
    """File of a config: a path, else `NAME` or `configs/<task>/NAME.yaml` of the suite; YAML text is returned as it is.

    Raises:
        DataError: file not found.
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
    if os.path.exists(name):  # noqa: PTH110  such as a pipe; unlike Path.exists no error for a name too long for a path
        return name
    rows = [row.stem for row in (*sorted((CONFIGS / task).glob("*.yaml")), *sorted(CONFIGS.glob("*.yaml")))]
    nearest = difflib.get_close_matches(path.stem[:100], rows, n=3)
    hint = f"did you mean {', '.join(nearest)}? " if nearest else ""
    raise DataError(f"unknown config {name[:200]} for {task}: neither a file nor a row; {hint}`python -m tasks` lists the rows")


def parents(config: Path, children: tuple[Path, ...] = ()) -> list[Path]:
    """Configs that a config extends by its key `extends` (a file or a list of files), outermost first.

    Files are relative to the config; `configs/<task>/NAME.yaml` is a row of the suite if there is no such file.

    Args:
        config: YAML file; no parents if it is not a file
        children: configs that extend this one

    Raises:
        DataError: a parent is not found or extends itself, or is named in a comment only.
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
    """Parents of all configs of a command line, and the command line with configs as the parser reads them.

    Args:
        words: command line
        module: class path of the task's module

    Returns:
        parents, outermost first, and words, both with configs converted by `parsed_config`

    Raises:
        DataError: see `parents`.
    """
    inherited = dict.fromkeys(path for config in configs_in(words) for path in parents(Path(config)))
    parsed = replace_configs(words, lambda name: [parsed_config(Path(name), module)])
    return [parsed_config(path, module) for path in inherited], parsed


def parsed_config(config: Path, module: str) -> str:
    """Config as the parser reads it: the file name, or the changed text if it has the key `extends` or earlier names.

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
        return str(config)  # the parser reports the error
    if (renamed := renamed_config(content, module)) != content:
        return yaml.safe_dump(renamed, sort_keys=False, allow_unicode=True)
    return text if extends else str(config)


def without_extends(config: Path, text: str) -> str:
    """Remove the key `extends`, which the parser does not know, from the text of a config."""
    root = yaml.compose(text)
    key, value = next((key, value) for key, value in root.value if key.value == "extends")
    if root.flow_style:
        raise DataError(f"{config} has the key `extends` inside braces: write it on a separate line")
    rest = text[: key.start_mark.index] + text[value.end_mark.index :]
    return rest if len(root.value) > 1 else "{}"


def _extended(config: Path) -> list[str]:
    """Names in the key `extends` of a config; empty if the file is no mapping, which the parser reports."""
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
            f"{config} names its parent in the comment `{comment[0]}`, which is no longer read: add the line "
            f"`extends: {comment[1]}`"
        )
    names = [names] if isinstance(names, str) else names or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{config}: expected a file or a list of files under `extends`")
    return names
