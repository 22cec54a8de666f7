"""MidiNet: published shapes, alternating updates, bars conditioned on the previous one."""

import pytest
import torch

from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.midinet import MidiNet, between_means
from models.generation.sampling import Sampling

STEPS, PITCHES, CHORD = 8, 6, 3
FORM = FrameSpec("binary", (2,) * (STEPS * PITCHES), conditions=CHORD, bar=1, planes=STEPS, low=0)
SMALL = {"noise": 5, "dense": 12, "channels": 7, "conditioner": 3, "judging": (4, 5)}
PLAIN = Sampling()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(**changes) -> MidiNet:
    torch.manual_seed(1)
    net = MidiNet(FORM, **SMALL | changes)
    for parameter in net.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.5)
    return net.eval()


def melodies(*lengths: int, seed: int = 0) -> FrameBatch:
    """Bars of one pitch a step; what stands behind their ends must not matter."""
    shape = len(lengths), max(lengths)
    pitches = torch.randint(PITCHES, (*shape, STEPS), generator=generator(seed))
    frames = torch.nn.functional.one_hot(pitches, PITCHES).float().flatten(2)
    chords = torch.eye(CHORD)[torch.randint(CHORD, shape, generator=generator(seed))]
    return FrameBatch(frames, chords, torch.arange(shape[1]) < torch.tensor(lengths)[:, None])


def test_shapes_of_the_paper():
    """100 noises and a chord of 13 to 16 x 128, by maps of 2, 4, 8 and 16 rows; and back to one number."""
    net = MidiNet(FrameSpec("binary", (2,) * (16 * 128), conditions=13, bar=1, planes=16, low=0)).eval()
    seen = {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
    chord, before = torch.zeros(3, 13), torch.zeros(3, 1, 16, 128)
    net.discriminator(net.generator(torch.zeros(3, 100), chord, before), chord)
    rows = [1024, 256, (16, 16, 1), (16, 8, 1), (16, 4, 1), (16, 2, 1), (128, 4, 1), (128, 8, 1), (128, 16, 1), (1, 16, 128)]
    names = ["first", "second", "reads.0", "reads.1", "reads.2", "reads.3", "doubles.0", "doubles.1", "doubles.2", "out"]
    for name, shape in zip(names, rows, strict=True):
        assert seen[f"generator.{name}"].shape == (3, *(shape if isinstance(shape, tuple) else (shape,)))
    judged = {"first": (14, 8, 1), "second": (231,), "dense": (1024,), "out": (1,)}
    for name, shape in judged.items():
        assert seen[f"discriminator.{name}"].shape == (3, *shape)


def test_published_size():
    net = MidiNet(FrameSpec("binary", (2,) * (16 * 128), conditions=13, bar=1, planes=16, low=0))
    norms = 2 * (1024 + 256 + 4 * 16 + 3 * 128)
    dense = 113 * 1024 + 1024 + 1037 * 256 + 256
    conditioner = 128 * 16 + 16 + 3 * (16 * 16 * 2 + 16)
    up = 3 * (157 * 128 * 2 + 128) + 157 * 128 + 1
    assert sum(p.numel() for p in net.generator.parameters()) == norms + dense + conditioner + up
    judging = 14 * 14 * 2 * 128 + 14 + 27 * 77 * 4 + 77 + 2 * 77 + 244 * 1024 + 1024 + 2 * 1024 + 1037 + 1
    assert sum(p.numel() for p in net.discriminator.parameters()) == judging


def test_every_valid_bar_with_the_one_before_it():
    batch = melodies(3, 2)
    bars = small().bars(batch)
    images = batch.frames.unflatten(-1, (STEPS, PITCHES))
    torch.testing.assert_close(bars.bars[:, 0], torch.cat([images[0], images[1, :2]]))
    silence = torch.zeros(1, STEPS, PITCHES)
    torch.testing.assert_close(bars.before[:, 0], torch.cat([silence, images[0, :2], silence, images[1, :1]]))
    torch.testing.assert_close(bars.chord, torch.cat([batch.conditions[0], batch.conditions[1, :2]]))


def test_each_player_moves_in_its_turn_alone():
    net, batch = small().train(), melodies(4, 3)
    networks = net.networks()
    assert net.schedule == ("discriminator", "generator", "generator") and set(networks) == set(net.schedule)
    assert sum(p.numel() for player in networks.values() for p in player.parameters()) == sum(p.numel() for p in net.parameters())
    for name, player in networks.items():
        optimizer = torch.optim.Adam(player.parameters(), 2e-4, betas=(0.5, 0.999))
        before = [parameter.clone() for parameter in net.parameters()]
        parts = net.network_loss(name, batch)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        own = {id(parameter) for parameter in player.parameters()}
        moved = [not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True)]
        assert all(move == (id(new) in own) for move, new in zip(moved, net.parameters(), strict=True))
        net.zero_grad()


