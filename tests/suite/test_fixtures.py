"""Checkpoints of an earlier version, and the runs that they belong to: they load, give their outputs and scores, and go on.

The files of `tests/fixtures` hold the names of classes, arguments, weights and callbacks of the version that wrote them
(`tests.helpers.write_fixtures`); `tasks.cli.renamed` leads from there to the names of today. They are never rewritten.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tasks.cli import checkpoints
from tasks.cli.registry import task_named
from tasks.cli.renamed import renamed_checkpoint
from tests.helpers.fixture_runs import FIXTURES, differences, machine, outputs_of, resumed, scores_of, write_data

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in FIXTURES.glob("*.json"))
FAMILIES = {"tagging_spec_att", "sed_mean_teacher", "separation_one_optimizer", "separation_per_source", "alignment_frame_net"}
FAMILIES |= {f"generation_{name}" for name in ("gru", "deephear_m", "midinet", "deepbach")}
LARGEST = 100_000
"""Bytes of a file."""
OUTPUTS, TRAINED = 1e-3, 2e-2
"""Tolerances where arithmetic rounds otherwise: of what a network gives, and of what a few more steps make of it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Working folder of all runs, with one data set per task."""
    return tmp_path_factory.mktemp("fixtures")


def stored(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def tolerance(facts: dict[str, Any], otherwise: float) -> float:
    """0 on a machine whose arithmetic is that of the machine that wrote a fixture."""
    return 0 if facts["machine"] == machine() else otherwise


def assert_same(expected: Any, actual: Any, tolerance: float, where: str) -> None:
    wrong = list(differences(expected, actual, tolerance, where))
    assert not wrong, f"{len(wrong)} differences:\n" + "\n".join(wrong[:5])


def with_current_parts(content: dict[str, Any], task: str) -> dict[str, Any]:
    """Stored content of a checkpoint, weights and callbacks under the names that they have today."""

    def renamed(part: dict[str, Any]) -> dict[str, Any]:
        return renamed_checkpoint(part, task, task_named(task).module)

    return renamed(content)


def test_every_family_has_a_small_fixture():
    assert set(NAMES) == FAMILIES
    for path in FIXTURES.iterdir():
        assert path.suffix in (".ckpt", ".json", ".yaml") and path.stem in FAMILIES
        assert path.stat().st_size <= LARGEST, path.name
        assert not [name for name in (b"/tmp/", b"/home/", b"/root/", b"/Users/") if name in path.read_bytes()], path.name


def test_git_tracks_every_fixture():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no clone")
    done = subprocess.run(["git", "ls-files", "tests/fixtures"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {Path(line).name for line in done.stdout.splitlines()}
    assert tracked == {path.name for path in FIXTURES.iterdir()}
    assert tracked == {f"{name}.{suffix}" for name in FAMILIES for suffix in ("ckpt", "json", "yaml")}


def test_stateful_callbacks_are_stored():
    """Each callback that keeps a state is in a fixture, in the middle of an epoch, and with counts of its own."""
    states = {}
    for name in NAMES:
        content = checkpoints.load_mapped(FIXTURES / f"{name}.ckpt")
        progress = content["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        assert progress["current"]["completed"] > 0 and not progress["is_last_batch"], f"{name} lies between two epochs"
        states |= content["callbacks"]
    names = {key.partition("{")[0]: state for key, state in states.items()}
    assert set(names) == {"Checkpoint", "FiniteGuard", "MeanTeacher", "OptimizerSwitch"}
    assert names["FiniteGuard"]["skipped"] == 1
    assert names["MeanTeacher"]["steps"] == 4
    assert names["OptimizerSwitch"]["phase"] == 1 and names["OptimizerSwitch"]["best_weights"]


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_its_outputs_and_scores_and_goes_on_to_its_weights(name, folder):
    """To the bit on a machine like the one that wrote them, else within `OUTPUTS` and `TRAINED`."""
    facts = stored(name)
    task, near, trained = facts["task"], tolerance(facts, OUTPUTS), tolerance(facts, TRAINED)
    assert_same(facts["outputs"], outputs_of(FIXTURES / f"{name}.ckpt"), near, "outputs")
    write_data(folder, task)
    assert_same(facts["metrics"], scores_of(folder, name, task, facts["test_options"]), near, "metrics")
    last = resumed(folder, name, task, name)
    assert last["global_step"] > checkpoints.load_mapped(FIXTURES / f"{name}.ckpt")["global_step"]
    assert_same(with_current_parts(facts["resumed"], task), last, trained, "resumed")
