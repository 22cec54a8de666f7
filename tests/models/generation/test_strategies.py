"""Sampling of next-step models: fixed cells, posterior by resampling, beam search, ends of pieces."""

import itertools
from functools import partial

import pytest
import torch

from models.generation import NextStep
from models.generation.cores import Core, RNNCore, TCNCore, TransformerCore
from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.heads import BernoulliHead, NADEHead, SoftmaxHead, VoiceHead
from models.generation.next_step import systematic
from models.generation.sampling import Sampling

GRU = partial(RNNCore, width=10)
ROLL, VOICES, TOKENS = FrameSpec("binary", (2,) * 5), FrameSpec("categories", (4, 5, 3), 2), FrameSpec("categories", (6,))
NETS = {
    "bernoulli": lambda: NextStep(ROLL, GRU, BernoulliHead),
    "nade": lambda: NextStep(ROLL, partial(TCNCore, channels=10), partial(NADEHead, hidden=7)),
    "voices": lambda: NextStep(VOICES, GRU, partial(VoiceHead, hidden=8), embedding=6, ahead=1),
    "tokens": lambda: NextStep(TOKENS, partial(TransformerCore, width=12, layers=1, heads=2, window=8), SoftmaxHead),
    "beam": lambda: NextStep(VOICES, GRU, partial(VoiceHead, hidden=8), beam=3),
    "serial beam": lambda: NextStep(TOKENS._replace(end=5), GRU, SoftmaxHead, beam=3),
    "ending": lambda: NextStep(TOKENS._replace(end=5), GRU, SoftmaxHead),
}


def built(name, **changes):
    torch.manual_seed(4)
    net = NETS[name]().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.4 * torch.randn_like(parameter)
    for key, value in changes.items():
        setattr(net, key, value)
    return net


def asked(form, mask, batch=3, frames=12, seed=0, **changes):
    """A question with random values, of which `mask(frame, column)` says what is fixed."""
    generator = torch.Generator().manual_seed(7)
    sizes = [size - (form.end == size - 1) for size in form.sizes]
    values = torch.stack([torch.randint(size, (batch, frames), generator=generator) for size in sizes], -1)
    fixed = torch.tensor([[bool(mask(frame, column)) for column in range(form.columns)] for frame in range(frames)])
    request = SamplingRequest(
        values=values.float() if form.kind == "binary" else values,
        fixed=fixed.expand(batch, -1, -1),
        conditions=torch.randn(batch, frames, form.conditions, generator=generator),
        generator=torch.Generator().manual_seed(seed),
    )
    return request._replace(**changes)


