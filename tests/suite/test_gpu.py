"""Training on a GPU with the networks of the papers: a step in float32 and bf16-mixed, exact resume, equality with the CPU.

`make test-gpu` runs this; without a GPU each test is skipped and says so. The fast tests run the same functions with a tiny
config on the CPU.
"""

import csv
import functools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from tests.helpers.commands import command
from tests.helpers.layouts import write_mtat
from tests.helpers.sed_layout import write_dcase2018
from tests.helpers.short_sets import write_short_vienna
from tests.helpers.stems import write_musdb_hq

ROOT = Path(__file__).parents[2]
TOLERANCE = 2e-3
"""Relative difference of the losses of five steps between CPU and GPU, in float32 without TF32 and without dropout."""
QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--test_after_fit", "false")
SHORT = ("--trainer.log_every_n_steps", "1", "--data.num_workers", "0", "--checkpoint.every_n_train_steps", "1")


def tagging(folder: Path) -> list[object]:
    return ["mtat_spec_att", "--data.root", write_mtat(folder / "mtat", 64, seconds=5.0), "--data.policy", "cover"]


def sed(folder: Path) -> list[object]:
    streams = "--data.streams={weak: 2, unlabeled: 2}"
    return ["spectral", "--data.root", write_dcase2018(folder / "dcase"), streams, "--data.batches_per_epoch", 3]


def alignment(folder: Path) -> list[object]:
    write_short_vienna(folder / "vienna")
    return ["vienna", "--data.root", folder / "vienna", "--data.items", 64, "--data.batch_size", 16]


def separation(folder: Path) -> list[object]:
    root = write_musdb_hq(folder / "musdb", seconds=7.0)
    return ["p", "--data.root", root, "--data.seconds", 6.0, "--data.batch_size", 2, "--data.samples_per_track", 3]


def generation(folder: Path) -> list[object]:
    return ["gru", "--data.corpus.pieces", 40, "--data.items", 64, "--data.batch_size", 16]


def tiny(folder: Path) -> list[object]:
    return ["tiny"]


GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
TASKS: dict[str, Callable[[Path], list[object]]] = {
    function.__name__: function for function in (tagging, sed, alignment, separation, generation)
}
CASES = [pytest.param("generation", "cpu", tiny, id="generation-tiny-cpu")]
CASES += [pytest.param(name, "gpu", row, id=f"{name}-gpu", marks=GPU) for name, row in TASKS.items()]


@pytest.fixture(autouse=True)
def reproducible(monkeypatch):
    """Deterministic kernels where there are any, and no TF32, for these tests alone."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    kernels = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [kind.allow_tf32 for kind in kernels]
    for kind in kernels:
        kind.allow_tf32 = False
    yield
    for kind, allowed in zip(kernels, before, strict=True):
        kind.allow_tf32 = allowed
    torch.use_deterministic_algorithms(False)


def train(task: str, row: list[object], folder: Path, accelerator: str, steps: int, *more: object) -> Path:
    """Run folder of a training of some steps, which goes on from the last checkpoint of the folder if there is one."""
    config, *words = row
    if (folder / task / "run").exists():
        more = (*more, "--ckpt_path", "last")
    device = ("--trainer.accelerator", accelerator, "--trainer.devices", 1, "--trainer.deterministic", "warn")
    limits = ("--trainer.max_steps", steps, "--trainer.limit_val_batches", 1)
    names = ("fit", "--config", ROOT / "configs" / task / f"{config}.yaml", "--runs", folder, "--name", "run")
    done = command(task, *names, *words, *device, *limits, *SHORT, *QUIET, *more)
    assert done.code == 0, done.err[-3000:]
    return folder / task / "run"


def losses(run: Path) -> list[float]:
    """Training loss of each step, of all logs of a run."""
    values = {}
    for path in sorted(run.rglob("metrics.csv")):
        with path.open(newline="") as file:
            values |= {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")}
    return [values[step] for step in sorted(values)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")["state_dict"]
    return {name: value.double() for name, value in state.items() if value.is_floating_point()}


def largest_difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((value - second[name]).abs().max()) for name, value in first.items() if value.numel())


def without_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train with all dropout at 0: generators of CPU and GPU draw different masks."""
    fit = pl.Trainer.fit

    @functools.wraps(fit)
    def quiet(trainer, model, **options):
        for module in model.modules():
            for name, value in list(vars(module).items()):
                if isinstance(value, float) and ("dropout" in name or (name == "p" and "Dropout" in type(module).__name__)):
                    setattr(module, name, 0.0)
        return fit(trainer, model, **options)

    monkeypatch.setattr(pl.Trainer, "fit", quiet)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(("task", "device", "row"), CASES)
def test_a_step_has_finite_loss_and_weights(task, device, row, precision, tmp_path):
    run = train(task, row(tmp_path), tmp_path, device, 1, "--trainer.precision", precision)
    (loss,) = losses(run)
    assert math.isfinite(loss)
    assert all(bool(value.isfinite().all()) for value in weights(run).values())


@pytest.mark.parametrize(("task", "device", "row"), CASES)
def test_a_resumed_run_is_as_equal_as_two_whole_ones(task, device, row, tmp_path):
    """Bit for bit where the device repeats itself; with kernels that add in any order, as near as two whole runs are."""
    words = row(tmp_path)
    whole, again = (train(task, words, tmp_path / name, device, 6) for name in ("whole", "again"))
    train(task, words, tmp_path / "cut", device, 3)
    resumed = train(task, words, tmp_path / "cut", device, 6)
    spread = largest_difference(weights(whole), weights(again))
    assert largest_difference(weights(whole), weights(resumed)) <= 4 * spread
    assert len(losses(whole)) == 6


@pytest.mark.parametrize(("task", "device", "row"), CASES)
def test_losses_of_five_steps_are_those_of_the_cpu(task, device, row, tmp_path, monkeypatch):
    without_dropout(monkeypatch)
    words = row(tmp_path)
    here = losses(train(task, words, tmp_path / "here", device, 5))
    on_cpu = losses(train(task, words, tmp_path / "cpu", "cpu", 5))
    assert len(here) == 5
    assert here == pytest.approx(on_cpu, rel=TOLERANCE)
