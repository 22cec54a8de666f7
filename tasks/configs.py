"""Configs of all tasks: their folder, the files behind names of rows, and what each config is a diff on."""

import difflib
import os
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from datamodules.errors import DataError
from tasks.file_names import names_file


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
    completed: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if before in ("-c", "--config"):
            completed.append(config_file(task, word))
        elif word.startswith("--config="):
            completed.append(f"--config={config_file(task, word.removeprefix('--config='))}")
        else:
            completed.append(word)
    return completed


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


def grounds(config: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """What a config says it is a diff on beyond base.yaml, by a line `# A diff on NAME.yaml`, outermost first.

    Raises:
        DataError: a config that is a diff on itself.
    """
    if not names_file(config):
        return []
    if config.resolve() in above:
        raise DataError(f"{config} is a diff on itself: remove its line `# A diff on ...`")
    found = re.search(r"^# A diff on (\S+\.yaml)", config.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    ground = config.parent / found[1] if found else None
    return [*grounds(ground, (*above, config.resolve())), ground] if ground else []
