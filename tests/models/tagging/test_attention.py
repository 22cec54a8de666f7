"""Attention back end: shortcuts vs. full computation, heat maps and contribution maps."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from benchmarks.naive_tagging import NaiveSpecAtt, explicit_attention
from models.tagging import Att, FrontBack, Spec
from models.tagging.back_ends import SelfAttention, TransformerLayer
from tests.models.tagging.test_models import SMALL, noise, small


def pair(dtype: torch.dtype, layers: int = 2, **options) -> tuple[FrontBack, NaiveSpecAtt]:
    """Our network and its step-by-step restatement with the same weights, without dropout."""
    parts = SMALL["spec_att"][0], partial(Att, layers=layers, heads=3, attention_dropout=0.0, hidden_dropout=0.0, **options)
    torch.manual_seed(0)
    ours, naive = FrontBack(5, *parts, dropout=0.0), NaiveSpecAtt(5, *parts, dropout=0.0)
    with torch.no_grad():
        ours.front_end.gain.fill_(1.3)
        ours.front_end.offset.fill_(-0.6)
    naive.load_state_dict(ours.state_dict())
    return ours.to(dtype), naive.to(dtype)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_cls_only_last_layer_equals_full_form(dtype, tolerance, layers, training):
    """Logits, running statistics and the gradient of every parameter."""
    ours, naive = (net.train(training) for net in pair(dtype, layers))
    audio, weights = noise(3, ours.samples), torch.linspace(-1, 1, 15, dtype=dtype).view(3, 5)
    logits, expected = ours(audio), naive(audio)
    torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)
    for out in (logits, expected):
        (out * weights).sum().backward()
    scale = max(p.grad.abs().max().item() for p in naive.parameters())
    for (name, mine), full in zip(ours.named_parameters(), naive.parameters(), strict=True):
        assert mine.grad is not None, name
        torch.testing.assert_close(mine.grad, full.grad, rtol=0, atol=5 * tolerance * max(1.0, scale), msg=name)
    for (name, mine), full in zip(ours.named_buffers(), naive.buffers(), strict=True):
        torch.testing.assert_close(mine, full, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("options", [{"positions": "learned", "cls": "learned"}, {"head_dim": 7}])
def test_variants_equal_full_form(options):
    ours, naive = (net.eval() for net in pair(torch.float64, **options))
    audio = noise(2, ours.samples)
    torch.testing.assert_close(ours(audio), naive(audio), rtol=1e-12, atol=1e-12)


def test_last_layer_computes_one_query():
    ours, _ = pair(torch.float32)
    rows = {}
    for index, layer in enumerate(ours.back_end.layers):
        layer.feed_forward.register_forward_hook(lambda _, __, out, index=index: rows.update({index: out.shape[1]}))
    for training in (True, False):
        ours.train(training)(noise(2, ours.samples))
        assert rows == {0: 33, 1: 1}


def test_fused_attention_equals_explicit():
    torch.manual_seed(0)
    attention = SelfAttention(20, heads=3, head_dim=6, dropout=0.0)
    tokens = torch.randn(4, 50, 20)
    fused = attention(tokens, tokens)
    torch.testing.assert_close(fused, explicit_attention(attention, tokens), rtol=1e-5, atol=1e-6)
    values = attention.value(tokens).view(4, 50, 3, 6).transpose(1, 2)
    from_weights = (attention.weights(tokens, tokens) @ values).transpose(1, 2).reshape(4, 50, 18)
    torch.testing.assert_close(fused, from_weights, rtol=1e-5, atol=1e-6)


def test_layer_equals_torchs_post_norm_encoder():
    torch.manual_seed(0)
    ours = TransformerLayer(20, heads=4, head_dim=5, feed_forward=30, attention_dropout=0.0, hidden_dropout=0.0)
    theirs = nn.TransformerEncoderLayer(20, 4, 30, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True)
    projections = [ours.attention.query, ours.attention.key, ours.attention.value]
    nn.init.normal_(ours.norm.weight)
    nn.init.normal_(ours.attention_norm.bias)
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in projections]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in projections]))
        for mine, other in (
            (ours.attention.out, theirs.self_attn.out_proj),
            (ours.feed_forward[0], theirs.linear1),
            (ours.feed_forward[2], theirs.linear2),
            (ours.attention_norm, theirs.norm1),
            (ours.norm, theirs.norm2),
        ):
            other.load_state_dict(mine.state_dict())
    tokens = torch.randn(3, 11, 20)
    torch.testing.assert_close(ours(tokens), theirs(tokens), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours(tokens, tokens[:, :1]), theirs(tokens)[:, :1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("which", ["attention_dropout", "hidden_dropout"])
def test_dropout_acts_in_training_only(which):
    rates = {"attention_dropout": 0.0, "hidden_dropout": 0.0, which: 0.4}
    att, maps = Att(16, heads=2, **rates), torch.randn(2, 16, 30)
    assert not torch.equal(att(maps), att(maps))
    assert torch.equal(att.eval()(maps), att(maps))
    defaults = Att(16, heads=2)
    assert defaults.layers[0].attention.dropout == defaults.layers[0].dropout.p == 0.4


@pytest.mark.parametrize("name", ["spec_att", "raw_att"])
def test_explanation(name):
    net = small(name)
    audio = noise(3, net.samples)
    with torch.no_grad():
        shown = net.explain(audio)
    frames = net.front_end(audio).shape[2]
    assert shown.attention.shape == (3, 2, 1 + frames)
    assert shown.contribution.shape == (3, frames, 5)
    torch.testing.assert_close(shown.attention.sum((1, 2)), torch.full((3,), 2.0))
    assert shown.seconds.shape == (frames,)
    assert shown.contribution.min() >= 0
    assert shown.contribution.max() <= 1
    if name == "spec_att":
        assert torch.equal(shown.spectrogram, net.front_end.mel(audio))
        torch.testing.assert_close(shown.seconds[:3], torch.tensor([0.0, 0.016, 0.032]))
    else:
        assert shown.spectrogram is None


def test_attention_map_is_the_cls_row_of_the_last_layer_and_the_mean_row_of_earlier_ones():
    ours, naive = (net.eval() for net in pair(torch.float64, layers=3))
    audio = noise(2, ours.samples)
    with torch.no_grad():
        maps = naive.maps(audio)
        sequence = naive.back_end.positions(torch.cat([naive.back_end.cls.expand(2, 1, -1), maps.transpose(1, 2)], 1))
        for index, layer in enumerate(naive.back_end.layers):
            attention = layer.attention
            heads = zip(attention.query(sequence).chunk(3, -1), attention.key(sequence).chunk(3, -1), strict=True)
            full = torch.stack([torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) for q, k in heads], 1)
            expected = full[:, :, 0] if index == 2 else full.mean(2)
            torch.testing.assert_close(ours.explain(audio, layer=index).attention, expected)
            torch.testing.assert_close(ours.explain(audio, layer=index - 3).attention, expected)
            sequence = layer(sequence)


def test_contribution_map_equals_one_pass_per_token():
    ours, naive = (net.eval() for net in pair(torch.float32))
    audio = noise(2, ours.samples)
    with torch.no_grad():
        brute_force = naive.contributions(audio)
        contribution = ours.explain(audio).contribution
    assert brute_force.shape == (2, 33, 5)
    assert brute_force.std(1).min() > 1e-4
    torch.testing.assert_close(contribution, brute_force[:, 1:], rtol=0, atol=1e-5)


def test_contribution_map_of_the_papers_size():
    torch.manual_seed(0)
    ours = FrontBack(50, Spec, Att).eval()
    naive = NaiveSpecAtt(50, Spec, Att).eval()
    naive.load_state_dict(ours.state_dict())
    audio, tokens = noise(1, ours.samples), [1, 2, 100, 256]
    with torch.no_grad():
        brute_force = naive.contributions(audio, tokens=tokens)
        shown = ours.explain(audio)
        torch.testing.assert_close(ours(audio), naive(audio), rtol=1e-5, atol=1e-5)
    assert shown.contribution.shape == (1, 256, 50)
    assert shown.attention.shape == (1, 8, 257)
    torch.testing.assert_close(shown.contribution[:, [t - 1 for t in tokens]], brute_force, rtol=0, atol=1e-5)


def test_two_recordings_joined_at_the_spectrogram():
    net = small("spec_att")
    first, second = noise(1, net.samples), 0.01 * noise(1, net.samples, seed=1)
    with torch.no_grad():
        one, other = net.front_end.inputs(first), net.front_end.inputs(second)
        joined = net.explain_inputs(torch.cat([one[..., :16], other[..., :16]], 2))
        torch.testing.assert_close(net.explain_inputs(one).contribution, net.explain(first).contribution)
    assert joined.contribution.shape == (1, 32, 5)
    assert torch.equal(joined.spectrogram[..., 16:], other[..., :16])


def test_long_chunks_explain_themselves():
    net = small("spec_att")
    shown = net.explain(noise(1, net.front_end.mel.samples(1024)))
    assert shown.contribution.shape == (1, 1024, 5)
    assert shown.attention.shape == (1, 2, 1025)


def test_only_attention_explains():
    net = small("spec_cnn_p")
    assert not net.explains
    assert small("raw_att").explains
    with pytest.raises(ValueError, match="no attention to explain"):
        net.explain(noise(1, net.samples))


def test_layers_that_embeddings_are_read_from():
    net = small("spec_att")
    shapes = {}
    for name in ("front_end", "back_end", "back_end.layers.0", "back_end.pooler"):
        net.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: shapes.update({name: out.shape}))
    net(noise(2, net.samples))
    assert shapes == {
        "front_end": (2, 16, 32),
        "back_end": (2, 16),
        "back_end.layers.0": (2, 33, 16),
        "back_end.pooler": (2, 16),
    }


def test_yaml_builds_the_network():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_argument("--net", type=Callable[[int], nn.Module])
    given = {
        "class_path": "models.tagging.FrontBack",
        "init_args": {
            "front_end": {"class_path": "models.tagging.Spec", "init_args": {"channels": 4, "width": 32}},
            "back_end": {"class_path": "models.tagging.Att", "init_args": {"layers": 1, "heads": 3}},
        },
    }
    build = parser.instantiate_classes(parser.parse_object({"net": given})).net
    net, again = build(7), build(7)
    assert net.head.out_features == 7
    assert net.describe()["heads"] == "3 x 10 (32 -> 30)"
    assert net.front_end is not again.front_end


@pytest.mark.parametrize("name", ["spec_att", "raw_att"])
def test_export_with_the_front_end_inside(name):
    net, batch = small(name), torch.export.Dim("batch", min=1, max=64)
    audio = noise(3, net.samples)
    level = net.clip_level(audio)
    shapes = ({0: batch}, None if level is None else {0: batch})
    program = torch.export.export(net, (audio, level), dynamic_shapes=shapes)
    other = noise(5, net.samples, seed=1)
    level = net.clip_level(other)
    torch.testing.assert_close(program.module()(other, level), net(other, level), rtol=1e-5, atol=1e-6)
    assert not any("autocast" in str(node.target).lower() for node in program.graph.nodes)
