"""VRAE: bound vs. enumeration, autoregressive decoder, interpolation, codes of fixed cells."""

import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from models.generation.cells import cut
from models.generation.coded import Search
from models.generation.frame_spec import FrameBatch, FrameSpec
from models.generation.sampling import Sampling
from models.generation.vrae import VRAE
from tests.helpers.excerpts import LIKELIEST, ROLL, VOICES, ask_of, excerpts, padded, row_by_row


def net_of(form, **options):
    torch.manual_seed(0)
    plain = {"encoder": 12, "latent": 3, "decoder": 12, "search": Search(steps=8, starts=2)}
    return VRAE(form, **{"window": 4} | plain | options)


def windows_of(batch):
    return cut(batch.frames, 4), cut(batch.valid, 4)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_the_decoder_hears_what_it_said(kind):
    net, z = net_of(VOICES, kind=kind), torch.randn(2, 3)
    logits = net.decoded(z)
    assert logits.shape == (2, 4, 15)
    said = torch.cat([torch.zeros(2, 1, 15), net.cells.chances(logits)[:, :-1]], 1)
    parallel = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](15, 12, batch_first=True)
    parallel.load_state_dict({f"{name}_l0": value for name, value in net.decoder.state_dict().items()})
    first = net.first(z).tanh()[None]
    states, _ = parallel(said, (first, torch.zeros_like(first)) if kind == "lstm" else first)
    assert torch.allclose(net.out(states), logits, atol=1e-5)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_the_encoder_stops_at_the_last_valid_frame(kind):
    net, batch = net_of(VOICES, kind=kind), excerpts(VOICES, frames=3)
    alone = net.posterior(net.cells.read(batch.frames), batch.valid)
    longer = padded(batch, 4)
    again = net.posterior(net.cells.read(longer.frames), longer.valid)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(alone, again, strict=True))


def test_the_bound_is_above_the_likelihood_by_the_divergence_from_the_true_posterior():
    music = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).reshape(16, 2, 2)
    batch = FrameBatch(music, torch.zeros(16, 2, 0), torch.ones(16, 2, dtype=torch.bool))
    net = net_of(FrameSpec("binary", (2, 2)), window=2, latent=1, samples=200).eval()
    with torch.no_grad():
        bound = net.nll(batch).sum(1)
        mean, log_variance = net.posterior(music, batch.valid)
        z = torch.linspace(-8, 8, 2001)[:, None]
        logits = net.decoded(z)[:, None].expand(-1, 16, -1, -1)
        nats = F.binary_cross_entropy_with_logits(logits, music.expand(2001, -1, -1, -1), reduction="none").sum((2, 3))
        joint = torch.distributions.Normal(0, 1).log_prob(z) - nats
        exact = -joint.logsumexp(0) - math.log(16 / 2000)
        posterior = torch.distributions.Normal(mean[:, 0], (log_variance[:, 0] / 2).exp()).log_prob(z)
        apart = (posterior.exp() * (posterior - joint - exact)).sum(0) * 16 / 2000
    assert (-exact).exp().sum().item() == pytest.approx(1, abs=1e-4)
    assert torch.allclose(bound, exact + apart, atol=5e-3)
    assert (apart > 0.01).all()


def test_a_few_points_a_window_find_the_bound_that_many_find():
    net, batch = net_of(ROLL, latent=6, decoder=40).eval(), excerpts(ROLL, 200, 4)
    with torch.no_grad():
        net.first.weight.mul_(3)
        net.out.weight.mul_(6)
        few = net.nll(batch).sum()
        net.noise = torch.randn(64, 200, 6)
        many = net.nll(batch).sum()
    assert few.item() == pytest.approx(many.item(), rel=3e-3)


def test_the_parts_of_the_loss_are_those_of_the_bound():
    net, batch = net_of(ROLL, kl=1.0), excerpts(ROLL, frames=4)
    mean, log_variance = net.posterior(net.cells.read(batch.frames), batch.valid)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(torch.zeros(3), torch.ones(3)))
    parts = net.loss(batch)
    assert parts["divergence"].item() == pytest.approx(divergence.sum().item() / 12, rel=1e-4)
    assert parts["loss"].item() == pytest.approx((parts["reconstruction"] + parts["divergence"]).item() / 6, rel=1e-5)
    assert net.nll(batch).mean().item() == pytest.approx(parts["loss"].item() * 6, rel=0.02)


