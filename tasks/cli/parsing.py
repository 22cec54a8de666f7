"""Command-line parser with one-line errors that suggest the nearest option; filter of libraries' warnings."""

import argparse
import difflib
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import get_loader, set_loader, set_parsing_settings
from pytorch_lightning.cli import LightningArgumentParser, Namespace

from tasks.cli.lightning_internals import (
    FILTERED_LOGGERS,
    error_lines,
    ignore_noise,
    in_plain_words,
    is_tip,
    option_names,
    unknown_option,
)
from tasks.cli.yaml_files import BoundedLoader, YAMLError

_raises: ContextVar[bool] = ContextVar("raises", default=False)
"""True: parsers raise ArgumentError instead of ending the process."""


class ShortErrorParser(LightningArgumentParser):
    """Parser whose errors are one sentence with exit code 2; abbreviated options are errors."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"allow_abbrev": False})

    def parse_complete(self, words: list[str]) -> Namespace | None:
        """Settings of a command line; None if some are missing or unknown."""
        token = _raises.set(True)
        try:
            return self.parse_args(words)
        except argparse.ArgumentError:
            return None
        finally:
            _raises.reset(token)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error without usage, and exit with 2."""
        if _raises.get():
            raise argparse.ArgumentError(None, message) from ex
        sys.stderr.write(f"error: {shorten(message)}{self._nearest(message)}\n")
        sys.exit(2)

    def _nearest(self, message: str) -> str:
        name = unknown_option(message)
        close = difflib.get_close_matches(name, option_names(self), n=1) if name else []
        if not close:
            return ""
        typed = next((word.split("=")[0] for word in sys.argv if re.search(rf"[-.]{re.escape(name)}(=|$)", word)), name)
        return f"; did you mean {typed.removesuffix(name)}{close[0]}?"


def shorten(message: str) -> str:
    """Shorten a parser's nested message to key and reason, without echoed values and types."""
    return in_plain_words(" ".join([*error_lines(str(message))][:4]), _typed)[:500]


def _typed(key: str) -> str:
    """Option of a key as it was typed; the key itself if it comes from a file."""
    options = [word.partition("=")[0] for word in sys.argv if word.startswith("--")]
    return next((option for option in options if option == f"--{key}" or option.endswith(f".{key}")), key)


def harden() -> None:
    """Bound the size of YAML, and refuse values that would build a class where any value is accepted or run programs."""
    loader = get_loader("yaml")
    if not isinstance(loader, BoundedLoader):
        set_loader("yaml", BoundedLoader(loader), exceptions=(YAMLError,))
    set_parsing_settings(import_path_denylist=[], instantiate_subclass_spec_in_any=False)


def quiet() -> None:
    """Filter warnings that require no action of the user, and print the others without their source line."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    ignore_noise()
    if not os.environ.get("QUINTET_DEBUG"):
        warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    for name in FILTERED_LOGGERS:
        logging.getLogger(name).addFilter(lambda record: not is_tip(record.getMessage()))


FILES = "inputs"
LISTS = (FILES, "scores")
"""Options of the data class that take several words."""


def split_files(argv: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Separate files from the other words of a `predict` command.

    `--data.inputs a.mp3 b.mp3`, `--data.inputs=a.mp3 b.mp3`, `--data.inputs '[a.mp3, b.mp3]'` and words without an option
    (`predict --ckpt_path RUN a.mp3 b.mp3`) are inputs; `--data.scores` works likewise. All words after a single `--` are inputs.

    Args:
        argv: subcommand and options

    Returns:
        the other words, and the files by name of their argument
    """
    rest, files = [argv[0]], {}
    for option, values in _groups(argv[1:]):
        name = _list_name(option)
        if name is None:
            # Other options take one value; further words are files.
            count = 0 if option is None or "=" in option else 1
            rest += [*([] if option is None else [option]), *values[:count]]
            name, values = FILES, values[count:]
        if values:
            files.setdefault(name, []).extend(_listed(values))
    return rest, files


def _groups(words: Sequence[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Options with the words up to the next one; None for words before the first option and after `--`."""
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
    """List argument of the data class that an option sets, else None."""
    bare = (option or "").split("=")[0]
    return next((name for name in LISTS if bare in (f"--data.{name}", f"--data.init_args.{name}")), None)


def _listed(values: Sequence[str]) -> list[str]:
    """Expand lists in brackets."""
    return [file for value in values for file in (_bracketed(value) or [value])]


def _bracketed(value: str) -> list[str] | None:
    """Files of a list such as `[a.mp3, b.mp3]`; None for other words and for files of that name."""
    if not (value.startswith("[") and value.endswith("]")) or Path(value).expanduser().exists():
        return None
    try:
        content: Any = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        return None
    return content if isinstance(content, list) and all(isinstance(file, str) for file in content) else None
