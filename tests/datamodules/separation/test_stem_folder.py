"""Any folder of stems: layouts, formats, stems that some tracks lack, conversion once."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from datamodules.audio.decoding import BLOCK
from datamodules.common.errors import DataError
from datamodules.separation import stem_conversion
from datamodules.separation.stem_folder import StemFolder
from tests.helpers.stems import stem

RATE = 44_100


def write(path: Path, sound: np.ndarray, subtype: str | None = None) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, RATE, subtype=subtype)
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


def write_tracks(root: Path, names, stems=("guitar", "backing"), ending="wav", seconds=0.5) -> Path:
    for i, name in enumerate(names):
        for part in stems:
            write(root / name / f"{part}.{ending}", stem(part, seconds, 10 * i + len(part), RATE))
    return root


def ready(root: Path, **options) -> StemFolder:
    options = {"seconds": 0.2, "samples_per_track": 4, "batch_size": 4, "cache_dir": str(root.parent / "cache"), **options}
    return StemFolder(str(root), **options)


def splits(data: StemFolder) -> dict[str, str]:
    return {track.name: track.split for track in data.opened[0]}


@pytest.mark.parametrize(("valid", "names"), [("validation", None), ("valid", None), ("val", None)])
def test_splits_by_folder(tmp_path, valid, names):
    root = write_tracks(tmp_path / "set", ["train/One", "train/Two", f"{valid}/Three", "test/Four"])
    data = ready(root)
    assert splits(data) == {"One": "train", "Two": "train", "Three": "validation", "Four": "test"}
    assert data.sources == ["backing", "guitar"]
    assert data.name == "set"
    [batch] = list(ready(root, samples_per_track=2).train_dataloader())
    sources, mixture = batch.waveforms()
    assert sources.shape == (4, 2, 2, round(0.2 * RATE)) and torch.equal(mixture, sources.sum(1))


def test_splits_drawn_by_name_do_not_depend_on_other_tracks(tmp_path):
    names = [f"Song {i}" for i in range(30)]
    first = splits(ready(write_tracks(tmp_path / "set", names, seconds=0.01)))
    assert [list(first.values()).count(split) for split in ("train", "validation", "test")] == [24, 3, 3]
    assert splits(ready(tmp_path / "set")) == first
    with pytest.raises(DataError, match=r"holds 2 tracks: at least three .* train/, validation/ and test/"):
        ready(write_tracks(tmp_path / "few", names[:2])).tracks("train")


def test_without_a_validation_folder_a_tenth_of_the_training_tracks_validates(tmp_path):
    root = write_tracks(tmp_path / "set", [*(f"train/{i}" for i in range(20)), "test/Four"], seconds=0.01)
    found = list(splits(ready(root)).values())
    assert [found.count(split) for split in ("train", "validation", "test")] == [18, 2, 1]


def test_every_format_and_subtype_is_read_as_it_sounds(tmp_path):
    sounds = {name: stem("drums", 0.5, i, RATE) for i, name in enumerate(("a", "b", "c", "d", "e", "f", "g"))}
    formats = {"a": ("wav", "PCM_16"), "b": ("wav", "FLOAT"), "c": ("wav", "PCM_24"), "d": ("flac", "PCM_16")}
    formats |= {"e": ("flac", "PCM_24"), "f": ("ogg", "VORBIS"), "g": ("aiff", "PCM_16")}
    wanted = {}
    for name, (ending, subtype) in formats.items():
        wanted[name] = write(tmp_path / "set" / "train" / "One" / f"{name}.{ending}", sounds[name], subtype)
    data = ready(tmp_path / "set")
    assert data.sources == list("abcdefg")
    [track] = data.tracks("train")
    in_place = {name for name in "ab" if Path(track.stems[name].path).parent == tmp_path / "set" / "train" / "One"}
    assert in_place == {"a", "b"}
    assert all(wav.dtype == ("<f4" if name == "b" else "<i2") for name, wav in track.stems.items())
    for name, wav in track.stems.items():
        sound = wav.read(0, wav.frames)
        sound = sound / np.float32(32768) if wav.dtype == "<i2" else sound
        tolerance = 0 if formats[name][1] in ("PCM_16", "FLOAT") else 0.5 / 32768
        np.testing.assert_allclose(sound, wanted[name], atol=tolerance, rtol=0)
    assert data.remarks()["converted"]["files"] == 5


def test_mp3_stems_sound_as_if_decoded_in_one_piece(tmp_path):
    root = write_tracks(tmp_path / "set", ["train/One"], ending="mp3", seconds=7.0)
    [track] = ready(root).tracks("train")
    wanted = soundfile.read(root / "train" / "One" / "guitar.mp3", dtype="float32", always_2d=True)[0]
    assert track.frames == len(wanted) > 2 * BLOCK
    found = track.stems["guitar"].read(0, track.frames) / np.float32(32768)
    np.testing.assert_allclose(found, wanted.clip(-1, 1), atol=0.5001 / 32768, rtol=0)


def test_conversion_is_done_once_and_again_for_another_source(tmp_path, monkeypatch):
    root = write_tracks(tmp_path / "set", ["train/One", "train/Two"], ending="flac")
    calls, true = [], stem_conversion._convert_one
    monkeypatch.setattr(stem_conversion, "_convert_one", lambda job, kind: (calls.append(job.source.name), true(job, kind))[1])
    first = ready(root).tracks("train")
    assert len(calls) == 4
    assert ready(root).tracks("train") == first
    assert len(calls) == 4
    path = root / "train" / "One" / "guitar.flac"
    wanted = write(path, 0.5 * stem("guitar", 0.5, 99, RATE))
    os.utime(path, (1e9, 1e9))
    [one] = [track for track in ready(root).opened[0] if track.name == "One"]
    assert calls[4:] == ["guitar.flac"]
    np.testing.assert_array_equal(one.stems["guitar"].read(0, 10**6) / np.float32(32768), wanted)
    # What a killed run left is swept away, and what it had finished is kept.
    stray = Path(one.stems["guitar"].path).with_name("gone.flac.wav.part")
    stray.write_bytes(b"half")
    Path(one.stems["backing"].path).unlink()
    ready(root).tracks("train")
    assert calls[5:] == ["backing.flac"] and not stray.exists()


def test_too_little_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
    root = write_tracks(tmp_path / "set", ["train/One"], ending="flac")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"As WAV files the stems need about 0.0 GB .* --data.cache_dir"):
        ready(root).tracks("train")
    assert not list((tmp_path / "cache").rglob("*.wav*"))


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    root = write_tracks(tmp_path / "set", ["train/One"], ending="flac")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stem_conversion.wave.Wave_write, "writeframesraw", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\): free some space"):
        ready(root).tracks("train")
    assert not [path for path in (tmp_path / "cache").rglob("*.wav") if path.is_file()]


def test_a_file_that_does_not_decode_loses_its_track(tmp_path, caplog):
    root = write_tracks(tmp_path / "set", ["train/One", "train/Two"], ending="mp3")
    bad = root / "train" / "One" / "guitar.mp3"
    bad.write_bytes(b"no sound")
    assert [track.name for track in ready(root).opened[0]] == ["Two"]
    assert f"Left out 1 track: One: {bad} does not decode as audio" in caplog.text
    with pytest.raises(DataError, match="does not decode as audio"):
        ready(root, strict=True).tracks("train")


@pytest.mark.parametrize("missing", ["skip", "silence", "stop"])
def test_a_stem_that_a_track_lacks(tmp_path, caplog, missing):
    root = write_tracks(tmp_path / "set", ["train/One", "train/Two"])
    (root / "train" / "Two" / "guitar.wav").unlink()
    data = ready(root, sources=["guitar", "backing"], missing=missing)
    if missing == "stop":
        with pytest.raises(DataError, match=r"Two has no file guitar.wav .* --data.missing silence"):
            data.tracks("train")
        return
    tracks = {track.name: track for track in data.opened[0]}
    if missing == "skip":
        assert list(tracks) == ["One"] and "Two has no file guitar.wav" in caplog.text
        assert data.prepare(tmp_path / "run")["missing"] == 1
    else:
        assert not caplog.text
        items = [data.train_set()[index, index] for index in range(4)]
        two = ready(root, sources=["guitar", "backing"], missing="silence", random_tracks=False).train_set()
        names = [track.name for track in two.tracks]
        silent = two[4 * names.index("Two"), 3]
        assert not silent.stems[0].any() and silent.stems[1].any()
        assert all(item.stems.shape == (2, round(0.2 * RATE), 2) for item in items)


def test_sources_are_what_all_tracks_share(tmp_path):
    root = write_tracks(tmp_path / "set", ["train/One", "test/Two"], stems=("Vocals", "piano", "mixture"))
    write_tracks(root, ["train/Three"], stems=("vocals", "Piano", "bells", "mixture"))
    assert ready(root).sources == ["piano", "vocals"]
    named = ready(root, sources=["vocals", "piano"])
    assert named.sources == ["vocals", "piano"]
    own = {track.name: track.mixture is not None for track in named.opened[0]}
    assert own == {"One": True, "Two": True, "Three": False}  # with bells the mixture is not the sum of two stems
    with pytest.raises(DataError, match=r"share fewer than two stems \(the first has mixture, piano, vocals\)"):
        _ = ready(write_tracks(root, ["test/Four"], stems=("horn", "flute"))).sources


def test_the_command_that_helps_can_be_pasted_where_the_folder_has_a_space(tmp_path):
    root = tmp_path / "my stems"
    root.mkdir()
    with pytest.raises(DataError, match=r'prepare --data datamodules.StemFolder --data.root ".*my stems"$'):
        ready(root).tracks("train")


def test_the_first_ending_wins_and_hidden_files_do_not_count(tmp_path):
    root = write_tracks(tmp_path / "set", ["train/One"])
    write(root / "train" / "One" / "guitar.flac", stem("guitar", 0.1, 1, RATE))
    write(root / "train" / "One" / "._guitar.wav", stem("guitar", 0.1, 1, RATE))
    (root / "train" / "One" / "cover.jpg").write_bytes(b"picture")
    (root / "train" / ".trash").mkdir()
    [track] = ready(root).tracks("train")
    assert track.stems["guitar"].path == str(root / "train" / "One" / "guitar.wav")
    assert list(track.stems) == ["backing", "guitar"]


def test_wrong_roots_are_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "loose" / "song.wav", stem("bass", 0.1, 1, RATE))
    (tmp_path / "mp4" / "train").mkdir(parents=True)
    (tmp_path / "mp4" / "train" / "A - B.stem.mp4").write_bytes(b"")
    for name, words in (
        ("empty", "holds no track: --data.root must name a folder with one folder per track"),
        ("loose", "holds audio files such as song.wav but no folder per track"),
        ("mp4", "read them with --data datamodules.MUSDB18"),
        ("none", "is not a folder"),
    ):
        with pytest.raises(DataError) as caught:
            _ = ready(tmp_path / name).sources
        assert words in str(caught.value) and "\n" not in str(caught.value)
    root = write_tracks(tmp_path / "set", ["train/One", "test/Two"])
    with pytest.raises(DataError, match=r"no usable track of the validation split .* folder validation/"):
        ready(root).validation_set()


def test_copies_of_one_source_are_converted_once(tmp_path):
    root = write_tracks(tmp_path / "set", ["train/One", "train/Two"])
    for track in ("One", "Two"):
        for path in (root / "train" / track).glob("*.wav"):
            samples, rate = soundfile.read(path)
            path.unlink()
            soundfile.write(root / "train/One" / f"{path.stem}.flac", samples, rate)
    for path in (root / "train/One").glob("*.flac"):
        shutil.copy(path, root / "train/Two" / path.name)
    data = ready(root)
    assert len(data.tracks("train")) == len(data.tracks("validation")) == 1 and data.converted_files == 4


@pytest.mark.realdata
def test_a_real_two_stem_recording(tmp_path):
    folder = Path(os.environ.get("QUINTET_DATA", "")) / "separation" / "two_stem"
    if not os.environ.get("QUINTET_DATA") or not folder.is_dir():
        pytest.skip("QUINTET_DATA names no folder with separation/two_stem")
    for part in ("train", "test"):
        (tmp_path / "set" / part / "Tutorial").mkdir(parents=True)
        for stem_name, file in (("guitar", "guitar"), ("backing", "song")):
            link = tmp_path / "set" / part / "Tutorial" / f"{stem_name}.ogg"
            link.symlink_to(folder / f"fretsonfire_tutorial_{file}.ogg")
    data = ready(tmp_path / "set", seconds=6.0)
    batch = next(iter(data.train_dataloader()))
    sources, mixture = batch.waveforms()
    assert sources.shape == (4, 2, 2, 6 * RATE) and mixture.isfinite().all()
    track = data.test_set()[0]
    own = soundfile.read(folder / "fretsonfire_tutorial_guitar.ogg", dtype="float32")[0]
    np.testing.assert_allclose(track.waveforms()[0][1].numpy().T, own.clip(-1, 32767 / 32768), atol=0.5001 / 32768)


def test_a_stem_that_not_every_track_has_is_reported(tmp_path):
    root = write_tracks(tmp_path / "set", ["train/One", "train/Two"])
    shutil.copy(root / "train/One/guitar.wav", root / "train/One/flute.wav")
    data = ready(root)
    assert "flute" not in data.sources
    (entry,) = data.left_out.items()
    assert (entry.kind, entry.item, entry.detail) == ("stem", "flute", "in 1 of 2 tracks, not in Two")
    assert "--data.missing silence" in entry.reason
    assert ready(root, missing="silence").sources == ["backing", "flute", "guitar"]
    with pytest.raises(DataError, match=r"Two has no file flute.wav"):
        ready(root, missing="stop").tracks("train")
