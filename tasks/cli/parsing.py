"""The command-line parser: one-line errors with the nearest option, and the noise of libraries kept out."""

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
    TALKATIVE,
    ignore_noise,
    in_plain_words,
    is_tip,
    option_names,
    telling_lines,
    unknown_option,
)
from tasks.cli.yaml_files import BoundedLoader, YAMLError

_raises: ContextVar[bool] = ContextVar("raises", default=False)
"""Whether parsers raise ArgumentError instead of ending the process."""


class ShortErrorParser(LightningArgumentParser):
    """Parser whose errors are one sentence and leave with exit code 2; options are never guessed from a beginning."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"allow_abbrev": False})

    def parse_complete(self, words: list[str]) -> Namespace | None:
        """Settings of a command line; None where it lacks any or has others than the parser knows."""
        token = _raises.set(True)
        try:
            return self.parse_args(words)
        except argparse.ArgumentError:
            return None
        finally:
            _raises.reset(token)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong with the command line, without the pages of usage."""
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
    """Which key, and why: a parser's nested message without the values and types it echoes."""
    return in_plain_words(" ".join([*telling_lines(str(message))][:4]), _typed)[:500]


def _typed(key: str) -> str:
    """The option of a key as it was typed; the key itself where it comes from a file."""
    options = [word.partition("=")[0] for word in sys.argv if word.startswith("--")]
    return next((option for option in options if option == f"--{key}" or option.endswith(f".{key}")), key)


def harden() -> None:
    """Read YAML within bounds, build no class where any value is accepted, and let no value name code that runs programs."""
    loader = get_loader("yaml")
    if not isinstance(loader, BoundedLoader):
        set_loader("yaml", BoundedLoader(loader), exceptions=(YAMLError,))
    set_parsing_settings(import_path_denylist=[], instantiate_subclass_spec_in_any=False)


def quiet() -> None:
    """Silence warnings that tell a user nothing they can act on, and keep the others to their sentence."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    ignore_noise()
    if not os.environ.get("QUINTET_DEBUG"):  # where a warning was raised is the suite's business
        warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    for name in TALKATIVE:
        logging.getLogger(name).addFilter(_is_no_tip)


def _is_no_tip(record: logging.LogRecord) -> bool:
    return not is_tip(record.getMessage())


# Files on the command line of `predict`: words up to the next option, as a shell makes them of *.mp3.

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
