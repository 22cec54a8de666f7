"""Soundscapes from a user's own sounds: mixed once, no recording in two splits, bad files named."""

import numpy as np
import pytest
import soundfile

from datamodules.errors import DataError
from datamodules.frames import FrameGrid
from datamodules.soundscapes import Soundscapes

RATE = 8_000


@pytest.fixture
def library(tmp_path):
    """Ten tones of two classes and five backgrounds, in pairs of takes."""
    root = tmp_path / "library"
    time = np.arange(RATE) / RATE
    for label, hz in (("Low", 300), ("High", 2000)):
        folder = root / "foreground" / label
        folder.mkdir(parents=True)
        for recording in "abcde":
            for take in (1, 2):
                tone = np.sin(2 * np.pi * hz * (1 + 0.05 * "abcde".index(recording)) * time) * (time > 0.2) * (time < 0.8)
                soundfile.write(folder / f"{recording}_{take}.wav", 0.5 * tone, RATE)
    (root / "background").mkdir()
    for k, recording in enumerate("pqrst"):
        noise = 0.02 * np.random.default_rng(k).standard_normal(3 * RATE) * np.minimum(1, np.arange(3 * RATE) / RATE)
        soundfile.write(root / "background" / f"{recording}.wav", noise, RATE)
    return root


def ready(library, **options):
    options = {"clips": {"weak": 6, "unlabeled": 4, "validation": 4, "test": 6}, "mixed_rate": RATE} | options
    data = Soundscapes(str(library), cache_dir=str(library.parent / "cache"), streams={"weak": 2, "unlabeled": 1}, **options)
    data.grid = FrameGrid(RATE, 80, 4)
    return data


def test_mixtures_are_made_once_and_read_as_any_other_set(library):
    data = ready(library, batches_per_epoch=2)
    assert data.classes == ["High", "Low"]
    root = data.find_root()
    assert [len(data.clips(name)) for name in ("weak", "unlabeled", "validation", "test")] == [6, 4, 4, 6]
    batch = next(iter(data.train_dataloader()))
    assert batch.tagged.tolist() == [True, True, False] and batch.tags[:2].any(1).all()
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*.wav")}
    assert ready(library).find_root() == root == ready(library, seed=5).find_root()
    assert stamps == {path: path.stat().st_mtime_ns for path in root.rglob("*.wav")}
    assert ready(library, snr_db=(0.0, 3.0)).find_root() != root


def test_no_recording_is_in_two_splits(library, monkeypatch):
    kept = {}
    monkeypatch.setattr(Soundscapes, "_mix", lambda self, root, files, beds: kept.update(self._library(files, beds)))
    ready(library).find_root()
    for k in range(2):
        hertz = {split: {round(float(np.abs(np.fft.rfft(s, RATE)).argmax())) for s in kept[split][0][k]} for split in kept}
        assert sum(map(len, hertz.values())) == 5 == len(set.union(*hertz.values()))
        assert all(len(kept[split][0][k]) == 2 * len(hertz[split]) for split in kept)
    assert sum(len(beds) for _, beds in kept.values()) == 5
    assert all(abs(len(sound) - 0.6 * RATE) < 400 for _split, (sounds, _) in kept.items() for one in sounds for sound in one)


def test_bad_files_are_named_and_left_out(library, caplog):
    (library / "foreground/Low/a_1.wav").write_bytes(b"no sound")
    soundfile.write(library / "foreground/High/b_2.wav", np.zeros(RATE), RATE)
    ready(library).find_root()
    assert "a_1.wav" in caplog.text and "b_2.wav is silent" in caplog.text
    with pytest.raises(DataError, match=r"b_2\.wav is silent|a_1\.wav"):
        ready(library, strict=True, snr_db=(1.0, 2.0)).find_root()
    assert not list((library.parent / "cache/soundscapes").glob("*-*/metadata"))[1:]


def test_too_few_recordings_or_none_are_said(library, tmp_path):
    for path in (library / "foreground/Low").glob("[bcde]*"):
        path.unlink()
    with pytest.raises(DataError, match=r"Low come from 1 recordings \(2 files\), three at least are needed"):
        ready(library).find_root()
    for path in (library / "foreground/Low").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="holds no audio for Low"):
        ready(library).find_root()
