"""Networks in ONNX files as streams of embeddings."""

import numpy as np
import pytest

from models.extractors import ONNXAudio, ONNXImages, ONNXPatches
from tests.helpers.onnx_file import write_identity
from tests.models.sed.test_extractors import noise, plain_patches


def test_onnx(tmp_path):
    pytest.importorskip("onnxruntime")
    patches = write_identity(tmp_path / "patches.onnx", ("n", 1, 96, 64))
    net = ONNXPatches(patches, offset=0.01)
    audio = noise(1.5)
    found, times = net.extract(audio)
    assert net.dim == 64 and len(times) == len(found)
    np.testing.assert_allclose(found, plain_patches(audio, 6, 0.01).mean(1), atol=1e-4)
    single = ONNXPatches(write_identity(tmp_path / "single.onnx", (1, 1, 96, 64)), offset=0.01)
    np.testing.assert_allclose(single.extract(audio)[0], found, atol=1e-6)
    assert single.fingerprint != net.fingerprint != ONNXPatches(patches).fingerprint
    windows = ONNXAudio(write_identity(tmp_path / "audio.onnx", ("n", 800)), 8000, 0.1, 0.05)
    found, times = windows.extract(audio[:8000])
    assert found.shape == (19, 800) and times[[0, -1]].tolist() == pytest.approx([0.05, 0.95])
    np.testing.assert_array_equal(found[3], audio[1200:2000])
    centred = ONNXAudio(str(tmp_path / "audio.onnx"), 8000, 0.1, 0.05, centred=True)
    found, times = centred.extract(audio[:8000])
    assert found.shape == (21, 800) and times[-1] == 1.0
    np.testing.assert_array_equal(found[4], audio[1200:2000])
    images = ONNXImages(write_identity(tmp_path / "images.onnx", ("n", 3, 8, 6)), size=(8, 6), mean=(0, 0, 0), std=(1, 1, 1))
    assert images.extract(np.full((2, 20, 30, 3), 255, np.uint8))[0].tolist() == pytest.approx(np.ones((2, 6)))
    with pytest.raises(ValueError, match="expected one of y"):
        ONNXPatches(patches, output="z")


def test_onnx_without_a_file_or_onnxruntime(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="do not exist"):
        ONNXPatches(str(tmp_path / "no.onnx"))
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="package onnxruntime"):
        ONNXPatches(write_identity(tmp_path / "p.onnx", ("n", 1, 96, 64)))
