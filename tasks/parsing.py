"""The command-line parser: one-line errors with the nearest option, and the noise of libraries kept out."""

import argparse
import difflib
import logging
import os
import re
import sys
import warnings
from typing import Any, NoReturn

from jsonargparse import get_loader, set_loader, set_parsing_settings
from pytorch_lightning.cli import LightningArgumentParser, Namespace

from tasks.yaml_files import YAMLError, bounded

_NOISE = (
    ".*is an instance of `nn.Module` and is already saved during checkpointing.*",
    ".*litlogger.*",
    ".*LeafSpec.*",
    ".*does not have many workers which may be a bottleneck.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*is smaller than the logging interval.*",
    ".*GPU available but not used.*",
    ".*Experiment logs directory .* exists and is not empty.*",
    ".*changing subclass.*discard.*",
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    "(?s).*The tensor attributes? .*assigned during export.*",
    ".*predict returned None if it was on purpose.*",
    ".*Total length of `DataLoader` across ranks is zero.*",
    ".*No complete tensor found in the group.*",
    ".*The given buffer is not writable.*",
    ".*your dataloader is not resumable.*",  # ours are, by `resume_position`
    ".*It is recommended to use .*sync_dist.True.*",  # what is logged on an epoch is a torchmetrics value, equal on all ranks
    ".*The `srun` command is available on your system but is not used.*",
    ".*You are trying to `self.log\\(\\)` but the `self.trainer` reference is not registered.*",
)


_TIPS = re.compile(
    r"litlogger|TPU available|HPU available|GPU available: False|LOCAL_RANK: .*CUDA_VISIBLE|`Trainer.fit` stopped"
    r"|Restoring states|configure_callbacks"
    r"|Seed set to \d"
)


_WRONG = re.compile(
    r"(?:[Oo]ption|[Kk]ey) '?-{0,2}([\w.]+)'?(?: is not accepted|$)|nrecognized arguments: -*([\w.]+)"
)


class ShortErrorParser(LightningArgumentParser):
    """Parser whose errors are one sentence and leave with exit code 2; options are never guessed from a beginning."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"allow_abbrev": False})

    def parse_complete(self, words: list[str]) -> Namespace | None:
        """Settings of a command line; None where it lacks any or has others than the parser knows."""
        parsers = _parsers(self)
        for parser in parsers:
            parser.exit_on_error = False
        try:
            return self.parse_args(words)
        except argparse.ArgumentError:
            return None
        finally:
            for parser in parsers:
                parser.exit_on_error = True

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong with the command line, without the pages of usage."""
        if not self.exit_on_error:
            raise argparse.ArgumentError(None, message) from ex
        sys.stderr.write(f"error: {shorten(message)}{self._nearest(message)}\n")
        sys.exit(2)

    def _nearest(self, message: str) -> str:
        wrong = _WRONG.search(message)
        if not wrong:
            return ""
        name = wrong.group(1) or wrong.group(2)
        actions = [action for parser in _parsers(self) for action in parser._actions]
        known = {option.lstrip("-") for action in actions for option in action.option_strings}
        close = difflib.get_close_matches(name, known, n=1)
        typed = next((word.split("=")[0] for word in sys.argv if re.search(rf"[-.]{re.escape(name)}(=|$)", word)), name)
        return f"; did you mean {typed.removesuffix(name)}{close[0]}?" if close else ""


def _parsers(parser: LightningArgumentParser) -> list[LightningArgumentParser]:
    inner = getattr(parser, "_subcommands_action", None)
    return [parser, *(inner._name_parser_map.values() if inner else ())]


# Lines of jsonargparse that say how it looked, not what is wrong.
_ECHO = re.compile(
    r"Does not validate against any|Subtypes:|Errors:|Not a valid subclass of|Subclass types expect one of|a class path \(str\)"
    r"|a dict with|Expected a <class 'NoneType'>|Given value|Given type|Parser 'tasks|tip:|a dict without"
)


_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
}

_KEY = re.compile(r'Parser key "([\w.]+)": ')
_WORDS = re.compile(r"Expected a typing\.Literal\[([^\]]*)\]")
_TYPE = re.compile(r"Expected an? <class '(\w+)'>")
_GOT = re.compile(r"\.? Got value: ")
_NO_CLASS = re.compile(r"Expected a path but (\S+) either not accessible or invalid\W+Expected a dot import path string: \S+")


def _spoken(text: str) -> str:
    """A sentence of jsonargparse in words of the command line instead of Python's types."""
    text = _KEY.sub(lambda match: f"{_typed(match[1])}: ", text)
    text = _WORDS.sub(lambda match: f"expected one of {match[1].replace(chr(39), '')}", text)
    text = _TYPE.sub(lambda match: f"expected {_TYPES.get(match[1], match[1])}", text)
    text = _NO_CLASS.sub(r"expected a class by its full path (MODULE.CLASS) or a YAML file; got \1", text)
    return _GOT.sub("; got ", text)


def _typed(key: str) -> str:
    """The option of a key as it was typed; the key itself where it comes from a file."""
    options = [word.partition("=")[0] for word in sys.argv if word.startswith("--")]
    return next((option for option in options if option == f"--{key}" or option.endswith(f".{key}")), key)


def shorten(message: str) -> str:
    """Which key, and why: a parser's nested message without the values and types it echoes."""
    lines = [line.strip(" -\t") for line in str(message).splitlines()]
    told = [line for line in dict.fromkeys(lines) if line and not _ECHO.match(line)]
    return _spoken(" ".join(told[:4]))[:500]


def harden() -> None:
    """Read YAML within bounds, build no class where any value is accepted, and let no value name code that runs programs."""
    loader = get_loader("yaml")
    if not getattr(loader, "is_bounded", False):
        set_loader("yaml", bounded(loader), exceptions=(YAMLError,))
    set_parsing_settings(import_path_denylist=[], instantiate_subclass_spec_in_any=False)


def quiet() -> None:
    """Silence warnings that tell a user nothing they can act on, and keep the others to their sentence."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    for pattern in _NOISE:
        warnings.filterwarnings("ignore", pattern)
    if not os.environ.get("QUINTET_DEBUG"):  # where a warning was raised is the suite's business
        warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed"):
        logging.getLogger(name).addFilter(_is_no_tip)


def _is_no_tip(record: logging.LogRecord) -> bool:
    return not _TIPS.search(record.getMessage())