def test_the_divergence_comes_in_slowly_and_a_resumed_run_knows_how_far():
    net, batch = net_of(ROLL, kl=0.5, ramp=4), excerpts(ROLL)

    def weight(net):
        torch.manual_seed(1)
        parts = net.loss(batch)
        return ((parts["loss"] * 6 - parts["reconstruction"]) / parts["divergence"]).item()

    assert [weight(net) for _ in range(2)] == pytest.approx([0.125, 0.25], abs=1e-3)
    resumed = net_of(ROLL, kl=0.5, ramp=4)
    resumed.load_state_dict(copy.deepcopy(net.state_dict()))
    assert [weight(resumed) for _ in range(3)] == pytest.approx([0.375, 0.5, 0.5], abs=1e-3)
    assert weight(resumed.eval()) == pytest.approx(0.5, abs=1e-3) and resumed.step == 5


@pytest.mark.parametrize("form", [ROLL, VOICES])
def test_padding_batch_and_seed_change_nothing(form):
    net, batch = net_of(form).eval(), excerpts(form)
    torch.manual_seed(5)
    nll = net.nll(batch)
    alone, longer = row_by_row(net.nll, batch), net.nll(padded(batch, 7))
    assert torch.allclose(alone, nll, atol=1e-4)
    assert torch.allclose(longer[:, :11], alone, atol=1e-4) and not longer[:, 11:].any()


@pytest.mark.parametrize("form", [ROLL, VOICES])
@pytest.mark.parametrize("use", ["free", "continue", "harmonise", "inpaint"])
def test_what_is_given_is_kept(form, use):
    net, batch = net_of(form).eval(), excerpts(form)
    fixed = ask_of(batch, use).fixed
    first, again, other = (net.generate(ask_of(batch, use, seed=seed)) for seed in (0, 0, 1))
    assert first.dtype == batch.frames.dtype and first.shape == batch.frames.shape
    assert torch.equal(first[fixed], batch.frames[fixed])
    assert torch.equal(first, again) and not torch.equal(first, other)
    coldest, narrowest = (net.generate(ask_of(batch, use, sampling=s)) for s in (LIKELIEST, Sampling(top_k=1)))
    assert torch.equal(coldest, narrowest)
    with torch.inference_mode():
        inside = excerpts(form)
        assert torch.equal(net.generate(ask_of(inside, use)), first)


def test_a_window_in_which_nothing_is_given_is_drawn_from_the_prior():
    net, batch = net_of(VOICES, search=Search(steps=30, starts=1)).eval(), excerpts(VOICES, frames=8)
    found = net._optimized_codes(ask_of(batch, "continue", excerpts(VOICES, frames=8).frames.new_zeros(3, 8, 3).bool()))
    assert torch.equal(found, net.random_code(6, torch.Generator().manual_seed(0)))
    fixed = torch.zeros(3, 8, 3, dtype=torch.bool)
    fixed[:, :4] = True
    half = net._optimized_codes(ask_of(batch, "continue", fixed))
    assert torch.equal(half[1::2], found[1::2]) and not torch.equal(half[::2], found[::2])
    values, cells = windows_of(batch)[0], cut(fixed, 4)
    assert (net.misfit(half, values, cells) <= net.misfit(found, values, cells)).all()


def test_it_begins_at_how_often_each_note_sounds():
    batch, net = excerpts(ROLL), net_of(ROLL)
    sparse = batch._replace(frames=batch.frames * (torch.arange(6) == 2))
    before = net.nll(sparse).mean()
    net.prepare([sparse])
    assert net.nll(sparse).mean() < 0.5 * before


@pytest.fixture(scope="module")
def taught():
    """A net that knows two pieces by heart, and the pieces."""
    batch = excerpts(ROLL, 2, 8)
    net = net_of(ROLL, kind="gru", encoder=32, decoder=32, latent=6, search=Search(steps=25, starts=3))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        net.loss(batch)["loss"].backward()
        optimizer.step()
    return net.eval(), batch


def test_the_way_between_two_pieces_begins_and_ends_with_them(taught):
    net, two = taught
    written = net.generate(ask_of(two, "interpolate", sampling=LIKELIEST))
    assert written.shape == (7, 8, 6)
    again = net.cells.likeliest(net.decoded(net.code(*windows_of(two)))).reshape(2, 8, 6)
    assert torch.equal(written[[0, -1]], again)
    assert (again == two.frames).float().mean() > 0.9
    assert len({tuple(piece.flatten().tolist()) for piece in written}) > 2


def test_the_code_of_given_cells_brings_back_the_rest(taught):
    net, batch = taught
    fixed = torch.zeros_like(batch.frames, dtype=torch.bool)
    fixed[..., :4] = True
    found = net.generate(ask_of(batch, "harmonise", fixed, sampling=LIKELIEST))
    assert (found == batch.frames)[~fixed].float().mean() > 0.9
