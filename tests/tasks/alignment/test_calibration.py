"""Calibration on a validation split: degraded copies, events of all ranks, the checkpoint, and what `predict` makes of it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.alignment.calibration import UNRELATED, Calibration, fitted
from models.alignment.time_map import confidence
from tasks.alignment.calibration import COPY_S, MIXED, PlacedEvents, degraded
from tasks.alignment.evaluate import align_frames, costs_of
from tasks.alignment.inference import Audio2WarpingPath
from tests.tasks.alignment.test_module import FRAME_S, aligner, recording


def placed(module, order, copies=True):
    """Metric with the events of recordings in some order."""
    metric = PlacedEvents()
    for index in order:
        for batch, is_copy in ((recording(module, index), False), (degraded(recording(module, index), FRAME_S), True)):
            if is_copy and not copies:
                continue
            costs = costs_of(module.net, batch)
            metric.update(batch, costs, align_frames(costs, FRAME_S, module.steps), FRAME_S, is_copy)
    return metric


def test_validation_of_fit_stores_the_calibration_of_recordings_and_their_copies():
    module = aligner("FrameNet")
    assert module.calibration.tolist() == pytest.approx(Calibration())
    for index in range(3):
        module.validation_step(recording(module, index))
    module.on_validation_epoch_end()
    assert module.calibration.tolist() == pytest.approx(placed(module, range(3)).calibration(), abs=1e-6)
    assert module.calibration.tolist() != pytest.approx(placed(module, range(3), copies=False).calibration(), abs=1e-6)
    again = aligner("FrameNet")
    again.load_state_dict(module.state_dict())
    assert torch.equal(again.calibration, module.calibration)


def test_validate_leaves_it():
    module = aligner("Handcrafted", "validate")
    module.validation_step(recording(module))
    module.on_validation_epoch_end()
    assert module.calibration.tolist() == pytest.approx(Calibration())


def test_an_earlier_checkpoint_gets_the_default():
    module = aligner("FrameNet")
    state = {name: value for name, value in module.state_dict().items() if name != "calibration"}
    module.calibration.fill_(9.0)
    module.load_state_dict(state)
    assert module.calibration.tolist() == pytest.approx(Calibration())


def test_order_and_repeats_of_recordings_do_not_change_it():
    module = aligner("Handcrafted")
    metric = placed(module, range(3))
    values = metric.calibration()
    assert placed(module, (2, 0, 1, 2)).calibration() == values
    assert metric.compute().tolist() == pytest.approx(values)
    assert PlacedEvents().calibration() == Calibration()


def test_events_are_those_of_the_path():
    module = aligner("Handcrafted")
    batch = recording(module)
    costs, metric, truth = costs_of(module.net, batch), PlacedEvents(), batch.truth.numpy()
    alignment = align_frames(costs, FRAME_S, module.steps)
    metric.update(batch, costs, alignment, FRAME_S)
    raw = np.interp(truth[:, 0] / FRAME_S, np.arange(60), confidence(costs, alignment.path))
    correct = np.abs(alignment.time_map(truth[:, 0]) - truth[:, 1]) < 0.05
    assert 0 < correct.mean() < 1 and metric.calibration() == fitted(raw, correct)


def test_a_copy_is_the_beginning_mixed_with_another_part():
    module = aligner("Handcrafted")
    batch = recording(module, performance=70, score=60)
    copy = degraded(batch, FRAME_S)
    frames = copy.performance.shape[-1]
    assert frames == int(float(batch.truth[-1, 1]) / FRAME_S) + 1 <= 70
    assert copy.score.shape[-1] == int(float(batch.truth[-1, 0]) / FRAME_S) + 1
    other = (copy.performance - (1 - MIXED) * batch.performance[..., :frames]) / MIXED
    start = round(0.38 * frames)
    torch.testing.assert_close(other[..., start:], batch.performance[..., : frames - start], atol=1e-5, rtol=1e-5)
    late = batch._replace(truth=batch.truth + torch.tensor([0.0, COPY_S]) * (torch.arange(20) > 9)[:, None])
    assert len(degraded(late, FRAME_S).truth) == 10


@pytest.mark.parametrize("related", [True, False])
def test_confidences_of_passages_are_calibrated(related, monkeypatch):
    from tasks.alignment.inference import PassageMap

    raw = np.array([0.02, 0.5, 1.0])
    part = PassageMap(0.0, 1.0, 0.0, 1.0, None, np.zeros(1), np.zeros(1), raw, np.zeros(1))
    module, plan = (
        aligner("Handcrafted"),
        SimpleNamespace(result=SimpleNamespace(related=related), limits=None, cents=0.0, score=None),
    )
    module.calibration.copy_(torch.tensor([2.0, 1.0]))
    warp = Audio2WarpingPath(module)
    monkeypatch.setattr(warp, "align", lambda *_: [part])
    monkeypatch.setattr(module.net, "recording_frames", lambda *_: np.zeros((1, 1)))
    plan.score = SimpleNamespace(notes=None)
    (result,) = warp(np.zeros(22_050, np.float32), 22_050, plan)
    np.testing.assert_allclose(result.confidence, Calibration(2.0, 1.0)(raw) * (1.0 if related else UNRELATED))
