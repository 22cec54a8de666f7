"""The verbs of the tagging task, from a folder of audio to pictures, on a network of a few thousand weights."""

import csv
import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from datamodules.audio.windows import every
from tasks import load
from tasks.reporting.comparison import read_curves
from tasks.tagging.inference import Audio2Tags, File2Tags, tagger_window
from tasks.tagging.options import TaggingOptions
from tests.helpers.commands import TAGS, tagging, write_tiny
from tests.helpers.layouts import tone, write_audio
from tests.helpers.wandb_file import import_wandb

FRAMES, STRIDE, HEADS, WIDTH = 64, 4, 2, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def options(folder):
    return write_tiny(folder)


@pytest.fixture(scope="module")
def fitted(options):
    """What `fit` said."""
    done = tagging("fit", *options, "--seed_everything", "3")
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def run(folder, fitted):
    """Run folder of that `fit`."""
    return folder / "runs" / "tagging" / "tiny"


@pytest.fixture(scope="module")
def songs(folder):
    """Readable files of many kinds in one folder, one of them below it."""
    root = folder / "songs"
    write_audio(root / "stereo.wav", tone(3.0, 1, 44_100, channels=2), 44_100)
    write_audio(root / "chord.mp3", tone(3.0, 2))
    write_audio(root / "deep" / "deeper" / "low.flac", tone(1.0, 3, 8_000), 8_000)
    write_audio(root / "short.wav", tone(0.1, 4))
    write_audio(root / "one.wav", np.array([0.5], np.float32))
    write_audio(root / "silent.wav", np.zeros(32_000, np.float32))
    (root / "notes.txt").write_text("no audio, and not asked about")
    return root


@pytest.fixture(scope="module")
def predicted(run, songs):
    """Folder of a prediction."""
    done = tagging("predict", "--ckpt_path", run, "--data.inputs", songs, "--output.embeddings", "[back_end]")
    assert done.code == 0, done.err
    return run / "predictions"


@pytest.fixture(scope="module")
def drawn(run, songs, folder):
    """Folder of a prediction of two files with everything that can be drawn."""
    files, out = (songs / "stereo.wav", songs / "silent.wav"), folder / "drawn"
    wishes = ("--output.timeline", "true", "--output.hop", "0.5", "--output.maps", "true", "--output.join", "true")
    done = tagging("predict", *files, "--ckpt_path", run, "--output.folder", out, *wishes)
    assert done.code == 0, done.err
    return out


def scores(path):
    with path.open(newline="") as file:
        return {row["file"]: [float(row[tag]) for tag in sorted(TAGS)] for row in csv.DictReader(file)}


