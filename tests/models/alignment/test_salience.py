"""Harmonic CQT, the deep salience network and its published weights."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from models.alignment.front import HCQT, Salience
from models.alignment.keras_weights import salience_weights
from models.alignment.salience import DeepSalience

RATE = 22_050
LAYERS = {"bendy1": (5, 5, 6, 128), "bendy2": (5, 5, 128, 64), "smoothy1": (3, 3, 64, 64), "smoothy2": (3, 3, 64, 64)}
LAYERS |= {"distribute": (70, 3, 64, 8), "squishy": (1, 1, 8, 1)}


def notes(*midi: int, seconds: float = 1.0) -> torch.Tensor:
    """Harmonic tones at once: (1, samples)."""
    t = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * 440 * 2 ** ((m - 69) / 12) * k * t) / k for m in midi for k in range(1, 8))
    return torch.from_numpy(0.05 * wave).float()[None]


def lively(seed: int = 0) -> DeepSalience:
    """A network whose normalisations do something."""
    net = DeepSalience().eval()
    generator = torch.Generator().manual_seed(seed)
    for norm in net.norms:
        for value in (norm.weight, norm.running_var):
            value.data.uniform_(0.5, 1.5, generator=generator)
        for value in (norm.bias, norm.running_mean):
            value.data.uniform_(-0.3, 0.3, generator=generator)
    return net


def write_keras(path: Path, arrays: dict[str, np.ndarray] | None = None, **changed: np.ndarray | None) -> dict[str, np.ndarray]:
    """A file as Keras 2.0 writes weights; `changed`: variables as bendy1__bias, None for one that lacks."""
    h5py = pytest.importorskip("h5py", reason="needs the extra h5")
    if arrays is None:
        random, arrays = np.random.default_rng(0), {}
        for place, (layer, shape) in enumerate(LAYERS.items()):
            arrays |= {f"{layer}/kernel": random.normal(size=shape), f"{layer}/bias": random.normal(size=shape[3:])}
            for name in ("gamma", "beta", "moving_mean", "moving_variance"):
                arrays[f"batch_normalization_{8 + place}/{name}"] = random.uniform(0.5, 1, shape[2:3])
    for name, array in changed.items():
        arrays[name.replace("__", "/")] = array
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if array is not None:
                layer, variable = name.split("/")
                file[f"{layer}/{layer}_1/{variable}:0"] = np.float32(array)
        file.create_group("lambda_14")
    return arrays


def test_hcqt_equals_librosa():
    """Of six transforms of librosa, as the published one: 0.2 dB where it is louder than -32 dB; the rest is noise."""
    import librosa

    audio = notes(50, 62, 69, seconds=2.0) + 1e-3 * torch.randn(1, 2 * RATE, generator=torch.Generator().manual_seed(0))
    y = audio[0].numpy()
    settings = {"sr": RATE, "hop_length": 256, "n_bins": 360, "bins_per_octave": 60, "pad_mode": "constant"}
    expected = np.abs([librosa.cqt(y, fmin=32.7 * h, **settings) for h in (0.5, 1, 2, 3, 4, 5)])
    expected = librosa.amplitude_to_db(expected, ref=np.max) / 80 + 1
    found = HCQT()(audio)[0].numpy()
    assert found.shape == expected.shape == (6, 360, 1 + len(y) // 256)
    assert found.min() == 0.0 and found.max() == pytest.approx(1.0, abs=1e-3)
    loud = expected > 0.6
    assert loud.mean() > 0.05
    assert np.abs(found - expected)[loud].mean() < 0.2 / 80
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.96


def test_a_note_is_at_the_same_bin_of_each_harmonic():
    hcqt = HCQT()(notes(57))[0]
    place = int((hcqt[1, :, 40] + hcqt[2, :, 40] + hcqt[3, :, 40]).argmax())
    assert HCQT().hertz[place] == pytest.approx(220, rel=0.012)
    assert hcqt[0, place, 40] < 0.1, "half its frequency does not sound"
    levels = 1 + 20 / 80 * np.log10(np.arange(1, 6) ** -1.5)  # partial k is 1 / k, in a window of 1 / k the length
    np.testing.assert_allclose(hcqt[1:, place, 40], levels, atol=0.01)


def test_hcqt_is_the_same_at_any_gain_and_in_any_pieces():
    audio = notes(60, 67)
    front, small = HCQT(), HCQT()
    small.block = 20
    torch.testing.assert_close(front(1e-2 * audio), front(audio), rtol=0, atol=1e-3)
    torch.testing.assert_close(small(audio), front(audio), rtol=0, atol=1e-3)
    both = torch.cat([audio, 0.1 * audio.flip(1)])
    torch.testing.assert_close(front(both)[1:], front(both[1:]), rtol=0, atol=1e-3)
    assert not front(torch.zeros(1, 3000)).any()
    coarse = HCQT(hop=512)(audio)
    torch.testing.assert_close(coarse, front(audio)[..., ::2], rtol=0, atol=0.02)
    sharp = torch.nn.functional.interpolate(audio[None], scale_factor=2 ** (-40 / 1200), mode="linear")[0]
    assert (front(sharp, cents=40.0)[..., 30] - front(audio)[..., 30]).abs().mean() < 0.02


def test_impulse_and_frames():
    audio = torch.zeros(1, 300 * 256)
    audio[0, int(120.3 * 256)] = 1.0
    high = HCQT()(audio)[0, 5, 300:].sum(0)
    assert abs((high * torch.arange(len(high))).sum() / high.sum() - 120.3) < 0.5
    front = Salience()
    for samples in (1, 220, 511, 512, 5000):
        assert front(torch.randn(2, samples)).shape == (2, 1, 72, 1 + samples // 512)
        assert front.salience(torch.randn(1, samples)).shape == (1, 360, 1 + samples // 256)
    with pytest.raises(ValueError, match="at least one sample"):
        front(torch.zeros(1, 0))
    with pytest.raises(ValueError, match="at least one sample"):
        front.salience(torch.zeros(1, 0))


def test_parameters_and_shapes():
    net = DeepSalience()
    assert sum(p.numel() for p in net.parameters()) == 406_253, "without moving statistics, which make 668 more"
    assert net(torch.rand(2, 6, 360, 9)).shape == (2, 360, 9)
    assert net(torch.rand(1, 6, 75, 1)).shape == (1, 75, 1)
    with pytest.raises(ValueError, match=r"shape \(1, 5, 360, 9\), expected \(batch, 6, bins, frames\)"):
        net(torch.rand(1, 5, 360, 9))


def test_the_network_learns():
    net, x = DeepSalience(), torch.rand(1, 6, 80, 12)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x), torch.ones(1, 80, 12))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert net.convs[4].weight.grad.abs().max() > 0


def test_pieces_equal_the_whole():
    net, x = lively(), torch.rand(1, 6, 90, 300)
    with torch.no_grad():
        whole = net(x).sigmoid()
    torch.testing.assert_close(net.salience(x), whole, rtol=0, atol=1e-5)
    assert whole.std() > 1e-3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net.salience(x), net.salience(x)) and net.salience(x).dtype == torch.float32


def restated(arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """One forward pass as Keras defines it, on (bins, frames, 6), by scipy in float64."""
    from scipy.signal import correlate

    norms = sorted({name.split("/")[0] for name in arrays if name.startswith("batch")}, key=lambda name: int(name.split("_")[-1]))
    for norm, layer in zip(norms, LAYERS, strict=True):
        gamma, beta, mean, variance = (arrays[f"{norm}/{n}"] for n in ("gamma", "beta", "moving_mean", "moving_variance"))
        x = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
        kernel = arrays[f"{layer}/kernel"].astype(float)
        zeros = [((size - 1) // 2, size // 2) for size in kernel.shape[:2]]
        padded = np.pad(x, (*zeros, (0, 0)))
        x = np.stack([correlate(padded, kernel[..., out], "valid")[..., 0] for out in range(kernel.shape[3])], -1)
        x = x + arrays[f"{layer}/bias"]
        x = np.maximum(x, 0) if layer != "squishy" else 1 / (1 + np.exp(-x))
    return x[..., 0]


def test_a_file_of_keras_gives_what_keras_would(tmp_path):
    arrays = write_keras(tmp_path / "w.h5")
    scaled = {name: a * (0.05 if name.endswith("kernel") else 1) for name, a in arrays.items()}
    write_keras(tmp_path / "w.h5", scaled)
    net = DeepSalience().eval()
    net.load_state_dict(salience_weights(str(tmp_path / "w.h5")), strict=True)
    x = np.random.default_rng(1).uniform(size=(40, 7, 6))
    found = net.salience(torch.from_numpy(x).float().permute(2, 0, 1)[None])[0].numpy()
    expected = restated(scaled, x)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert expected.std() > 0.01


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bendy1__bias": None}, "variable bendy1/bias is missing"),
        ({"bendy1__more": np.zeros(3)}, "unknown variable bendy1/more, deep salience has 36 others"),
        ({"distribute__kernel": np.zeros((70, 5, 64, 8))}, "variable distribute/kernel has shape"),
        ({"squishy__bias": np.array([np.nan])}, "variable squishy/bias contains values that are not finite"),
        ({"batch_normalization_20__beta": np.zeros(6)}, "7 layers are called batch_normalization"),
    ],
)
def test_other_files_of_weights_are_refused(tmp_path, changed, words):
    write_keras(tmp_path / "w.h5", **changed)
    with pytest.raises(ValueError, match=words) as error:
        Salience(str(tmp_path / "w.h5"))
    assert str(tmp_path / "w.h5") in str(error.value)


def test_broken_and_missing_files_are_refused(tmp_path):
    pytest.importorskip("h5py", reason="needs the extra h5")
    (tmp_path / "w.h5").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"not an HDF5 file, or truncated\): the files predict"):
        Salience(str(tmp_path / "w.h5"))
    with pytest.raises(ValueError, match=r"w2.h5 do not exist"):
        Salience(str(tmp_path / "w2.h5"))


def test_our_own_files_are_read_and_make_the_key(tmp_path):
    net = lively()
    torch.save(net.state_dict(), tmp_path / "w.pt")
    front = Salience(str(tmp_path / "w.pt"))
    assert front.key == Salience(str(tmp_path / "w.pt")).key
    assert len({front.key, Salience().key, Salience(str(tmp_path / "w.pt"), hop=256).key, HCQT().key, HCQT(hop=512).key}) == 5
    torch.testing.assert_close(front.net.state_dict(), net.state_dict())
    front.train()
    assert not front.net.training and not any(p.requires_grad for p in front.parameters())


def test_semitones_and_frames_are_pooled_about_their_middle(tmp_path):
    torch.save(lively().state_dict(), tmp_path / "w.pt")
    front, audio = Salience(str(tmp_path / "w.pt")), notes(48, 64, seconds=0.7)
    fine, rows = front.salience(audio)[0], front(audio)[0, 0]
    front.block = 5
    torch.testing.assert_close(front(audio)[0, 0], rows, rtol=0, atol=1e-4)
    assert rows.shape == (72, 1 + audio.shape[1] // 512)
    for row, frame in ((0, 0), (1, 7), (40, rows.shape[1] - 1), (71, 12)):
        bins = slice(max(0, 5 * row - 2), 5 * row + 3)
        expected = fine[bins, max(0, 2 * frame - 1) : 2 * frame + 2].max()
        torch.testing.assert_close(rows[row, frame], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(Salience(str(tmp_path / "w.pt"), hop=256)(audio)[0, 0, 3], fine[13:18].amax(0), rtol=0, atol=1e-4)
    assert front.hertz[::5][9] == pytest.approx(32.7 * 2 ** (9 / 12))


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "precision", "recall"), [("multif0", 0.75, 0.8), ("pitch", 0.85, 0.7)])
def test_published_weights_find_the_notes(name, precision, recall):
    """A rendered fugue, its notes known: frames' peaks over bins above 0.1. Measured over 20 s: 0.80, 0.88; 0.90, 0.78."""
    from datamodules.alignment.reading import read_score
    from datamodules.alignment.sounds import synthesize

    root = Path(os.environ["QUINTET_DATA"])
    notes = read_score(root / "alignment/real_audio/Bach-fugue_bwv_858.mid").notes
    front = Salience(str(root / f"pretrained/deep_salience/{name}.h5"))
    assert sum(p.numel() for p in front.net.parameters()) == 406_253
    salience = front.salience(torch.from_numpy(synthesize(notes, RATE)[: 10 * RATE])[None])[0]
    peak = torch.zeros_like(salience, dtype=torch.bool)
    peak[1:-1] = (salience[1:-1] > salience[:-2]) & (salience[1:-1] > salience[2:]) & (salience[1:-1] > 0.1)
    found = np.zeros((73, salience.shape[1]), bool)
    bins, frames = peak.nonzero(as_tuple=True)
    found[(bins + 2) // 5, frames] = True
    times, sounding = np.arange(found.shape[1]) * 256 / RATE, np.zeros_like(found)
    for onset, offset, pitch in zip(notes.onset, notes.offset, notes.pitch, strict=True):
        sounding[pitch - 24, (times >= onset) & (times < offset)] = True
    right = (found & sounding).sum()
    assert right / found.sum() > precision and right / sounding.sum() > recall
