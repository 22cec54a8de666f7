"""A network that cannot learn one tune by heart is not wired right."""

import numpy as np
import pytest
import torch

from datamodules.common.input_spec import SeparationSpec
from datamodules.demo.data import SeparationDemo
from losses import MultiDomainLoss
from models.separation import UMX
from models.separation.wiener import wiener_windows
from tasks.metrics.bss import evaluate
from tasks.separation.inference import Audio2Stems, SeparationOptions
from tasks.separation.module import domains
from tasks.separation.oracles import oracle_sdr

STEPS, BATCH = 200, 4


@pytest.mark.slow
@pytest.mark.timeout(900)  # two minutes on a core of its own
def test_one_tune_by_heart_beats_every_trivial_answer_by_5_db():
    torch.manual_seed(0)
    data = SeparationDemo(tunes=4, seconds=3.0, random_tracks=False, gain=(1.0, 1.0), swap=0.0, samples_per_track=STEPS * BATCH)
    chunks, track = data.train_set(), data.tracks("train")[0]
    chunks.tracks, chunks.frames = [track], chunks.frames[:1]
    net, loss = UMX(4, hidden=128, layers=1, dropout=0.0), MultiDomainLoss(True, True)
    data.connect(SeparationSpec(lambda audio: net.stft(audio).abs(), "stft 4096 1024"))
    net.set_statistics(*data.statistics())
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for step in range(STEPS):
        batch = data.collate([chunks[(step * BATCH + i, step * BATCH + i)] for i in range(BATCH)])
        stems, mixture = batch.waveforms()
        estimate, target = domains(net, stems, mixture, loss, net.stft)
        optimizer.zero_grad()
        loss(estimate, target, mixture).backward()
        optimizer.step()
        schedule.step()
    whole = torch.cat([torch.from_numpy(track.stems[name].read(0, track.frames)).float()[None] / 32768 for name in data.sources])
    stems, mixture = whole.transpose(1, 2), whole.sum(0).T
    found = Audio2Stems(net.eval(), SeparationOptions()).native(mixture)
    sdr = evaluate(whole.numpy(), found.transpose(1, 2).numpy(), 44_100).medians()[:, 0]
    trivial = oracle_sdr(stems, mixture, 44_100, net.stft, wiener_windows)
    best = np.max([values for name, values in trivial.items() if name != "ideal ratio mask"], axis=0)
    assert (sdr > best + 5).all(), (sdr, best)
