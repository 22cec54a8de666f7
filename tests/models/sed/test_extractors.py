"""Extractors: framing, front ends, published names of weights, errors."""

import numpy as np
import pytest
import torch

from models.extractors import VGG16, EfficientNetLite0, Extractor, ONNXAudio, ONNXImages, VGGish, YAMNet
from models.extractors.inputs import PatchExtractor, mel_triangles
from models.extractors.mobile_nets import SameConv2d, installed
from tests.helpers.yamnet_weights import keras_arrays

RATE = 16_000


class Patches(PatchExtractor):
    """The patches themselves as embeddings."""

    dim = 96 * 64

    def embed(self, piece):
        return piece.flatten(1)


def noise(seconds, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def plain_patches(audio, step, offset):
    """VGGish's published features, loop by loop."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = [audio[s : s + 400] * window for s in range(0, len(audio) - 399, 160)]
    spectrum = np.abs(np.fft.rfft(np.array(frames), 512))
    hertz, edges = np.linspace(0, 8000, 257), np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    bank = np.zeros((257, 64))
    for k, f in enumerate(hertz[1:], 1):
        mel = 1127 * np.log(1 + f / 700)
        for b in range(64):
            low, middle, high = edges[b : b + 3]
            bank[k, b] = max(0, min((mel - low) / (middle - low), (high - mel) / (high - middle)))
    log_mel = np.log(spectrum @ bank + offset)
    return np.array([log_mel[s : s + 96] for s in range(0, len(log_mel) - 95, step)])


@pytest.mark.parametrize("batch", [64, 5])
def test_patches_equal_the_published_features(batch):
    audio = noise(2.3)
    net = Patches(0.01, 0.06, False, batch)
    found, times = net.extract(audio)
    expected = plain_patches(audio, 6, 0.01)
    assert found.dtype == np.float32 and times.dtype == np.float64
    np.testing.assert_allclose(found.reshape(-1, 96, 64), expected, atol=1e-4)
    np.testing.assert_allclose(times, 0.48 + 0.06 * np.arange(len(expected)))


def test_ten_seconds_are_151_patches():
    net = Patches(0.01, 0.06, False, 64)
    assert net.n_patches(160_000) == 151
    assert Patches(0.01, 0.48, False, 64).n_patches(160_000) == 19
    centred = Patches(0.01, 0.06, True, 64)
    assert centred.n_patches(160_000) == 167
    assert centred.times(167)[[0, -1]].tolist() == pytest.approx([0, 9.96])


def test_centred_patches_are_where_they_say():
    """A click is in the middle of the patch whose time is the click's."""
    audio = np.zeros(48_000, np.float32)
    audio[round(1.2 * RATE)] = 0.9
    found, times = Patches(0.01, 0.06, True, 16).extract(audio)
    k = int(np.argmin(np.abs(times - 1.2)))
    assert times[k] == pytest.approx(1.2)
    loud = found[k].reshape(96, 64).sum(1)
    assert abs(np.flatnonzero(loud > loud.min() + 1).mean() - 47.5) <= 2
    uncentred, moments = Patches(0.01, 0.06, False, 16).extract(audio)
    j = int(np.argmin(np.abs(moments - 1.2)))
    np.testing.assert_allclose(moments[j], 1.2)
    np.testing.assert_allclose(uncentred[j], found[k], atol=1e-5)


@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.01, 0.3, 0.975, 0.99])
@pytest.mark.parametrize("centred", [False, True])
def test_short_clips_have_a_patch(seconds, centred):
    net = Patches(0.01, 0.06, centred, 64)
    found, times = net.extract(noise(seconds))
    assert len(found) == len(times) == net.n_patches(round(seconds * RATE)) >= 1
    assert np.isfinite(found).all()


def test_triangles_have_no_gap():
    bank = mel_triangles()
    assert bank.shape == (64, 257) and (bank.sum(1) > 0).all() and not bank[:, 0].any()


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(0)
    return {net.__name__: net(random_init=True) for net in (VGGish, VGG16, YAMNet, EfficientNetLite0)}


def test_sizes(nets):
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    assert counts["VGGish"] == 72_141_184
    assert counts["VGG16"] + 4096 * 1000 + 1000 == 138_357_544
    assert counts["EfficientNetLite0"] == 4_652_008
    assert sum(value.numel() for value in nets["YAMNet"].state_dict().values()) == 3_751_369


def test_names_of_published_weights(nets):
    names = set(nets["VGGish"].state_dict())
    convolutions = {f"features.{k}.{p}" for k in (0, 3, 6, 8, 11, 13) for p in ("weight", "bias")}
    assert names == convolutions | {f"embeddings.{k}.{p}" for k in (0, 2, 4) for p in ("weight", "bias")}
    names = set(nets["VGG16"].state_dict())
    convolutions = {f"features.{k}.{p}" for k in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28) for p in ("weight", "bias")}
    assert names == convolutions | {f"classifier.{k}.{p}" for k in (0, 3) for p in ("weight", "bias")}


@pytest.mark.parametrize(("name", "dim"), [("VGGish", 128), ("YAMNet", 1024)])
def test_audio_extractors(name, dim, nets):
    net = nets[name]
    found, times = net.extract(noise(1.2))
    assert (net.dim, net.kind, net.sample_rate) == (dim, "audio", RATE)
    assert found.shape == (net.n_patches(19_200), dim) and len(times) == len(found)
    assert found.dtype == np.float32 and np.isfinite(found).all()
    np.testing.assert_allclose(net.extract(noise(1.2))[0], found)
    with pytest.raises(ValueError, match="shape"):
        net.extract(np.zeros((2, 100), np.float32))


