"""Biaxial LSTM: input features, normalised likelihood, sampling with fixed cells."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from models.generation.biaxial import WIDTH, Biaxial, BiaxialState, adapted, metre_bits, note_features, powered
from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.sampling import Sampling

PLAIN = Sampling()
SMALL = {"time": [7, 6], "note": [5, 4]}


def form(pitches: int, low: int = 60, conditions: int = 0, bar: int = 16) -> FrameSpec:
    return FrameSpec("binary", (2,) * (2 * pitches), conditions=conditions, bar=bar, planes=2, low=low)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(of: FrameSpec, **changes) -> Biaxial:
    torch.manual_seed(1)
    net = Biaxial(of, **SMALL | changes).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.6, generator=generator(2))
    return net


def music(pitches: int, *lengths: int, conditions: int = 0, seed: int = 0) -> FrameBatch:
    """Rolls of chance; what stands behind their ends must not matter."""
    longest = max(lengths)
    sounding = (torch.rand(len(lengths), longest, pitches, generator=generator(seed)) < 0.4).float()
    struck = sounding * (torch.rand(sounding.shape, generator=generator(seed + 1)) < 0.5)
    known = torch.rand(len(lengths), longest, conditions, generator=generator(seed))
    valid = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return FrameBatch(torch.cat([sounding, struck], -1), known, valid)


def listed(sounding: set[int], struck: set[int], pitch: int, low: int, high: int, place: int | None) -> list[float]:
    """Features of one note in the words of Johnson's article; `place` in the bar, None: the first frame of the first bar."""
    near = range(pitch - 12, pitch + 13)
    features = [(pitch - low) / (high - low)]
    features += [float(pitch % 12 == kind) for kind in range(12)]
    features += [float(other in sounding) for other in near] + [float(other in struck) for other in near]
    features += [float(sum((other - pitch) % 12 == interval for other in sounding)) for interval in range(12)]
    features += [1.0 if (place or 0) // 2**bit % 2 else -1.0 for bit in range(4)]
    return [*features, float(place is None)]


def test_features_are_the_listed_ones():
    low, high = 50, 79
    rolls = [({52, 64, 79}, {64}), (set(), set()), ({50, 51, 62}, {50, 51})]
    before = torch.zeros(1, 3, 2, high - low + 1)
    for at, planes in enumerate(rolls):
        for plane, pitches in enumerate(planes):
            before[0, at, plane, [pitch - low for pitch in pitches]] = 1
    metre = metre_bits(torch.zeros(1, 3, 0), form(high - low + 1))
    whole = note_features(before, metre, low)
    assert whole.shape == (1, 3, 30, WIDTH) and WIDTH == 80
    for at, (sounding, struck) in enumerate(rolls):
        expected = [listed(sounding, struck, pitch, low, high, at or None) for pitch in range(low, high + 1)]
        torch.testing.assert_close(whole[0, at], torch.tensor(expected))
    torch.testing.assert_close(note_features(before, metre, low, 3, 20), whole[:, :, 3:20])


def test_the_bar_is_read_off_the_conditions():
    conditions = torch.zeros(1, 3, 6)
    conditions[0, torch.arange(3), torch.tensor([3, 0, 1])] = 1
    bits = metre_bits(conditions, form(3, conditions=6, bar=4))
    assert bits[0, :, :4].tolist() == [[-1, -1, 1, 1], [-1, -1, -1, -1], [-1, -1, 1, -1]]
    assert bits[0, :, 4].tolist() == [1, 0, 0]
    counted = metre_bits(torch.zeros(2, 18, 0), form(3))
    assert counted[1, 17, :4].tolist() == [1, -1, -1, -1]


def frames_of(pitches: int) -> torch.Tensor:
    """Every frame that can be, (frames, 2 * pitches): silent, held or struck each note."""
    notes = list(itertools.product([(0, 0), (1, 0), (1, 1)], repeat=pitches))
    return torch.tensor(notes, dtype=torch.float32).transpose(1, 2).flatten(1)


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"low": 61, "high": 62}, {"downward": True}])
def test_probabilities_of_the_next_frame_sum_to_one(changes):
    net, every = small(form(3), **changes), frames_of(3)
    assert len(every) == 27
    past = music(3, 2).frames.expand(27, -1, -1)
    frames = torch.cat([past, every[:, None]], 1)
    nll = net.nll(FrameBatch(frames, frames[..., :0], torch.ones(27, 3, dtype=torch.bool)))
    assert nll.dtype == torch.float32
    torch.testing.assert_close((-nll[:, 2]).exp().sum(), torch.tensor(1.0), atol=1e-5, rtol=0)
    assert (nll[:, :2] == nll[0, :2]).all()
    impossible = frames[:1].clone()
    impossible[0, 2] = torch.tensor([0, 1, 0, 1, 1, 0.0])
    found = net.nll(FrameBatch(impossible, frames[:1, :, :0], torch.ones(1, 3, dtype=torch.bool)))
    assert found[0, 2] == torch.inf and torch.isfinite(found[0, :2]).all()


