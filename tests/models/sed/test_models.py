"""The networks of sound event detection: sizes, frames, padding, a plain restatement, front end, encoders."""

from functools import partial

import pytest
import torch
from torch import nn

from models.sed import Attention, BiGRU, Conformer, DetectionCRNN, MelFrontEnd, Transformer
from models.sed.crnn import Convolutions, Dropout
from models.sed.pooling import Inside, normed
from models.sed.transformer import RotarySelfAttention

BOTH = {"audio": (128, 16), "video": (4096, 4)}
SMALL = {"channels": (4, 8, 8), "pools": ((2, 2), (2, 2), (1, 4)), "hidden": 8}


def small(n_classes=3, streams=None, **options):
    torch.manual_seed(0)
    net = DetectionCRNN(n_classes, streams, mel=MelFrontEnd(8000, 256, 100, 16), **SMALL | options).eval()
    with torch.no_grad():
        for module in net.modules():  # statistics as after training, so that normalised silence is not 0
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.running_mean.normal_()
                module.bias.normal_()
    net.set_statistics(torch.linspace(-6, -2, 16), torch.linspace(1, 2, 16))
    return net


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def test_parameters_of_the_paper():
    assert count(DetectionCRNN(10)) == 1_038_314
    assert count(DetectionCRNN(10, BOTH)) == 1_072_126
    assert count(DetectionCRNN(10).convolutions) == 541_152
    assert count(DetectionCRNN(10).encoder) == 494_592


@pytest.mark.parametrize(
    ("audio", "video", "spectral", "width"),
    [
        (0, 0, True, 128),
        (0, 4, True, 132),
        (16, 0, True, 144),
        (16, 4, True, 148),
        (0, 16, False, 16),
        (64, 0, False, 64),
        (64, 16, False, 80),
    ],
)
def test_width_of_the_seven_rows(audio, video, spectral, width):
    streams = {name: (dim, out) for name, dim, out in (("audio", 128, audio), ("video", 4096, video)) if out}
    net = DetectionCRNN(10, streams, spectral)
    assert net.encoder.gru.input_size == width
    inputs = {name: torch.randn(2, 12, dim) for name, (dim, _) in streams.items()}
    out = net(torch.randn(2, 48, 128) if spectral else None, torch.tensor([48, 30]), inputs)
    assert out.frames.shape == (2, 12, 10)
    assert out.mask.sum(1).tolist() == [12, 7]


def test_ten_seconds_are_604_and_151_frames():
    net = DetectionCRNN(10).eval()
    with torch.no_grad():
        mel, valid = net.features(torch.zeros(1, 221_000))
        out = net(mel, valid)
    assert mel.shape == (1, 604, 128)
    assert out.frames.shape == (1, 151, 10) and out.clip.shape == (1, 10) and out.mask.all()
    assert net.n_frames(221_000) == 151
    assert net.frame_s == pytest.approx(0.0662443, abs=1e-6)
    times = net.frame_times(221_000)
    assert times.shape == (151,) and times[0] == pytest.approx(0.025, abs=2e-4) and times[-1] == pytest.approx(9.961, abs=1e-3)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 7, 8, 61, 605])
