"""Every verb of separation on a tiny folder of MUSDB18-HQ's layout, and the mistakes that a newcomer makes."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.helpers.commands import separation
from tests.helpers.stems import STEMS, stem, write_musdb_hq, write_track

ROOT = Path(__file__).parents[3]
RATE = 8000
NET = {"hidden": 8, "layers": 1, "n_fft": 512, "hop": 128, "bandwidth": 3000.0, "sample_rate": RATE}
DATA = {"sample_rate": RATE, "seconds": 1.0, "samples_per_track": 2, "batch_size": 2, "num_workers": 0, "validation_seconds": 2.0}
QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu"]
ROW = ["--config", ROOT / "configs/separation/p.yaml", "--trainer.max_epochs", "2", *QUIET]
ROW += [word for name, value in NET.items() for word in (f"--model.net.{name}", value)]
ROW += [word for name, value in DATA.items() for word in (f"--data.{name}", value)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder with a data set and a finished run of the row P on it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("separation")
    write_musdb_hq(folder / "hq", seconds=3.2, rate=RATE)
    fitted = separation("fit", *ROW, "--data.root", folder / "hq", "--runs", folder / "runs", "--report.baselines", "true")
    assert fitted.code == 0, fitted.err
    (folder / "told.txt").write_text(fitted.out)
    return folder


def run_of(place):
    return place / "runs" / "separation" / "p"


def test_fit_ends_with_the_table_of_the_test_split(place):
    told = (place / "told.txt").read_text()
    for name in ("this network", "silence", "mixture / 4", "ideal ratio mask", "uSDR"):
        assert name in told
    found = json.loads((run_of(place) / "metrics.json").read_text())
    assert found["row"] == "p" and found["data"]["name"] == "musdb18hq"
    assert found["metrics"]["n_tracks"] == 2
    assert {f"{measure}_{source}" for measure in ("sdr", "isr", "sir", "sar", "usdr") for source in STEMS} <= set(
        found["metrics"]
    )
    assert set(found["baselines"]["silence"]) == {0.0}
    assert min(found["baselines"]["ideal ratio mask"]) > max(0.0, *found["baselines"]["mixture"])
    rows = list(csv.DictReader((run_of(place) / "tracks.csv").open()))
    assert [(row["track"], row["source"]) for row in rows] == [
        (track, source) for track in ("Artist D - Four", "Artist E - Five") for source in STEMS
    ]
    medians = [float(row["sdr"]) for row in rows if row["source"] == "bass"]
    assert found["metrics"]["sdr_bass"] == pytest.approx(np.median(medians))
    assert (run_of(place) / "figures" / "tracks.png").stat().st_size > 10_000


def test_the_checkpoint_says_that_the_stems_are_all_of_a_song(place):
    stored = torch.load(run_of(place) / "checkpoints" / "best.ckpt", weights_only=True)
    assert stored["hyper_parameters"]["covers_mixture"] is True


def test_the_network_starts_from_the_statistics_of_the_training_set(place):
    """input_mean and input_scale of each source are trained from there: near, and not at their untrained 0 and 1."""
    from datamodules.common.input_spec import SeparationSpec
    from datamodules.separation.musdb import MUSDBHQ
    from models.blocks.stft import STFT

    data = MUSDBHQ(str(place / "hq"), sample_rate=RATE)
    stft = STFT(512, 128)
    data.connect(SeparationSpec(lambda audio: stft(audio).abs(), "test"))
    mean, _ = data.statistics()
    weights = torch.load(run_of(place) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    trained = weights["net.branches.0.input_mean"]
    assert (trained + mean[: len(trained)]).abs().max() < 0.05 < trained.abs().max()


def test_a_second_test_takes_up_the_scores_that_are_there(place, tmp_path, monkeypatch):
    from tasks.separation import module

    monkeypatch.setattr(module, "Audio2Stems", None)  # separating again would fail
    run = shutil.copytree(run_of(place), tmp_path / "run")
    before = json.loads((run / "metrics.json").read_text())["metrics"]
    (run / "metrics.json").unlink()
    done = separation("test", "--ckpt_path", run, *QUIET, "--report.baselines", "false")
    assert done.code == 0, done.err
    after = json.loads((run / "metrics.json").read_text())["metrics"]
    assert after == pytest.approx(before, abs=1e-4)  # museval's JSON has five decimals


@pytest.mark.slow
def test_museval_confirms_the_scores(place):
    before = json.loads((run_of(place) / "metrics.json").read_text())["metrics"]
    words = ["--report.evaluator", "museval", "--runs", place / "confirmed", "--name", "museval"]
    done = separation("test", "--ckpt_path", run_of(place), *words, *QUIET)
    assert done.code == 0, done.err
    (path,) = (place / "confirmed").rglob("metrics.json")
    after = json.loads(path.read_text())["metrics"]
    assert {k: v for k, v in after.items() if k.startswith("sdr")} == pytest.approx(
        {k: v for k, v in before.items() if k.startswith("sdr")}, abs=1e-4
    )


def test_validate_gives_loss_and_sdr(place):
    done = separation("validate", "--ckpt_path", run_of(place), *QUIET)
    assert done.code == 0, done.err
    found = json.loads((run_of(place) / "metrics_validation.json").read_text())
    assert {"loss", "sdr", *(f"sdr_{source}" for source in STEMS)} <= set(found["metrics"])
    assert found["data"]["split"] == "validation"


def test_predict_leaves_the_stems_of_a_song(place, tmp_path):
    song = tmp_path / "song.wav"
    soundfile.write(song, stem("vocals", 2.5, 3, 22_050, 2), 22_050)
    (tmp_path / "none.mp3").write_text("no music")
    done = separation("predict", "--ckpt_path", run_of(place), "--data.inputs", tmp_path, "--output.folder", tmp_path / "out")
    assert done.code == 1
    assert "none.mp3" in done.err and "Traceback" not in done.err
    for name in STEMS:
        (path,) = (tmp_path / "out").rglob(f"{name}.wav")
        assert soundfile.info(path).frames == round(2.5 * 22_050)
        assert soundfile.info(path).samplerate == 22_050
    assert list((tmp_path / "out").rglob("*.png"))


def test_prepare_reports_the_tracks(place, tmp_path):
    """In the cache: the folder named after the config is of a run, perhaps of other data."""
    words = ("prepare", *ROW, "--data.root", place / "hq", "--runs", tmp_path / "runs", "--data.cache_dir", tmp_path / "cache")
    done = separation(*words)
    assert done.code == 0, done.err
    (path,) = tmp_path.rglob("report.json")
    assert path.is_relative_to(tmp_path / "cache" / "reports" / "separation")
    assert str(path) in done.out
    assert json.loads(path.read_text())["splits"]["train"]
    assert not (tmp_path / "runs").exists()


def test_compare_shows_the_run_beside_the_paper(place, tmp_path):
    done = separation("compare", place / "runs/separation", "--out", tmp_path)
    assert done.code == 0, done.err
    assert "5.73" in done.out
    assert list(tmp_path.glob("*.md"))


def refused(*words):
    done = separation(*words)
    assert done.code == 2, done.err
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in done.err
    return lines[0]


def test_a_wrong_root_shows_the_tree(tmp_path):
    (tmp_path / "empty").mkdir()
    said = refused("fit", *ROW, "--data.root", tmp_path / "empty", "--runs", tmp_path)
    assert "train/" in said and "vocals" in said and "prepare" in said


def test_data_of_another_rate_or_of_other_stems(place, tmp_path):
    write_track(tmp_path / "hq/train/A - B", 2.0, 0)
    said = refused("fit", *ROW, "--data.root", tmp_path / "hq", "--runs", tmp_path)
    assert "44100" in said or "44,100" in said
    words = ["--model.net.sample_rate", "16000", "--runs", tmp_path]
    said = refused("fit", *ROW, "--data.root", place / "hq", *words)
    assert "sample_rate" in said and "16000" in said


def test_without_validation_tracks_the_rule_is_said(place, tmp_path):
    shutil.copytree(place / "hq", tmp_path / "hq", ignore=shutil.ignore_patterns("Leaf*"))
    assert "Actions - One Minute Smile" in refused("fit", *ROW, "--data.root", tmp_path / "hq", "--runs", tmp_path)


def test_stems_of_unequal_length_lose_their_track_by_name(place, tmp_path):
    shutil.copytree(place / "hq", tmp_path / "hq")
    bass = tmp_path / "hq/train/Artist A - One/bass.wav"
    soundfile.write(bass, stem("bass", 1.0, 0, RATE, 2), RATE, subtype="PCM_16")
    words = ["--data.root", tmp_path / "hq", "--runs", tmp_path, "--data.strict", "true", "--data.lengths", "skip"]
    said = refused("fit", *ROW, *words)
    assert "Artist A - One" in said and "bass" in said


def test_an_output_folder_that_cannot_be_written(place, tmp_path):
    song = tmp_path / "song.wav"
    soundfile.write(song, stem("vocals", 1.0, 3, RATE, 2), RATE)
    (tmp_path / "taken").write_text("a file")
    words = ["--data.inputs", song, "--output.folder", tmp_path / "taken"]
    assert "taken" in refused("predict", "--ckpt_path", run_of(place), *words)


def test_one_network_for_all_sources_has_no_optimizer_per_source(place, tmp_path):
    config = tmp_path / "wrong.yaml"
    config.write_text("model: {net: {class_path: models.separation.ConvTasNet}, one_optimizer: false, scheduler: null}")
    said = refused("fit", "--config", config, "--data.root", place / "hq", "--data.sample_rate", RATE, "--runs", tmp_path, *QUIET)
    assert "one_optimizer" in said
