"""Next-step models: likelihood of frames given previous ones, independent of later frames and of the batch."""

import itertools
from functools import partial

import pytest
import torch

from models.generation import NextStep
from models.generation.cores import GroupedCore, RNNCore, TCNCore, TransformerCore
from models.generation.cores.core import FrameEmbedding
from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.heads import BernoulliHead, Head, NADEHead, SoftmaxHead, VoiceHead

ROLL = FrameSpec("binary", (2,) * 6, conditions=3)
VOICES = FrameSpec("categories", (4, 5, 3), conditions=3)
TOKENS = FrameSpec("categories", (7,))
GRU = partial(RNNCore, width=12)
NETS = {
    "bernoulli": lambda: NextStep(ROLL, GRU, BernoulliHead, dropout=0.5, input_dropout=0.2),
    "nade": lambda: NextStep(ROLL, partial(RNNCore, kind="lstm", width=12), partial(NADEHead, hidden=7), ahead=2),
    "tcn": lambda: NextStep(ROLL, partial(TCNCore, channels=12), BernoulliHead),
    "voices": lambda: NextStep(VOICES, GRU, partial(VoiceHead, hidden=8, dropout=0.3), embedding=6, ahead=1),
    "tokens": lambda: NextStep(TOKENS, partial(TransformerCore, width=12, layers=2, heads=2, window=8), SoftmaxHead),
    "grouped": lambda: NextStep(
        ROLL, partial(GroupedCore, chords=2, melody=4, chord_cells=5, melody_cells=4), partial(BernoulliHead, parts=(2, 5))
    ),
}


@pytest.fixture(params=NETS)
def net(request):
    torch.manual_seed(2)
    net = NETS[request.param]().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return net