@torch.no_grad()
@pytest.mark.parametrize("downward", [False, True])
def test_steps_equal_the_whole(downward):
    """Notes one by one, from states that are carried on, find the logits that one pass over all of a piece does."""
    net, batch = small(form(9), low=62, high=67, downward=downward), music(9, 6, 6)
    whole = net.logits(batch)
    found = []
    net.out.register_forward_hook(lambda _, __, output: found.append(output))
    fixed = torch.ones_like(batch.frames, dtype=torch.bool)
    fixed[:, :, 0] = False  # out of range: nothing is drawn, but every frame is written
    net.generate(SamplingRequest(batch.frames * fixed, fixed, batch.conditions, generator()))
    stepped = torch.stack(found, 1).unflatten(1, (6, 6))
    expected = net.logits(batch._replace(frames=batch.frames * fixed))
    torch.testing.assert_close(stepped.flip(2) if downward else stepped, expected, atol=1e-5, rtol=0)
    assert (whole - expected).abs().max() > 1e-3


@torch.no_grad()
def test_nothing_later_is_heard():
    net, batch = small(form(5)), music(5, 6)
    other = batch.frames.clone()
    other[0, 3, 2] = 1 - other[0, 3, 2]
    changed = (net.logits(batch) - net.logits(batch._replace(frames=other)))[0].abs().amax(-1) > 0
    assert not changed[:3].any() and not changed[3, :3].any()
    assert changed[3, 3:].all() and changed[4:].all()


@torch.no_grad()
def test_a_time_lstm_knows_intervals_alone():
    """But for the place and the pitch class, music moved up is heard as the same, moved up."""
    before = F.pad(music(12, 4).frames.unflatten(-1, (2, 12)), (14, 14))
    metre = metre_bits(torch.zeros(1, 4, 0), form(40))
    low, high = note_features(before, metre, 48), note_features(before.roll(2, -1), metre, 48)
    torch.testing.assert_close(low[:, :, 12:26, 13:], high[:, :, 14:28, 13:])


@torch.no_grad()
def test_padding_and_batch_change_nothing():
    net, batch = small(form(5, conditions=17)), music(5, 3, 7, 5, conditions=17)
    together = net.nll(batch)
    for row, count in enumerate((3, 7, 5)):
        alone = net.nll(FrameBatch(*(part[row, None, :count] for part in batch)))
        torch.testing.assert_close(together[row, :count], alone[0], atol=1e-5, rtol=0)
        assert (together[row, count:] == 0).all()


MASKS = {
    "free": lambda fixed: fixed,
    "continue": lambda fixed: fixed.index_fill(1, torch.arange(4), True),
    "harmonise": lambda fixed: fixed.index_fill(2, torch.tensor([4, 5, 10, 11]), True),
    "some cells": lambda fixed: torch.rand(fixed.shape, generator=generator(3)) < 0.3,
}


@pytest.mark.parametrize("use", MASKS)
@pytest.mark.parametrize("changes", [{}, {"low": 61, "high": 64, "downward": True, "adaptive": True}])
def test_masks(use, changes):
    net, batch = small(form(6), **changes), music(6, 9, 9)
    fixed = MASKS[use](torch.zeros(2, 9, 12, dtype=torch.bool))

    def asked(seed: int, sampling: Sampling = PLAIN) -> torch.Tensor:
        return net.generate(SamplingRequest(batch.frames, fixed, batch.conditions, generator(seed), sampling))

    frames = asked(0)
    assert torch.equal(frames[fixed], batch.frames[fixed])
    assert torch.equal(frames, asked(0)) and not torch.equal(frames, asked(1))
    assert ((frames == 0) | (frames == 1)).all()
    sounding, struck = frames.unflatten(-1, (2, 6)).unbind(2)
    before = F.pad(sounding, (0, 0, 1, 0))[:, :-1]
    free = ~fixed.unflatten(-1, (2, 6)).any(2)
    assert not (struck > sounding)[free].any()
    assert not ((sounding > before) & (struck == 0))[free].any()
    assert torch.equal(asked(0, Sampling(temperature=0)), asked(1, Sampling(top_k=1)))


