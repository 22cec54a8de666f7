"""Files on the command line of `predict`: words up to the next option, as a shell makes them of *.mp3."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

FILES = "inputs"
LISTS = (FILES, "scores")
"""Options of the data class that take several words."""


def split_files(argv: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Take the files out of what was typed.

    `--data.inputs a.mp3 b.mp3`, `--data.inputs=a.mp3 b.mp3`, `--data.inputs '[a.mp3, b.mp3]'` and words that are no option's
    value (`predict --ckpt_path RUN a.mp3 b.mp3`) are inputs; `--data.scores` collects words alike. All words after a lone `--`
    are inputs.

    Args:
        argv: subcommand and what follows it

    Returns:
        the other words, and the files by name of their argument
    """
    rest, files = [argv[0]], {}
    for option, values in _groups(argv[1:]):
        name = _list_name(option)
        if name is None:
            # Every other option takes one value; what follows are files.
            kept = 0 if option is None or "=" in option else 1
            rest += [*([] if option is None else [option]), *values[:kept]]
            name, values = FILES, values[kept:]
        if values:
            files.setdefault(name, []).extend(_listed(values))
    return rest, files


def _groups(words: Sequence[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Each option with the words up to the next one; words before the first, and after `--`, without an option."""
    option: str | None = None
    values: list[str] = []
    for index, word in enumerate(words):
        if word == "--":
            yield option, values
            yield None, list(words[index + 1 :])
            return
        if word.startswith("--") or word in ("-c", "-h"):
            yield option, values
            option, values = word, []
            if _list_name(word) and "=" in word:
                values = [word.split("=", 1)[1]]
        else:
            values.append(word)
    yield option, values


def _list_name(option: str | None) -> str | None:
    """Argument of the data class that an option fills, if that is a list of files."""
    bare = (option or "").split("=")[0]
    return next((name for name in LISTS if bare in (f"--data.{name}", f"--data.init_args.{name}")), None)


def _listed(values: Sequence[str]) -> list[str]:
    """Files of words, some of which may be lists in brackets."""
    return [file for value in values for file in (_bracketed(value) or [value])]


def _bracketed(value: str) -> list[str] | None:
    """Files of a list such as `[a.mp3, b.mp3]`; None for a word that is no such list, or a file of that name."""
    if not (value.startswith("[") and value.endswith("]")) or Path(value).expanduser().exists():
        return None
    try:
        content: Any = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        return None
    return content if isinstance(content, list) and all(isinstance(file, str) for file in content) else None