def music(form, batch=3, frames=20, seed=0):
    """Random frames and conditions of pieces of several lengths, with something other than zeros where they are padded."""
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(size, (batch, frames), generator=generator) for size in form.sizes]
    values = torch.stack(columns, -1)
    lengths = torch.tensor([frames, frames // 2, 1])[:batch]
    return FrameBatch(
        values.float() if form.kind == "binary" else values,
        torch.randn(batch, frames, form.conditions, generator=generator),
        torch.arange(frames) < lengths[:, None],
    )


@torch.no_grad()
def test_padding_and_neighbours_do_not_matter(net):
    batch = music(net.form)
    together = net.nll(batch)
    assert together.shape == (3, 20)
    assert not together[~batch.valid].any()
    for row, length in enumerate(batch.valid.sum(1).tolist()):
        alone = net.nll(FrameBatch(*(part[row : row + 1, :length] for part in batch)))
        torch.testing.assert_close(alone[0], together[row, :length], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_frame_changes_the_cost_of_no_frame_before_it(net):
    batch = music(net.form, batch=1)
    changed = batch.frames.clone()
    changed[:, 9] = (1 - changed[:, 9]) if net.form.kind == "binary" else (changed[:, 9] + 1) % 3
    before, after = net.nll(batch), net.nll(batch._replace(frames=changed))
    torch.testing.assert_close(before[:, :9], after[:, :9])
    assert (before[:, 9:] != after[:, 9:]).float().mean() > 0.5


@torch.no_grad()
def test_conditions_are_seen_so_far_ahead_and_no_further(net):
    if not net.form.conditions:
        pytest.skip("no conditions")
    batch = music(net.form, batch=1)
    changed = batch.conditions.clone()
    changed[:, 9] += 1
    same = net.nll(batch) == net.nll(batch._replace(conditions=changed))
    assert same[0, : 9 - net.ahead].all()
    assert not same[0, 9 - net.ahead]


@torch.no_grad()
def test_all_pieces_of_two_frames_sum_to_one(net):
    columns = list(itertools.product(*(range(size) for size in net.form.sizes)))
    pairs = torch.tensor(list(itertools.product(columns, columns)))
    pairs = pairs.float() if net.form.kind == "binary" else pairs
    conditions = torch.ones(len(pairs), 2, net.form.conditions)
    nats = net.nll(FrameBatch(pairs, conditions, torch.ones(len(pairs), 2, dtype=torch.bool))).sum(1)
    assert float((-nats).double().exp().sum()) == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_loss_is_the_mean_of_a_cell(net):
    batch = music(net.form)
    torch.testing.assert_close(net.loss(batch)["loss"], net.nll(batch).sum() / batch.valid.sum() / net.form.columns)


def test_training_lowers_the_loss_of_every_parameter(net):
    net.train()
    batch = music(net.form)
    optimizer = torch.optim.Adam(net.parameters(), 3e-2)
    torch.manual_seed(0)
    losses = []
    for _ in range(25):
        loss = net.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert all(parameter.grad is not None for parameter in net.parameters() if parameter.requires_grad)


@torch.no_grad()
def test_frames_that_are_drawn_cost_what_the_system_says(net):
    """The mean cost of what is drawn is its entropy: of generated frames, as of every frame of all pieces weighed."""
    rows = 4000
    request = SamplingRequest(
        values=torch.zeros(rows, 2, net.form.columns, dtype=torch.float32 if net.form.kind == "binary" else torch.long),
        fixed=torch.zeros(rows, 2, net.form.columns, dtype=torch.bool),
        conditions=torch.ones(rows, 2, net.form.conditions),
        generator=torch.Generator().manual_seed(0),
    )
    valid = torch.ones(rows, 2, dtype=torch.bool)
    costs = net.nll(FrameBatch(net.generate(request), request.conditions, valid)).sum(1)
    columns = list(itertools.product(*(range(size) for size in net.form.sizes)))
    pairs = torch.tensor(list(itertools.product(columns, columns)), dtype=request.values.dtype)
    conditions = torch.ones(len(pairs), 2, net.form.conditions)
    every = net.nll(FrameBatch(pairs, conditions, torch.ones(len(pairs), 2, dtype=torch.bool))).sum(1)
    entropy = float((every * (-every).exp()).sum())
    assert float(costs.mean()) == pytest.approx(entropy, abs=5 * float(costs.std()) / rows**0.5)


def test_prepare_starts_from_the_frequencies_of_valid_frames():
    net = NextStep(TOKENS, GRU, SoftmaxHead)
    frames = torch.tensor([[0, 0, 0, 1, 5, 5], [0, 1, 0, 0, 5, 5]])[..., None]
    valid = torch.tensor([[True] * 4 + [False] * 2] * 2)
    net.prepare([FrameBatch(frames, torch.zeros(2, 6, 0), valid)] * 100)
    chance = net.head.out.bias.softmax(0)
    torch.testing.assert_close(chance[:2], torch.tensor([0.75, 0.25]), atol=0.01, rtol=0)
    assert chance[5] < 0.001


def test_the_first_frame_has_an_embedding_of_its_own():
    embed = FrameEmbedding(FrameSpec("categories", (3, 2)), 4)
    torch.nn.init.normal_(embed.first)
    frames = torch.tensor([[[2, 0], [1, 1], [0, 0]]])
    before = embed.before(frames)
    torch.testing.assert_close(before[0, 0], embed.first)
    torch.testing.assert_close(before[0, 2], torch.cat([embed.table.weight[1], embed.table.weight[3 + 1]]))
    one_hot = FrameEmbedding(FrameSpec("categories", (3, 2)))
    assert one_hot(frames).tolist() == [[[0, 0, 1, 1, 0], [0, 1, 0, 0, 1], [1, 0, 0, 1, 0]]]
    assert not one_hot.before(frames)[:, 0].any()


def test_a_head_that_wants_the_frame_before_gets_it():
    class Change(Head):
        previous = True

        def nll(self, h, y, previous):
            return (y - previous).abs().sum(-1)

        def loss(self, h, y, valid, previous):
            return self.nll(h, y, previous)[valid].mean()

        def sample(self, h, values, fixed, sampling, generator, allowed=None, previous=None):
            return 1 - previous, torch.zeros(len(h))

    net = NextStep(ROLL._replace(conditions=0), GRU, Change)
    frames = torch.tensor([0.0, 1, 1, 0])[None, :, None].expand(1, 4, 6)
    batch = FrameBatch(frames, torch.zeros(1, 4, 0), torch.ones(1, 4, dtype=torch.bool))
    assert net.nll(batch).tolist() == [[0, 6, 0, 6]]
    assert net.loss(batch)["loss"] == 3
    request = SamplingRequest(frames, torch.zeros(1, 4, 6, dtype=torch.bool), batch.conditions, torch.Generator())
    assert net.generate(request)[0, :, 0].tolist() == [1, 0, 1, 0]


def test_wrong_arguments_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="embedding needs categories"):
        NextStep(ROLL, GRU, BernoulliHead, embedding=8)
    with pytest.raises(ValueError, match="beam search needs"):
        NextStep(ROLL, GRU, BernoulliHead, beam=4)
    with pytest.raises(ValueError, match="particles 0"):
        NextStep(ROLL, GRU, BernoulliHead, particles=0)


def test_bfloat16_costs_about_the_same_and_trains(net):
    batch = music(net.form)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net.loss(batch)["loss"]
        nats = net.nll(batch)
    loss.backward()
    assert loss.dtype == nats.dtype == torch.float32
    torch.testing.assert_close(nats.detach(), net.nll(batch).detach(), atol=0.1, rtol=0.05)
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters() if parameter.requires_grad)


@torch.no_grad()
def test_costs_can_be_frozen_as_a_program():
    class Costs(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, frames, conditions):
            return self.net.nll(FrameBatch(frames, conditions, torch.ones(frames.shape[:2], dtype=torch.bool)))

    costs = Costs(NETS["nade"]().eval())
    first, second = music(ROLL, batch=1, frames=5), music(ROLL, batch=1, frames=5, seed=1)
    program = torch.export.export(costs, (first.frames, first.conditions)).module()
    torch.testing.assert_close(program(second.frames, second.conditions), costs(second.frames, second.conditions))
