"""Command line of a user -> full command line: base config, then the default or the checkpoint's, then the user's options."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from datamodules.common.errors import DataError
from tasks.cli.checkpoints import hyper_parameters, locate, read, stamp
from tasks.cli.configs import CONFIGS, configs_in, replace_configs, with_parents
from tasks.cli.lightning_internals import CLASS_PATH
from tasks.cli.registry import Task, resolve
from tasks.cli.renamed import OPTIONS, renamed_word
from tasks.cli.run_config import checked_config
from tasks.cli.yaml_files import TooLarge, YAMLError, check_yaml, load_yaml
from tasks.writers.output_files import is_plain_name, names_file

WITHOUT_LABELS = ("predict", "export")
FROM_CHECKPOINT = ("validate", "test", "predict", "export")

MISSING_ARGUMENTS: dict[str, dict] = {"datamodules.Folder": {"drawn_by": "name"}}
"""Arguments that older checkpoints do not have, with the values that keep their behaviour."""


def with_current_names(task: str, words: Sequence[str]) -> list[str]:
    """Replace earlier names of options, with a warning each.

    Args:
        task: name of the task
        words: options as `--a b` or `--a=b`; renamed options of a config follow it as words, so that later words override them
    """
    names = OPTIONS.get(task, {})
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
    """Config (file or YAML text) without renamed options, followed by them as words; the config itself if it has none."""
    try:
        content = load_yaml(Path(config).read_text(encoding="utf-8", errors="replace") if names_file(config) else config)
    except YAMLError:
        return [config]  # the parser reports the error
    moved = [word for old, new in names.items() for word in _pop_option(content, old, new)]
    return [yaml.safe_dump(content, sort_keys=False), *moved] if moved else [config]


def _pop_option(content: Any, old: str, new: str) -> list[str]:
    """Remove an option from a config and return it as words under its new name; empty if the config does not have it."""
    *path, name = old.split(".")
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    if not isinstance(content, dict) or name not in content:
        return []
    value = content.pop(name)
    _warn(old, new)
    return [f"--{new}", value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).split("\n")[0]]


def _warn(old: str, new: str) -> None:
    rank_zero_warn(f"{old} is now called {new}; the earlier name is accepted until the next version.")


def expand(task: Task, argv: list[str]) -> list[str]:
    """Command line with the implied configs before the user's own options, which override them.

    `configs/<task>/base.yaml` is always first. A subcommand that reads a checkpoint uses the settings stored in it; others use
    `configs/<task>/default.yaml` (the embedded demo) if there is no `--config`. Parents of all configs (`extends`) come before
    the user's own options too. Earlier names of options are replaced.

    Raises:
        DataError: a subcommand has no checkpoint or an unreadable one, or a config cannot be read.
    """
    subcommand, typed = argv[0], [renamed_word(word, task.module) for word in argv[1:]]
    if "-h" in typed or "--help" in typed or any(a.startswith("--model.help") or a.startswith("--data.help") for a in typed):
        return [subcommand, *typed]
    _refuse_large(typed)
    checkpoint = value_of(typed, "--ckpt_path")
    if subcommand in FROM_CHECKPOINT and checkpoint is None:
        raise DataError(f"{subcommand} needs a checkpoint: add --ckpt_path runs/{task.name}/NAME (a run folder or a .ckpt file)")
    implied = [str(CONFIGS / task.name / "base.yaml")] if subcommand not in WITHOUT_LABELS else []
    if subcommand in FROM_CHECKPOINT:
        path = locate(checkpoint)
        typed = _replaced(typed, "--ckpt_path", str(path))
        implied.append(yaml.safe_dump(_stored(task, subcommand, path), sort_keys=False))
    else:
        if checkpoint not in (None, "last"):
            path = locate(checkpoint, ("last",))
            read(path, task.name)
            checkpoint, typed = str(path), _replaced(typed, "--ckpt_path", str(path))
        if not configs_in(typed):
            config = _config_of_run(checkpoint)
            typed = ["--config", checked_config(config, task) if config else str(CONFIGS / task.name / "default.yaml"), *typed]
    inherited, typed = with_parents(typed, task.module)
    words = [*(word for config in (*implied, *inherited) for word in ("--config", config)), *typed]
    return [subcommand, *(with_current_names(task.name, words) if subcommand == "predict" else words)]


def _refuse_large(typed: list[str]) -> None:
    """Refuse values and configs that expand without end or nest too deeply, before a parser reads them."""
    configs = [name for name in configs_in(typed) if names_file(name)]
    texts = {name: Path(name).read_text(encoding="utf-8", errors="replace") for name in configs}
    for word in typed:
        texts[f"the value {' '.join(word[:40].split())}..."] = word.partition("=")[2] if word.startswith("--") else word
    for name, text in texts.items():
        try:
            check_yaml(text)
        except TooLarge as error:
            raise DataError(f"{name} cannot be read: {error}") from error
        except YAMLError:
            continue  # plain text, or an error that the parser reports


def row_of(task: Task, argv: list[str]) -> str:
    """Name of the experiment: the stem of the last config outside `configs/` itself, else the checkpoint's row."""
    named = [path for path in map(Path, configs_in(argv)) if path.resolve().parent != CONFIGS]
    if named:
        if not is_plain_name(stem := named[-1].stem):
            raise DataError(
                f"{named[-1]}: the name cannot be a run folder on every system; rename it to letters, digits, _ and -"
            )
        return stem
    checkpoint = value_of(argv, "--ckpt_path")
    if checkpoint in (None, "last"):
        return "default"
    return stamp(locate(checkpoint), task.name).get("row", "default")


