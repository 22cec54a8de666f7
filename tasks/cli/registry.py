"""Registry of the tasks: every `tasks/<name>/__main__.py` with a TASK, found without importing any of them."""

import ast
import functools
import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tasks.cli.import_path import ROOT

VERBS = {
    "prepare": "check a data set folder, report what is there, build its pack and statistics",
    "fit": "train; without arguments: the embedded demo",
    "validate": "score a checkpoint on the validation split",
    "test": "score a checkpoint on the test split and write the tables",
    "predict": "run a checkpoint on files, folders or globs of your own",
    "compare": "print the paper's tables with the finished runs beside them",
    "export": "write safetensors, config and a torch.export program of a checkpoint",
}


NEEDS = {
    "validate": ("report",),
    "test": ("report",),
    "predict": ("files", "writer"),
    "compare": ("compare",),
    "export": ("files",),
}


@dataclass(frozen=True)
class Task:
    """What a task tells the command line about itself, as import paths so that listing it costs nothing."""

    name: str
    module: str  # LightningModule
    data: str  # base class of the data modules that `fit` accepts
    monitor: tuple[str, str]  # validation metric that picks the best checkpoint, and "max" or "min"
    report: str | None = None  # callback that writes what `validate` and `test` leave
    files: str | None = None  # data module that `predict` reads a user's own files with
    writer: str | None = None  # BasePredictionWriter(folder, overwrite) of `predict`
    compare: str | None = None  # function(argv) of `compare`
    links: Mapping[str, str] = field(default_factory=dict)  # data attribute -> module argument

    def lacks(self, verb: str) -> list[str]:
        """Entries that a verb needs and this task has not yet."""
        return [entry for entry in NEEDS.get(verb, ()) if getattr(self, entry) is None]


def resolve(path: str) -> Any:
    """Object behind a dotted import path."""
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


TASKS = ROOT / "tasks"


@functools.cache
def find_tasks() -> dict[str, str]:
    """Task name -> first line of its docstring."""
    tasks = {}
    for path in sorted(TASKS.glob("*/__main__.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {t.id for node in tree.body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)}
        if "TASK" in names:
            tasks[path.parent.name] = (ast.get_docstring(tree) or "").split("\n")[0]
    return tasks


def task_named(name: str) -> Task:
    """Task of a name in `find_tasks`."""
    return importlib.import_module(f"tasks.{name}.__main__").TASK


# Version of the suite, read from its clone or from the metadata of its install.


@functools.cache
def suite_version() -> str:
    """Version such as `0.1.0`; `unknown` in a copy that is neither a clone nor installed.

    A clone's pyproject.toml comes first: the metadata of an editable install stay those of the day it was installed.
    """
    project = ROOT / "pyproject.toml"
    if project.is_file():
        metadata = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {})
        if metadata.get("name") == "quintet":
            return metadata["version"]
    try:
        return version("quintet")
    except PackageNotFoundError:
        return "unknown"
