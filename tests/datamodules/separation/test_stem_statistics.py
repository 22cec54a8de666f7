"""Statistics of the training mixtures: equal to a plain restatement, measured once, by any number of processes."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from datamodules.common.errors import DataError
from datamodules.common.input_spec import SeparationSpec
from datamodules.separation import data as stem_statistics
from datamodules.separation.musdb import MUSDBHQ
from models.blocks.stft import STFT
from tasks.separation.module import SeparationModule
from tests.helpers.stems import write_musdb_hq

RATE, N_FFT, HOP = 8_000, 256, 64


def spectrogram(audio: torch.Tensor) -> torch.Tensor:
    return torch.stft(audio, N_FFT, HOP, window=torch.hann_window(N_FFT), return_complex=True).abs()


def ready(root, cache, measure=spectrogram, key="256 64", **options) -> MUSDBHQ:
    data = MUSDBHQ(str(root), sample_rate=RATE, cache_dir=str(cache), **options)
    data.connect(SeparationSpec(measure, key))
    return data


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_musdb_hq(tmp_path_factory.mktemp("musdb"), seconds=2.0, rate=RATE)


def plainly(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """All frames of all training mixtures, validation left out, side by side in float64."""
    frames = []
    for path in sorted((root / "train").glob("Artist*/mixture.wav")):
        sound = torch.from_numpy(soundfile.read(path, dtype="float32")[0].T)
        frames.append(spectrogram(sound).double().mean(0))
    frames = torch.cat(frames, 1).numpy()
    return frames.mean(1), frames.std(1)


def test_they_equal_a_plain_restatement(root, tmp_path):
    mean, std = ready(root, tmp_path).statistics()
    assert mean.shape == std.shape == (N_FFT // 2 + 1,) and mean.dtype == std.dtype == torch.float32
    wanted = plainly(root)
    np.testing.assert_allclose(mean, wanted[0], rtol=1e-6)
    np.testing.assert_allclose(std, wanted[1], rtol=1e-6)


@pytest.mark.parametrize("centre", [True, False])
def test_pieces_of_a_track_have_the_frames_of_the_whole(root, tmp_path, monkeypatch, centre):
    lengths = []

    def measure(audio):
        lengths.append(audio.shape[1])
        return torch.stft(audio, N_FFT, 100, window=torch.hann_window(N_FFT), center=centre, return_complex=True).abs()

    whole = ready(root, tmp_path / "whole", measure).statistics()
    monkeypatch.setattr(stem_statistics, "SEGMENT_S", 0.3)
    monkeypatch.setattr(stem_statistics, "CONTEXT_S", 0.05)
    cut = ready(root, tmp_path / "cut", measure).statistics()
    assert lengths[2:5] == [2 * RATE] * 3 and len(lengths) == 2 + 3 + 2 + 3 * 7
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_mixture_is_the_stems_sum_where_told_so(root, tmp_path):
    own, summed = (ready(root, tmp_path, mixture=mixture).statistics()[0] for mixture in ("file", "sum"))
    assert not torch.equal(own, summed)  # rounding
    np.testing.assert_allclose(own, summed, atol=2e-3)


def test_they_are_measured_once_for_files_and_settings(root, tmp_path):
    calls = []

    def counted(audio):
        calls.append(audio.shape)
        return spectrogram(audio)

    first = ready(root, tmp_path, counted).statistics()
    assert calls == [(1, 2**16), (1, 2**20), *[(2, 2 * RATE)] * 3]  # the first two ask for its hop
    again = ready(root, tmp_path, counted).statistics()
    assert len(calls) == 5
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    ready(root, tmp_path, counted, key="other").statistics()
    assert len(calls) == 10
    [kept, _] = sorted((tmp_path / "statistics").glob("*.npz"), key=lambda path: path.stat().st_mtime_ns)
    kept.write_bytes(b"broken")
    repaired = ready(root, tmp_path, counted).statistics()
    assert len(calls) == 15 and torch.equal(repaired[0], first[0])


def test_a_changed_file_is_measured_again(tmp_path):
    root = write_musdb_hq(tmp_path / "set", seconds=1.0, rate=RATE)
    before = ready(root, tmp_path).statistics()[0]
    path = root / "train" / "Artist A - One" / "mixture.wav"
    soundfile.write(path, 0.5 * soundfile.read(path)[0], RATE, subtype="PCM_16")
    after = ready(root, tmp_path).statistics()[0]
    assert not torch.equal(before, after)


def test_those_who_ask_at_once_get_the_same_measured_once(root, tmp_path, monkeypatch):
    # Threads stand for processes: a lock file keeps both apart, and a process forked off a torch that has computed may not.
    measured, measure = [], stem_statistics.combined_moments
    monkeypatch.setattr(stem_statistics, "combined_moments", lambda *args: measured.append(1) or measure(*args))
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: ready(root, tmp_path).statistics(), range(3)))
    assert len(measured) == 1
    assert all(torch.equal(a, b) for answer in answers for a, b in zip(answer, answers[0], strict=True))
    assert len(list((tmp_path / "statistics").glob("*.npz"))) == 1
    assert not list((tmp_path / "statistics").glob("*.part"))


def test_what_is_not_finite_is_named_and_left_out(root, tmp_path, caplog):
    with pytest.raises(DataError, match="No training track can be read"):
        ready(root, tmp_path, lambda audio: spectrogram(audio) / 0).statistics()
    assert "Left out: The spectrum of Artist A - One is not finite" in caplog.text
    assert not list((tmp_path / "statistics").glob("*.npz"))
    with pytest.raises(DataError, match="The spectrum of Artist A - One is not finite"):
        ready(root, tmp_path, lambda audio: spectrogram(audio) / 0, strict=True).statistics()


def test_a_track_that_cannot_be_read_is_left_out(tmp_path, caplog):
    root = write_musdb_hq(tmp_path / "set", seconds=2.0, rate=RATE)
    bad = root / "train" / "Artist B - Two" / "mixture.wav"
    soundfile.write(bad, np.full((2 * RATE, 2), np.nan), RATE, subtype="FLOAT")
    mean = ready(root, tmp_path).statistics()[0]
    assert torch.isfinite(mean).all() and "holds NaN" in caplog.text
    shutil.rmtree(bad.parent)
    np.testing.assert_allclose(mean, ready(root, tmp_path).statistics()[0], rtol=1e-6)


def test_prepare_measures_them(root, tmp_path):
    said = ready(root, tmp_path).prepare(tmp_path / "run")
    assert said["statistics"]["bins"] == N_FFT // 2 + 1
    assert len(list((tmp_path / "statistics").glob("*.npz"))) == 1


def test_they_need_the_networks_transform(root, tmp_path):
    data = MUSDBHQ(str(root), sample_rate=RATE, cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"call connect\(SeparationSpec\(...\)\) first"):
        data.statistics()
    data.connect(SeparationSpec())
    with pytest.raises(ValueError, match="starts from no statistics"):
        data.statistics()


def test_they_are_measured_for_a_network_that_starts_from_them_alone(root, tmp_path):
    spec = SeparationModule.input_spec(SimpleNamespace(net=torch.nn.Identity(), stft=STFT()))
    data = ready(root, tmp_path, spec.spectrogram, spec.key)
    assert spec == SeparationSpec()
    assert data.prepare(tmp_path / "run")["statistics"] is None and not (tmp_path / "statistics").exists()