def row_alone(task: Task, argv: list[str], row: str) -> list[str] | None:
    """Command line of a row without the user's options: the shipped config, else the user's config of that name.

    Args:
        task: task of the row
        argv: command line of a run
        row: name of the row

    Returns:
        The same subcommand with the row's config alone; None if the config is not available.
    """
    config = CONFIGS / task.name / f"{row}.yaml"
    if not config.is_file():
        own = [path for path in map(Path, configs_in(argv)) if path.stem == row and path.is_file()]
        if not own:
            return None
        config = own[-1]
    inherited, named = with_parents(["--config", str(config)], task.module)
    words = [word for path in (str(CONFIGS / task.name / "base.yaml"), *inherited) for word in ("--config", path)]
    return [argv[0], *words, *named, *(["--ckpt_path", "none"] if argv[0] in FROM_CHECKPOINT else [])]


def value_of(typed: list[str], option: str) -> str | None:
    """Last value of an option; None if it is absent."""
    value = None
    for word, following in zip(typed, [*typed[1:], ""], strict=False):
        if word == option:
            value = following
        elif word.startswith(option + "="):
            value = word.split("=", 1)[1]
    return value


def without(typed: list[str], option: str) -> list[str]:
    """Command line without an option and its value."""
    kept, skip = [], False
    for word in typed:
        if not skip and word != option and not word.startswith(option + "="):
            kept.append(word)
        skip = word == option
    return kept


def _replaced(typed: list[str], option: str, value: str) -> list[str]:
    return [*without(typed, option), option, value]


def _config_of_run(checkpoint: str | None) -> Path | None:
    """`config.yaml` of a checkpoint's run, so that resuming by path needs no other option."""
    if checkpoint and Path(checkpoint).is_file():
        config = Path(checkpoint).resolve().parent.parent / "config.yaml"
        return config if config.is_file() else None
    return None


def _stored(task: Task, subcommand: str, path: Path) -> dict:
    """Config stored in a checkpoint: network and, for subcommands on labelled data, its training data."""
    model, data = hyper_parameters(path, task.name, resolve(task.module), subcommand not in WITHOUT_LABELS)
    linked = {target.split(".")[0]: model.pop(target.split(".")[0], None) for target in task.links.values()}
    config: dict = {"model": model}
    if "seed" in (known := stamp(path, task.name)):
        config["seed_everything"] = known["seed"]
    if subcommand in WITHOUT_LABELS:
        config["data"] = {"class_path": task.files, "init_args": linked}
    elif data:
        class_path = data.pop(CLASS_PATH)
        data = MISSING_ARGUMENTS.get(class_path, {}) | data
        data.pop("seed", None)
        config["data"] = {"class_path": class_path, "init_args": data}
    return config


def fit_seeds(task: Task, argv: list[str]) -> int:
    """Run `fit --seeds N`: seeds 0 to N-1, each in its own process and folder RUNS/TASK/NAME-seedK.

    Interrupted runs are resumed from their last checkpoint, finished ones are skipped.

    Returns:
        First exit code other than 0, or 0.

    Raises:
        ValueError: N is no positive number, or --seed_everything or --ckpt_path is given.
    """
    count = value_of(argv, "--seeds") or ""
    if not count.isdigit() or int(count) < 1:
        raise ValueError(f"--seeds must be a positive number, got {count!r}")
    for option in ("--seed_everything", "--ckpt_path"):
        if value_of(argv, option) is not None:
            raise ValueError(f"{option} cannot be given with --seeds, which chooses it for every run")
    typed = without(argv, "--seeds")
    name = value_of(typed, "--name") or row_of(task, typed)
    root = Path(value_of(typed, "--runs") or "runs") / task.name
    for seed in range(int(count)):
        folder = root / f"{name}-seed{seed}"
        if (folder / "metrics.json").is_file():
            print(f"seed {seed} is finished: {folder}", flush=True)
            continue
        started = ["--ckpt_path", "last"] if (folder / "checkpoints").is_dir() else []
        own = ["--seed_everything", str(seed), "--name", folder.name, *started]
        code = subprocess.call([*_program(task.name), "fit", *without(typed, "--name")[1:], *own])
        if code:
            return code
    print(f"{count} seeds are finished: python -m tasks.{task.name} compare '{root}/{name}-seed*'", flush=True)
    return 0


def _program(task: str) -> list[str]:
    """Command of a task in another process; the running `quintet`, if any, since a working folder may hold a `tasks.py`."""
    script = Path(sys.argv[0])
    if script.stem == "quintet" and script.is_file():
        return [sys.executable, str(script), task]
    return [sys.executable, "-m", f"tasks.{task}"]
