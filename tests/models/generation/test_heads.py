"""Heads: normalised likelihoods, samples of the same distribution, weights of fixed cells."""

import itertools

import pytest
import torch

from models.generation.frame_spec import FrameSpec
from models.generation.heads import BernoulliHead, NADEHead, SoftmaxHead, VoiceHead
from models.generation.sampling import Sampling

WIDTH = 5
ROLL = FrameSpec("binary", (2,) * 6)
HEADS = {
    "bernoulli": lambda: BernoulliHead(WIDTH, ROLL),
    "nade": lambda: NADEHead(WIDTH, ROLL, hidden=7),
    "softmax": lambda: SoftmaxHead(WIDTH, FrameSpec("categories", (9,))),
    "voices": lambda: VoiceHead(WIDTH, FrameSpec("categories", (3, 4, 2, 3)), hidden=8),
}


@pytest.fixture(params=HEADS)
def head(request):
    torch.manual_seed(3)
    head = HEADS[request.param]().eval()
    with torch.no_grad():  # far from where training starts, so that columns depend on one another
        for parameter in head.parameters():
            parameter.normal_(0, 0.8)
    return head


def every(form):
    """All frames of a form, (frames, columns)."""
    frames = torch.tensor(list(itertools.product(*(range(size) for size in form.sizes))))
    return frames.float() if form.kind == "binary" else frames


def drawn(head, h, rows, values=None, fixed=None, sampling=Sampling(), seed=0):  # noqa: B008
    generator = torch.Generator().manual_seed(seed)
    values = torch.zeros(rows, head.form.columns, dtype=every(head.form).dtype) if values is None else values
    return head.sample(h.expand(rows, -1), values, fixed, sampling, generator)


@torch.no_grad()
def test_likelihoods_sum_to_one(head):
    frames = every(head.form)
    for h in torch.randn(4, WIDTH):
        total = (-head.nll(h.expand(len(frames), -1), frames)).double().exp().sum()
        assert float(total) == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_what_is_drawn_is_what_is_said(head):
    frames, h, rows = every(head.form), torch.randn(1, WIDTH), 40_000
    expected = (-head.nll(h.expand(len(frames), -1), frames)).exp()
    sample, weight = drawn(head, h, rows)
    found = (sample[:, None] == frames).all(-1).float().mean(0)
    assert float(found.sum()) == pytest.approx(1)
    assert not weight.any()
    error = (expected * (1 - expected) / rows).sqrt()
    assert ((found - expected).abs() <= 4.5 * error + 1e-4).all()


@torch.no_grad()
def test_fixed_cells_stay_and_weigh_their_marginal_probability(head):
    """Importance weights are right if their mean is the probability of what is fixed, and if weighed draws are the posterior."""
    frames, h, rows = every(head.form), torch.randn(1, WIDTH), 40_000
    chance = (-head.nll(h.expand(len(frames), -1), frames)).exp()
    fixed = torch.arange(head.form.columns) % 2 == (head.form.columns > 1)
    given = frames[len(frames) * 5 // 7]
    sample, weight = drawn(head, h, rows, given.expand(rows, -1), fixed.expand(rows, -1))
    assert (sample[:, fixed] == given[fixed]).all()
    possible = (frames[:, fixed] == given[fixed]).all(-1)
    assert float(weight.exp().mean()) == pytest.approx(float(chance[possible].sum()), rel=0.03)
    posterior = torch.where(possible, chance, 0) / chance[possible].sum()
    found = ((sample[:, None] == frames).all(-1) * weight.softmax(0)[:, None]).sum(0)
    torch.testing.assert_close(found, posterior, atol=0.015, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(top_k=1), Sampling(temperature=1e-4)])
def test_the_likeliest_is_drawn_column_by_column(head, sampling):
    h = torch.randn(1, WIDTH)
    sample, _ = drawn(head, h, 3, sampling=sampling)
    assert (sample == sample[0]).all()
    frames = every(head.form)
    chance = (-head.nll(h.expand(len(frames), -1), frames)).exp()
    for column in getattr(head, "order", range(head.form.columns)):
        options = [chance * (frames[:, column] == category) for category in range(head.form.sizes[column])]
        likeliest = max(range(len(options)), key=lambda category: float(options[category].sum()))
        assert sample[0, column] == likeliest
        chance = options[likeliest]


