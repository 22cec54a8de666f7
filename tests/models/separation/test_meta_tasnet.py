"""Meta-TasNet: its size, the weights that it generates, its stages and rates, its loss."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from losses.meta_tasnet import MetaTasNetLoss, si_snr
from models.separation.meta_tasnet import GeneratedConv, GeneratedMasks, GeneratedNorm, MetaTasNet, gains
from tests.helpers.separators import build, noise


def test_meta_tasnet_has_as_many_numbers_as_the_authors_count():
    """They keep the windows of the transform and the statistics of its bins as parameters that are not trained."""
    with torch.device("meta"):
        net = MetaTasNet(4)
    constant = [stage.mel.mean.numel() + stage.mel.deviation.numel() + stage.mel.stft.n_fft for stage in net.stages]
    assert sum(p.numel() for p in net.parameters()) + sum(constant) == 45_545_602
    assert [stage.mel.stft.n_fft for stage in net.stages] == [1024, 2048, 4096]
    assert [down.new_freq for down in net.down] == [8_000, 16_000, 32_000]
    assert [len(stage.masks.layers) for stage in net.stages] == [18, 18, 18]


@torch.no_grad()
def test_each_source_is_convolved_and_normed_by_what_its_own_embedding_makes():
    torch.manual_seed(0)
    embedding, x = torch.randn(3, 4), torch.randn(2, 3, 8, 11)
    conv, norm = GeneratedConv(4, 2, 8, 8, kernel=3, dilation=2, groups=8), GeneratedNorm(4, 2, 8, groups=2)
    convolved = conv(x.flatten(1, 2), embedding).unflatten(1, (3, 8))
    normed = norm(x.flatten(1, 2), embedding).unflatten(1, (3, 8))
    for source in range(3):
        filters = conv.filters(conv.bottleneck(embedding[source])).reshape(8, 1, 3)
        alone = F.conv1d(x[:, source], filters, padding=2, dilation=2, groups=8)
        torch.testing.assert_close(convolved[:, source], alone)
        gain, bias = norm.affine(norm.bottleneck(embedding[source])).split(8)
        halves = torch.where(x[:, source] > 0, x[:, source], 0.25 * x[:, source]).reshape(2, 2, -1)
        halves = (halves - halves.mean(-1, keepdim=True)) / halves.std(-1, unbiased=False, keepdim=True)
        torch.testing.assert_close(normed[:, source], halves.reshape(2, 8, 11) * gain[:, None] + bias[:, None])


def restated_scores(masks: GeneratedMasks, latents: Tensor, source: int, dilations: list[int]) -> Tensor:
    """What one source's path (batch, inputs, frames) -> (batch, latents, frames) gives before sources are compared."""
    code = masks.embedding.weight[source]

    def norm(part: GeneratedNorm, x: Tensor) -> Tensor:
        gain, bias = part.affine(part.bottleneck(code)).chunk(2)
        return F.group_norm(torch.where(x > 0, x, 0.25 * x), 8, gain, bias, 1e-8)

    def dense(part: GeneratedConv, x: Tensor) -> Tensor:
        return part.filters(part.bottleneck(code)).reshape(-1, x.shape[1]) @ x

    x, skips = norm(masks.norm_narrow, dense(masks.narrow, norm(masks.norm_in, latents))), 0
    for layer, dilation in zip(masks.layers, dilations, strict=True):
        inside = norm(layer.norm, dense(layer.widen, x))
        taps = layer.dilated.filters(layer.dilated.bottleneck(code)).reshape(-1, 3, 1)
        padded, frames = F.pad(inside, (dilation, dilation)), x.shape[-1]
        inside = sum(taps[:, tap] * padded[..., tap * dilation : tap * dilation + frames] for tap in range(3))
        inside = norm(layer.norm_2, inside)
        x, skips = x + dense(layer.residual, inside), skips + dense(layer.skip, inside)
    return norm(masks.norm_out, dense(masks.out, norm(masks.norm_skips, skips)))


@torch.no_grad()
def test_masks_are_what_their_definition_says():
    torch.manual_seed(0)
    masks = GeneratedMasks(3, 24, 16, sizes=(4, 2), width=8, hidden=16, layers=3, stacks=2)
    latents = torch.randn(2, 3, 24, 30)
    scores = [restated_scores(masks, latents[:, source], source, [1, 2, 4, 1, 2, 4]) for source in range(3)]
    torch.testing.assert_close(masks(latents), torch.stack(scores, 1).softmax(1), atol=1e-5, rtol=1e-4)


def test_meta_tasnets_masks_share_out_the_mixture_and_each_stage_hears_the_one_before():
    net = build("MetaTasNet").eval()
    audio = net.at_rates(noise(5000).flatten(0, 1))
    assert len({each.shape[-1] / factor for each, factor in zip(audio, (1, 2, 4), strict=True)}) == 1
    assert audio[0].shape[-1] % 20 == 0
    separated, mixed = net.stages[0](audio[0], None)
    torch.testing.assert_close(separated.sum(1), mixed)
    other = net.stages[1](audio[1], separated.roll(1, 1))[0]
    assert (net.stages[1](audio[1], separated)[0] - other).abs().max() > 1e-3
    separated.sum().backward()
    assert net.stages[0].masks.embedding.weight.grad.abs().sum() > 0


