"""Identical recordings in two splits are found, in one split they are not; `prepare` of every task reports them."""

import shutil

import numpy as np

from datamodules.audio.pack import build
from datamodules.common import report as duplicates
from datamodules.common.report import Recording, identical_clips, identical_files
from datamodules.separation.stem_folder import StemFolder
from datamodules.tagging.folder import Folder
from tests.helpers.layouts import tone, write_audio
from tests.helpers.tagging_batches import ready, table


def test_files_of_equal_bytes_in_two_splits(tmp_path):
    sound = tone(0.5, 1)
    for name in ("a", "d"):
        write_audio(tmp_path / f"{name}.wav", sound if name != "d" else np.append(sound[:-1], 0.5).astype(np.float32))
    for name in ("b", "c"):
        shutil.copy(tmp_path / "a.wav", tmp_path / f"{name}.wav")
    splits = {"a": "train", "b": "train", "c": "test", "d": "test"}
    recordings = [Recording(f"{name}.wav", split, tmp_path / f"{name}.wav") for name, split in splits.items()]
    recordings.append(Recording("gone.wav", "test", tmp_path / "gone.wav"))
    assert identical_files(recordings) == ["a.wav (train) and b.wav (train) and c.wav (test) are the same recording"]
    assert identical_files(recordings[:2]) == []


def test_few_files_are_read_whole(tmp_path, monkeypatch):
    for name in range(20):
        write_audio(tmp_path / f"{name}.wav", tone(2.0, name))
    whole = []
    monkeypatch.setattr(duplicates, "_blocks", lambda path: whole.append(path) or [])
    assert identical_files([Recording(str(i), ("train", "test")[i % 2], tmp_path / f"{i}.wav") for i in range(20)]) == []
    assert not whole


def test_packed_audio_is_compared_whatever_the_format(tmp_path):
    write_audio(tmp_path / "a.wav", tone(0.5, 1))
    write_audio(tmp_path / "a.flac", tone(0.5, 1))
    write_audio(tmp_path / "b.wav", tone(0.5, 2))
    names = ["a.wav", "b.wav", "a.flac"]
    pack = build(tmp_path / "pack", tmp_path, np.array([name.encode() for name in names]), 16_000)
    recordings = [Recording(name, split, None) for name, split in zip(names, ("train", "train", "test"), strict=True)]
    assert identical_clips(recordings, pack, [0, 1, 2]) == ["a.wav (train) and a.flac (test) are the same recording"]
    shutil.rmtree(tmp_path / "pack")


def test_prepare_of_tagging_reports_a_clip_that_is_in_two_splits(tmp_path, caplog):
    rows = ["a.wav,train,1", "b.wav,valid,1", "c.wav,test,1", "d.wav,test,0"]
    root = table(tmp_path / "set", "\n".join(["file,split,loud", *rows]))
    for i, name in enumerate("abcd"):
        write_audio(tmp_path / "set" / f"{name}.wav", tone(0.5, i))
    shutil.copy(tmp_path / "set" / "a.wav", tmp_path / "set" / "d.wav")
    for pack in ("never", "build"):
        data = ready(Folder(root, pack=pack, cache_dir=str(tmp_path / "cache")))
        report = data.prepare(tmp_path / pack)
        assert report["identical"] == 1
        assert report["first"]["identical"] == ["a.wav (train) and d.wav (test) are the same recording"]
        assert "In two splits: a.wav (train) and d.wav (test)" in caplog.text


def test_prepare_of_separation_reports_a_stem_that_is_in_two_splits(tmp_path):
    for number, track in enumerate(("train/One", "valid/Two", "test/Three")):
        for stem in ("bass", "drums"):
            sound = np.zeros(8000, np.float32) if stem == "drums" else tone(0.5, number)
            write_audio(tmp_path / "set" / track / f"{stem}.wav", sound, 16_000)
    shutil.copy(tmp_path / "set/train/One/bass.wav", tmp_path / "set/test/Three/bass.wav")
    data = StemFolder(str(tmp_path / "set"), sample_rate=16_000, channels=1, cache_dir=str(tmp_path / "cache"))
    report = data.prepare(tmp_path / "run")
    assert report["first"]["identical"] == ["One/bass.wav (train) and Three/bass.wav (test) are the same recording"]
