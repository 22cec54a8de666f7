"""Similarity networks: Table I of the paper, crops vs. whole recordings, shared weights."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.alignment import MLP, SCNN, FrameNet, Handcrafted, SalienceMap, similarity
from models.alignment.front import Front
from models.alignment.networks import ROWS_AT_ONCE, PairCosts, least

CONTEXT = {"same": 128, "valid": 164}


def front(bins: int, channels: int = 1) -> Front:
    """A front end of so many bins that nothing is heard by."""
    made = Front(22_050, 512)
    made.bins, made.channels = bins, channels
    return made


def lively(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network in evaluation mode, its normalisations as after some training."""
    generator = torch.Generator().manual_seed(seed)
    for norm in (one for one in net.modules() if isinstance(one, nn.BatchNorm2d)):
        for value in (norm.weight.data, norm.running_var):
            value.uniform_(0.5, 1.5, generator=generator)
        for value in (norm.bias.data, norm.running_mean):
            value.uniform_(-0.3, 0.3, generator=generator)
    return net.eval()


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def table_1(net: SCNN, across: int) -> nn.Sequential:
    """The paper's table in plain layers: convolution, ReLU, batch norm, maximum; with the weights of `net`."""
    layers = []
    for place, (convolution, norm, kernel) in enumerate(zip(net.convolutions, net.norms, (5, 5, 3, 3), strict=True)):
        half = kernel // 2
        plain = nn.Conv2d(convolution.in_channels, convolution.out_channels, kernel, padding=(half, half * across))
        plain.load_state_dict(convolution.state_dict())
        own = nn.BatchNorm2d(norm.num_features)
        own.load_state_dict(norm.state_dict())
        layers += [plain, nn.ReLU(), own, *([nn.MaxPool2d(2)] if place < 3 else [])]
    return nn.Sequential(*layers, nn.Flatten(), net.dense).eval()


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_table_1(padding):
    net = lively(SCNN(front(128, 3), padding=padding))
    patch = drawn(2, 3, 128, CONTEXT[padding])
    with torch.no_grad():
        assert net.maps(patch).shape == (2, 512, 16, 16)
        embedding = net.embed(patch)
        plain = table_1(net, padding == "same")(patch)
    assert net.context == CONTEXT[padding] and net.dense.in_features == 131_072
    assert embedding.shape == (2, 1, 128)
    torch.testing.assert_close(embedding[:, 0], plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("channels", "count", "alone"), [(3, 1_687_040, 1_685_120), (1, 1_683_840, 1_681_920)])
def test_parameters_of_table_1(channels, count, alone):
    net = SCNN(front(128, channels), embedding=8)
    convolutions = sum(p.numel() for p in net.convolutions.parameters())
    assert convolutions == alone
    assert convolutions + sum(p.numel() for p in net.norms.parameters()) == count


SMALL = {"channels": (6, 8, 8, 10), "embedding": 12}


@pytest.mark.parametrize(
    ("bins", "channels", "context", "normalize"),
    [(128, 3, None, False), (12, 1, None, False), (72, 1, 44, False), (144, 1, 45, True), (40, 2, 51, False)],
)
def test_whole_recordings_are_embedded_as_patch_by_patch(bins, channels, context, normalize):
    net = lively(SCNN(front(bins, channels), context=context, normalize=normalize, **SMALL))
    features = drawn(2, channels, bins, net.context + 20)
    with torch.no_grad():
        whole = net.embed(features)
        patches = [net.embed(features[..., i : i + net.context]) for i in range(21)]
    assert whole.shape == (2, 21, 12)
    torch.testing.assert_close(whole, torch.cat(patches, 1), rtol=0, atol=1e-4)
    assert whole.std(1).min() > 1e-3, "frames must differ, or nothing is compared"


def test_whole_recordings_at_full_size():
    net = lively(SCNN(front(128, 1)))
    features = drawn(1, 1, 128, 166)
    with torch.no_grad():
        patches = [net.embed(features[..., i : i + 164]) for i in range(3)]
        torch.testing.assert_close(net.embed(features), torch.cat(patches, 1), rtol=0, atol=1e-4)