def test_meta_tasnets_channels_do_not_mix_and_its_sources_are_as_loud_as_the_mixture_asks():
    net, mixture = build("MetaTasNet").eval(), noise(6000)
    with torch.no_grad():
        stems = net(mixture)
        torch.testing.assert_close(net(mixture.flip(1)), stems.flip(2), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(net(3 * mixture), 3 * stems, atol=1e-4, rtol=1e-3)
    rest = mixture - stems.sum(1)
    across = (stems * rest[:, None]).sum(-1).abs() / (stems.norm(dim=-1) * mixture.norm(dim=-1)[:, None])
    assert across.max() < 1e-4  # nothing is left that more or less of any source would explain
    truth = torch.randn(2, 3, 500)
    torch.testing.assert_close(
        gains(truth, (truth * torch.tensor([2.0, -0.5, 1.0])[:, None]).sum(1))[1, :2].tolist(), [2.0, -0.5]
    )
    assert gains(torch.zeros(1, 2, 50), torch.randn(1, 50)).abs().max() == 0


def test_meta_tasnets_rates_keep_their_grid_when_chunks_start_at_a_multiple_of_align():
    net, audio = MetaTasNet(4, latents=8, bands=4, layers=1, stacks=1), noise(9000)[0]
    assert net.align == 7056
    late = net.at_rates(F.pad(audio, (net.align, 0)))
    for stage, (one, other) in enumerate(zip(net.at_rates(audio), late, strict=True)):
        shift = 1280 * 2**stage
        torch.testing.assert_close(other[:, shift : shift + 1200], one[:, :1200])
        assert shift % (net.hop * 2**stage) == 0 and shift % net.stages[stage].mel.stft.hop == 0


def test_meta_tasnet_measures_its_spectra_in_the_first_batch_of_training_alone():
    net = build("MetaTasNet")
    mel = net.stages[1].mel
    net.eval()(noise(5000))
    assert not mel.measured
    net.train()(noise(5000))
    mean = mel.mean.clone()
    assert mel.measured and mean.abs().max() > 0.1
    net(5 * noise(4000))
    assert torch.equal(mel.mean, mean)
    fresh = build("MetaTasNet")
    fresh.load_state_dict(net.state_dict())
    assert fresh.stages[1].mel.measured


def test_meta_tasnets_loss_is_what_its_parts_say():
    net = build("MetaTasNet", 3)
    stems = torch.stack([noise(5000 + j)[..., :5000] for j in range(3)], 1)
    stems[0, 2] = 0
    interleaved = stems.transpose(2, 3).contiguous().transpose(2, 3)
    outputs = net.training_outputs(interleaved.sum(1), interleaved)
    torch.testing.assert_close(outputs.waveforms, net(stems.sum(1)))
    expected = torch.zeros(())
    for stage in outputs.stages:
        rows = [[float(one.abs().sum() > 0) for one in row] for row in stage.target]
        for j in range(3):
            heard = [si_snr(stage.estimate[r, j], stage.target[r, j]) for r in range(4) if rows[r][j]]
            expected = expected - sum(heard) / len(heard)
        whole = [si_snr(*pair) for pair in zip(stage.reconstruction, stage.mixture, strict=True)]
        expected = expected - 0.05 * sum(whole) / 4
        unlike, alike = [], []
        for r in range(4):
            one, before = stage.latents[r], stage.latents[(r - 2) % 4]  # the same channel of the example before
            for j in range(3):
                both = [(one[j].abs(), one[k].abs()) for k in range(j + 1, 3) if rows[r][j] * rows[r][k]]
                unlike += [F.cosine_similarity(*pair, dim=0).mean() for pair in both]
                if rows[r][j] * rows[(r - 2) % 4][j]:
                    alike.append(F.cosine_similarity(one[j], before[j], dim=0).mean())
        expected = expected + 3.0 * sum(unlike) / len(unlike) - 2.0 * sum(alike) / len(alike)
    loss = MetaTasNetLoss()
    torch.testing.assert_close(loss(outputs, None, stems.sum(1)), expected)
    tone, other = torch.sin(torch.arange(1000) * 0.1), torch.cos(torch.arange(1000) * 0.1)
    assert si_snr(0.3 * (tone + 0.1 * other), tone).item() == pytest.approx(20, abs=0.2)
    with pytest.raises(ValueError, match=r"models\.separation\.MetaTasNet"):
        loss(torch.zeros(1), None, stems.sum(1))
    with pytest.raises(ValueError, match="one_optimizer"):
        loss.per_source(outputs, None, stems.sum(1))


def test_meta_tasnet_learns_under_its_own_loss():
    torch.manual_seed(0)
    net, loss = build("MetaTasNet", 2, 1), MetaTasNetLoss()
    time = torch.arange(6000) / 44_100
    stems = torch.stack([torch.sin(6.283 * 200 * time), 0.5 * torch.sin(6.283 * 3000 * time)])[None, :, None].repeat(2, 1, 1, 1)
    optimizer, values = torch.optim.Adam(net.parameters(), lr=5e-3), []
    for _ in range(12):
        value = loss(net.training_outputs(stems.sum(1), stems), None, stems.sum(1))
        optimizer.zero_grad()
        value.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] - 10
    silence = torch.zeros_like(stems)
    loss(net.training_outputs(silence.sum(1), silence), None, silence.sum(1)).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


def test_sizes_are_multiples_of_eight():
    with pytest.raises(ValueError, match="must be multiples of 8, got 440, 12, 160"):
        MetaTasNet(4, width=12)