def test_losses_are_the_papers():
    net, batch = small(), melodies(4, 3)
    torch.manual_seed(3)
    judged = net.network_loss("discriminator", batch)
    torch.manual_seed(3)
    drawing = net.network_loss("generator", batch)
    torch.manual_seed(3)
    bars, noise = net.bars(batch), torch.randn(7, 5)
    drawn = net.drawn(bars, noise)
    (real, real_maps), (fake, fake_maps) = net.discriminator(bars.bars, bars.chord), net.discriminator(drawn, bars.chord)
    real, fake = real.sigmoid(), fake.sigmoid()
    expected = -(0.9 * real.log() + 0.1 * (1 - real).log()).mean() - (1 - fake).log().mean()
    torch.testing.assert_close(judged["loss"], expected)
    features = 0.5 * ((real_maps.mean(0) - fake_maps.mean(0)) ** 2).sum()
    images = 0.5 * ((bars.bars.mean(0) - drawn.mean(0)) ** 2).sum()
    torch.testing.assert_close(drawing["loss"], -fake.log().mean() + 0.1 * features + 0.01 * images)
    assert drawing["features"] > 0 and drawing["mean_bar"] > 0
    assert between_means(bars.bars, bars.bars) == 0


def test_fresh_noise_each_turn_and_a_lone_bar():
    net, lone = small().train(), melodies(1)
    for player in net.networks():
        assert net.network_loss(player, lone)["loss"].isfinite()
    net.eval()
    assert all(value.isfinite() for value in net.statistics(lone).values())
    assert net.network_loss("generator", melodies(4))["loss"] != net.network_loss("generator", melodies(4))["loss"]


@torch.no_grad()
@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_what_is_watched_knows_no_batch(output):
    net, batch = small(output=output), melodies(4, 2, 3)
    together = net.surrogate(batch)
    for row, count in enumerate((4, 2, 3)):
        alone = net.surrogate(FrameBatch(*(part[row, None, :count] for part in batch)))
        torch.testing.assert_close(together[row, :count], alone[0], atol=1e-5, rtol=0)
        assert (together[row, count:] == 0).all() and (together[row, :count] > 0).all()
    assert torch.equal(together, net.surrogate(batch))


@torch.no_grad()
def test_statistics_tell_the_same_from_the_different():
    net, batch = small(), melodies(6, 6)
    bars = net.bars(batch)
    noise = torch.randn(12, 5, generator=generator())
    pitches = net.drawn(bars, noise).argmax(-1).flatten()
    real = bars.bars.argmax(-1).flatten()
    counts = [torch.bincount(played, minlength=PITCHES) / len(played) for played in (real, pitches)]
    found = net.statistics(batch)
    torch.testing.assert_close(found["pitches"], (counts[0] - counts[1]).abs().sum() / 2)
    assert found["features"] > 0 and 0 <= found["real_known"] <= 1 and 0 <= found["drawn_known"] <= 1


