"""The command-line parser: one-line errors with the nearest option, and the noise of libraries kept out."""

import argparse
import difflib
import logging
import os
import re
import sys
import warnings
from contextvars import ContextVar
from typing import Any, NoReturn

from jsonargparse import get_loader, set_loader, set_parsing_settings
from pytorch_lightning.cli import LightningArgumentParser, Namespace

from tasks.lightning_internals import (
    TALKATIVE,
    ignore_noise,
    in_plain_words,
    is_tip,
    option_names,
    telling_lines,
    unknown_option,
)
from tasks.yaml_files import BoundedLoader, YAMLError

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
