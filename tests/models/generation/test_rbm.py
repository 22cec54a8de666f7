"""Boltzmann machines: sums over all states against annealed importance sampling, gradients, clamped Gibbs sampling."""

import pytest
import torch

from models.generation.cores import RNNCore
from models.generation.energy import EnergyModel
from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.heads.binary import RBMHead
from models.generation.next_step import NextStep
from models.generation.rbm import Boltzmann, ais, block_gibbs, contrast
from models.generation.sampling import Sampling

FORM = FrameSpec("binary", (2,) * 6)
EVERY = torch.cartesian_prod(*[torch.arange(2.0)] * 6)  # the 64 frames


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def machine(visible=6, hidden=10, rows=(), scale=1.0, seed=0):
    generator = seeded(seed)
    shapes = (visible, hidden), (*rows, visible), (*rows, hidden)
    return Boltzmann(*(torch.randn(shape, generator=generator) * scale for shape in shapes))


def drawn(count=24, length=12, seed=0):
    """Frames in which pitches come in pairs nine times of ten, padded behind each piece's end with frames that must not count."""
    generator = seeded(seed)
    half = (torch.rand(count, length, 3, generator=generator) < torch.tensor([0.5, 0.3, 0.6])).float()
    lengths = torch.randint(length // 2, length + 1, (count,), generator=generator)
    odd = torch.rand(count, length, 3, generator=generator) < 0.1
    frames = torch.stack([half, torch.where(odd, 1 - half, half)], -1).flatten(2)
    return FrameBatch(frames, torch.zeros(count, length, 0), torch.arange(length) < lengths[:, None])


def head(width=4, **options):
    torch.manual_seed(3)
    made = RBMHead(width, FORM, **{"hidden": 8, "chains": 50, "temperatures": 200} | options)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    made.base.copy_(torch.linspace(-1, 1, 6))
    return made


def test_the_free_energy_is_the_sum_over_hidden_units():
    rbm = machine(6, 5)
    hidden = torch.cartesian_prod(*[torch.arange(2.0)] * 5)
    plain = (EVERY @ rbm.visible)[:, None] + hidden @ rbm.hidden + EVERY @ rbm.weight @ hidden.T
    assert torch.allclose(-rbm.free_energy(EVERY), plain.logsumexp(1), atol=1e-4)


@pytest.mark.parametrize(("visible", "hidden"), [(6, 10), (6, 3), (14, 6)])
def test_the_exact_partition_is_the_sum_over_all_frames(visible, hidden):
    rbm = machine(visible, hidden, rows=(3,))
    every = torch.cartesian_prod(*[torch.arange(2.0)] * visible)
    alone = [Boltzmann(rbm.weight, rbm.visible[row], rbm.hidden[row]) for row in range(3)]
    sums = torch.stack([(-one.free_energy(every)).logsumexp(0) for one in alone])
    assert torch.allclose(rbm.log_partition(), sums, atol=1e-4)
    with pytest.raises(ValueError, match="ais"):
        machine(21, 21).log_partition()


def test_annealed_importance_sampling_finds_the_exact_partition_and_its_error():
    rbm = machine(24, 12, rows=(8,), scale=0.6)
    found = ais(rbm, torch.linspace(-1, 1, 24), 200, 500, seeded())
    off = found.value - rbm.log_partition()
    assert off.abs().max() < 0.05 and (found.error < 0.05).all()
    assert (off.abs() < 4 * found.error + 1e-3).all()
    again = ais(rbm, torch.linspace(-1, 1, 24), 200, 500, seeded())
    assert torch.equal(again.value, found.value)
    rough = ais(rbm, torch.zeros(24), 20, 10, seeded())
    assert (rough.error > found.error).all() and torch.isinf(ais(rbm, torch.zeros(24), 1, 10, seeded()).error).all()


def test_annealed_importance_sampling_sums_over_what_is_free():
    rbm = machine(rows=(2,), scale=0.8)
    values, fixed = torch.tensor([[1.0, 0, 1, 0, 0, 0]] * 2), torch.tensor([[True, True, False, False, True, False], [True] * 6])
    found = ais(rbm, torch.full((6,), 0.3), 200, 300, seeded(), (values, fixed)).value
    for row in range(2):
        agree = EVERY[((values[row] == EVERY) | ~fixed[row]).all(1)]
        one = Boltzmann(rbm.weight, rbm.visible[row], rbm.hidden[row])
        assert found[row] == pytest.approx((-one.free_energy(agree)).logsumexp(0).item(), abs=0.05)


def test_contrast_has_the_gradient_of_data_less_samples():
    torch.manual_seed(0)
    rbm = Boltzmann(*(part.requires_grad_() for part in machine()))
    data = EVERY[torch.randint(64, (50,))]
    difference, samples = contrast(rbm, data, 3)
    difference.mean().backward()
    with torch.no_grad():
        means = [(rows.T @ rbm.up(rows).sigmoid()) / 50 for rows in (samples, data)]
        assert torch.allclose(rbm.weight.grad, means[0] - means[1], atol=1e-5)
        assert torch.allclose(rbm.visible.grad, samples.mean(0) - data.mean(0), atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gibbs_sampling_draws_by_probability_beside_what_is_fixed(temperature):
    rbm = machine(hidden=3, scale=0.8)
    fixed = torch.tensor([True, False, False, True, False, True]).expand(20000, -1)
    start = torch.tensor([1.0, 0, 0, 0, 0, 1]).expand(20000, -1)
    music = block_gibbs(rbm, start, fixed, 30, Sampling(temperature), seeded())
    assert torch.equal(music[fixed], start[fixed])
    agree = EVERY[((start[0] == EVERY) | ~fixed[0]).all(1)]
    cold = Boltzmann(*(part / temperature for part in rbm))  # a temperature divides the energy
    wanted = (-cold.free_energy(agree)).softmax(0)
    found = (music[:, None] == agree).all(-1).float().mean(0)
    assert (found - wanted).abs().sum() / 2 < 0.02


def test_costs_of_all_frames_sum_to_one_within_the_error():
    net, h = head(), torch.randn(3, 4, generator=seeded())
    nats, error = net.nll_with_error(h.repeat_interleave(64, 0), EVERY.repeat(3, 1))
    rbm = net.machine(h.repeat_interleave(64, 0))
    exact = rbm.free_energy(EVERY.repeat(3, 1)) + rbm.log_partition()
    assert ((-exact).exp().view(3, 64).sum(1) - 1).abs().max() < 1e-4
    assert (nats - exact).abs().mean() < 0.05 and ((nats - exact).abs() < 5 * error + 0.01).all()
    assert ((-nats).exp().view(3, 64).sum(1) - 1).abs().max() < 0.05
    assert not nats.requires_grad and net.likelihood == "estimate"


def test_estimates_are_the_same_each_time_and_leave_torchs_generator_alone():
    net, h = head(chains=2, temperatures=20), torch.randn(2, 5, 4)
    frames = drawn(2, 5).frames
    before = torch.get_rng_state()
    first = net.nll(h, frames)
    assert torch.equal(torch.get_rng_state(), before) and torch.equal(net.nll(h, frames), first) and first.shape == (2, 5)
    net.seed = 1
    assert not torch.equal(net.nll(h, frames), first)
    with torch.autocast("cpu", torch.bfloat16):
        net.seed = 0
        assert torch.equal(net.nll(h, frames), first)
        loss = net.loss(h, frames, torch.ones(2, 5, dtype=torch.bool))
    assert loss.dtype == torch.float32


def test_the_weight_of_fixed_cells_is_their_probability():
    net, h = head(weighing=400), torch.randn(1, 4, generator=seeded()).expand(100, -1)
    values, fixed = EVERY[37].expand(100, -1), torch.tensor([True, False, True, True, False, False]).expand(100, -1)
    frame, weight = net.sample(h, values, fixed, Sampling(), seeded())
    assert torch.equal(frame[fixed], values[fixed])
    agree = ((EVERY[37] == EVERY) | ~fixed[0]).all(1)
    rbm = net.machine(h[:1].expand(64, -1))
    exact = (-rbm.free_energy(EVERY)[agree]).logsumexp(0) - (-rbm.free_energy(EVERY)).logsumexp(0)
    assert weight.mean() == pytest.approx(exact.item(), abs=0.05)


def test_the_head_learns_by_itself_first():
    torch.manual_seed(0)
    made = RBMHead(4, FORM, hidden=5, pretrain_steps=2)
    h = torch.randn(3, 7, 4, requires_grad=True)
    reached = []
    for _ in range(3):
        h.grad = None
        made.loss(h, drawn(3, 7).frames, torch.ones(3, 7, dtype=torch.bool)).backward()
        reached.append(bool(h.grad.any()))
    assert reached == [False, False, True] and made.state_dict()["step"] == 3
    assert made.weight.grad.any() and made.visible.bias.grad.any()


def rnn_rbm():
    torch.manual_seed(0)
    options = {"hidden": 12, "cd": 3, "gibbs": 5, "chains": 2, "temperatures": 50, "weighing": 10}
    core, top = (lambda inputs: RNNCore(inputs, "rnn", 8)), (lambda width, form: RBMHead(width, form, **options))
    net = NextStep(FORM, core, top, particles=4)
    net.prepare([drawn()])
    return net


def energy(window=4, **options):
    torch.manual_seed(0)
    net = EnergyModel(FORM, window, **{"hidden": 10, "gibbs": 10, "chains": 50, "temperatures": 100} | options)
    net.prepare([drawn()])
    return net


@pytest.mark.parametrize(("persistent", "cost"), [(0, 3.2), (400, 3.6)])
def test_an_rbm_learns_that_pitches_come_in_pairs(persistent, cost):
    net, data = energy(1, persistent=persistent), drawn(60)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    frames = data.valid.sum()
    first = (net.nll(data).sum() / frames).item()
    for _ in range(150):
        optimizer.zero_grad()
        net.loss(data)["loss"].backward()
        optimizer.step()
    last = (net.nll(data).sum() / frames).item()
    # Six notes by themselves have 4.02 nats; of each pair one note and whether the other is like it have 2.95 in all.
    assert first == pytest.approx(4.02, abs=0.1) and last < cost
    exact = net.machine().free_energy(data.frames[data.valid]) + net.machine().log_partition()
    assert last == pytest.approx(exact.mean().item(), abs=0.05)


def test_an_rnn_with_an_rbm_learns():
    net, data = rnn_rbm(), drawn(30)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    before = net.nll(data).sum() / data.valid.sum()
    for _ in range(100):
        optimizer.zero_grad()
        net.loss(data)["loss"].backward()
        optimizer.step()
    assert net.nll(data).sum() / data.valid.sum() < before - 0.5


@pytest.mark.parametrize("build", [energy, rnn_rbm])
def test_padding_changes_no_costs(build):
    net, data = build(), drawn(5, 12)
    more = torch.cat([data.frames, torch.ones(5, 8, 6)], 1)
    longer = FrameBatch(more, torch.zeros(5, 20, 0), torch.cat([data.valid, torch.zeros(5, 8, dtype=torch.bool)], 1))
    nats = net.nll(longer)
    assert torch.allclose(nats[:, :12], net.nll(data), atol=1e-5)
    assert not nats[:, 12:].any() and not nats[:, :12][~data.valid].any() and (nats[:, :12][data.valid] > 0).all()


@pytest.mark.parametrize("build", [energy, rnn_rbm])
def test_neighbours_change_no_costs(build):
    net, data = build(), drawn(5, 12)
    alone = torch.cat([net.nll(FrameBatch(*(part[row : row + 1] for part in data))) for row in range(5)])
    assert torch.allclose(alone, net.nll(data), atol=1e-5)


def test_windows_by_themselves_share_out_their_costs():
    net, data = energy(4), drawn(2, 8)
    data = data._replace(valid=torch.ones(2, 8, dtype=torch.bool))
    windows = data.frames.view(4, 24)
    nats = net.machine().free_energy(windows) + net.log_partition().value
    assert torch.allclose(net.nll(data).view(4, 4).sum(1), nats, atol=1e-4)
    old = net.log_partition()
    with torch.no_grad():
        net.hidden += 1
    assert net.log_partition().value > old.value


@pytest.mark.parametrize("build", [energy, rnn_rbm])
def test_fixed_cells_stay_and_the_same_seed_gives_the_same(build):
    net, data = build(), drawn(3, 11, seed=4)
    fixed = torch.zeros(3, 11, 6, dtype=torch.bool)
    first, gap, voice = fixed.clone(), ~fixed, fixed.clone()
    first[:, :5], gap[:, 4:8], voice[..., :2] = True, False, True
    for use, mask in (("free", fixed), ("continue", first), ("inpaint", gap), ("harmonise", voice)):

        def asked(seed, mask=mask, use=use, **sampling):
            junk = torch.where(mask, data.frames, 7.0)
            return net.generate(SamplingRequest(junk, mask, data.conditions, seeded(seed), Sampling(**sampling), use))

        music = asked(0)
        assert music.shape == data.frames.shape and music.dtype == torch.float32 and ((music == 0) | (music == 1)).all()
        assert torch.equal(music[mask], data.frames[mask])
        assert torch.equal(music, asked(0)) and not torch.equal(music, asked(1))
        coldest = asked(0, temperature=0.0)
        assert torch.equal(coldest, asked(1, temperature=0.0)) and torch.equal(coldest, asked(2, top_k=1))
        assert torch.equal(coldest[mask], data.frames[mask])


def test_a_long_piece_is_written_by_windows_that_overlap():
    net = energy(4)
    with torch.no_grad():
        net.weight.zero_()
        net.visible.copy_(torch.linspace(-1, 1, 24).sign() * 30)  # silence for two frames, then all notes
    empty = torch.zeros(1, 10, 6)
    music = net.generate(SamplingRequest(empty, empty.bool(), empty[..., :0], seeded(), use="free"))
    # Windows begin at frames 0, 2, 4 and 6; all but the first write their latter half.
    assert music[0, :, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]


def test_views_of_categories_are_refused():
    for build in (lambda form: RBMHead(4, form), EnergyModel):
        with pytest.raises(ValueError, match="binary"):
            build(FrameSpec("categories", (5,)))
