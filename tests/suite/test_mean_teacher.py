"""The teacher is the moving average that the formula says, through accumulation, bad steps, resumes and two processes."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from tasks.callbacks import MeanTeacher, newest_loadable
from tests.helpers import forkserver
from tests.helpers.teacher_toy import Taught
from tests.helpers.toy import Stop, Stopped, ToyData, differing, logged, train, weights


class History(pl.Callback):
    """Student and teacher before the run and after every batch."""

    def __init__(self):
        self.students, self.teachers = [], []

    def _keep(self, module):
        self.students.append({name: value.clone() for name, value in module.net.state_dict().items()})
        self.teachers.append({name: value.clone() for name, value in module.teacher.state_dict().items()})

    def on_train_start(self, trainer, pl_module):
        self._keep(pl_module)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.fit_loop.total_batch_idx >= 0 and batch_idx + trainer.current_epoch > 0:
            self._keep(pl_module)

    def on_train_end(self, trainer, pl_module):
        self._keep(pl_module)


def averaged(students, decay, warmup):
    """The closed form in float64: a weighted sum of all student states so far."""
    shares = [1.0]
    for step in range(1, len(students)):
        keep = min(1 - 1 / (step + 1), decay) if warmup else decay
        shares = [share * keep for share in shares] + [1 - keep]
    assert sum(shares) == pytest.approx(1)
    return {
        name: sum(share * student[name].double() for share, student in zip(shares, students, strict=True)) for name in students[0]
    }


def parameters(state):
    return {name: value for name, value in state.items() if "running" not in name and "num_batches" not in name}


@pytest.mark.parametrize(("decay", "warmup"), [(0.9, True), (0.9, False), (0.999, True), (0.0, False)])
def test_teacher_is_the_closed_form(decay, warmup, tmp_path):
    history = History()
    train(tmp_path, partial(Taught, MeanTeacher(decay, warmup)), callbacks=(history,))
    assert len(history.students) == 16
    for n in range(1, 16):
        expected = parameters(averaged(history.students[: n + 1], decay, warmup))
        for name, value in expected.items():
            torch.testing.assert_close(history.teachers[n][name].double(), value, rtol=0, atol=1e-6)


def test_warm_up_is_the_plain_mean(tmp_path):
    history = History()
    train(tmp_path, partial(Taught, MeanTeacher(0.999)), callbacks=(history,))
    mean = torch.stack([state["0.weight"] for state in history.students]).mean(0)
    torch.testing.assert_close(history.teachers[-1]["0.weight"], mean, rtol=0, atol=1e-6)


def test_weights_of_the_schedule():
    teacher = MeanTeacher(0.999)
    assert [teacher.weight(n) for n in (1, 2, 9)] == pytest.approx([1 / 2, 2 / 3, 0.9])
    assert teacher.weight(998) < 0.999 == teacher.weight(999) == teacher.weight(50_000)
    assert MeanTeacher(0.999, warmup=False).weight(1) == 0.999


def test_once_per_accumulation_window(tmp_path):
    history = History()
    options = {"accumulate_grad_batches": 4, "max_epochs": 1, "data": ToyData(40)}
    module = train(tmp_path, partial(Taught, MeanTeacher(0.9)), callbacks=(history,), **options).lightning_module
    moved = [not torch.equal(a["0.weight"], b["0.weight"]) for a, b in zip(history.teachers, history.teachers[1:], strict=False)]
    # Ten batches: two whole windows and the last two.
    assert moved == [False, False, False, True, False, False, False, True, False, True]
    assert module.mean_teacher.steps == 3


def test_no_gradient_and_no_optimizer_state(tmp_path):
    trainer = train(tmp_path, Taught, max_epochs=1)
    module = trainer.lightning_module
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in module.teacher.parameters())
    held = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert not held & {id(p) for p in module.teacher.parameters()}
    assert len(held) == len(list(module.net.parameters()))


@pytest.mark.parametrize(("buffers", "mode"), [("own", "train"), ("ema", "train"), ("ema", "eval"), ("copy", "train")])
def test_running_statistics(buffers, mode, tmp_path):
    history = History()
    train(tmp_path, partial(Taught, MeanTeacher(0.9, buffers=buffers, mode=mode)), callbacks=(history,))
    student, teacher = history.students[-1], history.teachers[-1]
    expected = averaged(history.students, 0.9, True)
    for name in ("1.running_mean", "1.running_var"):
        assert torch.equal(student[name], teacher[name]) == (buffers == "copy")
        apart = float((teacher[name] - expected[name]).abs().max())
        assert (apart < 1e-6) == (buffers == "ema")
        assert not torch.equal(teacher[name], history.teachers[0][name])
    # The student's norm sees each batch twice: once for the labels, once beside the teacher.
    assert (int(student["1.num_batches_tracked"]), int(teacher["1.num_batches_tracked"])) == (30, 15 if buffers == "own" else 30)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_mode_of_the_teacher(mode, tmp_path):
    module = train(tmp_path, partial(Taught, MeanTeacher(buffers="copy", mode=mode))).lightning_module
    assert module.asked == [mode == "train"] * 15


class BadSteps(Taught):
    """A loss that is not a number in the third step, NaN in the batch in the sixth."""

    def training_step(self, batch, batch_idx):
        done = self.trainer.fit_loop.total_batch_idx
        if done == 5:
            batch = batch._replace(x=batch.x * float("nan"))
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if done == 2 else loss


@pytest.mark.parametrize("buffers", ["own", "ema", "copy"])
def test_a_skipped_step_is_not_followed(buffers, tmp_path):
    history = History()
    trainer = train(tmp_path, partial(BadSteps, MeanTeacher(0.9, buffers=buffers)), callbacks=(history,))
    assert all(bool(value.isfinite().all()) for value in weights(trainer).values())
    assert trainer.lightning_module.mean_teacher.steps == 13
    still = [not differing(parameters(a), parameters(b)) for a, b in zip(history.teachers, history.teachers[1:], strict=False)]
    assert [n for n, same in enumerate(still) if same] == [2, 5]


STOPS = {
    "first step": ("on_train_batch_end", 1, "raise"),
    "mid-epoch": ("on_train_batch_start", 4, "raise"),
    "mid-epoch, preempted": ("on_train_batch_end", 3, "SIGUSR1"),
    "last step of an epoch": ("on_train_batch_end", 5, "raise"),
    "in validation, preempted": ("on_validation_batch_end", 2, "SIGTERM"),
    "second epoch": ("on_train_batch_end", 8, "SIGUSR1"),
}


VARIANTS = {"plain": {}, "accumulation": {"accumulate_grad_batches": 2}, "bf16": {"precision": "bf16-mixed"}}
QUICK = ("mid-epoch", "last step of an epoch")


@pytest.mark.parametrize("stop", [stop if stop in QUICK else pytest.param(stop, marks=pytest.mark.slow) for stop in STOPS])
@pytest.mark.parametrize("variant", VARIANTS)
def test_resume_is_bit_exact(stop, variant, tmp_path):
    module, options = partial(Taught, lr=0.02), VARIANTS[variant]
    whole = train(tmp_path / "whole", module, **options)
    with pytest.raises((Stopped, SystemExit)):
        train(tmp_path / "cut", module, callbacks=(Stop(*STOPS[stop]),), **options)
    resumed = train(tmp_path / "cut", module, ckpt_path=newest_loadable(tmp_path / "cut" / "checkpoints"), **options)
    assert differing(weights(resumed), weights(whole)) == []
    assert resumed.lightning_module.mean_teacher.steps == whole.lightning_module.mean_teacher.steps
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")


class Loaded(Taught):
    """Weights that come after the constructor, as statistics and pretrained layers do."""

    def setup(self, stage):
        with torch.no_grad():
            self.net[0].weight.fill_(0.5)


def test_teacher_starts_where_the_student_does(tmp_path):
    history = History()
    train(tmp_path, Loaded, callbacks=(history,), max_epochs=1)
    assert differing(history.students[0], history.teachers[0]) == []
    first = torch.load(tmp_path / "checkpoints" / "previous.ckpt", weights_only=True)["state_dict"]
    assert first["teacher.0.weight"].shape == (8, 4)


def test_two_processes_have_one_teacher(tmp_path):
    done = forkserver.run("tests.helpers.teacher_toy", "--folder", tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"weights{rank}.pt") for rank in (0, 1))
    teacher = [{n: v for n, v in state.items() if n.startswith("teacher.") and "running" not in n} for state in (first, second)]
    assert len(teacher[0]) > 4
    assert differing(*teacher) == []
    assert not torch.equal(first["teacher.0.weight"], first["net.0.weight"])


def test_update_needs_no_trainer():
    student = nn.Linear(3, 2)
    mean = MeanTeacher(0.5, warmup=False)
    teacher = mean.teacher_of(student)
    start = teacher.weight.clone()
    with torch.no_grad():
        student.weight.add_(1.0)
    mean.update(student, teacher)
    torch.testing.assert_close(teacher.weight, start + 0.5)


@pytest.mark.parametrize(
    "options", [{"decay": 1.0}, {"decay": -0.1}, {"buffers": "mine"}, {"mode": "asleep"}, {"buffers": "own", "mode": "eval"}]
)
def test_options_must_mean_something(options):
    with pytest.raises(ValueError, match=r"expected|set buffers"):
        MeanTeacher(**options)
