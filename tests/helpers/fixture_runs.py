"""Stored checkpoints of `tests/fixtures`: their data sets, and runs from them -> outputs, scores and weights as plain data."""

import contextlib
import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tasks
from datamodules.common.errors import DataError
from tests.helpers.commands import TAGS, Done, command
from tests.helpers.layouts import write_mtat
from tests.helpers.sed_layout import write_dcase2018
from tests.helpers.short_sets import write_short_maps
from tests.helpers.stems import write_musdb_hq
from tests.helpers.symbolic_layouts import write_jsb

FIXTURES = Path(__file__).parents[1] / "fixtures"
VALUES = 4
"""Values that are stored of a tensor, for machines on which its digest differs."""
DIGITS = 16
"""Hexadecimal digits that are stored of a digest."""
COMPARED = ("epoch", "global_step", "state_dict", "optimizer_states", "callbacks", "plateaus", "validated")
"""Entries of a checkpoint that a resumed run must reach again."""
DATA: dict[str, Callable[[Path], Any]] = {
    "tagging": lambda root: write_mtat(root, 32, mp3=False, seconds=2.0, tags=TAGS),
    "sed": lambda root: write_dcase2018(root, tested=3),
    "separation": lambda root: write_musdb_hq(root, test=("Artist D - Four",), seconds=1.6, rate=8000),
    "alignment": lambda root: write_short_maps(root, pieces=3),
    "generation": write_jsb,
}
"""Data set of each task in the layout of a real one, the same bytes each time."""


def write_data(folder: Path, task: str) -> Path:
    """Data set of a task at `data/<task>` of a folder, where the stored settings look for it; one that exists is kept."""
    root = folder / "data" / task
    if not root.exists():
        DATA[task](root)
    return root


def machine() -> dict[str, str]:
    """What decides whether float32 arithmetic repeats to the bit: version of torch, instruction set, maker of the CPU."""
    makers = [line for line in _cpu_lines() if line.startswith("vendor_id")]
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "processor": f"{platform.system()} {platform.machine()} {makers[0].split(':')[1].strip() if makers else ''}".strip(),
    }


def _cpu_lines() -> list[str]:
    with contextlib.suppress(OSError):
        return Path("/proc/cpuinfo").read_text().splitlines()
    return []


def plain(value: Any) -> Any:
    """Content of a checkpoint as JSON has it; a tensor becomes its shape, a digest of its bytes, and a few of its values."""
    if isinstance(value, Tensor):
        flat = value.detach().flatten()
        chosen = torch.linspace(0, max(len(flat) - 1, 0), min(VALUES, len(flat))).long()
        digest = hashlib.sha256(flat.contiguous().numpy().tobytes()).hexdigest()[:DIGITS]
        values = [float(f"{number:.7g}") for number in flat[chosen].tolist()]
        return {"shape": list(value.shape), "sha256": digest, "values": values}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def outputs_of(path: Path) -> list[Any] | None:
    """Outputs of the network in a checkpoint file for the example inputs of its exported program; None where there is none."""
    module = tasks.load(path)
    try:
        program, example, _, others = module.export_program()
    except DataError:
        return None
    with torch.no_grad():
        return [plain(program.eval()(*inputs)) for inputs in (example, *others[:1])]


def scores_of(folder: Path, name: str, task: str, options: list[str]) -> dict[str, Any]:
    """Metrics of `test` on a stored checkpoint, called from a folder with the task's data set.

    Args:
        folder: working folder
        name: of the fixture
        task: of the fixture
        options: further words of the command line
    """
    words = ("--ckpt_path", FIXTURES / f"{name}.ckpt", "--runs", "runs", "--name", f"{name}_test", *options)
    with contextlib.chdir(folder):
        succeeded(command(task, "test", *words))
    return json.loads((folder / "runs" / task / f"{name}_test" / "metrics.json").read_text())["metrics"]


def resumed(folder: Path, name: str, task: str, row: str) -> dict[str, Any]:
    """Last checkpoint of a run that goes on from a stored one, to the end of its training.

    Its run folder holds what the stored run left: `config.yaml`, `last.ckpt`, and something called `best.ckpt`.

    Args:
        folder: working folder with the task's data set
        name: of the fixture
        task: of the fixture
        row: name of the run folder
    """
    run = folder / "runs" / task / row
    (run / "checkpoints").mkdir(parents=True)
    shutil.copyfile(FIXTURES / f"{name}.yaml", run / "config.yaml")
    for kind in ("last", "best"):
        shutil.copyfile(FIXTURES / f"{name}.ckpt", run / "checkpoints" / f"{kind}.ckpt")
    path = Path("runs") / task / row / "checkpoints" / "last.ckpt"
    with contextlib.chdir(folder):
        succeeded(command(task, "fit", "--ckpt_path", path, "--test_after_fit", "false"))
    return compared_part(torch.load(folder / path, weights_only=True))


def compared_part(content: dict[str, Any]) -> dict[str, Any]:
    """Entries of a checkpoint that are compared, as plain data; of an optimizer its state and learning rates."""
    part = {key: content[key] for key in COMPARED if key in content}
    part["optimizer_states"] = [
        {"state": optimizer["state"], "lr": [group["lr"] for group in optimizer["param_groups"]]}
        for optimizer in content["optimizer_states"]
    ]
    return plain(part)


def succeeded(done: Done) -> None:
    """Fail with what a command said on standard error."""
    assert done.code == 0, done.err[-2000:]


def differences(stored: Any, current: Any, tolerance: float, where: str = "") -> Iterator[str]:
    """What the current data lack or have otherwise, as sentences; what they have beyond the stored is new, and no difference.

    Args:
        stored: plain data of a fixture
        current: plain data today
        tolerance: highest difference of two numbers, relative to the larger one or to 1; 0: equal to the bit
        where: path to both
    """
    if isinstance(stored, dict) and "sha256" in stored and isinstance(current, dict):
        if tolerance == 0 and stored["sha256"] != current.get("sha256"):
            yield f"{where}: other bytes, {current.get('values')} instead of {stored['values']}"
        stored = {key: stored[key] for key in ("shape", "values")} if tolerance else {"shape": stored["shape"]}
    if isinstance(stored, dict) and isinstance(current, dict):
        for key, value in stored.items():
            if key not in current:
                yield f"{where}.{key}: missing"
            else:
                yield from differences(value, current[key], tolerance, f"{where}.{key}")
    elif isinstance(stored, list) and isinstance(current, list) and len(stored) == len(current):
        for index, pair in enumerate(zip(stored, current, strict=True)):
            yield from differences(*pair, tolerance, f"{where}[{index}]")
    elif not _close(stored, current, tolerance):
        yield f"{where}: {current!r} instead of {stored!r}"


def _close(stored: Any, current: Any, tolerance: float) -> bool:
    if stored == current or (stored != stored and current != current):
        return True
    if not isinstance(stored, float) or not isinstance(current, int | float):
        return False
    return abs(stored - current) <= tolerance * max(1.0, abs(stored), abs(current))
