"""Modules that one fresh interpreter has loaded after each of several steps, as JSON; steps that load more come later.

`python -m tests.helpers.import_checks RUNS OUT MODULE ...`: RUNS has a folder of runs per task, OUT takes what `compare` writes,
MODULEs are those of `tasks`.
"""

import contextlib
import importlib
import io
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEAVY = {"librosa", "museval", "wandb", "matplotlib", "numba", "music21", "sklearn", "pandas"}
HEAVY |= {"midirenderer", "pretty_midi", "symusic", "partitura", "h5py", "onnxruntime"}
NOT_IN_COMPARE = {"torch", "matplotlib", "pandas", "numpy"}


def printed(work: Callable[[], Any]) -> dict[str, Any]:
    """Output, exit status and whether torch or numpy are loaded afterwards."""
    out, code = io.StringIO(), None
    with contextlib.redirect_stdout(out):
        try:
            work()
        except SystemExit as end:
            code = end.code
    return {"out": out.getvalue(), "code": code, "loaded": sorted({"torch", "numpy"} & set(sys.modules))}


def compiler() -> dict[str, Any]:
    """What the command line loads of Lightning's late imports, and that these work once they are needed."""
    from tasks.cli.late_imports import LATE, import_light

    import_light("tasks.cli.cli")
    loaded = sorted({*LATE, "sympy", "triton"} & set(sys.modules))
    import torch
    from lightning_fabric.wrappers import OptimizedModule
    from pytorch_lightning.demos.boring_classes import BoringModel
    from pytorch_lightning.utilities.model_summary import ModelSummary

    plain = torch.nn.Linear(1, 1)
    compiled = [isinstance(network, OptimizedModule) for network in (plain, torch.compile(plain), plain)]
    parameters = ModelSummary(BoringModel()).total_parameters
    import scipy.signal

    return {"loaded": loaded, "compiled": compiled, "parameters": parameters, "filter": len(scipy.signal.butter(2, 0.5))}


def heavy(modules: list[str]) -> list[str]:
    """Heavy libraries that modules of ours load beyond what torchmetrics itself does."""
    import pytorch_lightning.cli
    import torchaudio
    import torchmetrics

    assert pytorch_lightning.cli and torchaudio and torchmetrics
    before = set(sys.modules)
    for name in modules:
        importlib.import_module(name)
    return sorted(HEAVY & (set(sys.modules) - before))


def check(runs: Path, out: Path) -> dict[str, Any]:
    """Results of all steps but the last, by name."""
    sys.argv = ["tasks"]
    results: dict[str, Any] = {"tasks": printed(lambda: runpy.run_module("tasks", run_name="__main__"))}
    from tasks.__main__ import find_tasks
    from tasks.cli.launch import launch

    for task in find_tasks():
        entry = importlib.import_module(f"tasks.{task}.__main__").TASK
        results[f"help {task}"] = printed(lambda entry=entry: launch(entry, ["--help"]))
    for task in sorted(path.name for path in runs.iterdir()):
        compare = importlib.import_module(f"tasks.{task}.compare")
        words = [str(runs / task), "--out", str(out / task)]
        words += ["--table", "3"] if task == "tagging" else []  # others come with pictures
        printed(lambda compare=compare, words=words: compare.main(words))
        results[f"compare {task}"] = sorted(NOT_IN_COMPARE & set(sys.modules))
    importlib.import_module("tasks.generation.compare")
    results["compare generation"] = sorted({"torch"} & set(sys.modules))
    figures = importlib.import_module("tasks.tagging.figures")
    curves = importlib.import_module("tasks.reporting.curves")
    results["figures imported"] = sorted({"matplotlib"} & set(sys.modules))
    assert figures and curves.beside_paper(["a"], [1], [2], title="")
    results["figure drawn"] = sorted({"matplotlib", "matplotlib.pyplot"} & set(sys.modules))
    results["command line"] = compiler()
    return results


if __name__ == "__main__":
    runs, out, *modules = sys.argv[1:]
    print(json.dumps(check(Path(runs), Path(out)) | {"heavy": heavy(modules)}))