def asked(net: MidiNet, fixed: torch.Tensor, seed: int = 0, sampling: Sampling = PLAIN, **changes) -> torch.Tensor:
    batch = melodies(*[fixed.shape[1]] * len(fixed))
    values = changes.get("values", batch.frames)
    return net.generate(SamplingRequest(values, fixed, changes.get("chords", batch.conditions), generator(seed), sampling))


@pytest.mark.parametrize("given", [0, 2, 5])
def test_masks(given):
    net, fixed = small(), torch.zeros(2, 5, STEPS * PITCHES, dtype=torch.bool)
    fixed[:, :given] = True
    if given == 2:
        fixed[:, 2, : 3 * PITCHES] = True  # a bar that is given in part
    frames = asked(net, fixed)
    assert torch.equal(frames[fixed], melodies(5, 5).frames[fixed])
    assert (frames.unflatten(-1, (STEPS, PITCHES)).sum(-1) == 1).all()
    assert torch.equal(frames, asked(net, fixed))
    if given < 5:
        assert not torch.equal(frames, asked(net, fixed, seed=1))
    cold = Sampling(temperature=0)
    assert torch.equal(asked(net, fixed, 0, cold), asked(net, fixed, 1, cold))


def test_a_given_pitch_is_a_steps_only_one():
    net, fixed = small(), torch.zeros(1, 1, STEPS * PITCHES, dtype=torch.bool)
    values = torch.zeros(1, 1, STEPS * PITCHES)
    fixed[0, 0, 4] = values[0, 0, 4] = 1  # pitch 4 sounds in the first step
    fixed[0, 0, PITCHES : 2 * PITCHES - 1] = True  # in the second all but the last are silent
    steps = asked(net, fixed, values=values).view(STEPS, PITCHES)
    assert steps[0].argmax() == 4 and steps[1].argmax() == PITCHES - 1 and (steps.sum(-1) == 1).all()


def test_bars_follow_the_one_before_and_the_chord():
    net, fixed = small(), torch.zeros(1, 4, STEPS * PITCHES, dtype=torch.bool)
    fixed[:, :2] = True
    values, chords = melodies(4).frames, melodies(4).conditions
    plain = asked(net, fixed)
    other = values.clone()
    other[:, 0] = values[:, 0].roll(1, -1)
    assert torch.equal(asked(net, fixed, values=other)[:, 2:], plain[:, 2:])  # two bars back is forgotten
    other = values.clone()
    other[:, 1] = values[:, 1].roll(1, -1)
    assert not torch.equal(asked(net, fixed, values=other)[:, 2], plain[:, 2])
    changed = chords.clone()
    changed[:, 3] = chords[:, 3].roll(1, -1)
    last = asked(net, fixed, chords=changed)
    assert torch.equal(last[:, :3], plain[:, :3]) and not torch.equal(last[:, 3], plain[:, 3])


def test_bf16_and_no_chords():
    net = MidiNet(FORM._replace(conditions=0), **SMALL)
    batch = melodies(4, 3)._replace(conditions=torch.zeros(2, 4, 0))
    with torch.autocast("cpu", torch.bfloat16):
        losses = [net.network_loss(player, batch)["loss"] for player in net.networks()]
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses)


def test_it_learns_a_bar():
    """All music is one bar; the generator finds it."""
    net, batch = small(channels=16).train(), melodies(8)
    batch.frames[:] = batch.frames[:, :1]
    optimizers = {
        name: torch.optim.Adam(player.parameters(), 1e-2, betas=(0.5, 0.999)) for name, player in net.networks().items()
    }
    before = net.eval().surrogate(batch).mean()
    net.train()
    for _ in range(60):
        for player in net.schedule:
            net.zero_grad()
            net.network_loss(player, batch)["loss"].backward()
            optimizers[player].step()
    assert net.eval().surrogate(batch).mean() < 0.4 * before


def test_wrong_arguments():
    with pytest.raises(ValueError, match="multiple of 8"):
        MidiNet(FORM._replace(planes=6))
    with pytest.raises(ValueError, match="tanh"):
        MidiNet(FORM, output="tanh")
