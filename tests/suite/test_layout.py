"""Layout of the suite: sizes, unique class names, no import cycle, public names of configs."""

import ast
import re
import subprocess
from collections import defaultdict
from functools import cache
from pathlib import Path

import datamodules
import tasks
from datamodules.common.base import SuiteDataModule
from datamodules.common.lazy_names import public_path
from tests.helpers.syntax_trees import syntax_tree

ROOT = Path(__file__).parents[2]
PACKAGES = ("tasks", "datamodules", "models", "losses")
LATE_IMPORTS = 74
"""Imports of our own modules within functions and for annotations alone; a new one needs a reason."""


@cache
def modules() -> dict[str, ast.Module]:
    """Module name -> syntax tree, of the four packages."""
    trees = {}
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        trees[name] = syntax_tree(path)
    return trees


def imports(node: ast.AST, late: bool = False):
    """Import statements below a node, and whether each is within a function or for annotations alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, late
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from imports(child, late or function or typing)


def imported(name: str) -> list[tuple[str, bool]]:
    """Modules of ours that a module imports, and whether it does so late."""
    targets = []
    for node, late in imports(modules()[name]):
        full = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            full = [path if (path := f"{node.module}.{alias}") in modules() else node.module for alias in full]
        targets += [(target, late) for target in full if target in modules() and target != name]
    return targets


def cyclic(graph: dict[str, set[str]]) -> set[str]:
    """Nodes on a cycle: what is left when nodes without an edge to another node left, or from one, are removed."""
    left = dict(graph)
    while True:
        targets = set().union(*left.values()) if left else set()
        keep = {name: edges & left.keys() for name, edges in left.items() if edges & left.keys() and name in targets}
        if keep.keys() == left.keys():
            return set(left)
        left = keep


def test_cycles_are_found():
    assert cyclic({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a"}}) == set()
    assert cyclic({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b", "c"}


def test_no_import_cycle_even_by_late_imports():
    assert not cyclic({name: {target for target, _ in imported(name)} for name in modules()})


def test_late_imports_are_counted():
    assert sum(late for name in modules() for _, late in imported(name)) <= LATE_IMPORTS


def test_class_names_are_unique():
    homes = defaultdict(list)
    for name, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(name)
    assert not {name: places for name, places in homes.items() if len(places) > 1}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if documented else 0)


def test_files_and_functions_are_short():
    assert len(modules()) <= 430
    long = {}
    for name, tree in modules().items():
        lines = max((node.end_lineno or 0 for node in tree.body), default=0)
        if lines > 400:
            long[name] = lines
        for node in ast.walk(tree):
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "figures" not in name
            if function and (size := length(node)) > 40:
                long[f"{name}.{node.name}"] = size
    assert not long


def test_configs_name_packages_not_files():
    for path in [ROOT / "README.md", *(ROOT / "configs").rglob("*.yaml")]:
        for name in re.findall(r"class_path: *((?:tasks|datamodules|models|losses)[\w.]+)", path.read_text(encoding="utf-8")):
            package = name.rpartition(".")[0]
            assert (ROOT / package.replace(".", "/")).is_dir(), f"{path} names {name}"


def test_public_data_modules():
    for name in datamodules._HOMES:
        cls = getattr(datamodules, name)
        assert issubclass(cls, SuiteDataModule)
        assert public_path(cls) == f"datamodules.{name}"
    assert not hasattr(datamodules, "NoSuchData")


def test_folders_of_tests_are_packages():
    listed = subprocess.run(["git", "ls-files", "tests"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    folders = {Path(path).parent for path in listed if path.endswith(".py")}
    assert not [folder for folder in folders if not (ROOT / folder / "__init__.py").is_file()]
    assert Path(tasks.__file__).parent == ROOT / "tasks"
