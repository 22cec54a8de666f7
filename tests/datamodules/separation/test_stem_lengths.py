"""Stems of one's own as they come: unequal lengths, other rates, messages that name the user's files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.common.errors import DataError
from datamodules.separation.stem_folder import StemFolder
from tasks.separation.stems_on_disk import find_pairs
from tests.datamodules.test_checksum import flip
from tests.helpers.commands import separation
from tests.helpers.stems import stem

RATE = 8000


def write(path, seconds, rate=RATE, seed=0, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, stem(path.stem, seconds, seed, rate), rate, **how)
    return path


@pytest.fixture
def root(tmp_path):
    """Four tracks: of one the bass is half a second shorter, and the drums of another lie at 12 kHz."""
    for i, name in enumerate(("train/One", "train/Two", "validation/Three", "test/Four")):
        for source in ("drums", "bass"):
            short, rate = (name, source) == ("train/One", "bass"), 12_000 if (name, source) == ("train/Two", "drums") else RATE
            write(tmp_path / "set" / name / f"{source}.wav", 1.0 if short else 1.5, rate, i, subtype="PCM_16")
    return tmp_path / "set"


def ready(root, **options):
    options = {"seconds": 0.2, "sample_rate": RATE, "cache_dir": str(root.parent / "cache"), **options}
    return StemFolder(str(root), **options)


def frames(data):
    return {track.name: track.frames for track in data.opened[0]}


@pytest.mark.parametrize(("lengths", "expected"), [("pad", 1.5), ("trim", 1.0), ("skip", None)])
def test_unequal_stems(root, lengths, expected, caplog):
    data = ready(root, lengths=lengths)
    found = frames(data)
    assert found.pop("One", None) == (None if expected is None else round(expected * RATE))
    assert found == dict.fromkeys(("Two", "Three", "Four"), round(1.5 * RATE))
    bass = str(root / "train/One/bass.wav")
    assert f"{bass} has 8000 samples but drums.wav beside it 12000" in caplog.text
    if lengths == "skip":
        assert "--data.lengths pad or trim" in caplog.text and len(data.left_out) == 1
        return
    [track] = [track for track in data.tracks("train") if track.name == "One"]
    data.opened[0][:] = [track]
    data.tracks = lambda split: [track]
    batch = data.test_set()[0]
    length = round(expected * RATE)
    assert batch.stems.shape == (2, length, 2)
    own = soundfile.read(bass, dtype="int16")[0]
    np.testing.assert_array_equal(batch.stems[0, : len(own)], own[:length])
    assert not batch.stems[0, len(own) :].any()


def test_default_is_to_pad_and_strict_does_not_stop_it(root):
    assert frames(ready(root, strict=True))["One"] == round(1.5 * RATE)


def test_files_of_another_rate_are_resampled_once_and_said(root, caplog):
    data = ready(root)
    drums = root / "train/Two/drums.wav"
    two = next(track for track in data.opened[0] if track.name == "Two")
    assert f"Resampled to {RATE} Hz" in caplog.text and f"{drums} (12000 Hz)" in caplog.text
    wav = two.stems["drums"]
    assert (wav.rate, wav.frames) == (RATE, round(1.5 * RATE)) and wav.name == str(drums) != wav.path
    caplog.clear()
    assert ready(root).opened and "Resampled" not in caplog.text  # what is read from the cache is not resampled again
    import soxr

    expected = soxr.resample(soundfile.read(drums, dtype="float32")[0], 12_000, RATE, quality="HQ")
    np.testing.assert_allclose(wav.read(0, wav.frames) / 32768, expected, atol=1.1 / 32768)
    report = data.prepare(root.parent / "run")
    assert report["converted"]["files"] == 1 and report["noticed"] == 1


def test_messages_name_the_users_file(root, caplog):
    silent = root / "train/Two/bass.flac"
    (root / "train/Two/bass.wav").unlink()
    soundfile.write(silent, np.zeros((12_000, 2)), RATE)
    data = ready(root)
    data.prepare(root.parent / "run")
    content = (root.parent / "run/report.json").read_text()
    assert str(silent) in content and json.loads(content)["files"]["silent"] == [str(silent)]
    assert str(root.parent / "cache") not in caplog.text
    odd = write(root / "train/Two/drums.flac", 1.5, RATE)
    (root / "train/Two/drums.wav").unlink()
    soundfile.write(odd, np.zeros((12_000, 4)), RATE)  # of four channels
    assert len(ready(root).opened[0]) == 3
    assert f"{odd} has 4 channels" in caplog.text and "stem.wav" not in caplog.text


@pytest.mark.parametrize("harm", [flip, lambda path: path.write_bytes(path.read_bytes()[:-700])])
def test_damaged_conversions_are_made_again_and_copies_of_the_set_use_them(root, harm, caplog):
    def of_two(root):
        return next(track for track in ready(root).opened[0] if track.name == "Two").stems["drums"]

    first = of_two(root)
    kept = Path(first.path).read_bytes()
    copy = shutil.copytree(root, root.parent / "elsewhere", copy_function=shutil.copy)
    assert of_two(copy).path == first.path
    harm(Path(first.path))
    assert Path(of_two(root).path).read_bytes() == kept
    assert f"The WAV files of {root / 'train/Two/drums.wav'} in " in caplog.text


@pytest.fixture
def scored(tmp_path):
    """References of unequal length, and estimates at another rate."""
    for track in ("A", "B"):
        for source, seconds in (("bass", 1.5), ("drums", 1.5 if track == "B" else 1.0)):
            write(tmp_path / "true" / track / f"{source}.wav", seconds, RATE, 1)
            write(tmp_path / "made" / track / f"{source}.wav", 1.5, 12_000 if source == "bass" else RATE, 1)
    return tmp_path


@pytest.mark.parametrize(("lengths", "seconds"), [("pad", 1.5), ("trim", 1.0), ("skip", None)])
def test_folders_to_evaluate(scored, lengths, seconds):
    with pytest.warns(UserWarning, match="is resampled from 12000 to 8000 Hz"):
        pairs, sources = find_pairs(scored / "made", scored / "true", lengths=lengths)
    assert sources == ["drums", "bass"]
    if seconds is None:
        with pytest.raises(DataError, match="--lengths pad or trim"):
            pairs[0]()
        return
    true, made = pairs[0]()
    assert true.shape == made.shape == (2, round(seconds * RATE), 2)
    own = soundfile.read(scored / "true/A/drums.wav", dtype="float32")[0]
    np.testing.assert_array_equal(true[0, : len(own)], own)
    assert not true[0, len(own) :].any()
    assert pairs[1]()[0].shape == (2, round(1.5 * RATE), 2)


def test_evaluate_says_what_it_did(scored, capsys):
    from tasks.separation.evaluate import main

    with pytest.raises(SystemExit) as left:
        main([str(scored / "made"), str(scored / "true"), "--bss", "sdr", "--processes", "0"])
    said = capsys.readouterr().err
    assert left.value.code == 0
    assert "is resampled from 12000 to 8000 Hz" in said and "padded with silence" in said
    with pytest.raises(SystemExit) as left:
        main([str(scored / "made"), str(scored / "true"), "--bss", "sdr", "--processes", "0", "--lengths", "skip", "--overwrite"])
    assert left.value.code == 1 and "not scored: A" in capsys.readouterr().err


def test_training_takes_all_tracks(root, tmp_path):
    net = {"hidden": 8, "layers": 1, "n_fft": 512, "hop": 128, "bandwidth": 3000.0, "sample_rate": RATE}
    data = {"sample_rate": RATE, "seconds": 0.5, "samples_per_track": 2, "batch_size": 2, "num_workers": 0}
    words = [word for name, value in net.items() for word in (f"--model.net.{name}", value)]
    words += [word for name, value in data.items() for word in (f"--data.{name}", value)]
    words += ["--trainer.max_steps", 2, "--trainer.check_val_every_n_epoch", 1, "--trainer.enable_progress_bar", "false"]
    words += ["--model.scheduler", "null", "--runs", tmp_path / "runs", "--data.cache_dir", tmp_path / "cache"]
    done = separation("fit", "--data", "datamodules.StemFolder", "--data.root", root, *words)
    assert done.code == 0, done.err
    (metrics,) = (tmp_path / "runs").rglob("metrics.json")
    assert json.loads(metrics.read_text())["metrics"]["n_tracks"] == 1
