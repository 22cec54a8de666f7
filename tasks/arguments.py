"""Turn what a user typed into the full list of configs: base, then default or checkpoint, then their own."""

from pathlib import Path

import yaml

from datamodules.errors import DataError
from tasks.checkpoints import hyper_parameters, locate, read, stamp
from tasks.configs import CONFIGS, configs_in, with_parents
from tasks.file_names import is_plain_name, names_file
from tasks.launch import Task, resolve
from tasks.lightning_internals import CLASS_PATH
from tasks.renamed import renamed_word
from tasks.renamed_options import with_current_names
from tasks.run_config import checked_config
from tasks.yaml_files import TooLarge, YAMLError, check_yaml

WITHOUT_LABELS = ("predict", "export")
FROM_CHECKPOINT = ("validate", "test", "predict", "export")

LACKING: dict[str, dict] = {"datamodules.folder.Folder": {"drawn_by": "name"}}
"""Arguments that a checkpoint from before they existed lacks, with the values that mean what was done then."""


def expand(task: Task, argv: list[str]) -> list[str]:
    """Command line with the implied configs written out before the user's own options, which therefore win.

    `configs/<task>/base.yaml` always comes first. A verb that reads a checkpoint takes the settings stored in it;
    otherwise, without `--config`, `configs/<task>/default.yaml` (the embedded demo) is meant. The parents of all configs
    (`extends`) come before the user's own options too. Renamed options get their names of today.
    """
    verb, typed = argv[0], [renamed_word(word, task.module) for word in argv[1:]]
    if "-h" in typed or "--help" in typed or any(a.startswith("--model.help") or a.startswith("--data.help") for a in typed):
        return [verb, *typed]
    _refuse_large(typed)
    checkpoint = value_of(typed, "--ckpt_path")
    if verb in FROM_CHECKPOINT and checkpoint is None:
        raise DataError(f"{verb} needs a checkpoint: add --ckpt_path runs/{task.name}/NAME (a run folder or a .ckpt file)")
    implied = [str(CONFIGS / task.name / "base.yaml")] if verb not in WITHOUT_LABELS else []
    if verb in FROM_CHECKPOINT:
        path = locate(checkpoint)
        typed = _replaced(typed, "--ckpt_path", str(path))
        implied.append(yaml.safe_dump(_stored(task, verb, path), sort_keys=False))
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
    return [verb, *(with_current_names(task.name, words) if verb == "predict" else words)]


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
            continue  # plain text, or an error that the parser explains


def row_of(task: Task, argv: list[str]) -> str:
    """Name of what is run: the last config that is not an addition to any row, else what the checkpoint was."""
    named = [path for path in map(Path, configs_in(argv)) if path.resolve().parent != CONFIGS]
    if named:
        if not is_plain_name(stem := named[-1].stem):
            raise DataError(f"{named[-1]} names no folder of a run on every system: rename it to letters, digits, _ and -")
        return stem
    checkpoint = value_of(argv, "--ckpt_path")
    if checkpoint in (None, "last"):
        return "default"
    return stamp(locate(checkpoint), task.name).get("row", "default")


def row_alone(task: Task, argv: list[str], row: str) -> list[str] | None:
    """Command line of a row as it is shipped, or as the user's own config has it where none of its name is.

    Args:
        task: whose row
        argv: command line of a run
        row: name of what is run

    Returns:
        The same verb with the row's config alone; None for a row whose config is not at hand.
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
    """Value given to an option, the last one winning; None when absent."""
    found = None
    for word, following in zip(typed, [*typed[1:], ""], strict=False):
        if word == option:
            found = following
        elif word.startswith(option + "="):
            found = word.split("=", 1)[1]
    return found


def without(typed: list[str], option: str) -> list[str]:
    """What was typed but for an option and its value."""
    kept, skip = [], False
    for word in typed:
        if not skip and word != option and not word.startswith(option + "="):
            kept.append(word)
        skip = word == option
    return kept


def _replaced(typed: list[str], option: str, value: str) -> list[str]:
    return [*without(typed, option), option, value]


def _config_of_run(checkpoint: str | None) -> Path | None:
    """`config.yaml` of the run that a checkpoint file lies in, so that resuming by path needs no other option."""
    if checkpoint and Path(checkpoint).is_file():
        config = Path(checkpoint).resolve().parent.parent / "config.yaml"
        return config if config.is_file() else None
    return None


def _stored(task: Task, verb: str, path: Path) -> dict:
    """Config that a checkpoint carries: network and, but for the verbs on unlabelled files, the data it was trained on."""
    model, data = hyper_parameters(path, task.name, resolve(task.module), verb not in WITHOUT_LABELS)
    linked = {target.split(".")[0]: model.pop(target.split(".")[0], None) for target in task.links.values()}
    config: dict = {"model": model}
    if "seed" in (known := stamp(path, task.name)):
        config["seed_everything"] = known["seed"]
    if verb in WITHOUT_LABELS:
        config["data"] = {"class_path": task.files, "init_args": linked}
    elif data:
        class_path = data.pop(CLASS_PATH)
        data = LACKING.get(class_path, {}) | data
        data.pop("seed", None)
        config["data"] = {"class_path": class_path, "init_args": data}
    return config
