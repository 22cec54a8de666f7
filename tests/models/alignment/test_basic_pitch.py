"""Basic Pitch front end: stitched windows without drift, on the common frame grid."""

import copy
import importlib.util
import pickle
import sys

import numpy as np
import pytest
import torch

from models.alignment.front import BasicPitch, pretrained
from tests.helpers.onnx_file import write_identity

RATE = 22_050
PACKAGES = ("onnxruntime", "basic_pitch")
lacks = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
network = pytest.mark.skipif(
    bool(lacks), reason=f"needs {' and '.join(lacks)}: {pretrained.BASIC_PITCH_SOURCE}, and the extra onnx"
)


def melody(onsets: np.ndarray, pitches: np.ndarray, seconds: float, cents: float = 0.0) -> torch.Tensor:
    """Plucked harmonic tones: (1, samples)."""
    t = np.arange(int(seconds * RATE)) / RATE
    wave = 1e-5 * np.random.default_rng(0).standard_normal(t.size)
    for onset, pitch in zip(onsets, pitches, strict=True):
        f, after = 440 * 2 ** ((pitch - 69 + cents / 100) / 12), np.clip(t - onset, 0, None)
        tone = sum(np.sin(2 * np.pi * f * k * after) / k**1.5 for k in range(1, 6))
        wave += 0.1 * tone * (t >= onset) * np.exp(-6 * after)
    return torch.from_numpy(wave).float()[None]


def lags(found: np.ndarray, onsets: np.ndarray, pitches: np.ndarray, frame_s: float) -> np.ndarray:
    """Seconds from each onset to the nearby maximum of its pitch's onset posterior (88, frames)."""
    late = []
    for onset, pitch in zip(onsets, pitches, strict=True):
        middle = round(onset / frame_s)
        first = max(0, middle - 5)
        late.append((first + found[pitch - 21, first : middle + 6].argmax()) * frame_s - onset)
    return np.array(late)


@network
@pytest.mark.parametrize("hop", [256, 512])
def test_onsets_are_where_they_sound_and_do_not_drift(hop):
    """Frames of 86.58 instead of 86.13 a second would be 10 frames late after 12 s of several windows."""
    onsets = 0.3 + 0.31 * np.arange(37)
    pitches = 50 + (7 * np.arange(37)) % 30
    front = BasicPitch(hop=hop)
    found = front(melody(onsets, pitches, 12.0))[0, 0].numpy()
    late = lags(found, onsets, pitches, front.frame_s)
    assert abs(np.median(late)) < 256 / RATE, "half a frame of 512"
    assert (abs(late) < 1.5 * front.frame_s).mean() > 0.9
    assert abs(np.median(late[-9:]) - np.median(late[:9])) < front.frame_s
    assert (found[pitches - 21, np.rint(onsets / front.frame_s).astype(int)] > 0.3).mean() > 0.7


@network
def test_notes_are_found():
    onsets, pitches = np.array([0.2, 0.8, 1.4]), np.array([60, 67, 72])
    front = BasicPitch()
    notes = front(melody(onsets, pitches, 2.2))[0, 1]
    for onset, pitch in zip(onsets, pitches, strict=True):
        frame = round((onset + 0.1) / front.frame_s)
        assert notes[:, frame].argmax() == pitch - 21
        assert notes[pitch - 21, frame] > 0.5


@network
def test_windows_are_joined_frame_by_frame():
    """Frame 142 * w + j is frame 15 + j of window w, which begins 15 frames of 256 samples before frame 142 * w."""
    import onnxruntime

    audio = melody(np.arange(0.2, 5, 0.4), np.arange(55, 67), 5.0)
    front = BasicPitch(hop=256, normalise="none")
    found = front(audio)[0].numpy()
    session = onnxruntime.InferenceSession(pretrained.packaged(), providers=["CPUExecutionProvider"])
    padded = np.pad(audio[0].numpy(), (3840, 100_000))
    for window in (0, 1, 3):
        start = window * 142 * 256
        heard = padded[None, start : start + 43_844, None]
        both = session.run(["StatefulPartitionedCall:2", "StatefulPartitionedCall:1"], {"serving_default_input_2:0": heard})
        expected = np.concatenate(both)[:, 15:157].transpose(0, 2, 1)
        here = found[:, :, window * 142 : window * 142 + 142]
        np.testing.assert_allclose(here, expected[:, :, : here.shape[2]], atol=1e-5)


@network
def test_hop_of_512_is_the_largest_of_three():
    audio = melody(np.array([0.2, 1.1]), np.array([60, 64]), 2.0)
    fine, coarse = (BasicPitch(hop=hop, normalise="none")(audio)[0] for hop in (256, 512))
    assert coarse.shape == (2, 88, 1 + audio.shape[1] // 512)
    for frame in (0, 9, 40):
        expected = fine[..., max(0, 2 * frame - 1) : 2 * frame + 2].amax(-1)
        torch.testing.assert_close(coarse[..., frame], expected)


@network
def test_lengths_batches_and_gain():
    front = BasicPitch()
    for samples in (1, 220, 36_351, 36_352, 43_844):
        found = front(0.1 * torch.randn(1, samples))
        assert found.shape == (1, 2, 88, 1 + samples // 512) and found.dtype == torch.float32
        assert found.min() >= 0 and found.max() <= 1
    audio = torch.cat([melody(np.array([0.2]), np.array([p]), 1.5) for p in (60, 70)])
    torch.testing.assert_close(front(audio), torch.cat([front(audio[:1]), front(audio[1:])]), rtol=0, atol=1e-5)
    torch.testing.assert_close(front(0.05 * audio), front(audio), rtol=0, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front(audio), front(audio))
    with pytest.raises(ValueError, match="at least one sample"):
        front(torch.zeros(1, 0))


@network
def test_a_recording_out_of_tune_is_heard_in_tune_and_in_time():
    onsets, pitches = 0.3 + 0.4 * np.arange(20), 55 + np.arange(20)
    front = BasicPitch()
    expected = front(melody(onsets, pitches, 9.0))
    sharp = melody(onsets, pitches, 9.0, cents=45.0)
    tuned, wrong = front(sharp, cents=45.0), front(sharp)
    assert tuned.shape == expected.shape
    assert (tuned - expected).abs().mean() < 0.7 * (wrong - expected).abs().mean()
    assert abs(np.median(lags(tuned[0, 0].numpy(), onsets, pitches, front.frame_s)[-5:])) < front.frame_s


@network
def test_copies_and_keys():
    front, audio = BasicPitch(), melody(np.array([0.2]), np.array([60]), 0.6)
    expected = front(audio)
    assert torch.equal(copy.deepcopy(front)(audio), expected)
    assert torch.equal(pickle.loads(pickle.dumps(front))(audio), expected)
    assert front.key == BasicPitch(weights=pretrained.packaged()).key
    assert len({front.key, BasicPitch(hop=256).key, BasicPitch(normalise="none").key}) == 3
    assert "basic_pitch" not in sys.modules, "the package must not be imported"


@network
def test_another_hop_is_refused():
    with pytest.raises(ValueError, match="hop is 500, expected one of 256, 512"):
        BasicPitch(hop=500)


def test_other_files_are_refused(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    path = write_identity(tmp_path / "other.onnx", ("n", 43_844, 1))
    with pytest.raises(ValueError, match="not the network of basic-pitch"):
        BasicPitch(weights=path)
    with pytest.raises(ValueError, match=r"gone\.onnx do not exist"):
        BasicPitch(weights=str(tmp_path / "gone.onnx"))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install --no-deps basic-pitch==0\.4\.0, or give its path"):
        BasicPitch()