@torch.no_grad()
def test_a_seed_gives_the_same_frames(head):
    h = torch.randn(1, WIDTH)
    first, again, other = (drawn(head, h, 50, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_leading_dimensions_do_not_matter(head):
    frames = every(head.form).repeat(3, 1)[:24].view(4, 6, -1)
    h = torch.randn(4, 6, WIDTH)
    rows = torch.stack([head.nll(h[at], frames[at]) for at in range(4)])
    torch.testing.assert_close(head.nll(h, frames), rows)


@torch.no_grad()
def test_loss_is_nats_of_a_valid_cell(head):
    frames, h = every(head.form).repeat(3, 1)[:24].view(4, 6, -1), torch.randn(4, 6, WIDTH)
    valid = torch.arange(6) < torch.tensor([6, 3, 1, 4])[:, None]
    expected = (head.nll(h, frames) * valid).sum() / 14 / head.form.columns
    torch.testing.assert_close(head.loss(h, frames, valid), expected)
    assert float(head.loss(h, frames, valid & False)) == 0


@torch.no_grad()
def test_likelihoods_are_precise_under_autocast(head):
    frames, h = every(head.form), torch.randn(1, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        nats = head.nll(h.expand(len(frames), -1), frames)
    assert nats.dtype == torch.float32
    assert float((-nats).exp().sum()) == pytest.approx(1, abs=0.02)


@torch.no_grad()
def test_biases_start_at_the_training_sets_frequencies():
    counts = torch.tensor([[30.0, 10.0]] * 6)
    for head in (BernoulliHead(WIDTH, ROLL), NADEHead(WIDTH, ROLL)):
        torch.nn.init.zeros_(head.out.weight if isinstance(head, BernoulliHead) else head.out)
        head.prepare(counts)
        nats = head.nll(torch.zeros(1, WIDTH), torch.tensor([[1.0, 0, 0, 0, 0, 0]]))
        chance = torch.tensor(10.5 / 41).double()
        assert float(nats) == pytest.approx(float(-chance.log() - 5 * (1 - chance).log()), rel=1e-5)
    form = FrameSpec("categories", (3, 2))
    head = VoiceHead(WIDTH, form)
    for out in head.out:
        torch.nn.init.zeros_(out.weight)
    head.prepare(torch.tensor([[6.0, 3, 0], [1, 8, 0]]))
    nats = head.nll(torch.zeros(1, WIDTH), torch.tensor([[1, 1]]))
    assert float(nats) == pytest.approx(-float((torch.tensor(3.5 / 10.5) * 8.5 / 10).log()), rel=1e-5)


@torch.no_grad()
def test_nade_restated_column_by_column():
    torch.manual_seed(0)
    head, h = NADEHead(WIDTH, FrameSpec("binary", (2,) * 11), hidden=7), torch.randn(20, WIDTH)
    y = (torch.rand(20, 11) < torch.linspace(0, 1, 20)[:, None]).float()  # from an empty frame to a full one
    torch.nn.init.normal_(head.out)
    nats = torch.zeros(20)
    state = head.hidden(h)
    for column in range(11):
        logit = head.visible(h)[:, column] + state.sigmoid() @ head.out[column]
        nats -= torch.where(y[:, column] > 0, logit.sigmoid(), 1 - logit.sigmoid()).log()
        state = state + y[:, column, None] * head.into[column]
    torch.testing.assert_close(head.nll(h, y), nats, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_parts_of_a_bernoulli_head_see_their_part_alone():
    head, h = BernoulliHead(WIDTH, ROLL, parts=(2, 3)), torch.randn(1, WIDTH)
    changed = h.clone()
    changed[:, 3:] += 1
    same = (head.logits(h) == head.logits(changed))[0]
    assert same.tolist() == [True, True, False, False, False, False]


@torch.no_grad()
def test_only_what_is_allowed_is_drawn():
    head, allowed = SoftmaxHead(WIDTH, FrameSpec("categories", (9,))), torch.zeros(9, dtype=torch.bool)
    allowed[[2, 7]] = True
    values, generator = torch.zeros(200, 1, dtype=torch.long), torch.Generator().manual_seed(0)
    sample, _ = head.sample(torch.randn(200, WIDTH), values, None, Sampling(), generator, allowed)
    assert set(sample.flatten().tolist()) == {2, 7}
    fixed = torch.ones(200, 1, dtype=torch.bool)
    assert not head.sample(torch.randn(200, WIDTH), values, fixed, Sampling(), generator, allowed)[0].any()


def test_a_head_refuses_frames_that_are_not_its_own():
    categories = FrameSpec("categories", (3, 3))
    for head, form in ((BernoulliHead, categories), (NADEHead, categories), (SoftmaxHead, categories), (VoiceHead, ROLL)):
        with pytest.raises(ValueError, match="needs"):
            head(WIDTH, form)
    with pytest.raises(ValueError, match="order"):
        VoiceHead(WIDTH, categories, order=(0, 2))


@pytest.mark.parametrize("kind", ["voices", "bernoulli", "nade"])
def test_a_guess_is_the_likeliest_cell_given_the_true_ones_before(kind):
    """Against costs: no single other category in a cell would have cost less, the cells after it left out of the sum."""
    torch.manual_seed(3)
    categories = kind == "voices"
    form = FrameSpec("categories", (3, 4, 5)) if categories else FrameSpec("binary", (2,) * 5)
    head = {"voices": VoiceHead, "bernoulli": BernoulliHead, "nade": NADEHead}[kind](6, form)
    h, sizes = torch.randn(7, 6), form.sizes
    y = torch.stack([torch.randint(size, (7,)) for size in sizes], -1)
    y = y if categories else y.float()
    guess = head.guess(h, y)
    last = head.order[-1] if categories else form.columns - 1  # its cost alone differs where it does
    costs = []
    for category in range(sizes[last]):
        other = y.clone()
        other[:, last] = category
        costs.append(head.nll(h, other))
    assert torch.equal(guess[:, last].long(), torch.stack(costs, -1).argmin(-1))
    assert guess.shape == y.shape
