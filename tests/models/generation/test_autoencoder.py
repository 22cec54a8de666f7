"""DeepHear: layer-wise pretraining, decoding of codes, codes of fixed cells."""

import copy
import itertools
import math

import pytest
import torch

from models.generation.autoencoder import RBMLayer, StackedAutoencoder
from models.generation.cells import cut
from models.generation.coded import Search
from models.generation.constraints import Density
from models.generation.frame_spec import FrameBatch
from models.generation.sampling import Sampling
from tests.helpers.excerpts import LIKELIEST, ROLL, TOKENS, VOICES, ask_of, excerpts, padded, row_by_row

USES = ("free", "continue", "harmonise", "inpaint")


def net_of(form, **options):
    torch.manual_seed(0)
    plain = {"widths": [12, 8], "bottleneck": 4, "pretrain_steps": 2, "search": Search(steps=10, starts=2)}
    return StackedAutoencoder(form, 4, **plain | options)


def train(net, batch, steps, rate=0.01, optimizer=None):
    optimizer = optimizer or torch.optim.AdamW(net.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        net.loss(batch)["loss"].backward()
        for parameter in net.idle():
            parameter.grad = None
        optimizer.step()
    return optimizer


def moved(net, before):
    return {name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])}


def weights(net):
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def machine():
    torch.manual_seed(0)
    layer = RBMLayer(5, 3)
    with torch.no_grad():
        layer.above.normal_()
        layer.below.normal_()
    return layer


def test_the_free_energy_sums_over_all_hidden_states():
    layer, visible = machine(), torch.rand(4, 5)
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    energy = -(states @ layer.weight @ visible.t()) - (states @ layer.above)[:, None] - visible @ layer.below
    assert torch.allclose(layer.free_energy(visible), -(-energy).logsumexp(0), atol=1e-5)


def test_the_loss_has_the_gradient_of_contrastive_divergence():
    layer, visible = machine(), (torch.rand(4, 5) > 0.5).float()
    torch.manual_seed(1)
    layer.contrast(visible, torch.sigmoid)[0].backward()
    torch.manual_seed(1)
    with torch.no_grad():
        chance = (visible @ layer.weight.t() + layer.above).sigmoid()
        again = ((torch.rand(4, 3) < chance).float() @ layer.weight + layer.below).sigmoid()
        chance_again = (again @ layer.weight.t() + layer.above).sigmoid()
        weight = (chance_again.t() @ again - chance.t() @ visible) / 4
    assert torch.allclose(layer.weight.grad, weight, atol=1e-6)
    assert torch.allclose(layer.above.grad, (chance_again - chance).mean(0), atol=1e-6)
    assert torch.allclose(layer.below.grad, (again - visible).mean(0), atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_only_the_storey_whose_turn_it_is_moves(tied):
    net, batch = net_of(ROLL, tied=tied), excerpts(ROLL)
    optimizer = None
    for layer, _ in itertools.product(range(3), range(2)):
        before = weights(net)
        optimizer = train(net, batch, 1, optimizer=optimizer)
        assert net.pretrained_layer == layer
        assert moved(net, before) == {f"layers.{layer}.{name}" for name in ("weight", "above", "below")}
    before = weights(net)
    train(net, batch, 1, optimizer=optimizer)
    assert net.pretrained_layer is None and net.idle() == [] and moved(net, before) == set(before)


def test_every_parameter_has_a_gradient_at_every_step():
    net, batch = net_of(ROLL, tied=False), excerpts(ROLL)
    for _ in range(7):
        net.zero_grad()
        net.loss(batch)["loss"].backward()
        assert all(parameter.grad is not None for parameter in net.parameters())
        assert not any(parameter.grad.any() for parameter in net.idle())


def test_tied_weights_stay_tied_and_others_part_after_pretraining():
    tied, own = net_of(ROLL), net_of(ROLL, tied=False)
    assert {name.rsplit(".")[-1] for name in weights(tied)} == {"weight", "above", "below"}
    batch = excerpts(ROLL)
    hidden = torch.rand(2, 12)
    train(tied, batch, 8)
    lowest = tied.layers[0]
    assert torch.allclose(lowest.down(hidden), hidden @ lowest.weight + lowest.below, atol=1e-5)
    optimizer = train(own, batch, 6)
    pretrained = own.layers[0].weight.detach().clone()
    train(own, batch, 1, rate=0.0)
    assert torch.equal(own.layers[0].back, pretrained)
    train(own, batch, 2, optimizer=optimizer)
    assert not torch.equal(own.layers[0].back, own.layers[0].weight)


@pytest.mark.parametrize("steps", [3, 6, 8])
def test_a_resumed_run_goes_on_where_it_stopped(steps):
    batch, whole = excerpts(ROLL), net_of(ROLL)
    optimizer = train(whole, batch, steps)
    state, random = copy.deepcopy((whole.state_dict(), optimizer.state_dict())), torch.get_rng_state()
    train(whole, batch, 3, optimizer=optimizer)
    other = net_of(ROLL)
    again = torch.optim.AdamW(other.parameters(), 0.01)
    other.load_state_dict(state[0])
    again.load_state_dict(state[1])
    torch.set_rng_state(random)
    train(other, batch, 3, optimizer=again)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in whole.state_dict().items())


