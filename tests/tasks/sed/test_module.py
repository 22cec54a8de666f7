"""The detector's own part: what it minimises, what its teacher may not do, and what stays float32."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from datamodules.sed.event_clips import SoundBatch
from models.sed import DetectionCRNN, MelFrontEnd
from tasks.callbacks import MeanTeacher
from tasks.sed.module import SEDModule, factor

CLASSES = ["a", "b", "c"]
RATE = 8000


def detector(**options):
    torch.manual_seed(0)
    mel = MelFrontEnd(RATE, 256, 160, 16)
    small = {"channels": [2, 4], "pools": [[2, 4], [2, 4]], "hidden": 4, "layers": 1, "dropout": 0.0}
    module = SEDModule(CLASSES, partial(DetectionCRNN, mel=mel, **small), mean_teacher=MeanTeacher(), **options)
    for parameter in module.teacher.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    module.logged = {}
    module.log = lambda name, value, **_: module.logged.update({name: value})
    module.log_dict = lambda values, **_: module.logged.update(values)
    module._trainer = SimpleNamespace(global_step=0)
    return module


def batch(weak=2, unlabeled=2, strong=0, seed=0):
    torch.manual_seed(seed)
    count, frames = weak + unlabeled + strong, 25
    return SoundBatch(
        torch.randint(-9000, 9000, (count, 2 * RATE), dtype=torch.int16),
        torch.full((count,), 2 * RATE),
        (torch.rand(count, 3) < 0.5).float(),
        torch.tensor([True] * weak + [False] * unlabeled + [True] * strong),
        (torch.rand(count, frames, 3) < 0.5).float(),
        torch.tensor([False] * (weak + unlabeled) + [True] * strong),
        {},
        torch.arange(count),
        ("x.wav",) * count,
    )


def by_hand(module, given, weight=2.0):
    """Section 2.3: cross entropy of the labelled clips, and both squared differences over all clips."""
    mel, valid = module.net.features(given.audio, given.length)
    ours, theirs = (net(mel, valid, {}) for net in (module.net, module.teacher))
    known, timed = given.tagged & ~given.timed, given.timed
    loss = weight * ((ours.clip - theirs.clip).square().mean() + (ours.frames - theirs.frames).square().mean())
    if known.any():
        loss = loss + F.binary_cross_entropy(ours.clip[known], given.tags[known])
    if timed.any():
        loss = loss + F.binary_cross_entropy(ours.frames[timed], given.activity[timed])
    return loss


@pytest.mark.parametrize("kinds", [(2, 2, 0), (0, 3, 0), (2, 1, 2), (0, 0, 2)])
def test_the_loss_is_the_papers(kinds):
    module, given = detector().eval(), batch(*kinds)
    with torch.no_grad():
        assert float(module.training_step(given, 0)) == pytest.approx(float(by_hand(module, given)), rel=1e-5)
    assert set(module.logged) >= {"train/loss", "train/weak", "train/strong", "train/frame_consistency"}


def test_the_consistency_may_rise_with_the_learning_rate():
    module, given = detector(consistency_ramp=10).eval(), batch()
    for step in (0, 5, 10, 20):
        module._trainer.global_step = step
        with torch.no_grad():
            expected = by_hand(module, given, 2.0 * factor(step, 10))
            assert float(module.training_step(given, 0)) == pytest.approx(float(expected), rel=1e-5)


def test_no_gradient_reaches_the_teacher_and_no_optimizer_steps_it():
    module = detector()
    module.training_step(batch(), 0).backward()
    assert all(parameter.grad is None for parameter in module.teacher.parameters())
    assert all(parameter.grad is not None for parameter in module.net.parameters())
    optimizer = module.configure_optimizers()
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in module.net.parameters()}


def test_probabilities_and_losses_are_float32_under_bf16():
    module = detector()
    with torch.autocast("cpu", torch.bfloat16):
        loss = module.training_step(batch(), 0)
        found = module(batch().audio)
    assert loss.dtype == found.frames.dtype == found.clip.dtype == torch.float32


def test_scores_and_loss_do_not_depend_on_the_batches():
    module = detector().eval()
    given = batch(5, 0)
    seen = []
    for sizes in ((5,), (2, 3), (1, 1, 1, 1, 1)):
        module.on_validation_epoch_start()
        first = 0
        for size in sizes:
            part = [field[first : first + size] for field in given if not isinstance(field, dict)]
            module.validation_step(SoundBatch(*part[:6], {}, *part[6:]))
            first += size
        rows = {name: [scores.held(column) for column in scores.columns] for name, scores in module.scores.items()}
        seen.append((float(module.validation_loss.compute()), rows))
    for loss, rows in seen[1:]:
        assert loss == pytest.approx(seen[0][0], rel=1e-6)
        for name, columns in rows.items():
            for a, b in zip(columns, seen[0][1][name], strict=True):
                assert a == pytest.approx(b, abs=1e-6)