def metrics(path):
    return json.loads(path.read_text())["metrics"]


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_fit_leaves_a_whole_run_folder(run):
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    expected = {"config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "metrics.json", "per_tag.csv"}
    pictures = {"figures/per_tag.png", "figures/attention/piano.png", "figures/contribution/piano+flute.png"}
    assert expected | pictures <= found
    assert not [name for name in found if name.endswith(".tmp") or Path(name).name.startswith(".")]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["net"]["init_args"]["front_end"]["init_args"]["time_stride"] == STRIDE
    assert config["data"]["init_args"]["batch_size"] == 8


def test_fit_ends_with_scores_that_say_what_they_were_measured_on(run, fitted):
    told = json.loads((run / "metrics.json").read_text())
    assert told["data"] == {"name": "mtat", "subset": "top50", "split": "test", "policy": "won16"}
    assert (told["task"], told["row"], told["seed"]) == ("tagging", "tiny", 3)
    assert "mtat, subset top50, test split" in fitted.out
    assert f"{told['metrics']['auroc_macro']:.4f}" in fitted.out
    assert str(run / "per_tag.csv") in fitted.out
    with (run / "per_tag.csv").open() as file:
        assert sorted(row["tag"] for row in csv.DictReader(file)) == sorted(TAGS)


def test_validate_scores_the_checkpoint_that_validation_chose(run):
    done = tagging("validate", "--ckpt_path", run)
    assert done.code == 0, done.err
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["callbacks"]
    chosen = next(state["best_score"] for name, state in best.items() if name.startswith("Checkpoint"))
    assert metrics(run / "metrics_validation.json")["auroc_macro"] == pytest.approx(float(chosen), abs=1e-6)
    assert "validation split" in done.out


def test_test_repeats_the_scores_that_fit_ended_with(run):
    before = metrics(run / "metrics.json")
    again = tagging("test", "--ckpt_path", run, "--name", "again", "--report.gallery", "false", "--runs", run.parent.parent)
    assert again.code == 0, again.err
    assert metrics(run.parent / "again" / "metrics.json") == before
    first, second = (json.loads((run.parent / name / "metrics.json").read_text()) for name in ("tiny", "again"))
    assert (second["row"], second["seed"]) == (first["row"], first["seed"]) == ("tiny", 3)
    assert not (run.parent / "again" / "figures" / "attention").exists()


def test_command_line_beats_what_the_checkpoint_says(run):
    words = ("--runs", run.parent.parent, "--name", "covered", "--report.gallery", "false", "--data.policy", "cover")
    done = tagging("test", "--ckpt_path", run / "checkpoints" / "last.ckpt", *words)
    assert done.code == 0, done.err
    assert json.loads((run.parent / "covered" / "metrics.json").read_text())["data"]["policy"] == "cover"


def test_a_wrong_shape_is_no_silent_override(run):
    done = tagging("test", "--ckpt_path", run, "--model.net.front_end.width", "32")
    assert done.code == 2
    assert "Traceback" not in done.err
    assert "size" in done.err


def test_fit_again_opens_a_folder_of_its_own_and_resuming_equals_going_on(options, run, folder):
    longer = ("--trainer.max_epochs", "3", "--test_after_fit", "false", "--seed_everything", "3")
    assert tagging("fit", *options, *longer).code == 0
    whole = run.parent / "tiny-2" / "checkpoints" / "last.ckpt"
    shutil.copytree(run.parent / "tiny", folder / "others" / "tagging" / "tiny")
    others = ("--runs", folder / "others", "--ckpt_path", "last")
    done = tagging("fit", *options, *longer, *others)
    assert done.code == 0, done.err
    assert [path.name for path in (folder / "others" / "tagging").iterdir()] == ["tiny"]
    continued = folder / "others" / "tagging" / "tiny" / "checkpoints" / "last.ckpt"
    assert not same(weights(run / "checkpoints" / "last.ckpt"), weights(whole))
    assert same(weights(continued), weights(whole))


def test_figure_5_can_be_drawn_of_a_run_that_logs_to_wandb(options, folder):
    wandb = import_wandb()
    words = ("--config", "configs/wandb.yaml", "--name", "logged", "--test_after_fit", "false", "--report.examples", "0")
    done = tagging("fit", *options, *words)
    wandb.finish()
    assert done.code == 0, done.err
    run = folder / "runs" / "tagging" / "logged"
    assert list(run.glob("wandb/offline-run-*"))
    curves = read_curves(run, ["val/auroc_macro"])
    assert curves["epoch"].tolist() == [0, 1] and np.isfinite(curves["val/auroc_macro"]).all()


def test_resuming_by_path_needs_no_config(options, run, folder):
    shutil.copytree(run.parent / "tiny", folder / "alone" / "tagging" / "tiny")
    path = folder / "alone" / "tagging" / "tiny" / "checkpoints" / "last.ckpt"
    done = tagging("fit", "--ckpt_path", path, "--trainer.max_epochs", "3", "--test_after_fit", "false")
    assert done.code == 0, done.err
    content = torch.load(path, weights_only=True)
    assert (content["epoch"], content["global_step"]) == (2, 6)


def test_a_taken_name_is_refused_and_nothing_touched(options, run):
    before = (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    done = tagging("fit", *options, "--name", "tiny")
    assert done.code == 2
    assert "already holds a run" in done.err
    assert "--ckpt_path last" in done.err
    assert (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_predict_tags_files_of_any_rate_length_and_format(run, predicted, songs):
    table = scores(predicted / "tags.csv")
    assert {Path(name).name for name in table} == {"stereo.wav", "chord.mp3", "low.flac", "short.wav", "one.wav", "silent.wav"}
    assert all(0 <= score <= 1 for row in table.values() for score in row)
    listed = json.loads((predicted / "tags.json").read_text())
    assert listed["failed"] == {}
    tagger = load(run)
    least = dict(zip(tagger.tags, tagger.thresholds.tolist(), strict=True))
    for name, row in table.items():
        reached = [score for tag, score in zip(sorted(TAGS), row, strict=True) if score >= least[tag] - 1e-6]
        reached = [] if Path(name).name in ("silent.wav", "one.wav") else sorted(reached, reverse=True)  # one.wav: one sample
        assert [tag["score"] for tag in listed["files"][name]] == pytest.approx(reached, abs=1e-6)
    with (predicted / "tags.csv").open(newline="") as file:
        notes = {Path(row["file"]).name: row["notes"] for row in csv.DictReader(file)}
    assert notes["silent.wav"] == "silent" and "lasts " in notes["one.wav"] and notes["stereo.wav"] == ""


def test_predict_is_the_ladder_of_the_readme(run, predicted, songs):
    tagger = load(run)
    table = scores(predicted / "tags.csv")
    for name in ("stereo.wav", "one.wav"):
        found = dict(File2Tags(tagger)(songs / name).top(len(TAGS)))
        assert table[str(songs / name)] == pytest.approx([found[tag] for tag in sorted(TAGS)], abs=1e-6)
        sound, rate = soundfile.read(songs / name, always_2d=True)
        result = Audio2Tags(tagger)(sound.T, sample_rate=rate)
        assert dict(zip(result.tags, result.scores, strict=True)) == pytest.approx(found, abs=1e-4)


def test_antiphase_stereo_is_tagged_by_its_louder_channel(run, predicted, songs, folder):
    sound, rate = soundfile.read(songs / "short.wav", dtype="float32")
    soundfile.write(folder / "antiphase.wav", np.stack([sound, -0.9 * sound], axis=1), rate, subtype="FLOAT")
    out = folder / "antiphase"
    done = tagging("predict", "--ckpt_path", run, "--data.inputs", folder / "antiphase.wav", "--output.folder", out)
    assert "antiphase.wav: its channels cancel each other (anti-phase): channel 1, the loudest, is used alone" in done.out
    (row,) = scores(out / "tags.csv").values()
    assert row == pytest.approx(scores(predicted / "tags.csv")[str(songs / "short.wav")], abs=1e-3)


def test_timelines_have_one_row_a_step(run, drawn):
    window = tagger_window(load(run))
    path = drawn / "timelines" / "stereo.csv"
    rows = path.read_text().splitlines()
    starts, _ = every(window, 48_000, 0.5)
    assert len(rows) == 1 + len(starts)
    assert float(rows[2].split(",")[0]) == pytest.approx(starts[1] / 16_000, abs=1e-3)
    assert path.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"


def test_maps_and_embeddings_have_the_networks_shapes(predicted, drawn):
    maps = np.load(drawn / "maps" / "stereo.npz")
    tokens = FRAMES // STRIDE
    assert maps["spectrogram"].shape == (96, FRAMES)
    assert maps["attention"].shape == (HEADS, 1 + tokens)
    assert maps["attention"].sum(1) == pytest.approx([1] * HEADS, abs=1e-5)
    assert maps["contribution"].shape == (tokens, len(TAGS))
    silent = np.load(drawn / "maps" / "silent.npz")
    assert np.ptp(silent["spectrogram"]) == 0 < np.ptp(maps["spectrogram"])
    assert set(maps["tags"]) == set(TAGS)
    assert len(list((drawn / "maps").glob("*-attention.png"))) == 2
    assert len(list((drawn / "maps").glob("*-contribution.png"))) == 2
    layer = np.load(predicted / "embeddings" / "stereo.npz")
    assert layer["back_end"].shape == (len(layer["start_s"]), WIDTH)
    assert len(layer["start_s"]) == 3  # 188 frames in chunks of 64


def test_two_files_are_joined_in_one_map(drawn):
    (path,) = (drawn / "maps").glob("*+*.npz")
    joined = np.load(path)
    assert joined["contribution"].shape == (FRAMES // STRIDE, len(TAGS))
    assert joined["boundary_s"] == pytest.approx(FRAMES // 2 * 256 / 16_000)
    assert path.with_suffix(".png").is_file()


def test_predict_again_adds_and_takes_nothing_away(run, predicted, songs, folder):
    before = {path: path.read_bytes() for path in predicted.rglob("*") if path.is_file() and path.name != "journal.jsonl"}
    words = ("predict", "--ckpt_path", run, songs / "one.wav")
    assert "1 of 1 input is done already" in tagging(*words).out
    assert {path: path.read_bytes() for path in before} == before
    elsewhere = ("--output.folder", folder / "elsewhere")
    assert tagging(*words, *elsewhere).code == 0
    assert tagging(*words[:-1], songs / "short.wav", *elsewhere).code == 0
    assert len(scores(folder / "elsewhere" / "tags.csv")) == 2
    assert tagging(*words, *elsewhere, "--overwrite", "true").code == 0
    assert len(scores(folder / "elsewhere" / "tags.csv")) == 1


def test_unreadable_files_are_named_and_the_others_done_alike_with_two_workers(run, predicted, songs, folder):
    broken = folder / "broken.mp3"
    broken.write_text("this is text")
    (folder / "empty.wav").touch()
    inputs = f"[{songs},{broken},{folder / 'empty.wav'}]"
    words = ("--data.inputs", inputs, "--data.num_workers", 2, "--output.folder", folder / "two")
    done = tagging("predict", "--ckpt_path", run, *words)
    assert done.code == 1
    assert done.err.count("Left out 1 file: ") == 2
    assert done.err.count(str(broken)) == 1
    assert "Traceback" not in done.err
    assert scores(folder / "two" / "tags.csv") == scores(predicted / "tags.csv")
    written = json.loads((folder / "two" / "tags.json").read_text())
    assert set(written["failed"]) == {str(broken), str(folder / "empty.wav")}
    assert {(group["kind"], *group["items"]) for group in written["left_out"]} == {("file", name) for name in written["failed"]}


def test_inference_options_are_stored_and_python_agrees(options, songs, folder):
    run, out, config = folder / "runs" / "tagging" / "options", folder / "chosen", folder / "chosen.yaml"
    brief = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 1, "--test_after_fit", "false")
    assert tagging("fit", *options, "--name", "options", *brief, "--model.inference.top", 2).code == 0
    tagger = load(run)
    assert tagger.inference == TaggingOptions(top=2)
    config.write_text("output:\n  top: null\n  threshold: 0.0\n")

    def listed(*words):
        done = tagging("predict", songs / "stereo.wav", "--ckpt_path", run, "--output.folder", out, *words)
        assert done.code == 0, done.err
        ((_, tags),) = json.loads((out / "tags.json").read_text())["files"].items()
        return [(tag["tag"], tag["score"]) for tag in tags]

    def decided(**how):
        tags = File2Tags(tagger, inference=TaggingOptions(**how) if how else None)(songs / "stereo.wav").decided()
        return [(tag, pytest.approx(score, abs=1e-6)) for tag, score in tags]

    assert listed() == decided() and len(decided()) == 2
    least = sum(score.expected for _, score in decided(top=4)[2:]) / 2  # between the third and the fourth
    for name in ("model.inference", "output"):
        with pytest.warns(UserWarning, match="is now called") if name == "output" else nullcontext():
            assert listed(f"--{name}.top", 1) == decided(top=1)
            assert listed(f"--{name}.threshold={least}", f"--{name}.top=null") == decided(threshold=least)
    assert len(decided(threshold=least)) == 3
    with pytest.warns(UserWarning, match=r"^output\.top is now called model\.inference\.top"):
        assert listed("--config", config) == decided(threshold=0.0)
    assert len(listed("--config", config, "--model.inference.top", 4)) == 4


def test_export_reloads_as_the_same_network(run):
    done = tagging("export", "--ckpt_path", run)
    assert done.code == 0, done.err
    out = run / "export"
    tagger = load(run)
    assert same(load_file(out / "model.safetensors"), dict(tagger.state_dict()))
    stored = yaml.safe_load((out / "config.yaml").read_text())
    assert sorted(stored["model"]["tags"]) == sorted(TAGS)
    program = torch.export.load(str(out / "model.pt2")).module()
    for seconds in (1.5, 4.25):
        audio = torch.from_numpy(tone(seconds, 9))
        assert program(audio).detach().numpy() == pytest.approx(Audio2Tags(tagger)(audio, 16_000).scores, abs=1e-5)
    again = tagging("export", "--ckpt_path", run)
    assert again.code == 2
    assert "already holds an export" in again.err


def test_prepare_reports_what_is_there_and_packs_it(options, folder):
    words = ("--data.pack", "auto", "--data.cache_dir", folder / "cache", "--name", "prepared")
    done = tagging("prepare", *options, *words)
    assert done.code == 0, done.err
    report = json.loads((folder / "runs" / "tagging" / "prepared" / "report.json").read_text())
    assert (report["listed"], report["usable"], report["missing"], report["unreadable"]) == (32, 32, 0, 0)
    assert Path(report["pack"]["folder"] if isinstance(report["pack"], dict) else report["pack"]).is_dir()
    assert not (folder / "runs" / "tagging" / "prepared" / "checkpoints").exists()


def test_packed_audio_gives_the_scores_of_the_files_it_was_made_of(run, folder, options):
    words = ("--data.pack", "build", "--data.cache_dir", folder / "cache", "--report.gallery", "false")
    done = tagging("test", "--ckpt_path", run, *words, "--name", "packed", "--runs", folder / "runs")
    assert done.code == 0, done.err
    packed, direct = metrics(run.parent / "packed" / "metrics.json"), metrics(run / "metrics.json")
    assert packed == pytest.approx(direct, abs=1e-6)


def test_compare_shows_the_run(run, folder):
    done = tagging("compare", run, "--out", folder / "compared")
    assert done.code == 0, done.err
    assert (folder / "compared" / "compare.md").is_file()
    assert "tiny" in done.out


def test_a_training_without_a_validation_says_that_nothing_is_evaluated(options):
    few = ("--trainer.max_steps", "1", "--trainer.check_val_every_n_epoch", "2", "--name", "few")
    with pytest.warns(UserWarning, match="ended before its first validation, so the test split is not evaluated"):
        done = tagging("fit", *options, *few)
    assert done.code == 0, done.err
