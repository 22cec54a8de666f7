"""Systems that learn nothing, as the report scores them: on one rank alone, by front ends of their own, on any device."""

import numpy as np
import pytest
import torch

from datamodules.alignment.sets import MAPS
from models.alignment import FrameNet, Handcrafted
from models.alignment.front import CQT, Chroma
from tasks.alignment import evaluate
from tasks.alignment.report import SYSTEMS, score_baselines
from tasks.metrics.rows import RowMetric
from tests.helpers.short_sets import write_short_maps


@pytest.fixture
def data(tmp_path):
    found = MAPS(str(write_short_maps(tmp_path / "maps", pieces=3)), cache_dir=str(tmp_path / "cache"))
    found.connect(evaluate.input_spec(FrameNet(CQT())))
    return found


def test_baselines_wait_for_no_other_rank(data, monkeypatch):
    """The others are in no such place: to gather from them would never end."""

    def gathered(*_):
        raise AssertionError("a baseline gathered rows from all ranks")

    monkeypatch.setattr(RowMetric, "gathered", gathered)
    monkeypatch.setattr(RowMetric, "sync", gathered)
    found = score_baselines(data, "test")
    assert set(found) == set(SYSTEMS)
    assert all(len(rows.error) == 3 and np.isfinite(rows.error).all() for rows in found.values())


def test_afterwards_the_data_hear_as_before(data):
    before = data.spec, data.store
    evaluate.evaluate(Handcrafted(Chroma()), data, "test")
    assert (data.spec, data.store) == before


def test_features_are_extracted_where_the_network_is_by_then(data, monkeypatch):
    """It is told to the data before the Trainer moves it."""
    net, asked = FrameNet(CQT()), []
    data.connect(evaluate.input_spec(net))
    assert data.spec.on_cpu()
    monkeypatch.setattr(FrameNet, "device", property(lambda _: asked.append(1) or torch.device("meta")))
    assert not data.spec.on_cpu()
    with pytest.raises((RuntimeError, NotImplementedError)):  # nothing can be heard on the device without numbers
        data.spec.extract(np.zeros(4000, np.float32), 0.0)
    assert len(asked) >= 2
