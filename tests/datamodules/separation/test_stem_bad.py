"""Multitrack sets with files that are missing, empty, cut, silent, NaN or of different lengths; the report of `prepare`."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.common.errors import DataError
from datamodules.separation.musdb import MUSDBHQ
from tests.helpers.stems import STEMS, write_musdb_hq, write_track

RATE = 8_000
GOOD = tuple(f"Good - {i}" for i in range(3))
BAD = ("Cut", "Empty", "Missing", "NaN", "Rate", "Six", "Text", "Unequal")


def ready(root, **options) -> MUSDBHQ:
    usual = {"seconds": 0.5, "samples_per_track": 8, "batch_size": 4, "sample_rate": RATE, "lengths": "skip"}
    return MUSDBHQ(str(root), **usual | options)


def harm(root: Path, track: str) -> Path:
    """Spoil one stem of the track as its name says."""
    path = root / "train" / track / "bass.wav"
    sound = soundfile.read(path, dtype="float32")[0]
    if track == "NaN":
        sound[len(sound) // 2 :] = np.nan
        soundfile.write(path, sound, RATE, subtype="FLOAT")
    elif track == "Rate":
        soundfile.write(path, sound, 44_100, subtype="PCM_16")
    elif track == "Six":
        soundfile.write(path, np.repeat(sound, 3, axis=1), RATE, subtype="PCM_16")
    elif track == "Unequal":
        soundfile.write(path, sound[: -RATE // 10], RATE, subtype="PCM_16")
    elif track == "Missing":
        path.unlink()
    else:
        path.write_bytes({"Cut": path.read_bytes()[:20_000], "Empty": b"", "Text": b"no sound but a few words"}[track])
    return path


@pytest.fixture(scope="module")
def harmed(tmp_path_factory):
    """A set with three good tracks, one of which is 10 ms longer in one stem, a silent stem, and one track of each harm."""
    root = write_musdb_hq(tmp_path_factory.mktemp("harmed"), train=(*GOOD, *BAD), seconds=2.0, rate=RATE)
    for track in BAD:
        harm(root, track)
    silent = root / "train" / GOOD[1] / "vocals.wav"
    soundfile.write(silent, np.zeros((2 * RATE, 2)), RATE, subtype="PCM_16")
    longer = root / "train" / GOOD[2] / "drums.wav"
    sound = soundfile.read(longer, dtype="float32")[0]
    soundfile.write(longer, np.concatenate([sound, sound[:80]]), RATE, subtype="PCM_16")
    return root


SENTENCES = {
    "Cut": r"bass.wav is truncated: 0.62 s of the 2.00 s that its header claims; copy it again.",
    "Empty": r"bass.wav is empty \(0 bytes\): copy or download it again.",
    "Missing": r"bass.wav is missing: copy it again or leave the track out.",
    "Rate": r"bass.wav has a sampling rate of 44100 Hz, expected 8000 Hz: .* --data.sample_rate 44100.",
    "Six": r"bass.wav has 6 channels, expected 2: convert it, or set --data.channels 6.",
    "Text": r"bass.wav is not a WAV file",
    "Unequal": r"bass.wav has 15200 samples but drums.wav beside it 16000: export the stems of a track with one length, or set",
}


@pytest.mark.parametrize("track", SENTENCES)
def test_a_bad_track_is_named_and_left_out_and_strict_stops_at_it(tmp_path, caplog, track):
    root = write_musdb_hq(tmp_path, train=(GOOD[0], track), seconds=2.0, rate=RATE)
    path = harm(root, track)
    with caplog.at_level(logging.WARNING):
        assert [one.name for one in ready(root).tracks("train")] == [GOOD[0]]
    [message] = caplog.messages
    assert message.startswith(f"Left out 1 track: {track}: {path} ") and "\n" not in message
    with pytest.raises(DataError, match=SENTENCES[track]) as caught:
        ready(root, strict=True).tracks("train")
    assert str(caught.value).rstrip(".") == message.removeprefix(f"Left out 1 track: {track}: ")


def test_the_run_goes_on_without_them_the_same_for_any_workers(harmed, caplog):
    runs = []
    for workers in (0, 2):
        data = ready(harmed, num_workers=workers)
        with caplog.at_level(logging.WARNING):
            runs.append(list(data.train_dataloader()))
        if not workers:  # a worker's words reach the terminal, not the log of this process
            assert sum("bass.wav holds NaN" in message for message in caplog.messages) == 1
    assert len(runs[0]) == (len(GOOD) + 1) * 8 // 4  # NaN is found when it is read
    for batch, again in zip(*runs, strict=True):
        assert batch.names == again.names
        assert batch.stems.equal(again.stems)
        assert batch.stems.isfinite().all()
        assert not {name for names in batch.names for name in names.split(" + ")} & {*BAD} - {"NaN"}


def test_nan_is_drawn_anew_from_other_tracks(tmp_path):
    """All stems of the second half of NaN are fine but its bass; in one place of all sources its first half alone is used."""
    root = write_musdb_hq(tmp_path, train=(GOOD[0], "NaN"), seconds=2.0, rate=RATE)
    harm(root, "NaN")
    dataset = ready(root, random_tracks=False).train_set()
    items = [dataset[index, 100 + index] for index in range(16)]
    assert all(np.isfinite(item.stems).all() for item in items)
    assert all(item.start <= 0.5 for item in items if item.name == "NaN")
    assert sum(item.name == "NaN" for item in items) < 8
    with pytest.raises(DataError, match="holds NaN or infinite samples"):
        list(ready(root, strict=True).train_dataloader())
    with pytest.raises(DataError, match="holds NaN or infinite samples"):
        ready(root, strict=True).prepare(tmp_path / "run")


def test_only_bad_chunks_end_in_a_sentence(tmp_path):
    root = write_musdb_hq(tmp_path, train=("NaN",), seconds=2.0, rate=RATE)
    path = root / "train" / "NaN" / "bass.wav"
    soundfile.write(path, np.full((2 * RATE, 2), np.nan), RATE, subtype="FLOAT")
    with pytest.raises(DataError, match="20 training chunks in a row cannot be read"):
        ready(root).train_set()[0, 0]


def test_evaluation_leaves_nan_out_and_says_why(tmp_path, caplog):
    root = write_musdb_hq(
        tmp_path, validation=("Leaf - Summerghost", "ANiMAL - Rockshow"), test=("A", "B"), seconds=2.0, rate=RATE
    )
    for folder in ("train/Leaf - Summerghost", "test/B"):
        path = root / folder / "bass.wav"
        soundfile.write(path, np.full((2 * RATE, 2), np.inf), RATE, subtype="FLOAT")
    data = ready(root)
    with caplog.at_level(logging.WARNING):
        animal, leaf = data.val_dataloader()
        assert animal.stems.shape == (1, 4, 2 * RATE, 2)
        assert leaf.stems.shape == (0, 4, 0, 2) and leaf.names == ()
        assert leaf.waveforms()[1].shape == (0, 2, 0)
        fine, bad = data.test_dataloader()
    assert fine.error is None and fine.stems.shape == (4, 2 * RATE, 2)
    assert bad.name == "B" and bad.index == 1 and bad.stems.shape == (4, 0, 2)
    assert bad.error == f"{root / 'test/B/bass.wav'} holds NaN or infinite samples: write it again or leave the track out."
    assert sum("holds NaN" in message for message in caplog.messages) == 2


def test_a_few_ms_are_cut_and_told(harmed, caplog):
    with caplog.at_level(logging.WARNING):
        tracks = {track.name: track for track in ready(harmed).tracks("train")}
    assert tracks[GOOD[2]].frames == 2 * RATE
    assert any("drums.wav beside it 16080: the track is trimmed to the shortest" in message for message in caplog.messages)
    assert len(ready(harmed).train_set().tracks) == len(GOOD) + 1
    with pytest.raises(DataError):
        ready(harmed, strict=True).tracks("train")


def test_strict_stops_at_a_few_ms_too(tmp_path):
    root = write_musdb_hq(tmp_path, train=(GOOD[0],), seconds=2.0, rate=RATE)
    path = root / "train" / GOOD[0] / "drums.wav"
    sound = soundfile.read(path, dtype="float32")[0]
    soundfile.write(path, np.concatenate([sound, sound[:80]]), RATE, subtype="PCM_16")
    assert ready(root).tracks("train")[0].frames == 2 * RATE
    with pytest.raises(DataError, match="16080: the track is trimmed to the shortest"):
        ready(root, strict=True).tracks("train")


def test_a_wrong_root_shows_the_tree_and_the_command(tmp_path):
    for root, words in ((tmp_path, "holds no track"), (tmp_path / "none", "is not a folder"), (None, "--data.root is required")):
        with pytest.raises(DataError) as caught:
            MUSDBHQ(root and str(root)).tracks("train")
        said = str(caught.value)
        assert words in said and "\n" not in said
        assert "train/ARTIST - TITLE/{mixture,drums,bass,other,vocals}.wav" in said
        assert "musdb18hq.zip, open at zenodo.org/records/3338373" in said
        assert root is None or f"python -m tasks.separation prepare --data datamodules.MUSDBHQ --data.root {root}" in said


def test_an_empty_validation_set_names_the_rule(tmp_path):
    root = write_musdb_hq(tmp_path, validation=(), seconds=1.0, rate=RATE)
    with pytest.raises(DataError) as caught:
        ready(root).validation_set()
    said = str(caught.value)
    assert "no usable track of the validation split" in said and "musdb's 14 validation tracks" in said
    assert "--data.validation" in said and "\n" not in said
    assert len(ready(root, validation=["Artist B - Two"]).validation_set()) == 1
    assert {track.name for track in ready(root, validation=["Artist B - Two"]).tracks("train")} == {
        "Artist A - One",
        "Artist C - Three",
    }
    write_track(root / "valid" / "Mine", 1.0, 1, rate=RATE)
    assert [track.name for track in ready(root).tracks("validation")] == ["Mine"]


def test_a_set_whose_tracks_are_all_bad_says_why(tmp_path):
    root = write_musdb_hq(tmp_path, seconds=0.5, rate=RATE)
    with pytest.raises(DataError, match=r"6 tracks are left out, the first because .*44100.*--data.sample_rate 8000"):
        MUSDBHQ(str(root)).train_set()


def test_prepare_reports_every_kind(harmed, tmp_path):
    data = ready(harmed, cache_dir=str(tmp_path))
    said = data.prepare(tmp_path / "run")
    assert (said["data"], said["listed"], said["usable"]) == ("musdb18hq", 14, 6)
    counts = {"missing": 1, "unequal": 1, "unfit": 2, "unreadable": 4, "odd": 1, "silent": 1}
    assert {kind: said[kind] for kind in counts} == counts
    assert said["splits"]["train"] == {"listed": 11, "usable": 3, "hours": round(6 / 3600, 3), "own_mixture": 3}
    assert said["splits"]["validation"]["usable"] == 1 and said["splits"]["test"]["usable"] == 2
    assert said["sources"] == list(STEMS) and said["validation_tracks"] == "1 of the 14 named ones"
    assert said["statistics"] is None
    written = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [Path(path).parts[-2:] for path in written["files"]["silent"]] == [(GOOD[1], "vocals.wav")]
    assert sorted(Path(message.split(".wav")[0]).parent.name for message in written["files"]["unreadable"]) == [
        "Cut", "Empty", "NaN", "Text",
    ]  # fmt: skip
    assert all(str(harmed) in message for kind in written["files"].values() for message in kind)
    with pytest.raises(DataError):
        ready(harmed, strict=True).prepare(tmp_path / "strict")


def test_names_that_are_no_text_can_be_printed(tmp_path):
    root = write_musdb_hq(tmp_path / "set", seconds=1.0, rate=RATE)
    for split in ("train", "test"):
        write_track(root / split / "Cafe", 1.0, 1, rate=RATE).rename(root / split / "Caf\udce9")
    (root / "train" / "Caf\udce9" / "bass.wav").write_bytes(b"")
    data = ready(root, cache_dir=str(tmp_path))
    said = data.prepare(tmp_path / "run")
    assert "Caf\ufffd/bass.wav is empty" in json.dumps(said, ensure_ascii=False).encode().decode()
    assert [batch.name for batch in data.test_dataloader()] == ["Artist D - Four", "Artist E - Five", "Caf\ufffd"]