def test_validation_is_no_step():
    net = net_of(ROLL).eval()
    net.loss(excerpts(ROLL))
    net.surrogate(excerpts(ROLL))
    assert net.step == 0


@pytest.mark.parametrize("form", [ROLL, VOICES])
@pytest.mark.parametrize("objective", ["mse", "nats"])
def test_padding_and_batch_change_nothing(form, objective):
    net, batch = net_of(form, pretrain_steps=0, objective=objective).eval(), excerpts(form)
    alone, longer = row_by_row(net.surrogate, batch), net.surrogate(padded(batch, 7))
    assert torch.allclose(alone, net.surrogate(batch), atol=1e-5)
    assert torch.allclose(longer[:, :11], alone, atol=1e-5) and not longer[:, 11:].any()
    assert torch.allclose(net.loss(padded(batch, 7))["loss"], net.loss(batch)["loss"], atol=1e-5)


@pytest.mark.parametrize("pretrained_layer", [0, 1])
def test_padding_does_not_pretrain(pretrained_layer):
    net, batch = net_of(VOICES, pretrain_steps=1), excerpts(VOICES, frames=8)
    net.step += pretrained_layer
    net.eval()
    losses = []
    for music in (batch, padded(batch, 4)):
        torch.manual_seed(0)
        losses.append(net.loss(music)["loss"])
    assert torch.equal(*losses)


@pytest.mark.parametrize("form", [ROLL, VOICES])
@pytest.mark.parametrize("use", USES)
def test_what_is_given_is_kept(form, use):
    net, batch = net_of(form).eval(), excerpts(form)
    question = ask_of(batch, use)
    first, again, other = (net.generate(ask_of(batch, use, seed=seed)) for seed in (0, 0, 1))
    assert first.dtype == batch.frames.dtype and first.shape == batch.frames.shape
    assert torch.equal(first[question.fixed], batch.frames[question.fixed])
    assert torch.equal(first, again) and not torch.equal(first, other)
    coldest, narrowest = (net.generate(ask_of(batch, use, sampling=s)) for s in (LIKELIEST, Sampling(top_k=1)))
    assert torch.equal(coldest, narrowest)


def test_music_is_written_where_gradients_are_off():
    net, batch = net_of(ROLL).eval(), excerpts(ROLL)
    plain = net.generate(ask_of(batch, "inpaint"))
    with torch.inference_mode():
        inside = excerpts(ROLL)
        assert torch.equal(net.generate(ask_of(inside, "inpaint")), plain)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_what_stands_in_free_cells_means_nothing():
    net, batch = net_of(VOICES).eval(), excerpts(VOICES)
    fixed = ask_of(batch, "inpaint").fixed
    noise = batch._replace(frames=torch.where(fixed, batch.frames, -1))
    assert torch.equal(net.generate(ask_of(batch, "inpaint")), net.generate(ask_of(noise, "inpaint")))