def test_final_relu(nets, monkeypatch):
    raw = nets["VGGish"].extract(noise(1))[0]
    assert (raw < 0).any()
    monkeypatch.setattr(nets["VGGish"], "final_relu", True)
    np.testing.assert_allclose(np.maximum(raw, 0), nets["VGGish"].extract(noise(1))[0])


@pytest.mark.parametrize(("name", "dim"), [("VGG16", 4096), ("EfficientNetLite0", 1280)])
def test_image_extractors(name, dim, nets):
    net = nets[name]
    images = np.random.default_rng(0).integers(0, 255, (3, 60, 100, 3), dtype=np.uint8)
    found, times = net.extract(images)
    assert (net.dim, net.kind, net.fps) == (dim, "video", 15.0)
    assert found.shape == (3, dim) and times.tolist() == pytest.approx([0, 1 / 15, 2 / 15])
    np.testing.assert_allclose(net.extract(images[1:2])[0][0], found[1], rtol=1e-4, atol=1e-5)
    assert net.extract(images[:0])[0].shape == (0, dim)
    with pytest.raises(ValueError, match="shape"):
        net.extract(images[0])


def test_images_are_standardised(nets):
    grey = np.full((1, 224, 224, 3), 255, np.uint8)
    (piece,) = nets["VGG16"].pieces(grey)
    torch.testing.assert_close(piece[0, :, 0, 0], (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225]))
    (piece,) = nets["EfficientNetLite0"].pieces(grey)
    torch.testing.assert_close(piece, torch.ones(1, 3, 224, 224))


def test_same_padding_is_at_the_end_where_it_is_odd():
    net = SameConv2d(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(net.weight)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert net(x)[0, 0].tolist() == [[45.0, 39.0], [66.0, 50.0]]
    assert SameConv2d(1, 1, 3)(x).shape == x.shape
    assert SameConv2d(1, 1, 5, 2)(torch.zeros(1, 1, 7, 8)).shape[2:] == (4, 4)


def test_weights_round_trip(tmp_path, nets, monkeypatch):
    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", lambda weights, **_: weights)  # they are loaded
    states = {name: nets[name].state_dict() for name in ("VGGish", "VGG16")}
    small = {name: {k: v[..., :1].clone().expand(v.shape) for k, v in state.items()} for name, state in states.items()}
    path = tmp_path / "vgg.pth"
    torch.save(small["VGGish"], path)
    assert path.stat().st_size < 1e7  # an expanded dimension is stored once
    loaded = VGGish(str(path)).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in small["VGGish"].items())
    torch.save(small["VGG16"] | {"classifier.6.weight": torch.zeros(2, 2), "classifier.6.bias": torch.zeros(2)}, path)
    assert torch.equal(VGG16(str(path)).classifier[3].weight, small["VGG16"]["classifier.3.weight"])


def test_fingerprint_follows_settings_and_weights():
    torch.manual_seed(0)
    net, other = YAMNet(random_init=True), YAMNet(random_init=True, batch=3)
    assert len(net.fingerprint) == 16 and int(net.fingerprint, 16) >= 0
    different = other.fingerprint
    assert different != net.fingerprint
    for settings, alike in (({"batch": 3}, True), ({"centred": True}, False), ({"step_s": 0.12}, False)):
        again = YAMNet(random_init=True, **settings)
        again.load_state_dict(net.state_dict())
        assert (again.fingerprint == net.fingerprint) == alike


def test_yamnet_is_read_by_its_keras_names(tmp_path, nets):
    arrays = keras_arrays(nets["YAMNet"])
    np.savez(tmp_path / "y.npz", **arrays)
    assert YAMNet(str(tmp_path / "y.npz")).fingerprint == nets["YAMNet"].fingerprint
    np.savez(tmp_path / "more.npz", **arrays, extra=np.zeros(1))
    with pytest.raises(ValueError, match="unknown variable extra"):
        YAMNet(str(tmp_path / "more.npz"))
    del arrays["layer_with_weights-7/beta"]
    np.savez(tmp_path / "less.npz", **arrays)
    with pytest.raises(ValueError, match="layer_with_weights-7/beta"):
        YAMNet(str(tmp_path / "less.npz"))


@pytest.mark.parametrize("net", [VGGish, VGG16, YAMNet])
def test_missing_weights_are_one_sentence(net, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", lambda weights, **_: weights)  # none is used
    with pytest.raises(ValueError, match="needs `weights`"):
        net()
    with pytest.raises(ValueError, match="do not exist"):
        net(str(tmp_path / "no.pth"))
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"bad\.pth do not fit"):
        net(str(tmp_path / "bad.pth"))
    with pytest.raises(ValueError, match="step_s") if issubclass(net, PatchExtractor) else pytest.raises(TypeError):
        net(random_init=True, step_s=0.015)


def test_weights_of_another_network_are_refused(tmp_path, nets):
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="Missing key") as error:
        VGGish(str(tmp_path / "other.pth"))
    assert "\n" not in str(error.value)


def test_efficientnet_without_its_wheel(monkeypatch):
    monkeypatch.setattr("models.extractors.mobile_nets.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="visual"):
        EfficientNetLite0()


@pytest.mark.skipif(installed() is None, reason="the extra `visual` is not installed")
def test_efficientnet_reads_the_wheel():
    net = EfficientNetLite0()
    scores = net.scores(np.random.default_rng(0).integers(0, 255, (2, 100, 100, 3), dtype=np.uint8))
    assert scores.shape == (2, 1000)
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)


def test_extractor_is_one():
    assert all(issubclass(net, Extractor) for net in (VGGish, VGG16, YAMNet, EfficientNetLite0, ONNXAudio, ONNXImages))
