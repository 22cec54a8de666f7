"""Registry of tasks: `tasks/<name>/__main__.py` files with a TASK, listed without importing them; version of the suite."""

import ast
import functools
import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tasks.cli.import_path import ROOT

SUBCOMMANDS = {
    "prepare": "check a data set folder, report its content, build its pack and statistics",
    "fit": "train; without arguments: the embedded demo",
    "validate": "evaluate a checkpoint on the validation split",
    "test": "evaluate a checkpoint on the test split and write the tables",
    "predict": "run a checkpoint on your own files, folders or globs",
    "compare": "print the paper's tables with the finished runs beside them",
    "export": "write safetensors, config and a torch.export program of a checkpoint",
}

REQUIRED_ENTRIES = {
    "validate": ("report",),
    "test": ("report",),
    "predict": ("files", "writer"),
    "compare": ("compare",),
    "export": ("files",),
}


@dataclass(frozen=True)
class Task:
    """Parts of a task as import paths, so that listing tasks imports nothing."""

    name: str
    module: str  # LightningModule
    data: str  # base class of the data modules that `fit` accepts
    monitor: tuple[str, str]  # validation metric that selects the best checkpoint, and "max" or "min"
    report: str | None = None  # callback that writes the results of `validate` and `test`
    files: str | None = None  # data module of `predict`, for a user's own files
    writer: str | None = None  # BasePredictionWriter(folder, overwrite) of `predict`
    compare: str | None = None  # function(argv) of `compare`
    links: Mapping[str, str] = field(default_factory=dict)  # data attribute -> module argument

    def lacks(self, subcommand: str) -> list[str]:
        """Entries that a subcommand needs and this task does not have."""
        return [entry for entry in REQUIRED_ENTRIES.get(subcommand, ()) if getattr(self, entry) is None]


def resolve(path: str) -> Any:
    """Import the object of a dotted path."""
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
    """Import the TASK of a name in `find_tasks`."""
    return importlib.import_module(f"tasks.{name}.__main__").TASK


@functools.cache
def suite_version() -> str:
    """Version such as `0.1.0`; `unknown` in a copy that is neither a clone nor installed.

    A clone's pyproject.toml comes first, because the metadata of an editable install may be outdated.
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