def test_tokens_keep_to_what_is_allowed_and_to_the_end():
    net, batch = net_of(TOKENS).eval(), excerpts(TOKENS)
    allowed = torch.zeros(11, 7, dtype=torch.bool)
    allowed[:7, 2:4] = allowed[7:, 6:] = allowed[8:, 1] = True
    written = net.generate(ask_of(batch, "free", allowed=allowed))
    assert ((written[:, :7] == 2) | (written[:, :7] == 3)).all()
    assert (written[:, 7:] == 6).all()


@pytest.fixture(scope="module")
def taught():
    """A net that knows a few pieces by heart, and the pieces."""
    batch = excerpts(ROLL, 3, 8)
    net = net_of(ROLL, widths=[64], bottleneck=12, pretrain_steps=10, objective="nats", search=Search(steps=40, starts=4))
    train(net, batch, 300, rate=0.01)
    return net.eval(), batch


def test_it_learns_music_by_heart(taught):
    net, batch = taught
    coin = 6 * math.log(2)  # nats of a frame of which nothing is known
    assert net.surrogate(batch).mean() < 0.3 * coin


def test_the_way_between_two_pieces_begins_and_ends_with_them(taught):
    net, batch = taught
    two = FrameBatch(*(part[:2] for part in batch))
    written = net.generate(ask_of(two, "interpolate", sampling=LIKELIEST))
    assert written.shape == (7, 8, 6)
    assert torch.equal(written[[0, -1]], two.frames)
    with pytest.raises(ValueError, match="needs 2 pieces"):
        net.generate(ask_of(batch, "interpolate"))


def test_the_code_of_given_cells_brings_back_the_rest(taught):
    net, batch = taught
    fixed = ask_of(batch, "harmonise").fixed
    fixed[..., :3] = True
    found = net.generate(ask_of(batch, "harmonise", fixed, sampling=LIKELIEST))
    random = net.generate(ask_of(batch, "free", sampling=LIKELIEST))

    def right(frames):
        return (frames == batch.frames)[~fixed].float().mean()

    assert right(found) > right(random) + 0.15


def test_random_codes_are_spread_as_those_of_training():
    net, music = net_of(ROLL, pretrain_steps=0), [excerpts(ROLL, 20, 8, seed) for seed in range(3)]
    for batch in music:
        net.loss(batch)
    windows = torch.cat([cut(batch.frames, 4) for batch in music])
    codes = net.code(windows, torch.ones(120, 4, dtype=torch.bool)).detach()
    drawn = net.random_code(50_000, torch.Generator().manual_seed(0))
    assert torch.allclose(net.mean, codes.mean(0), atol=1e-5)
    scale = codes.var(0).mean()
    assert torch.allclose(drawn.mean(0), codes.mean(0), atol=0.03 * scale.sqrt().item())
    assert torch.allclose(drawn.t().cov(), codes.t().cov(correction=0), atol=0.03 * scale.item())


def test_constraints_move_free_music(taught):
    net, batch = taught
    dense = copy.deepcopy(net)
    dense.constraints.append(Density(5.0))
    free = net.generate(ask_of(batch, "free")).sum(-1).mean()
    assert dense.generate(ask_of(batch, "free")).sum(-1).mean() > free + 0.5
    with pytest.raises(ValueError, match="constraints need piano rolls"):
        net_of(VOICES, constraints=[Density(2)])


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least 1 frame"):
        StackedAutoencoder(ROLL, 0)
    with pytest.raises(ValueError, match="do not support hum"):
        net_of(ROLL).generate(ask_of(excerpts(ROLL), "hum"))
