"""The paper's front-ends, back-ends and their combinations: sizes, shapes and the filters' arithmetic."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from models.blocks.features import LogMel
from models.tagging import CNN_L, CNN_P, Att, FrontBack, Raw, Spec
from models.tagging.back_ends import Learned, Sinusoidal, fixed_cls

TEN_LAYERS = (1, 1, 2, 2, 2, 2, 2, 2, 4, 4)
SMALL = {
    "spec_att": (partial(Spec, channels=2, frames=32, width=16), partial(Att, heads=2)),
    "spec_cnn_p": (partial(Spec, channels=2, frames=32, width=None), partial(CNN_P, width=16, dense=8)),
    "raw_att": (partial(Raw, channels=2, width=16, samples=2430), partial(Att, heads=2)),
    "raw_cnn_l": (partial(Raw, channels=1, growth=TEN_LAYERS, kernel=1, width=16, samples=59_049), CNN_L),
}


def small(name: str, n_tags: int = 5, seed: int = 0) -> FrontBack:
    """A tiny network whose batch norms are not the identity, in eval mode."""
    torch.manual_seed(seed)
    net = FrontBack(n_tags, *SMALL[name]).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            if module.affine:  # some filters are turned upside down
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias, std=0.3)
    if isinstance(net.front_end, Spec):
        nn.init.constant_(net.front_end.gain, 0.7)
        nn.init.constant_(net.front_end.offset, -0.4)
    return net


def noise(batch: int, samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("front_end", "back_end", "total", "front", "back", "head"),
    [
        (partial(Spec), partial(Att), 6_882_452, 289_378, 6_567_424, 25_650),
        (partial(Spec), partial(Att, layers=1), 3_730_068, 289_378, 3_415_040, 25_650),
        (partial(Spec), partial(Att, layers=3), 10_034_836, 289_378, 9_719_808, 25_650),
        (partial(Spec), partial(Att, layers=4), 13_187_220, 289_378, 12_872_192, 25_650),
        (partial(Spec, channels=8), partial(Att), 6_738_532, 145_458, 6_567_424, 25_650),
        (partial(Spec, channels=64), partial(Att), 7_745_972, 1_152_898, 6_567_424, 25_650),
        (partial(Spec, channels=8), partial(Att, positions="learned"), 6_878_308, 145_458, 6_707_200, 25_650),
        (partial(Spec, width=None), CNN_P, 5_926_424, 50_274, 5_851_100, 25_050),
        (partial(Raw, channels=64), partial(Att), 7_190_258, 597_184, 6_567_424, 25_650),
        (partial(Raw, channels=128), partial(Att), 8_056_242, 1_463_168, 6_567_424, 25_650),
        (partial(Raw, channels=64, growth=TEN_LAYERS, kernel=1), CNN_L, 740_210, 714_560, 0, 25_650),
        (partial(Raw, channels=128, growth=TEN_LAYERS, kernel=1), CNN_L, 2_608_306, 2_582_656, 0, 25_650),
    ],
)
def test_parameter_counts_of_the_paper(front_end, back_end, total, front, back, head):
    with torch.device("meta"):
        counts = FrontBack(50, front_end, back_end).describe()
    found = [counts[part] for part in ("parameters", "front_end", "back_end", "head")]
    assert found == [total, front, back, head]


def test_branch_sizes_of_spec():
    with torch.device("meta"):
        spec = Spec()
    sizes = [sum(p.numel() for p in branch.parameters()) for branch in [*spec.vertical, *spec.horizontal]]
    assert sizes == [9_680, 8_352, 5_696, 4_304, 3_744, 2_624, 2_688, 4_224, 4_352, 4_608]


@pytest.mark.parametrize("heads", range(1, 9))
def test_head_counts_of_table_3(heads):
    with torch.device("meta"):
        att, wide = Att(512, heads=heads), Att(512, heads=heads, head_dim=64)
    assert att.head_dim == 512 // heads
    assert att.layers[0].attention.query.out_features == heads * (512 // heads)
    assert att.describe()["heads"] == f"{heads} x {512 // heads} (512 -> {heads * (512 // heads)})"
    assert wide.layers[-1].attention.out.in_features == 64 * heads
    assert Att(30, heads=heads)(torch.randn(2, 30, 4)).shape == (2, 30)


@pytest.mark.parametrize("name", SMALL)
def test_any_batch_size(name):
    net = small(name)
    audio = noise(64, net.samples)
    with torch.no_grad():
        alone, all_64 = net(audio[:1]), net(audio)
        assert alone.shape == (1, 5)
        assert all_64.shape == (64, 5)
        assert net(audio[:16]).shape == (16, 5)
        two_runs = torch.cat([net(audio[:20]), net(audio[20:33])])
        torch.testing.assert_close(net(audio[:33]), two_runs, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(all_64[:1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_int16_and_reduced_precision(name):
    net = small(name)
    audio = (3000 * noise(2, net.samples) * 10).to(torch.int16)
    with torch.no_grad():
        exact = net(audio)
        torch.testing.assert_close(net(audio.float() / 32768), exact)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net(audio)
        torch.testing.assert_close(mixed.float(), exact, rtol=0.1, atol=0.1)
        torch.testing.assert_close(net.double()(audio).float(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frames", [128, 256, 500, 1024])
def test_spec_frames(frames):
    spec = Spec(channels=1, width=None).eval()
    with torch.no_grad():
        assert spec(noise(1, spec.mel.samples(frames))).shape == (1, 29, frames)
    assert spec.samples == 65_792
    assert (spec.hop, spec.lead) == (256, 256)


def test_spec_and_raw_at_the_papers_size():
    with torch.no_grad():
        spec, raw = Spec(width=None).eval(), Raw(channels=4, width=8).eval()
        assert spec(noise(1, 65_792)).shape == (1, 464, 256)
        assert raw(noise(1, 65_610)).shape == (1, 8, 270)
        assert Att(512, heads=8).eval()(torch.randn(1, 512, 1024)).shape == (1, 512)
    assert raw.samples == 65_610
    assert (raw.hop, raw.lead) == (1, 0)


@pytest.mark.parametrize("training", [False, True])
def test_filters_equal_brute_force(training):
    """Each vertical branch: correlation, own batch norm, ReLU, maximum over its own rows; horizontal: of the band mean."""
    net = small("spec_att").double().train(training)
    spec, mel = net.front_end, torch.randn(3, 1, 96, 20).double()
    seen = spec.gain * mel + spec.offset
    for branch in spec.vertical:
        length, conv = branch.conv.kernel_size[1], branch.conv
        padded = nn.functional.pad(seen, (length // 2, length // 2))
        patches = padded.unfold(2, conv.kernel_size[0], 1).unfold(3, length, 1)
        rows = torch.einsum("bnrthl,cnhl->bcrt", patches, conv.weight) + conv.bias[:, None, None]
        assert rows.shape[2] == 97 - conv.kernel_size[0]
        assert rows.shape[2] in (11, 59)
        expected = normalised(branch.norm, rows).relu().amax(2)
        torch.testing.assert_close(branch(mel, spec.gain, spec.offset), expected, rtol=1e-9, atol=1e-9)
    energy = seen.mean(2)
    for branch in spec.horizontal:
        conv, length = branch[0], branch[0].kernel_size[0]
        patches = nn.functional.pad(energy, (length // 2, length // 2)).unfold(2, length, 1)
        expected = torch.einsum("bntl,cnl->bct", patches, conv.weight) + conv.bias[:, None]
        expected = normalised(branch[1], expected).relu()
        torch.testing.assert_close(branch(energy), expected, rtol=1e-9, atol=1e-9)


def normalised(norm: nn.Module, maps: torch.Tensor) -> torch.Tensor:
    over = [dim for dim in range(maps.ndim) if dim != 1]
    shape = (1, -1) + (1,) * (maps.ndim - 2)
    mean, var = norm.running_mean.view(shape), norm.running_var.view(shape)
    if norm.training:
        mean, var = maps.mean(over, keepdim=True), maps.var(over, unbiased=False, keepdim=True)
    return (maps - mean) / (var + norm.eps).sqrt() * norm.weight.view(shape) + norm.bias.view(shape)


def test_raw_equals_conv_norm_relu_pool():
    net = small("raw_att")
    raw, maps = net.front_end, noise(2, net.samples)[:, None]
    functional = nn.functional
    with torch.no_grad():
        expected = normalised(raw.layers[0][1], functional.conv1d(maps, *raw.layers[0][0].parameters(), 3, 1)).relu()
        assert expected.shape[2] == 810
        for layer in list(raw.layers)[1:]:
            conv, norm = layer[0][0], layer[0][1]
            filtered = functional.conv1d(expected, conv.weight, conv.bias, padding=1)
            expected = functional.max_pool1d(normalised(norm, filtered).relu(), 3)
        conv, norm = raw.projection[0], raw.projection[1]
        expected = normalised(norm, functional.conv1d(expected, conv.weight, conv.bias, padding=3)).relu()
        torch.testing.assert_close(raw(maps[:, 0]), expected, rtol=1e-4, atol=1e-5)


def test_cnn_p_equals_its_figure():
    net = small("spec_cnn_p")
    back, maps = net.back_end, torch.randn(2, 58, 30)
    with torch.no_grad():
        first = back.first(maps)
        halved = nn.functional.max_pool1d(back.second(first) + first, 2)
        last = back.third(halved) + halved
        assert last.shape == (2, 16, 15)
        pooled = torch.cat([last.max(2).values, last.sum(2) / 15], 1)
        torch.testing.assert_close(back(maps), back.dense(pooled))


def test_cls_is_the_authors_vector_and_building_touches_no_generator():
    np_state, torch_state = np.random.get_state(), torch.get_rng_state()
    cls = fixed_cls(512)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), np_state, strict=True))
    assert cls[:4].tolist() == pytest.approx([0.5488, 0.7152, 0.6028, 0.5449], abs=5e-5)
    with torch.device("meta"):
        att = Att(16, heads=2, cls="learned")
    assert isinstance(att.cls, nn.Parameter)
    assert "cls" in dict(Att(16, heads=2).named_buffers())
    Att(16, heads=2)
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), np_state, strict=True))


def test_cls_survives_save_and_load(tmp_path):
    net, other = small("spec_att"), small("spec_att", seed=1)
    net.back_end.cls.fill_(0.25)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert torch.equal(other.back_end.cls, torch.full((16,), 0.25))
    audio = noise(2, net.samples)
    torch.testing.assert_close(other(audio), net(audio))
    with torch.device("meta"):  # the authors' 118 entries and [CLS]
        assert len(FrontBack(50, Spec, Att).state_dict()) == 119


def test_sinusoids_of_any_length():
    table = Sinusoidal(16, 5)(torch.zeros(1, 40, 16))[0]
    assert torch.equal(table[0], torch.zeros(16))
    for position, column in ((1, 0), (1, 1), (7, 4), (39, 15)):
        angle = position / 10_000 ** (2 * (column // 2) / 16)
        expected = np.cos(angle) if column % 2 else np.sin(angle)
        assert table[position, column].item() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(Sinusoidal(16, 271)(torch.zeros(1, 9, 16))[0], table[:9])


def test_learned_positions_have_an_end():
    learned = Learned(16, 9)
    assert learned(torch.zeros(2, 9, 16)).shape == (2, 9, 16)
    with pytest.raises(ValueError, match="set max_tokens to 10"):
        learned(torch.zeros(2, 10, 16))


@pytest.mark.parametrize(
    "part", [partial(Att, cls="none"), partial(Att, positions="rotary"), partial(Att, heads=0), partial(Att, layers=0)]
)
def test_impossible_back_ends(part: Callable[[int], nn.Module]):
    with pytest.raises(ValueError, match="expected"):
        part(16)


def test_time_stride_keeps_every_second_frame():
    net = small("spec_att")
    coarse = Spec(channels=2, frames=32, width=16, time_stride=2).eval()
    coarse.load_state_dict(net.front_end.state_dict())
    audio = noise(2, net.samples)
    torch.testing.assert_close(coarse(audio), net.front_end(audio)[..., ::2], rtol=1e-4, atol=1e-5)
    assert coarse.frame_hop == 512
    assert net.front_end.frame_hop == 256


def test_frames_know_their_seconds():
    """The centre of mass of what a frame of Raw can hear is where `seconds` says it is."""
    raw = Raw(channels=1, width=1, kernel=1, samples=2430).eval()
    for module in raw.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.ones_(module.weight)
    for layer in list(raw.layers)[1:]:
        layer[1] = nn.AvgPool1d(3)  # linear, so that the gradient shows the whole field of view
    audio = torch.ones(1, 2430, requires_grad=True)
    raw(audio)[0, 0, 4].backward()
    weight = audio.grad[0] / audio.grad.sum()
    net = FrontBack(2, lambda: raw, partial(Att, heads=1))
    assert (weight * torch.arange(2430)).sum().item() == pytest.approx(net.seconds(10)[4].item() * 16_000, abs=0.1)
    with torch.device("meta"):
        spec = FrontBack(2, partial(Spec, time_stride=2, mel=LogMel(hop=128)), Att)
    assert spec.front_end.frame_hop == 256
    assert spec.samples == 255 * 128 + 512


def test_level_of_the_clip_sets_the_floor():
    net = small("spec_att")
    clip = torch.cat([5 * noise(1, 20_000), 1e-4 * noise(1, 20_000)], 1)
    level = net.clip_level(clip)
    chunk = clip[:, 25_000 : 25_000 + net.samples]
    assert net.front_end.inputs(chunk, level).unique().item() == pytest.approx(level.item() - 80, abs=1e-4)
    assert not torch.allclose(net(chunk, level), net(chunk))
    assert small("raw_att").clip_level(clip) is None
    no_floor = FrontBack(2, partial(Spec, channels=1, width=None, mel=LogMel(top_db=None)), partial(CNN_P, width=4))
    assert no_floor.clip_level(clip) is None