def test_patches_padded_by_zeros_are_each_computed_alone(monkeypatch):
    monkeypatch.setattr("models.alignment.networks.PATCHES_AT_ONCE", 7)
    net = lively(SCNN(front(16, 2), padding="same", context=32, **SMALL))
    features = drawn(2, 2, 16, 42)
    with torch.no_grad():
        whole = net.embed(features)
        patches = [table_1(net, True)(features[..., i : i + 32]) for i in range(11)]
    torch.testing.assert_close(whole, torch.stack(patches, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: SCNN(front(16), context=44, **SMALL), lambda: FrameNet(front(16))], ids=["SCNN", "FrameNet"]
)
@pytest.mark.parametrize("count", [51, 100, 129])
def test_long_recordings_are_embedded_piece_by_piece(make, count, monkeypatch):
    net, features = lively(make()), drawn(1, 16, count)
    at_once = net.frames(features, "performance")
    monkeypatch.setattr(similarity, "FRAMES_AT_ONCE", 50)
    in_pieces = net.frames(features, "performance")
    assert at_once.shape[0] == in_pieces.shape[0] == count
    torch.testing.assert_close(in_pieces, at_once, rtol=0, atol=1e-4)


def test_a_frame_is_in_the_middle_of_its_context():
    """Number context // 2; beyond the ends the first and the last frame go on."""
    net, features = lively(SCNN(front(16), context=44, **SMALL)), drawn(1, 16, 60)
    frames = net.frames(features, "score")
    with torch.no_grad():
        torch.testing.assert_close(frames[30], net.embed(features[None, ..., 8:52])[0, 0], rtol=0, atol=1e-4)
        first = torch.cat([features[..., :1].expand(-1, -1, 22), features[..., :22]], -1)
        torch.testing.assert_close(frames[0], net.embed(first[None])[0, 0], rtol=0, atol=1e-4)
        last = torch.cat([features[..., 37:], features[..., -1:].expand(-1, -1, 21)], -1)
        torch.testing.assert_close(frames[-1], net.embed(last[None])[0, 0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_too_short_a_context_is_refused(padding):
    shortest = least(padding)
    assert shortest == {"same": 8, "valid": 44}[padding]
    assert SCNN(front(16), padding=padding, context=shortest, **SMALL).columns == 1
    words = rf"context {shortest - 1} is too short with padding {padding}: expected {shortest} frames or more"
    with pytest.raises(ValueError, match=words):
        SCNN(front(16), padding=padding, context=shortest - 1, **SMALL)


def test_embeddings_of_length_1_where_wanted():
    features = drawn(1, 1, 16, 60)
    lengths = [
        lively(SCNN(front(16), context=44, normalize=normalize, **SMALL)).embed(features).norm(dim=-1)
        for normalize in (True, False)
    ]
    torch.testing.assert_close(lengths[0], torch.ones(1, 17))
    assert (lengths[1] - 1).abs().max() > 0.01


def test_the_small_network():
    net = lively(FrameNet(front(144)))
    assert sum(p.numel() for p in net.parameters()) == 303_856 and net.context == 15
    features = drawn(1, 1, 144, 60)
    with torch.no_grad():
        whole, crop = net.embed(features), net.embed(features[..., 10:40])
    assert whole.shape == (1, 46, 64)
    torch.testing.assert_close(whole[:, 10:26], crop, rtol=0, atol=1e-5)
    torch.testing.assert_close(whole.norm(dim=-1), torch.ones(1, 46))


@pytest.mark.parametrize("bins", [12, 72, 88, 127])
def test_the_small_network_takes_any_bins(bins):
    assert FrameNet(front(bins, 2), channels=(2, 2, 2), embedding=4).embed(drawn(1, 2, bins, 20)).shape == (1, 6, 4)


@pytest.mark.parametrize("net", [SCNN(front(16), context=44, **SMALL), FrameNet(front(16))], ids=["SCNN", "FrameNet"])
def test_twins_share_their_weights(net):
    lively(net)
    features = drawn(1, 1, 16, net.context)
    torch.testing.assert_close(net.embed(features, "performance"), net.embed(features, "score"), rtol=0, atol=0)
    other = drawn(1, 1, 16, net.context, seed=1)
    pulls = []
    for left, right in ((net.embed(features), net.embed(other)), (net.embed(features).detach(), net.embed(other))):
        net.zero_grad()
        net.between(left, right).sum().backward()
        pulls.append({name: p.grad.clone() for name, p in net.named_parameters()})
    assert pulls[0].keys() == dict(net.named_parameters()).keys(), "one module: every weight is reached from both sides"
    assert any(not torch.allclose(pulls[0][name], pulls[1][name]) for name in pulls[0])


def test_the_perceptron_is_one_on_both_frames_side_by_side():
    torch.manual_seed(0)
    net = MLP(front(88, 2), hidden=7)
    left, right = drawn(3, 2, 88, 5), drawn(3, 2, 88, 5, seed=1)
    first = nn.Linear(2 * 2 * 88, 7)
    first.weight.data = torch.cat([net.performance.weight, net.score.weight], 1).detach()
    first.bias.data = net.performance.bias.detach()
    frames = torch.cat([left.flatten(1, 2), right.flatten(1, 2)], 1).transpose(1, 2)
    expected = torch.sigmoid(net.output(torch.tanh(first(frames))))[..., 0]
    found = net.between(net.embed(left, "performance"), net.embed(right, "score"))
    assert found.shape == (3, 5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert net.modes == ("binary",) and net.threshold == 0.5


def test_probabilities_of_all_pairs():
    torch.manual_seed(0)
    net, count = MLP(front(4), hidden=6), ROWS_AT_ONCE + 9
    left, right = (net.frames(drawn(1, 4, n, seed=n), side).numpy() for n, side in ((count, "performance"), (11, "score")))
    costs = net.costs(left, right)
    assert isinstance(costs, PairCosts) and costs.shape == (count, 11)
    weight, bias = net.output.weight.detach().numpy()[0], net.output.bias.item()
    expected = 1 / (1 + np.exp(-(np.tanh(left[:, None] + right[None]) @ weight + bias)))
    np.testing.assert_allclose(costs.block(0, count), expected, atol=1e-6)
    np.testing.assert_allclose(costs.window(3, 200, 2, 7), expected[3:200, 2:7], atol=1e-6)
    assert costs.block(0, 2).dtype == np.float32


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_frames_as_they_are(metric):
    from scipy.spatial.distance import cdist

    net = Handcrafted(front(12, 2), metric)
    left, right = drawn(2, 12, 30).abs(), drawn(2, 12, 20, seed=1).abs()
    sides = [net.frames(left, "performance").numpy(), net.frames(right, "score").numpy()]
    np.testing.assert_array_equal(sides[0], left.numpy().reshape(24, 30).T)
    np.testing.assert_allclose(net.costs(*sides).block(0, 30), cdist(*sides, metric), atol=1e-5)
    assert net.modes == ("distance",) and not list(net.parameters())


def test_distances_of_embeddings_are_euclidean():
    from scipy.spatial.distance import cdist

    net = FrameNet(front(16))
    x, y = drawn(9, 64).numpy(), drawn(7, 64, seed=1).numpy()
    np.testing.assert_allclose(net.costs(x, y).block(0, 9), cdist(x, y), atol=1e-5)
    torch.testing.assert_close(
        net.between(torch.from_numpy(x[:7]), torch.from_numpy(y)), torch.from_numpy(np.diag(cdist(x, y)).astype(np.float32))
    )


def salience() -> SalienceMap:
    return lively(SalienceMap(front(360, 6)))


def test_salience_wanted_is_a_bell_about_each_pitch():
    pitches = torch.zeros(2, 128, 3, dtype=torch.uint8)
    pitches[0, 60, 0] = pitches[0, 61, 0] = pitches[1, 24, 2] = 1
    wanted = salience().targets(pitches)
    assert wanted.shape == (2, 360, 3) and not wanted[:, :, 1].any()
    bell = [math.exp(-0.5 * steps**2) for steps in range(6)]  # a bin is 20 cents, as is the deviation
    torch.testing.assert_close(wanted[0, 180:186, 0], torch.tensor([1, bell[1], bell[2], bell[2], bell[1], 1.0]))
    torch.testing.assert_close(wanted[0, 175:180, 0], torch.tensor(bell[:0:-1]))
    torch.testing.assert_close(wanted[1, :4, 2], torch.tensor(bell[:4]))
    assert float(wanted.max()) == 1.0


def test_pitches_beyond_the_map_want_nothing():
    pitches = torch.zeros(1, 128, 1, dtype=torch.uint8)
    pitches[0, [0, 127]] = 1
    assert not (salience().targets(pitches) > 1e-6).any()


def test_the_most_salient_bin_of_each_semitone_counts():
    net, features = salience(), drawn(1, 6, 360, 9)
    with torch.no_grad():
        fine, rows = net.salience(features)[0], net.embed(features)[0]
    assert rows.shape == (9, 72) and 0 <= float(rows.min()) <= float(rows.max()) <= 1
    for row in (0, 1, 30, 71):
        torch.testing.assert_close(rows[:, row], fine[max(0, 5 * row - 2) : 5 * row + 3].amax(0))
    torch.testing.assert_close(net.frames(features[0], "score"), rows, rtol=0, atol=1e-5)


def test_salience_learns_what_it_is_told():
    torch.manual_seed(0)
    net = SalienceMap(front(360, 6)).train()
    features, pitches = drawn(1, 6, 360, 4), torch.zeros(1, 128, 4)
    pitches[0, 60] = 1
    loss = F.binary_cross_entropy(net.salience(features), net.targets(pitches))
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
