"""The command line called in this process, and a tagging task small enough for it."""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml

from tasks.cli.configs import CONFIGS, configs_in
from tasks.cli.late_imports import import_light
from tasks.cli.launch import launch
from tasks.cli.runs import CHOSEN
from tasks.writers.output_files import names_file
from tests.helpers.layouts import write_mtat

TAGS = ["flute", "piano", "slow", "fast", "weird"]
SPEC = {"class_path": "models.tagging.Spec", "init_args": {"channels": 1, "width": 16, "frames": 64, "time_stride": 4}}
ATT = {"class_path": "models.tagging.Att", "init_args": {"layers": 1, "heads": 2}}
TINY = {
    "model": {"net": {"class_path": "models.tagging.FrontBack", "init_args": {"front_end": SPEC, "back_end": ATT}}},
    "data": {"class_path": "datamodules.MTAT", "init_args": {"batch_size": 8, "num_workers": 0, "pack": "never"}},
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False, "callbacks": []},
    "report": {"baselines": False, "resamples": 20},
}


class Done(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def command(task: str, *words: object) -> Done:
    """`python -m tasks.<task> <words>` in this process; signal handlers, environment and sys.argv stay as they are."""
    argv = [str(word) for word in words]
    kept = {name: value for name, value in os.environ.items() if name != CHOSEN}
    out, err, code = io.StringIO(), io.StringIO(), 0
    cli = import_light("tasks.cli.cli").CLI
    with (
        mock.patch.object(cli, "_row_settings", _parsed_once(cli._row_settings)),
        mock.patch.dict(os.environ, kept, clear=True),
        mock.patch.object(sys, "argv", [f"tasks.{task}", *argv]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            launch(importlib.import_module(f"tasks.{task}.__main__").TASK, argv)
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
    return Done(code, out.getvalue(), err.getvalue())


_rows: dict[tuple[str, ...], Any] = {}


def _parsed_once(row_settings: Callable[..., Any]) -> Callable[..., Any]:
    """`CLI._row_settings` that parses a row of the suite once per process, as that takes 0.2 CPU s in each command."""

    def settings(cli: Any, parser: Any, words: list[str]) -> Any:
        if any(names_file(config) and not Path(config).is_relative_to(CONFIGS) for config in configs_in(words)):
            return row_settings(cli, parser, words)
        key = (cli.task.name, *words)
        if key not in _rows:
            _rows[key] = row_settings(cli, parser, words)
        return _rows[key]

    return settings


def tagging(*words: object) -> Done:
    """`python -m tasks.tagging <words>` in this process."""
    return command("tagging", *words)


def separation(*words: object) -> Done:
    """`python -m tasks.separation <words>` in this process."""
    return command("separation", *words)


def write_tiny(folder: Path, seconds: float = 2.0) -> list[str]:
    """Write 32 clips in MTAT's layout and a small network's config; return the options that name them."""
    write_mtat(folder / "mtat", 32, seconds=seconds, tags=TAGS)
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY))
    return ["--config", str(config), "--data.root", str(folder / "mtat"), "--runs", str(folder / "runs")]
