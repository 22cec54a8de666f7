"""n-gram models: counts, normalised distributions over frames, sampling with fixed cells."""

import io
import itertools
import math
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch

from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.ngram import Ngram
from models.generation.ngram_counts import UNKNOWN
from models.generation.sampling import Sampling

ROLL = FrameSpec("binary", (2,) * 6)
VOICES = FrameSpec("categories", (5, 4, 6))
TOKENS = FrameSpec("categories", (7,), end=6)


def pieces(form, count=12, longest=30, seed=0):
    """Music that repeats itself now and then, of unlike lengths, padded with frames that must not count."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(longest // 2, longest + 1, (count,), generator=generator)
    sizes = torch.tensor(form.sizes)
    drawn = (torch.rand(count, longest, form.columns, generator=generator) ** 2 * sizes).long()
    again = torch.rand(count, longest, 1, generator=generator) < 0.6
    for frame in range(4, longest):
        drawn[:, frame] = torch.where(again[:, frame], drawn[:, frame - 4], drawn[:, frame])
    valid = torch.arange(longest) < lengths[:, None]
    return FrameBatch(drawn.float() if form.kind == "binary" else drawn, torch.zeros(count, longest, 0), valid)


def counted(form, *args, data=None, **options):
    net = Ngram(form, *args, **options)
    net.prepare([pieces(form) if data is None else data])
    return net


def request(batch, fixed, use="inpaint", seed=0, allowed=None, **sampling):
    junk = torch.where(fixed, batch.frames, torch.full_like(batch.frames, 1))
    return SamplingRequest(junk, fixed, batch.conditions, torch.Generator().manual_seed(seed), Sampling(**sampling), use, allowed)


def plain_chain(sequences, order, symbols, escape):
    """Witten and Bell's back-off in dictionaries: a function of a history and what follows it."""
    after = defaultdict(Counter)
    for sequence in sequences:
        padded = ["start"] * order + list(sequence)
        for place in range(order, len(padded)):
            for length in range(order + 1):
                after[tuple(padded[place - length : place])][padded[place]] += 1

    def chance(history, symbol):
        if history is None:
            return 1 / symbols
        seen = after.get(tuple(history))
        shorter = chance(history[1:] if history else None, symbol)
        if not seen:
            return shorter
        left = escape * len(seen)
        return (seen[symbol] + left * shorter) / (seen.total() + left)

    return lambda before, symbol: chance((["start"] * order + list(before))[len(before) :], symbol)


@pytest.mark.parametrize(("order", "escape"), [(0, 1.0), (2, 1.0), (4, 2.5)])
def test_voices_are_counted_as_by_hand(order, escape):
    train, test = pieces(VOICES), pieces(VOICES, 3, 12, seed=1)
    net = counted(VOICES, order, "voice", escape, data=train)
    nats = torch.zeros(test.valid.shape)
    for column, size in enumerate(VOICES.sizes):
        heard = [piece[there, column].tolist() for piece, there in zip(train.frames, train.valid, strict=True)]
        chance = plain_chain(heard, order, size, escape)
        for piece, frame in test.valid.nonzero().tolist():
            voice = test.frames[piece, : frame + 1, column].tolist()
            nats[piece, frame] -= math.log(chance(voice[:-1], voice[-1]))
    assert torch.allclose(net.nll(test), nats, atol=1e-5)


@pytest.mark.parametrize("form", [ROLL, FrameSpec("categories", (4, 3, 5))])
@pytest.mark.parametrize("order", [0, 2])
def test_frames_sum_to_one_in_every_context(form, order):
    net = counted(form, order, "frame")
    every = torch.cartesian_prod(*(torch.arange(size) for size in form.sizes)).to(pieces(form).frames.dtype)
    train = pieces(form)
    contexts = [train.frames[0, :0], train.frames[0, :1], train.frames[3, 2:9], every[:3], every[-2:]]
    for context in contexts:
        frames = torch.cat([context.expand(len(every), -1, -1), every[:, None]], 1)
        nats = net.nll(FrameBatch(frames, frames[..., :0], torch.ones(frames.shape[:2], dtype=torch.bool)))
        assert (-nats[:, -1].double()).exp().sum() == pytest.approx(1, abs=1e-5)


def test_frames_of_more_columns_than_a_number_holds_are_told_apart():
    form = FrameSpec("categories", (500,) * 4)
    scope = counted(form, 1, "frame", data=pieces(form, 4)).scope
    seen = scope.known.long()
    assert torch.equal(scope.read(seen), torch.arange(len(seen))) and len(scope.tables) == 2
    assert (scope.read(seen.flip(-1)) == UNKNOWN).all()