MASKS = {
    "free": lambda frame, column: False,
    "continue": lambda frame, column: frame < 4,
    "harmonise": lambda frame, column: column == 0,
    "inpaint": lambda frame, column: not 4 <= frame < 8,
    "all": lambda frame, column: True,
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("use", MASKS)
def test_what_is_fixed_comes_back_and_a_seed_gives_the_same(name, use):
    net = built(name)
    request = asked(net.form, MASKS[use], use="inpaint" if use == "all" else use)
    request = request._replace(values=request.values.where(request.fixed, torch.full_like(request.values, -99)))  # means nothing
    out, again = (net.generate(request._replace(generator=torch.Generator().manual_seed(1))) for _ in range(2))
    assert torch.equal(out[request.fixed], request.values[request.fixed])
    assert torch.equal(out, again)
    assert out.dtype == request.values.dtype
    out += 0  # whoever asked may write to it
    assert all(set(out[..., column].unique().tolist()) <= set(range(size)) for column, size in enumerate(net.form.sizes))
    if use == "free" and not net.beam:
        assert not torch.equal(out, net.generate(request._replace(generator=torch.Generator().manual_seed(2))))


@pytest.mark.parametrize("name", ["bernoulli", "nade", "voices", "tokens"])
def test_the_coldest_draw_is_the_likeliest_next_frame(name):
    net = built(name)
    request = asked(net.form, MASKS["harmonise"] if net.form.columns > 1 else MASKS["continue"], batch=1, frames=6)
    cold, least = (net.generate(request._replace(sampling=each)) for each in (Sampling(temperature=0), Sampling(top_k=1)))
    assert torch.equal(cold, least)
    order = getattr(net.head, "order", range(net.form.columns))
    with torch.no_grad():
        h = net(FrameBatch(cold, request.conditions, torch.ones(1, 6, dtype=torch.bool)))
        for frame in range(6):
            likeliest = cold[0, frame].clone()
            for place, column in enumerate(order):
                later = [range(net.form.sizes[each]) for each in order[place:]]
                ends = torch.tensor(list(itertools.product(*later)), dtype=cold.dtype)
                frames = likeliest.expand(len(ends), -1).clone()
                frames[:, list(order[place:])] = ends
                chance = (-net.head.nll(h[:, frame].expand(len(ends), -1), frames)).exp()
                total = torch.stack([chance[ends[:, 0] == each].sum() for each in range(net.form.sizes[column])])
                if not request.fixed[0, frame, column]:
                    assert cold[0, frame, column] == total.argmax()


def every(net, frames):
    """All pieces of so many frames of one column, and their log-probabilities."""
    pieces = torch.tensor(list(itertools.product(range(net.form.sizes[0]), repeat=frames)))[..., None]
    valid = torch.ones(len(pieces), frames, dtype=torch.bool)
    with torch.no_grad():
        return pieces, -net.nll(FrameBatch(pieces, torch.zeros(len(pieces), frames, 0), valid)).sum(1)


class Echo(Core):
    """Answers its input."""

    def __init__(self, inputs):
        super().__init__(inputs, inputs)

    def forward(self, x):
        return x

    def start(self, batch):
        return ()

    def step(self, x, state):
        return x, state


def test_particles_draw_from_the_posterior_and_no_look_ahead_does_not():
    torch.manual_seed(0)
    net = NextStep(TOKENS, Echo, SoftmaxHead, particles=64).eval()  # a chain of first order, far from uniform
    torch.nn.init.normal_(net.head.out.weight, std=2)
    pieces, chance = every(net, 4)
    request = asked(TOKENS, lambda frame, column: frame in (0, 3), batch=1, frames=4)
    request = request._replace(values=request.values.expand(600, -1, -1), fixed=request.fixed.expand(600, -1, -1))
    allowed = torch.ones(4, 6, dtype=torch.bool)
    allowed[2, :3] = False
    request = request._replace(conditions=torch.zeros(600, 4, 0), use="inpaint", allowed=allowed)
    possible = (pieces[:, [0, 3]] == request.values[0, [0, 3]]).all(-1).all(-1) & allowed[2][pieces[:, 2, 0]]
    posterior = torch.where(possible, chance, -torch.inf).softmax(0)

    def distance():
        drawn = net.generate(request)
        found = (drawn[:, None] == pieces).all(-1).all(-1).float().mean(0)
        return float((found - posterior).abs().sum()) / 2

    near = distance()
    net.particles = 1
    assert near < 0.08 < distance() - near


def test_a_wide_beam_finds_the_likeliest_piece():
    net = built("serial beam", beam=250)
    net.form = net.form._replace(end=-1)
    pieces, chance = every(net, 4)
    request = asked(TOKENS, lambda frame, column: frame == 2, batch=1, frames=4)
    possible = pieces[:, 2, 0] == request.values[0, 2, 0]
    best = pieces[torch.where(possible, chance, -torch.inf).argmax()]
    assert torch.equal(net.generate(request)[0], best)


def test_a_wide_beam_finds_the_likeliest_frame_of_voices():
    net = built("voices", beam=60)
    request = asked(VOICES, lambda frame, column: column == 1, batch=1, frames=2)
    columns = torch.tensor(list(itertools.product(*(range(size) for size in VOICES.sizes))))
    pieces = torch.stack([columns[:, None].expand(-1, 60, -1), columns[None].expand(60, -1, -1)], 2).flatten(0, 1)
    valid = torch.ones(len(pieces), 2, dtype=torch.bool)
    with torch.no_grad():
        cost = net.nll(FrameBatch(pieces, request.conditions.expand(len(pieces), -1, -1), valid)).sum(1)
    possible = (pieces[..., 1] == request.values[..., 1]).all(-1)
    best = pieces[torch.where(possible, cost, torch.inf).argmin()]
    assert torch.equal(net.generate(request)[0], best)


def test_a_beam_of_one_is_greedy():
    net = built("beam", beam=1)
    request = asked(VOICES, MASKS["harmonise"])
    greedy = built("beam", beam=0).generate(request._replace(sampling=Sampling(temperature=0)))
    assert torch.equal(net.generate(request), greedy)


@pytest.mark.parametrize("name", ["ending", "serial beam"])
def test_nothing_follows_an_end_and_no_end_precedes_what_is_fixed(name):
    net = built(name)
    with torch.no_grad():
        net.head.out.bias[5] += 3.0
    free = net.generate(asked(net.form, MASKS["free"], batch=40, frames=30))[..., 0]
    ended = (free == 5).int().cummax(1).values.bool()
    assert ended[:, -1].float().mean() > 0.8
    assert (free[ended] == 5).all()
    held = net.generate(asked(net.form, lambda frame, column: frame == 20, batch=10, frames=30, use="inpaint"))[..., 0]
    assert (held[:, :20] != 5).all()


def test_an_end_in_the_first_column_ends_all_columns():
    form = FrameSpec("categories", (4, 3), end=3)
    net = NextStep(form, GRU, VoiceHead).eval()
    with torch.no_grad():
        net.head.out[0].bias[3] += 1.0
    out = net.generate(asked(form, MASKS["free"], batch=20, frames=30))
    ended = (out[..., 0] == 3).int().cummax(1).values.bool()
    after = ended & ended.roll(1, 1)
    after[:, 0] = False
    assert (out[after] == torch.tensor([3, 0])).all()
    assert after.any()


@pytest.mark.parametrize("name", ["tokens", "serial beam"])
def test_each_frame_has_what_is_allowed_in_it(name):
    net = built(name)
    allowed = torch.zeros(12, 6, dtype=torch.bool)
    allowed[::2, [0, 2]] = allowed[1::2, [1, 3, 4]] = True
    out = net.generate(asked(net.form, MASKS["free"], allowed=allowed))[..., 0]
    assert set(out[:, ::2].flatten().tolist()) <= {0, 2}
    assert set(out[:, 1::2].flatten().tolist()) <= {1, 3, 4}


def test_rows_of_a_batch_are_asked_each_for_its_own():
    """Masks differ between rows, and a row's fixed cells are its own."""
    net = built("voices")
    request = asked(VOICES, MASKS["free"])
    fixed = torch.rand(request.fixed.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    out = net.generate(request._replace(fixed=fixed, use="inpaint"))
    assert torch.equal(out[fixed], request.values[fixed])


def test_systematic_resampling_keeps_each_particle_as_often_as_its_share():
    shares = torch.tensor([[0.5, 0.25, 0.2, 0.05], [0.0, 0.0, 1.0, 0.0]])
    counts = torch.zeros(2, 4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(500):
        index = systematic(shares, generator)
        times = torch.stack([(index == each).sum(1) for each in range(4)], 1)
        assert ((times - 4 * shares).abs() < 1).all()
        counts += times
    torch.testing.assert_close(counts / 2000, shares, atol=0.02, rtol=0)


def test_a_use_that_is_not_supported_is_refused():
    with pytest.raises(ValueError, match="do not support interpolate"):
        built("tokens").generate(asked(TOKENS, MASKS["free"], use="interpolate"))