@torch.no_grad()
def test_cold_is_the_guess():
    net, nothing = small(form(6)), torch.zeros(1, 5, 12)
    frames = net.generate(SamplingRequest(nothing, nothing.bool(), nothing[..., :0], generator(), Sampling(temperature=0)))
    guess = net.guess(FrameBatch(frames, nothing[..., :0], torch.ones(1, 5, dtype=torch.bool)))
    assert torch.equal(guess, frames) and frames.any()


@torch.no_grad()
def test_frames_are_drawn_with_the_probability_of_the_likelihood():
    """Of a first frame, in which every note that sounds is struck: the strikes' own chances aside."""
    net, many = small(form(3)), 6000
    nothing = torch.zeros(many, 1, 6)
    held = torch.ones(many, 3)
    write = BiaxialState(
        nothing[:, 0].unflatten(-1, (2, 3)), nothing[:, 0].bool().unflatten(-1, (2, 3)), held, held[:, :1], PLAIN, generator()
    )
    batch = FrameBatch(nothing, nothing[..., :0], torch.ones(many, 1, dtype=torch.bool))
    drawn = net._sample_notes(net.time_features(batch)[:, 0], write).flatten(1)
    every = frames_of(3)
    found = (drawn[:, None] == every).all(-1).float().mean(0)
    expected = (-net.nll(FrameBatch(every[:, None], nothing[:27, :, :0], torch.ones(27, 1, dtype=torch.bool)))).exp()[:, 0]
    torch.testing.assert_close(found, expected, atol=0.025, rtol=0)


def test_boldness():
    logits = torch.tensor([[-2.0, 3.0]])
    torch.testing.assert_close(powered(logits, torch.ones(1, 1)), logits)
    torch.testing.assert_close(powered(logits, torch.full((1, 1), 0.5)).sigmoid(), logits.sigmoid() ** 0.5)
    exponent = torch.ones(1, 1)
    for _ in range(80):
        exponent = adapted(exponent, torch.zeros(1, 1))
    assert exponent == 0.02 and torch.isfinite(powered(torch.full((1, 1), 40.0), exponent)).all()
    for _ in range(30):
        exponent = adapted(exponent, torch.full((1, 1), 3.0))
    assert exponent > 0.99


def test_silence_grows_bold():
    quiet, counts = torch.zeros(20, 40, 12), []
    for adaptive in (False, True):
        net = small(form(6), adaptive=adaptive)
        for parameter in net.parameters():
            parameter.data.zero_()
        net.out.bias.data[0] = -4.0
        counts.append(net.generate(SamplingRequest(quiet, quiet.bool(), quiet[..., :0], generator()))[..., :6].mean())
    assert counts[1] > 1.5 * counts[0]


def test_bf16():
    net, batch = small(form(5)), music(5, 6, 4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net.loss(batch)["loss"]
    assert loss.dtype == torch.float32 and abs(loss - net.loss(batch)["loss"]) < 0.05


def test_it_learns():
    """A note that is held for four frames and struck on the beat."""
    frames = torch.zeros(1, 16, 10)
    frames[0, :, 2] = 1
    frames[0, ::4, 7] = 1
    batch = FrameBatch(frames, frames[..., :0], torch.ones(1, 16, dtype=torch.bool))
    torch.manual_seed(0)
    net = Biaxial(form(5), time=[16], note=[12], dropout=0.0)
    optimizer = torch.optim.Adam(net.parameters(), 0.03)
    for _ in range(80):
        optimizer.zero_grad()
        net.loss(batch)["loss"].backward()
        optimizer.step()
    assert net.nll(batch).mean() < 0.2
    assert torch.equal(net.guess(batch), frames)


def test_published_size():
    net = Biaxial(form(88, low=21))
    sizes = [(80, 300), (300, 300), (302, 100), (100, 50)]
    assert sum(p.numel() for p in net.parameters()) == sum(4 * b * (a + b + 2) for a, b in sizes) + 50 * 2 + 2


def test_wrong_arguments():
    with pytest.raises(ValueError, match="articulation"):
        Biaxial(FrameSpec("binary", (2,) * 88))
    with pytest.raises(ValueError, match="60 to 65"):
        Biaxial(form(6), low=50)