def test_any_length(frames):
    net = small()
    out = net(torch.randn(2, frames, 16))
    assert out.frames.shape == (2, max(1, frames // 4), 3)
    assert out.mask.all()
    assert net.n_frames((frames - 1) * 100) == max(1, frames // 4)


ENCODERS = {
    "gru": partial(BiGRU, hidden=8),
    "transformer": partial(Transformer, width=16, layers=2, heads=2, feed_forward=32),
    "conformer": partial(Conformer, width=16, layers=2, heads=2, feed_forward=32, kernel=3),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("activation", ["relu", "glu", "cg"])
def test_a_clip_depends_on_neither_padding_nor_neighbours(encoder, activation):
    net = small(streams={"e": (5, 4)}, encoder=ENCODERS[encoder], activation=activation, pooling="attention")
    lengths = [8000, 5150, 3333, 250, 1]
    audio = 0.3 * torch.randn(5, 8000) * torch.tensor([1.0, 0.5, 0.01, 1.0, 1.0])[:, None]
    embeddings = torch.randn(5, net.n_frames(8000), 5)
    with torch.no_grad():
        mel, valid = net.features(audio, torch.tensor(lengths))
        out = net(mel, valid, {"e": embeddings})
        for k, length in enumerate(lengths):
            n = net.n_frames(length)
            assert out.mask[k].tolist() == [True] * n + [False] * (net.n_frames(8000) - n)
            alone = net(*net.features(audio[k : k + 1, :length]), {"e": embeddings[k : k + 1, :n]})
            torch.testing.assert_close(out.frames[k, :n], alone.frames[0], rtol=0, atol=1e-6)
            torch.testing.assert_close(out.clip[k], alone.clip[0], rtol=0, atol=1e-6)


def test_streams_alone_are_masked_too():
    net = small(streams={"e": (5, 4)}, spectral=False)
    e = torch.randn(2, 9, 5)
    out = net(None, torch.tensor([36, 21]), {"e": e})
    torch.testing.assert_close(out.frames[1, :5], net(None, None, {"e": e[1:, :5]}).frames[0], rtol=0, atol=1e-6)
    assert net.features(torch.zeros(2, 3000), torch.tensor([3000, 100]))[1].tolist() == [31, 2]


class Plain(nn.Module):
    """The paper's network as a list of layers, for one clip at a time."""

    def __init__(self, classes=10):
        super().__init__()
        layers, before = [], 1
        for width, pool in zip((16, 32, 64, 128, 128, 128, 128), [(2, 2)] * 2 + [(1, 2)] * 5, strict=True):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width)]
            layers += [nn.ReLU(), nn.Dropout(0.33), nn.AvgPool2d(pool)]
            before = width
        self.cnn = nn.Sequential(*layers)
        self.gru = nn.GRU(128, 128, 2, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(256, classes)

    def forward(self, mel):
        x = self.cnn(mel[:, None])
        p = torch.sigmoid(self.dense(self.gru(x.squeeze(-1).permute(0, 2, 1))[0]))
        return p, (p * p).sum(1) / p.sum(1)


def test_equals_the_plain_restatement():
    torch.manual_seed(0)
    ours, plain = DetectionCRNN(10), Plain()
    mel = torch.randn(2, 40, 128)
    ours(mel)  # running statistics that are not the initial ones
    values = [value for name, value in ours.state_dict().items() if not name.startswith("mel.")]
    plain.load_state_dict(dict(zip(plain.state_dict(), values, strict=True)))
    ours.eval(), plain.eval()
    for a, b in zip(ours(mel)[:2], plain(mel), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_channels_last_is_the_same_network():
    mel = torch.randn(2, 40, 128)
    torch.manual_seed(0)
    first = DetectionCRNN(10)
    torch.manual_seed(0)
    second = DetectionCRNN(10, channels_last=False)
    second.load_state_dict(first.state_dict())
    assert first.convolutions.stacks[2].conv.weight.is_contiguous(memory_format=torch.channels_last)
    for net in (first, second):
        for module in net.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    for a, b in zip(first(mel)[:2], second(mel)[:2], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    for (name, ours), theirs in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


def test_padding_does_not_count_in_training_statistics():
    torch.manual_seed(0)
    x, inside = torch.randn(3, 4, 6, 5), Inside.from_lengths(torch.tensor([6, 2, 4]), 6, torch.device("cpu"))
    first, second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    out = normed(first, x, inside)
    frames = torch.cat([x[k, :, :n].transpose(0, 1) for k, n in enumerate((6, 2, 4))])[:, :, None]
    expected = second(frames)[:, :, 0]
    torch.testing.assert_close(torch.cat([out[k, :, :n].transpose(0, 1) for k, n in enumerate((6, 2, 4))]), expected)
    torch.testing.assert_close(first.running_var, second.running_var)
    assert not out.transpose(1, 2)[~inside.mask].any()
    net = Convolutions(16, (4, 8, 8), SMALL["pools"], dropout=0.0).train()
    a, b = torch.randn(2, 12, 16), torch.randn(2, 12, 16)
    a[1, 8:], b[1, 8:], b[:, :8], b[0] = 0, 100, a[:, :8], a[0]
    valid = torch.tensor([12, 8])
    assert torch.equal(net(a, valid)[1, :2], net(b, valid)[1, :2])


def test_dropout():
    torch.manual_seed(0)
    drop = Dropout(0.33)
    x = torch.ones(3, 5, 41, 67).contiguous(memory_format=torch.channels_last).requires_grad_()
    seen = torch.stack([drop(x).detach() for _ in range(60)])
    assert seen.unique().tolist() == pytest.approx([0.0, 1 / 0.67], rel=1e-4)
    assert float((seen == 0).float().mean()) == pytest.approx(0.33, abs=1e-3)
    assert float((seen == 0).float().mean(0).std()) == pytest.approx((0.33 * 0.67 / 60) ** 0.5, rel=0.05)  # cells are independent
    torch.manual_seed(1)
    out = drop(x)
    assert out.stride() == x.stride()
    out.sum().backward()
    assert torch.equal(x.grad, out)
    torch.manual_seed(1)
    assert torch.equal(drop(x), out)
    assert torch.equal(drop.eval()(x), x)
    assert Dropout(0.5)(torch.ones(2, 3)[:, ::2]).shape == (2, 2)
    assert torch.equal(Dropout(0.0)(x), x) and not Dropout(1.0)(x).any()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_bfloat16_decides_in_float32(encoder):
    net = small(encoder=ENCODERS[encoder])
    mel, valid = torch.randn(2, 40, 16), torch.tensor([40, 20])
    exact = net(mel, valid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(mel, valid)
        trained = net.train()(mel, valid)
    assert out.frames.dtype == out.clip.dtype == torch.float32
    torch.testing.assert_close(out.frames, exact.frames, rtol=0, atol=0.05)
    (trained.clip.sum() + trained.frames.sum()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters())


def test_every_parameter_is_trained():
    for encoder in ENCODERS.values():
        net = small(streams={"e": (5, 4)}, encoder=encoder, pooling=Attention, activation="glu").train()
        out = net(torch.randn(2, 24, 16), torch.tensor([24, 13]), {"e": torch.randn(2, 6, 5)})
        (out.clip.sum() + (out.frames * out.mask[..., None]).square().sum()).backward()
        assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("shift", [1, 7])
def test_conformer_is_equivariant_to_time(shift):
    torch.manual_seed(0)
    net = ENCODERS["conformer"](6).eval()
    x, inside = torch.randn(1, 30, 6), Inside.from_lengths(torch.tensor([20]), 30, torch.device("cpu"))
    first = net.encoded(x, inside)[:, :20]
    second = net.encoded(x.roll(shift, 1), Inside(inside.mask.roll(shift, 1), inside.rows + shift))[:, shift : shift + 20]
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def test_rotations_tell_frames_apart():
    torch.manual_seed(0)
    x = torch.randn(1, 12, 8)
    swapped = x[:, [0, 1, 2, 7, 4, 5, 6, 3, 8, 9, 10, 11]]
    for rotary in (True, False):
        net = RotarySelfAttention(8, 2, 0.0, rotary).eval()
        assert ((net(x, None)[:, 0] - net(swapped, None)[:, 0]).abs().max() > 1e-4) == rotary


def test_transformer_knows_the_order():
    torch.manual_seed(0)
    net = ENCODERS["transformer"](6).eval()
    x = torch.randn(1, 20, 6)
    assert (net(x.flip(1), None).flip(1) - net(x, None)).abs().max() > 1e-3


def test_embeddings_are_standardised_by_the_training_set():
    net = small(streams={"e": (5, 4)}, spectral=False)
    e = 3.0 + 100 * torch.randn(4, 50, 5)
    e[..., 2] = 7.0
    mean, std = e.mean((0, 1)), e.std((0, 1))
    plain = torch.where(torch.arange(5) == 2, 0.0, (e - mean) / std)
    expected = net(None, None, {"e": plain})
    net.set_embedding_statistics("e", mean, std)
    torch.testing.assert_close(net(None, None, {"e": e}).frames, expected.frames, rtol=0, atol=1e-5)
    again = small(streams={"e": (5, 4)}, spectral=False)
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(None, None, {"e": e}).frames, net(None, None, {"e": e}).frames)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"spectral": False}, "at least one stream"),
        ({"pooling": "median"}, "expected one of linear"),
        ({"pools": ((2, 2), (2, 2), (1, 2))}, "leave 2 of 16 bands"),
        ({"channels": (4, 8)}, "2 channels, 3 pools"),
        ({"activation": "tanh"}, "one of relu"),
        ({"encoder": partial(Conformer, kernel=4)}, "odd"),
        ({"encoder": partial(Transformer, width=18, heads=4)}, "multiple of twice the 4 heads"),
    ],
)
def test_options_must_fit(options, what):
    with pytest.raises(ValueError, match=what):
        small(**options)


def test_inputs_must_fit():
    net = small(streams={"e": (5, 4)})
    with pytest.raises(ValueError, match="missing embeddings `e`"):
        net(torch.randn(1, 8, 16))
    with pytest.raises(ValueError, match="2, 3 frames"):
        net(torch.randn(1, 8, 16), None, {"e": torch.randn(1, 3, 5)})
    with pytest.raises(ValueError, match="the log-mel is an input"):
        net(None, None, {"e": torch.randn(1, 3, 5)})
