"""Musicnn, FCN and CRNN: sizes, contract, and logits equal to those of the published implementations."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.blocks.features import LogMel
from models.tagging.mel_nets import FCN, TaggingCRNN
from models.tagging.musicnn import Musicnn

SMALL = {
    "musicnn": lambda n=3: Musicnn(n, seconds=0.2),
    "musicnn won2020": lambda n=3: Musicnn(n, "won2020", seconds=0.2),
    "fcn": lambda n=3: FCN(n, seconds=0.6, time_pooling=(2, 2, 2, 2, 2)),
    "crnn": lambda n=3: TaggingCRNN(n, seconds=3.2),
}
small = pytest.mark.parametrize("build", SMALL.values(), ids=SMALL)


def noise(net, batch: int = 2) -> torch.Tensor:
    return 0.1 * torch.randn(batch, net.samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("net", "trainable", "statistics"),
    [
        (lambda: Musicnn(50), 787_159, 4_920),
        (lambda: Musicnn(50, "won2020"), 784_300, None),
        (lambda: Musicnn(50, "won2020", width=512, dense=500), 7_972_000, None),
        (lambda: FCN(50), 447_732, None),
        (lambda: TaggingCRNN(50), 394_100, None),
    ],
)
def test_parameter_counts_are_the_published_ones(net, trainable, statistics):
    with torch.device("meta"):
        net = net()
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == trainable
    if statistics:
        assert sum(b.numel() for name, b in net.named_buffers() if "running" in name) == statistics


@pytest.mark.parametrize(
    ("net", "samples", "hop", "lead"),
    [
        (Musicnn(50), 186 * 256 + 512, 256, 256),  # 187 frames, as the package cuts
        (Musicnn(50, "won2020"), 48_000, 1, 0),
        (FCN(50), 464_000, 1, 0),
        (TaggingCRNN(50), 464_000, 1, 0),
    ],
)
def test_chunks_are_as_long_as_published(net, samples, hop, lead):
    assert (net.sample_rate, net.samples, net.hop, net.lead) == (16_000, samples, hop, lead)
    assert net.clip_level(torch.zeros(1, 16_000)) is None


@small
def test_logits_per_tag_from_floats_and_from_int16(build):
    net = build(7).eval()
    audio = (noise(net) * 32768).round().clamp(-32768, 32767) / 32768
    with torch.no_grad():
        logits = net(audio, None)
        assert logits.shape == (2, 7)
        assert logits.std() > 0
        torch.testing.assert_close(net((audio * 32768).to(torch.int16)), logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(net(audio[1:]), logits[1:], rtol=1e-4, atol=1e-5)


@small
def test_longer_chunks_than_nominal_are_accepted(build):
    net = build().eval()
    with torch.no_grad():
        assert net(torch.cat([noise(net)] * 3, 1)).shape == (2, 3)


def test_fcn_keeps_the_best_of_what_pooling_leaves():
    net = SMALL["fcn"]().eval()
    audio = torch.cat([noise(net)] * 2, 1)
    with torch.no_grad():
        maps = net.blocks(net.image(audio, None))
        assert maps.shape[2:] == (1, 2)
        expected = net.head(torch.maximum(maps[:, :, 0, 0], maps[:, :, 0, 1]))
        torch.testing.assert_close(net(audio), expected)


@small
def test_every_parameter_learns(build):
    torch.manual_seed(0)
    net = build()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    audio, labels = noise(net, 4), torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(5):
        loss = F.binary_cross_entropy_with_logits(net(audio), labels)
        optimizer.zero_grad()
        loss.backward()
        still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert not still
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


@small
def test_trained_statistics_travel_in_the_state_dict_and_the_mel_does_not(build):
    net = build()
    net(noise(net))
    state = net.state_dict()
    assert not [name for name in state if name.startswith("mel")]
    again = build()
    again.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(noise(net)), net.eval()(noise(net)), rtol=0, atol=0)


@pytest.mark.parametrize(("form", "weight"), [("original", 0.01), ("won2020", 0.1)])
def test_running_statistics_follow_as_fast_as_published(form, weight):
    net = Musicnn(3, form, seconds=0.2)
    audio = noise(net)
    net(audio)
    mean = weight * net.spectrogram(audio).mean()
    torch.testing.assert_close(net.norm.running_mean, mean[None], rtol=1e-4, atol=1e-4)
    assert {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)} == {weight}


def test_chunk_of_the_original_form_sees_frames_of_the_whole_clip():
    net = Musicnn(3)
    clip = torch.randn(1, 80_000, generator=torch.Generator().manual_seed(2))
    whole = LogMel(db="compressed", top_db=None, center=True)(clip)
    frame = 70
    start = frame * net.hop - net.lead
    torch.testing.assert_close(net.spectrogram(clip[:, start : start + net.samples]), whole[:, :, frame : frame + 187])


def test_mel_of_the_original_form_keeps_loud_bands_apart_where_float16_is_infinite():
    seconds = torch.arange(16_000) / 16_000
    loud = torch.sin(2 * math.pi * 440 * seconds)[None]
    quieter, full = (Musicnn(1).spectrogram(gain * loud)[:, :, 5:-5].amax() for gain in (0.5, 1.0))
    assert math.log10(65504) < full < math.inf
    assert full - quieter == pytest.approx(math.log10(4), abs=1e-3)


def fill(net):
    """Every parameter and statistic from a formula, so that another implementation can be filled alike."""
    with torch.no_grad():
        for i, (name, value) in enumerate(sorted(net.state_dict().items())):
            if not value.is_floating_point():
                continue
            wave = torch.cos(torch.arange(value.numel(), dtype=torch.float64) * 0.7 + i).reshape(value.shape)
            if name.endswith("running_var"):
                value.copy_(1 + 0.5 * wave)
            elif value.ndim > 1:
                value.copy_(wave * value[0].numel() ** -0.5)
            else:
                value.copy_(1 + 0.3 * wave if name.endswith("weight") else 0.1 * wave)
        net.norm.running_mean.fill_(-30.0)
        net.norm.running_var.fill_(400.0)
    return net.eval()


def chirp(samples: int) -> torch.Tensor:
    t = torch.arange(samples, dtype=torch.float64) / 16_000
    rising = 0.3 * torch.sin(2 * math.pi * (200 * t + 900 * t * t / t[-1])) * (1 + torch.sin(2 * math.pi * 3 * t)) / 2
    return (rising + 0.05 * torch.sin(2 * math.pi * 3000 * t)).float()[None]


@pytest.mark.parametrize(
    ("net", "logits"),
    [
        (lambda: Musicnn(50, "won2020"), [1.76334, -0.25502, -1.60767, 1.05186]),
        (lambda: FCN(50), [406.64664, -194.78351, -673.07776, -725.84656]),
        (lambda: TaggingCRNN(50), [0.16744, -0.15821, 0.30495, -0.07988]),
    ],
)
def test_logits_equal_those_of_the_published_implementation(net, logits):
    """Expected: a restatement of the public code of Won et al. 2020 on torchaudio's own transforms, filled alike."""
    net = fill(net())
    with torch.no_grad():
        found = net(chirp(net.samples))[0, :4]
    torch.testing.assert_close(found, torch.tensor(logits), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: FCN(50, seconds=10.0), r"10 s give 626 frames, but pooling by 4 x 4 x 4 x 5 x 4 needs 1280"),
        (lambda: FCN(50, time_pooling=(4, 4)), "2 factors, expected 5"),
        (lambda: FCN(50, mel=LogMel(n_mels=48)), "48 mel bands, but its pooling needs at least 96"),
        (lambda: TaggingCRNN(50, seconds=1.0), "needs 96"),
        (lambda: Musicnn(50, form="sota"), "form is 'sota', expected one of original, won2020"),
        (lambda: Musicnn(50, seconds=0.01), r"seconds is 0.01"),
    ],
)
def test_impossible_settings_are_refused_when_built(build, says):
    with pytest.raises(ValueError, match=says):
        build()
