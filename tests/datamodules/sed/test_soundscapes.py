"""Soundscapes from a user's own sounds: mixed once, no recording in two splits, bad files named."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from datamodules.audio.windows import FrameGrid
from datamodules.common.errors import DataError
from datamodules.common.input_spec import SEDSpec
from datamodules.sed.soundscapes import Soundscapes
from tests.helpers.commands import command
from tests.helpers.sed_layout import NETWORK, SHORT

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
    data.connect(SEDSpec(FrameGrid(RATE, 80, 4)))
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


@pytest.fixture
def some_classes(library, request):
    """The library with as many classes as the test asks for."""
    for path in (library / "foreground/High", library / "foreground/Low")[request.param :]:
        shutil.rmtree(path)
    if request.param == 3:
        shutil.copytree(library / "foreground/High", library / "foreground/Higher")
    return library


@pytest.mark.parametrize("some_classes", [1, 2, 3], indirect=True)
def test_one_two_and_three_classes_are_mixed(some_classes):
    data = ready(some_classes)
    root, names = data.find_root(), {"High", "Low", "Higher"}
    labels = {row.split("\t")[1] for row in (root / "metadata/train/weak.csv").read_text().splitlines()[1:]}
    assert set(data.classes) <= names and {name for cell in labels for name in cell.split(",")} <= {*data.classes, ""}
    assert len(data.clips("weak")) == 6 and len(data.clips("test")) == 6


def test_scenes_without_events_are_added_to_the_weak_list_alone(library):
    data = ready(library, empty=1.0)
    counts = [len(data.clips(name)) for name in ("weak", "unlabeled", "validation", "test")]
    assert counts == [12, 4, 4, 6]
    items = [data.clips("weak").item(clip) for clip in range(12)]
    loud = [np.abs(item.audio).max() for item in items if not item.tags.any()]
    assert len(loud) == 6
    assert min(loud) <= 1 < max(loud), "silence or dither, and backgrounds"
    with pytest.raises(ValueError, match=r"--data\.empty is a share"):
        ready(library, empty=2.0)


@pytest.mark.parametrize("some_classes", [1, 2], indirect=True)
def test_fit_on_one_and_two_classes_ends_with_scores(some_classes, tmp_path):
    words = ["--data.root", some_classes, "--data.clips", "{weak: 6, unlabeled: 4, validation: 4, test: 4}"]
    words += ["--data.mixed_rate", RATE, "--data.cache_dir", tmp_path / "cache", "--runs", tmp_path, "--trainer.max_epochs", "1"]
    soundscapes = ("--data", "datamodules.Soundscapes")
    done = command("sed", "fit", *soundscapes, *NETWORK, *SHORT, *words, "--report.psds", "true", "--report.baselines", "true")
    assert done.code == 0, done.err
    (folder,) = (tmp_path / "sed").iterdir()
    content = json.loads((folder / "metrics.json").read_text())
    assert len(content["classes"]) == len(list((some_classes / "foreground").iterdir()))
    assert content["metrics"]["psds1"] is not None and content["metrics"]["n_clips"] == 4


def test_no_recording_is_in_two_splits(library, monkeypatch):
    kept = {}
    read = Soundscapes._library

    def keep(*words):
        sounds, faults = read(*words)
        kept.update(sounds)
        return sounds, faults

    monkeypatch.setattr(Soundscapes, "_library", keep)
    ready(library).find_root()
    for k in range(2):
        hertz = {split: {round(float(np.abs(np.fft.rfft(s, RATE)).argmax())) for s in kept[split][0][k]} for split in kept}
        assert sum(map(len, hertz.values())) == 5 == len(set.union(*hertz.values()))
        assert all(len(kept[split][0][k]) == 2 * len(hertz[split]) for split in kept)
    assert sum(len(beds) for _, beds in kept.values()) == 5
    assert all(abs(len(sound) - 0.6 * RATE) < 400 for _split, (sounds, _) in kept.items() for one in sounds for sound in one)


def test_bad_files_are_named_and_left_out(library, caplog):
    bad = ("foreground/Low/a_1.wav", "foreground/High/b_2.wav")
    (library / bad[0]).write_bytes(b"no sound")
    soundfile.write(library / bad[1], np.zeros(RATE), RATE)
    for _ in ("mixed", "mixed before"):
        caplog.clear()
        data = ready(library)
        data.find_root()
        assert "a_1.wav" in caplog.text and "b_2.wav: is silent" in caplog.text
        assert {entry.item for entry in data.left_out.items()} == {str(library / name) for name in bad}
    with pytest.raises(DataError, match=r"b_2\.wav is silent|a_1\.wav"):
        ready(library, strict=True, snr_db=(1.0, 2.0)).find_root()
    assert not list((library.parent / "cache/soundscapes").glob("*-*/metadata"))[1:]


def test_numbered_files_are_recordings_of_their_own_where_the_user_says_so(library):
    for k, path in enumerate(sorted((library / "foreground/Low").iterdir())):
        path.rename(path.with_name(f"low {k + 1}.wav"))
    sentence = r"Low: 10 files of 1 recording \('low'\), .* --data\.group '\.\+' if each file is"
    with pytest.raises(DataError, match=sentence) as refused:
        ready(library).find_root()
    assert "count as takes of one recording." in str(refused.value)
    assert len(ready(library, group=".+").clips("test")) == 6


def test_clicks_are_sounds(library):
    for k, path in enumerate(sorted((library / "foreground/Low").iterdir())):
        click = np.random.default_rng(k).standard_normal(RATE // 10) * np.exp(-np.arange(RATE // 10) / (0.005 * RATE))
        soundfile.write(path, 0.2 * click, RATE)
    data = ready(library, strict=True, snr_db=(10.0, 20.0))
    events = data.clips("test").listed.events
    lasts = (events.offset - events.onset)[events.label == data.classes.index("Low")]
    assert len(lasts) and (lasts < 0.1).all()


def test_too_few_recordings_or_none_are_said(library, tmp_path):
    for path in (library / "foreground/Low").glob("[bcde]*"):
        path.unlink()
    sentence = r"Low: 2 files of 1 recording \('a'\), expected at least three, one for each split: add some\.$"
    with pytest.raises(DataError, match=sentence):
        ready(library).find_root()
    for path in (library / "foreground/Low").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="holds no audio for Low"):
        ready(library).find_root()