def test_a_roll_voice_by_voice_sums_to_one():
    net = counted(ROLL, 2, "voice")
    every = torch.cartesian_prod(*[torch.arange(2.0)] * 6)
    frames = torch.cat([pieces(ROLL).frames[1, :5].expand(64, -1, -1), every[:, None]], 1)
    nats = net.nll(FrameBatch(frames, frames[..., :0], torch.ones(frames.shape[:2], dtype=torch.bool)))
    assert (-nats[:, -1].double()).exp().sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("form", "scope"), [(ROLL, "frame"), (VOICES, "voice"), (TOKENS, "frame")])
def test_padding_batches_and_their_order_change_nothing(form, scope):
    data = pieces(form)
    net, other = counted(form, 3, scope, data=data), Ngram(form, 3, scope)
    more = torch.cat([data.frames, torch.ones_like(data.frames)], 1)
    longer = FrameBatch(more, torch.zeros(*more.shape[:2], 0), torch.cat([data.valid, torch.zeros_like(data.valid)], 1))
    other.prepare(FrameBatch(*(part[rows] for part in longer)) for rows in (slice(5, 12), slice(0, 5)))
    state = net.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    nats = net.nll(longer)
    assert torch.equal(nats[:, : data.valid.shape[1]], net.nll(data)) and not nats[:, data.valid.shape[1] :].any()
    assert not net.nll(data)[~data.valid].any()
    alone = torch.cat([net.nll(FrameBatch(*(part[row : row + 1] for part in data))) for row in range(12)])
    assert torch.equal(alone, net.nll(data))


@pytest.mark.parametrize(("form", "scope"), [(ROLL, "frame"), (VOICES, "voice"), (VOICES, "frame")])
def test_what_was_counted_is_kept_with_weights_alone(form, scope):
    net, fresh, data = counted(form, 3, scope), Ngram(form, 3, scope), pieces(form, seed=2)
    kept = io.BytesIO()
    torch.save(net.state_dict(), kept)
    kept.seek(0)
    fresh.load_state_dict(torch.load(kept, weights_only=True))
    assert torch.equal(fresh.nll(data), net.nll(data))
    fixed = torch.zeros_like(data.frames, dtype=torch.bool)
    assert torch.equal(fresh.generate(request(data, fixed, "free")), net.generate(request(data, fixed, "free")))
    assert not list(net.parameters()) and not net.learns and not net.loss(data)["loss"].requires_grad


def masks(form, batch):
    fixed = torch.zeros_like(batch.frames, dtype=torch.bool)
    yield "free", fixed.clone()
    fixed[:, :7] = True
    yield "continue", fixed.clone()
    fixed[:, 15:] = True
    yield "inpaint", fixed.clone()
    if form.columns > 1:
        fixed[:] = False
        fixed[..., 0] = True
        yield "harmonise", fixed
        yield "inpaint", torch.rand(fixed.shape, generator=torch.Generator().manual_seed(5)) < 0.5


@pytest.mark.parametrize("form", [ROLL, VOICES, TOKENS])
@pytest.mark.parametrize("scope", ["voice", "frame"])
def test_fixed_cells_stay_and_the_same_seed_gives_the_same(form, scope):
    net, batch = counted(form, 3, scope, particles=4), pieces(form, 2, 20, seed=3)
    for use, fixed in masks(form, batch):
        if use not in net.supports:
            with pytest.raises(ValueError, match=use):
                net.generate(request(batch, fixed, use))
            continue
        music = net.generate(request(batch, fixed, use))
        assert music.dtype == batch.frames.dtype and music.shape == batch.frames.shape
        assert torch.equal(music[fixed], batch.frames[fixed])
        assert (music >= 0).all() and (music < torch.tensor(form.sizes)).all()
        assert torch.equal(music, net.generate(request(batch, fixed, use)))
        assert not torch.equal(music, net.generate(request(batch, fixed, use, seed=1)))


@pytest.mark.parametrize(("form", "scope"), [(ROLL, "frame"), (VOICES, "frame"), (VOICES, "voice"), (TOKENS, "voice")])
def test_temperature_0_and_the_likeliest_one_are_the_most_probable(form, scope):
    form = form._replace(end=-1)
    net, batch = counted(form, 2, scope), pieces(form, 2, 20, seed=4)
    fixed = torch.zeros_like(batch.frames, dtype=torch.bool)
    fixed[:, :3] = True
    music = net.generate(request(batch, fixed, "continue", temperature=0.0))
    every = torch.cartesian_prod(*(torch.arange(size) for size in form.sizes)).view(-1, form.columns).to(music.dtype)
    for row, frame in itertools.product(range(2), range(3, 20)):
        tried = torch.cat([music[row, :frame].expand(len(every), -1, -1), every[:, None]], 1)
        nats = net.nll(FrameBatch(tried, tried[..., :0], torch.ones(tried.shape[:2], dtype=torch.bool)))[:, -1]
        chosen = (every == music[row, frame]).all(-1).nonzero().item()
        assert nats[chosen] == pytest.approx(nats.min().item(), abs=1e-6)
    assert torch.equal(music, net.generate(request(batch, fixed, "continue", top_k=1)))


