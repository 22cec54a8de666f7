"""Cores: steps equal whole sequences, causality, reordering of states."""

import pytest
import torch
from torch import nn

from models.generation.cores import ContextCore, GroupedCore, RNNCore, TCNCore, TransformerCore
from models.generation.cores.transformer import skewed

INPUTS, FRAMES = 7, 23
CORES = {
    "gru": lambda: RNNCore(INPUTS, "gru", 9, layers=2, dropout=0.3),
    "lstm": lambda: RNNCore(INPUTS, "lstm", 9, layers=2),
    "rnn": lambda: RNNCore(INPUTS, "rnn", 9),
    "context": lambda: ContextCore(INPUTS, 9),
    "tcn": lambda: TCNCore(INPUTS, 9, layers=3, kernel=3, dropout=0.2),
    "wavenet": lambda: TCNCore(INPUTS, 9, layers=5, kernel=2, gated=True, cycle=3),
    "transformer": lambda: TransformerCore(INPUTS, 12, layers=2, heads=3, window=8),
    "grouped": lambda: GroupedCore(INPUTS, chords=2, melody=3, chord_cells=5, melody_cells=4),
}


@pytest.fixture(params=CORES)
def core(request):
    torch.manual_seed(1)
    return CORES[request.param]().eval()


@torch.no_grad()
def test_a_step_equals_the_whole(core):
    x = torch.randn(3, FRAMES, INPUTS)
    whole, state, steps = core(x), core.start(3), []
    for frame in x.unbind(1):
        h, state = core.step(frame, state)
        steps.append(h)
    assert whole.shape == (3, FRAMES, core.width)
    torch.testing.assert_close(torch.stack(steps, 1), whole, atol=1e-5, rtol=0)


@torch.no_grad()
def test_no_output_depends_on_a_later_input(core):
    x = torch.randn(2, FRAMES, INPUTS)
    changed = x.clone()
    changed[:, 11] += 1
    before, after = core(x), core(changed)
    torch.testing.assert_close(before[:, :11], after[:, :11], atol=1e-6, rtol=0)
    assert (before[:, 11:] - after[:, 11:]).abs().max() > 1e-3


@torch.no_grad()
def test_a_selected_state_goes_on_as_the_row_it_was(core):
    x, index = torch.randn(3, FRAMES, INPUTS), torch.tensor([2, 0, 0, 1])
    state, whole = core.start(3), core(x)
    for frame in x[:, :12].unbind(1):
        _, state = core.step(frame, state)
    state = core.select(state, index)
    for place in range(12, FRAMES):
        h, state = core.step(x[index, place], state)
        torch.testing.assert_close(h, whole[index, place], atol=1e-5, rtol=0)


def test_every_parameter_learns(core):
    core(torch.randn(2, FRAMES, INPUTS)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in core.parameters())


def test_an_lstm_is_torchs_own():
    core, own = RNNCore(INPUTS, "lstm", 9, layers=2), nn.LSTM(INPUTS, 9, 2, batch_first=True)
    own.load_state_dict(core.rnn.state_dict())
    x = torch.randn(2, FRAMES, INPUTS)
    torch.testing.assert_close(core(x), own(x)[0])


@torch.no_grad()
def test_context_units_forget_at_their_own_rate():
    core = ContextCore(1, 4, taus=(0.0, 0.9))
    nn.init.zeros_(core.into.weight), nn.init.zeros_(core.into.bias), nn.init.zeros_(core.again.weight)
    c, _ = core.step(torch.zeros(1, 1), torch.ones(1, 4))
    torch.testing.assert_close(c, torch.tensor([[0.0, 0.0, 0.9, 0.9]]))


@torch.no_grad()
def test_chords_feed_the_melody_and_not_back():
    core = GroupedCore(INPUTS, chords=2, melody=3, chord_cells=5, melody_cells=4).eval()
    x = torch.randn(1, FRAMES, INPUTS)
    chords, melody = x.clone(), x.clone()
    chords[:, 4, :2] += 1
    melody[:, 4, 2:5] += 1
    assert torch.equal(core(melody)[..., :5], core(x)[..., :5])
    assert not torch.equal(core(melody)[..., 5:], core(x)[..., 5:])
    assert torch.equal(core(chords)[:, 4, 5:], core(x)[:, 4, 5:])  # recurrent: a frame later
    assert not torch.equal(core(chords)[:, 5, 5:], core(x)[:, 5, 5:])


@torch.no_grad()
def test_a_convolution_reaches_as_far_as_its_dilations_say():
    core = TCNCore(1, 4, layers=3, kernel=3, dropout=0.0).eval()
    x = torch.randn(1, 64, 1, requires_grad=True)
    with torch.enable_grad():
        core(x)[0, -1].sum().backward()
    reach = int(x.grad[0, :, 0].nonzero().min())
    assert 63 - reach <= 2 * 2 * (1 + 2 + 4)
    assert 63 - reach > 2 * (1 + 2 + 4)


def test_the_tcn_for_chorales_has_the_papers_size():
    count = sum(parameter.numel() for parameter in TCNCore(88).parameters()) + 150 * 88 + 88
    assert 250_000 < count < 320_000


def test_skewing_puts_each_distance_where_its_frame_stands():
    products = torch.arange(5.0).flip(0).expand(2, 5, 5)  # of distance d: d
    for query in range(5):
        for key in range(query + 1):
            assert skewed(products)[0, query, key] == query - key


@torch.no_grad()
def test_relative_attention_restated():
    core = TransformerCore(INPUTS, 12, layers=1, heads=3, window=4).eval()
    attention, x = core.layers[0].attention, torch.randn(1, 9, 12)
    q, k, v = (part.view(9, 3, 4) for part in attention.project(x)[0].chunk(3, -1))
    expected = torch.zeros(9, 3, 4)
    for head in range(3):
        for now in range(9):
            seen = range(max(0, now - 3), now + 1)
            scores = torch.stack([q[now, head] @ (k[at, head] + attention.distances[head, now - at]) / 2 for at in seen])
            expected[now, head] = sum(weight * v[at, head] for weight, at in zip(scores.softmax(0), seen, strict=True))
    torch.testing.assert_close(attention(x)[0], attention.out(expected.flatten(1)), atol=1e-5, rtol=0)


def test_wrong_arguments_are_refused_in_a_sentence():
    for wrong in (
        lambda: RNNCore(3, "cfc"),
        lambda: ContextCore(3, taus=(1.0,)),
        lambda: TransformerCore(3, 10, heads=3),
        lambda: GroupedCore(20),
    ):
        with pytest.raises(ValueError, match=r"expected|multiple|more than"):
            wrong()
