"""Who may import whom, and what must not be loaded before it is needed."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.__main__ import find_tasks
from tasks.cli.import_path import prefer_own_root

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
HEAVY = {"librosa", "museval", "wandb", "matplotlib", "numba", "music21", "sklearn", "pandas"}
HEAVY |= {"midirenderer", "pretty_midi", "symusic", "partitura", "h5py", "onnxruntime"}


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
    for node in walk(ast.parse(path.read_text()), later=not module_level):
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


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_importing_a_task_loads_nothing_heavy():
    tasks = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files("tasks") if p.name != "__main__.py"]
    # torchmetrics itself loads parts of matplotlib and librosa where they are installed: what counts is what we add.
    code = "import importlib, sys, torch, torchaudio, torchmetrics, pytorch_lightning.cli\nbefore = set(sys.modules)\n"
    code += "".join(f"importlib.import_module({name!r})\n" for name in tasks)
    code += f"print(sorted({HEAVY!r} & (set(sys.modules) - before)))"
    assert run(code).strip() == "[]"


def test_listing_the_tasks_loads_no_torch():
    code = "import sys, runpy; runpy.run_module('tasks', run_name='__main__')\n"
    code += "print('torch' in sys.modules, 'numpy' in sys.modules)"
    listing = run(code)
    assert listing.strip().endswith("False False")
    assert "tagging" in listing
    assert "predict" in listing


@pytest.mark.parametrize("task", find_tasks())
def test_a_task_without_a_verb_prints_its_verbs_and_loads_no_torch(task):
    code = f"import sys\nfrom tasks.{task}.__main__ import TASK\nfrom tasks.cli.launch import launch\n"
    code += "try: launch(TASK, ['--help'])\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    assert run(code).strip().endswith("0 False")


def test_the_command_line_loads_no_compiler_and_no_filters():
    """Lightning looks up single names of these; a compiled module is known as one all the same."""
    code = """
import sys
from tasks.cli.late_imports import LATE, import_light
import_light("tasks.cli.cli")
print(sorted({*LATE, "sympy", "triton"} & set(sys.modules)))
import torch
from lightning_fabric.wrappers import OptimizedModule
from pytorch_lightning.utilities.model_summary import ModelSummary
from pytorch_lightning.demos.boring_classes import BoringModel
plain = torch.nn.Linear(1, 1)
print(isinstance(plain, OptimizedModule), isinstance(torch.compile(plain), OptimizedModule), isinstance(plain, OptimizedModule))
print(ModelSummary(BoringModel()).total_parameters)
import scipy.signal
print(len(scipy.signal.butter(2, 0.5)))
"""
    assert run(code).split("\n")[:-1] == ["[]", "False True False", "66", "2"]


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
