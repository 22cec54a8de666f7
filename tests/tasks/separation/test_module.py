"""The LightningModule of separation: optimizers per source, best weights, schedules, refusals."""

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from losses import MultiDomainLoss
from models.separation import UMX
from tasks.separation.module import BestOfEachSource, SeparationModule

SMALL = {"hidden": 8, "layers": 1, "bandwidth": None, "dropout": 0.0, "sample_rate": 8000, "channels": 1, "n_fft": 64, "hop": 16}


def small(n_sources=2, **how):
    torch.manual_seed(0)
    return UMX(n_sources, **{**SMALL, "bridge": False, **how})


def test_each_source_keeps_the_weights_of_its_own_best_epoch():
    net = small()
    best = BestOfEachSource(net, 2, patience=2)
    states = []
    for losses in ([3.0, 3.0], [2.0, 4.0], [2.5, 1.0], [2.5, 2.0]):
        with torch.no_grad():
            for weights in net.parameters():
                weights.add_(1.0)
        states.append(copy.deepcopy(net))
        best.update(net, torch.tensor(losses))
    for j, epoch in ((0, 1), (1, 2)):
        theirs = states[epoch].branch(j).state_dict()
        assert all(torch.equal(weights, theirs[name]) for name, weights in best.net.branch(j).state_dict().items())
    assert best.loss.tolist() == [2.0, 1.0]
    assert best.running() == [False, True]


def test_a_network_of_all_sources_cannot_be_trained_source_by_source():
    with pytest.raises(ValueError, match="one_optimizer"):
        BestOfEachSource(torch.nn.Linear(2, 2), 2, None)


def test_one_optimizer_per_source_trains_each_as_if_it_were_alone():
    """Losses of the sum and steps of each optimizer: the same as a network and an Adam per source."""
    loss = MultiDomainLoss(multi_domain=False, combination=False)
    together = small()
    alone = [small(1) for _ in range(2)]
    for j, net in enumerate(alone):
        net.branch(0).load_state_dict(together.branch(j).state_dict())
    # A norm takes the mean of its input away, so some gradients are rounding errors, which Adam would blow up.
    sgd = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
    module = SeparationModule(["a", "b"], lambda n: copy.deepcopy(together), loss, sgd, one_optimizer=False)
    module.manual_backward = lambda total: total.backward()
    module.log = lambda *args, **options: None
    module._trainer = SimpleNamespace(should_stop=False)
    optimizers = module.configure_optimizers()
    module.optimizers = lambda: optimizers
    separate = [sgd(net.parameters()) for net in alone]
    stems = torch.randn(3, 2, 1, 800, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        module.training_step(SimpleNamespace(waveforms=lambda: (stems, stems.sum(1))))
        for j, (net, optimizer) in enumerate(zip(alone, separate, strict=True)):
            spectrum = net.stft(stems.sum(1)).abs()
            error = net(spectrum)[:, 0] * spectrum - net.stft(stems[:, j]).abs()
            optimizer.zero_grad()
            error.square().mean().backward()
            optimizer.step()
    for j, net in enumerate(alone):
        ours = module.net.branch(j).state_dict()
        for name, weights in net.branch(0).state_dict().items():
            torch.testing.assert_close(ours[name], weights, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