def frequencies(net, form, row, fixed, gap, many):
    """How often each filling (the gap's cells, in order) is drawn."""
    batch = FrameBatch(row.expand(many, -1, -1), torch.zeros(many, len(row), 0), torch.ones(many, len(row), dtype=torch.bool))
    music = net.generate(request(batch, fixed.expand(many, -1, -1)))
    return {key: times / many for key, times in Counter(map(tuple, music[:, gap].flatten(1).long().tolist())).items()}


def exact(net, form, row, fixed, gap):
    """The same by Bayes' rule: all fillings that agree with what is fixed, by their likelihood."""
    length = gap.stop - gap.start
    every = torch.cartesian_prod(*(torch.arange(size) for size in form.sizes * length)).to(row.dtype)
    every = every.view(-1, length, form.columns)
    every = every[((every == row[gap]) | ~fixed[gap]).flatten(1).all(1)]
    tried = row.repeat(len(every), 1, 1)
    tried[:, gap] = every
    nats = net.nll(FrameBatch(tried, tried[..., :0], torch.ones(tried.shape[:2], dtype=torch.bool))).sum(1)
    return dict(zip(map(tuple, every.flatten(1).long().tolist()), nats.neg().softmax(0).tolist(), strict=True))


def distance(net, form, many):
    """Half the sum of differences between how often gaps are filled somehow and how often Bayes' rule says."""
    row = pieces(form, 1, 9, seed=6).frames[0]
    gap, fixed = slice(3, 5), torch.ones_like(row, dtype=torch.bool)
    fixed[gap] = False
    fixed[3, 1:] = form.columns > 1
    drawn, wanted = frequencies(net, form, row, fixed, gap, many), exact(net, form, row, fixed, gap)
    assert set(drawn) <= set(wanted)
    return sum(abs(drawn.get(key, 0) - chance) for key, chance in wanted.items()) / 2


def test_gaps_are_filled_as_often_as_bayes_rule_says_by_a_chain_of_order_one():
    form = TOKENS._replace(end=-1)
    assert distance(counted(form, 1, "voice", particles=1), form, 10000) < 0.03


@pytest.mark.parametrize(
    ("form", "scope"), [(FrameSpec("categories", (4, 3)), "frame"), (FrameSpec("binary", (2,) * 3), "frame")]
)
def test_particles_bring_a_chain_of_higher_order_to_it(form, scope):
    many, one = (distance(counted(form, 2, scope, particles=particles), form, 1000) for particles in (64, 1))
    assert many < 0.07 < one


def test_only_what_is_allowed_is_drawn_and_nothing_follows_an_end():
    net, batch = counted(TOKENS, 2, "frame"), pieces(TOKENS, 6, 20, seed=7)
    fixed = torch.zeros_like(batch.frames, dtype=torch.bool)
    allowed = torch.ones(20, 7, dtype=torch.bool)
    allowed[::2, :4] = False
    music = net.generate(request(batch, fixed, "free", allowed=allowed))[..., 0]
    ended = (music == 6).int().cummax(1).values.bool()
    assert ended.any() and not ended.all()
    assert (music[ended] == 6).all()
    assert (music[:, ::2] >= 4).all()


def test_no_end_comes_before_music_that_is_given():
    net, batch = counted(TOKENS, 2, particles=4), pieces(TOKENS, 6, 20, seed=7)
    batch.frames[batch.frames == 6] = 5
    fixed = torch.zeros_like(batch.frames, dtype=torch.bool)
    fixed[:, 15] = True
    music = net.generate(request(batch, fixed))
    assert (music[:, :16] != 6).all() and torch.equal(music[fixed], batch.frames[fixed])


def test_bad_settings_are_refused():
    for options in ({"order": -1}, {"escape": 0.0}, {"scope": "piece"}, {"particles": 0}):
        with pytest.raises(ValueError, match=r"chain|scope must be"):
            Ngram(ROLL, **options)


@pytest.mark.realdata
def test_frames_of_bachs_chorales_cost_what_they_should():
    from scipy.io import loadmat

    rolls = loadmat(Path(os.environ["QUINTET_DATA"]) / "generation/boulanger_lewandowski/JSB_Chorales.mat")

    def batches(split):
        for roll in rolls[split][0]:
            frames = torch.as_tensor(roll, dtype=torch.float32)[None]
            yield FrameBatch(frames, frames[..., :0], torch.ones(frames.shape[:2], dtype=torch.bool))

    net = Ngram(FrameSpec("binary", (2,) * 88), 3, "frame", escape=3.0)
    net.prepare(batches("traindata"))
    nats = torch.cat([net.nll(batch).flatten() for batch in batches("testdata")])
    assert len(nats) == 4725 and nats.mean() < 6.01
