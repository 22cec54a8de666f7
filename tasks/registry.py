"""Registry of the tasks: every `tasks/<name>/__main__.py` with a TASK, found without importing any of them."""

import ast
import functools
import importlib
from pathlib import Path

from tasks.launch import Task

HERE = Path(__file__).parent


@functools.cache
def find_tasks() -> dict[str, str]:
    """Task name -> first line of its docstring."""
    tasks = {}
    for path in sorted(HERE.glob("*/__main__.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {t.id for node in tree.body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)}
        if "TASK" in names:
            tasks[path.parent.name] = (ast.get_docstring(tree) or "").split("\n")[0]
    return tasks


def task_named(name: str) -> Task:
    """Task of a name in `find_tasks`."""
    return importlib.import_module(f"tasks.{name}.__main__").TASK
