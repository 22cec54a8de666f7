"""Who may import whom, and what must not be loaded before it is needed."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.__main__ import find_tasks
from tasks.cli.import_path import prefer_own_root
from tests.helpers.syntax_trees import syntax_tree
from tests.suite import test_compare
from tests.tasks.alignment import test_compare as alignment
from tests.tasks.separation import test_compare as separation

ROOT = Path(__file__).parents[2]
OURS = {"tasks", "datamodules", "models", "losses", "benchmarks", "tests"}
ALLOWED = {
    "models": {"models"},
    "losses": {"losses"},
    "datamodules": {"datamodules"},
    "tasks": {"tasks", "datamodules", "models", "losses"},
    "benchmarks": OURS,
}
LIGHT = {"torch", "torchaudio", "torchmetrics", "pytorch_lightning", "lightning_fabric"}
LIGHT |= {"numpy", "soundfile", "yaml", "jsonargparse", "filelock"}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def walk(tree: ast.AST, later: bool):
    """Every node; later: those too that do not run when a module is imported."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if later or not (typing or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from walk(node, later)


def imported(path: Path, module_level: bool) -> set[str]:
    names = set()
    for node in walk(syntax_tree(path), later=not module_level):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_each_folder_imports_only_what_it_may(folder):
    found = {path: imported(path, False) & OURS for path in files(folder)}
    assert found
    wrong = {str(path.relative_to(ROOT)): names - ALLOWED[folder] for path, names in found.items() if names - ALLOWED[folder]}
    assert not wrong


@pytest.mark.parametrize("folder", sorted(set(ALLOWED) - {"benchmarks"}))
def test_module_level_imports_are_light(folder):
    allowed = OURS | LIGHT | set(sys.stdlib_module_names)
    wrong = {str(p.relative_to(ROOT)): imported(p, True) - allowed for p in files(folder) if imported(p, True) - allowed}
    assert not wrong


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    """Modules loaded after each step of `tests.helpers.import_checks`, in one interpreter for all."""
    folder = tmp_path_factory.mktemp("imports")
    for module, data in ((test_compare, test_compare.MTAT), (alignment, alignment.DEMO), (separation, separation.DEMO)):
        task = "tagging" if module is test_compare else module.__name__.split(".")[-2]
        module.write_run(folder / "runs" / task / "a", data=data)
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files("tasks") if p.name != "__main__.py"]
    words = [sys.executable, "-m", "tests.helpers.import_checks", folder / "runs", folder / "out", *modules]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_a_task_loads_nothing_heavy(checks):
    assert checks["heavy"] == []


def test_listing_the_tasks_loads_no_torch(checks):
    assert checks["tasks"]["loaded"] == []
    assert "tagging" in checks["tasks"]["out"] and "predict" in checks["tasks"]["out"]


@pytest.mark.parametrize("task", find_tasks())
def test_a_task_without_a_verb_prints_its_verbs_and_loads_no_torch(task, checks):
    assert checks[f"help {task}"]["code"] == 0 and "torch" not in checks[f"help {task}"]["loaded"]
    assert f"usage: python -m tasks.{task}" in checks[f"help {task}"]["out"]


@pytest.mark.parametrize("task", ["tagging", "alignment", "separation", "generation"])
def test_compare_imports_neither_torch_nor_matplotlib(task, checks):
    assert checks[f"compare {task}"] == []


def test_figures_need_neither_pyplot_nor_matplotlib_to_be_imported(checks):
    assert checks["figures imported"] == []
    assert checks["figure drawn"] == ["matplotlib"]


def test_the_command_line_loads_no_compiler_and_no_filters(checks):
    """Lightning looks up single names of these; a compiled module is known as one all the same."""
    expected = {"loaded": [], "compiled": [False, True, False], "parameters": 66, "filter": 2}
    assert checks["command line"] == expected


def test_the_suite_is_searched_before_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    libraries = [path for path in sys.path if path and Path(path).resolve() != ROOT]
    monkeypatch.setattr(sys, "path", ["", *libraries, str(tmp_path)])
    prefer_own_root()
    assert sys.path == [str(ROOT), *libraries, str(tmp_path)]
    prefer_own_root()
    assert sys.path == [str(ROOT), *libraries, str(tmp_path)]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", ["", *libraries])
    prefer_own_root()
    assert sys.path == ["", *libraries]


@pytest.mark.parametrize("content", ["module", "package", "folder"])
def test_another_package_of_the_same_name_is_refused(content, tmp_path):
    """A process that has imported another `models` cannot use the suite, and is told which file that is."""
    path = {"module": "models.py", "package": "models/__init__.py", "folder": "models/notes.txt"}[content]
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import models; sys.path[0] = {str(ROOT)!r}; import tasks"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    expected = tmp_path / path if content != "folder" else tmp_path / "models"
    assert f"ImportError: this process has already imported another 'models' from {expected}, " in done.stderr
