"""Departures of a run from its row: resolved settings of both -> differing settings that change results."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

IGNORED_KEYS = (
    "seed_everything",
    "ckpt_path",
    "config",
    "name",
    "runs",
    "overwrite",
    "trust",
    "threads",
    "output",
    "report",  # extra outputs and number of processes
    "test_after_fit",
    "checkpoint.dirpath",
    "checkpoint.filename",
    "checkpoint.verbose",
    "checkpoint.save_",
    "checkpoint.enable_version_counter",
    "data.class_path",  # the result itself names the data set
    "data.root",
    "data.cache_dir",
    "data.num_workers",
    "data.pack",
    "data.seed",
    "data.strict",
    "data.eval_batch_size",
    "trainer.accelerator",
    "trainer.strategy",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.logger",
    "trainer.default_root_dir",
    "trainer.log_every_n_steps",
    "trainer.enable_",
    "trainer.num_sanity_val_steps",
    "trainer.profiler",
    "trainer.plugins",
    "trainer.deterministic",
    "trainer.benchmark",
    "trainer.barebones",
    "trainer.detect_anomaly",
    "trainer.model_registry",
)
"""Prefixes of settings that change place, speed and output of a run, but not its results."""

LIMITS = ("trainer.fast_dev_run", "trainer.overfit_batches", "trainer.limit_")
"""Prefixes of settings that shorten a run: False, -1, 0.0 and 1.0 mean all batches, like null."""

MAX_CHARACTERS = 60
"""Length of a value in a note."""


def departures(row: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Settings in which a run differs from its row.

    A different class is one departure, regardless of its arguments. For data sets of different classes the arguments that both
    have are compared.

    Args:
        row: resolved settings of the shipped row, nested, plain types
        run: resolved settings of the run

    Returns:
        Dotted key without `init_args` -> value in the row and value in the run.
    """
    return {key: values for key, *values in _differences(row, run, "") if not key.startswith(IGNORED_KEYS)}


def note(different: Mapping[str, list[Any]] | None) -> str:
    """Departures in one line, such as `trainer.max_epochs=2`; a remark if they were not recorded (None)."""
    if different is None:
        return "settings not recorded: run `test` again"
    return ", ".join(f"{key.removesuffix('.class_path')}={_short(value)}" for key, (_, value) in different.items())


def _differences(row: Any, run: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    if not (isinstance(row, Mapping) and isinstance(run, Mapping)):
        if _meaning(key, row) != _meaning(key, run):
            yield key, row, run
        return
    names = [*row, *(name for name in run if name not in row)]
    if row.get("class_path") != run.get("class_path"):
        yield f"{key}.class_path", row.get("class_path"), run.get("class_path")
        row, run = ((side.get("init_args") or {}) if key == "data" else {} for side in (row, run))
        names = [name for name in row if name in run]
    for name in names:
        inner = key if name == "init_args" else f"{key}.{name}".lstrip(".")
        yield from _differences(row.get(name), run.get(name), inner)


def _meaning(key: str, value: Any) -> Any:
    """Canonical value of a setting: all spellings of an unset limit, and empty mappings and lists, become None."""
    if key.startswith(LIMITS):
        return None if value is False or value == -1 or (isinstance(value, float) and value in (0.0, 1.0)) else value
    return None if value in ({}, []) else value


def _short(value: Any) -> str:
    if isinstance(value, str):
        text = value.rpartition(".")[2] if value.replace(".", "").isidentifier() else value
    else:
        text = json.dumps(value, default=str)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."
