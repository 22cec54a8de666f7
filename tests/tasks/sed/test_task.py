"""The sed task as its user runs it: rows, teacher, embeddings, scores, predictions, and what it says of bad input."""

import csv
import json
import re
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from tasks import load
from tasks.sed.inference import Audio2EventScores, File2Events
from tasks.sed.module import RampDecay
from tasks.sed.options import DetectionOptions
from tests.helpers.commands import command
from tests.helpers.sed_layout import NETWORK, RATE, SHORT, write_dcase2018, write_table, write_tone
from tests.helpers.yamnet_weights import keras_arrays


def sed(*words):
    return command("sed", *words)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_dcase2018(tmp_path_factory.mktemp("dcase"))


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    """A run folder, and what `fit` said."""
    runs = tmp_path_factory.mktemp("runs")
    words = ["--config", "configs/sed/spectral.yaml", "--data.root", root, "--runs", runs, *NETWORK, *SHORT]
    done = sed("fit", *words)
    assert done.code == 0, done.err
    return runs / "sed" / "spectral", done


def test_the_papers_learning_rate():
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = RampDecay(optimizer).lr_lambdas[0]
    rates = [1e-3 * schedule(step) for step in (0, 6250, 12_500, 50_000)]
    assert rates == pytest.approx([6.74e-6, 2.865e-4, 1e-3, 1.533e-4], rel=1e-3)


def test_fit_ends_with_the_scores_of_student_and_teacher(trained):
    folder, done = trained
    assert "dcase2018, subset full, test split, 5 clips, collar 200 ms or 20 %" in done.out
    for line in ("student, threshold 0.5, 7 frames", "teacher, threshold 0.5, 7 frames", "student, tuned on validation"):
        assert re.search(rf"^{line} +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d$", done.out, re.MULTILINE)
    content = json.loads((folder / "metrics.json").read_text())
    assert content["checkpoint"] == "last.ckpt", "the paper scores the student after the last epoch"
    assert content["data"]["policy"] == "threshold 0.5, median filter 7" and content["metrics"]["n_clips"] == 5
    assert {"clip_f1_micro", "teacher_event_f1_macro", "tuned_segment_f1_micro"} <= set(content["metrics"])
    assert set(content["validation"]) >= {"clip_f1_micro", "segment_f1_micro", "event_f1_macro"}
    with (folder / "per_class.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 20
    assert (folder / "events.tsv").read_text().startswith("filename\tonset\toffset\tevent_label\n")
    assert {path.name.split("-")[0] for path in (folder / "figures").iterdir()} == {"per_class.png", "timeline"}


def test_a_checkpoint_holds_what_use_needs(trained):
    folder, _ = trained
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    state = checkpoint["state_dict"]
    assert {"net.mel.mean", "net.mel.std", "tuned.event_thresholds"} <= set(state)
    assert any(name.startswith("teacher.") for name in state)
    assert state["net.mel.std"].min() > 0 and not torch.equal(state["net.mel.mean"], torch.zeros(16))
    student, teacher = (state[f"{kind}.head.weight"] for kind in ("net", "teacher"))
    assert not torch.equal(student, teacher)
    assert set(checkpoint["validated"]) >= {"clip_f1_micro"}


def test_predict_of_any_length_and_rate(trained, tmp_path):
    folder, _ = trained
    inputs = tmp_path / "inputs"
    long = np.random.default_rng(0).standard_normal((37 * 48_000, 2)) * 0.05
    inputs.mkdir()
    soundfile.write(inputs / "long.wav", long, 48_000)
    write_tone(inputs / "short.flac", 1.0, [(0.2, 0.7, 600.0)])
    write_tone(inputs / "blip.wav", 0.01)
    soundfile.write(inputs / "silence.ogg", np.zeros(3 * 22_050), 22_050)
    (inputs / "broken.mp3").write_bytes(b"no sound")
    true = [["audio/inputs/short.flac", "0.2", "0.7", "Blender"], ["other.wav", "0.1", "0.2", "Blender"]]
    write_table(tmp_path / "true.tsv", ("filename", "onset", "offset", "event_label"), true)
    out = tmp_path / "out"
    words = ("predict", "--ckpt_path", folder, "--data.inputs", inputs, "--output.folder", out)
    done = sed(*words, "--output.reference", tmp_path / "true.tsv", "--model.inference.thresholds", "fixed")
    assert done.code == 1 and "Left out 1 file: " in done.err and "broken.mp3" in done.err
    with (out / "tags.csv").open(newline="") as file:
        rows = {row["file"].rsplit("/")[-1]: row for row in csv.DictReader(file)}
    assert {name: float(row["duration_s"]) for name, row in rows.items()} == {
        "long.wav": 37.0,
        "short.flac": 1.0,
        "blip.wav": 0.01,
        "silence.ogg": 3.0,
    }
    assert "has no rows for 4 files (blip.wav, broken.mp3, long.wav, silence.ogg)" in done.out
    assert f"not among the inputs, but in {tmp_path / 'true.tsv'}: 1 file (other.wav)" in done.out
    lines = [line.split("\t") for line in (out / "events.tsv").read_text().splitlines()]
    assert lines[0] == ["filename", "onset", "offset", "event_label", "score"] and {len(line) for line in lines} == {5}
    assert {line[0] for line in lines[1:]} == {"blip.wav", "long.wav", "short.flac", "silence.ogg"}  # with and without events
    assert all(0 <= float(line[4]) <= 1 for line in lines[1:] if line[3])
    assert len(list((out / "timelines").iterdir())) == len(list((out / "scores").iterdir())) == 4
    scores = np.load(out / "scores" / "long.npz")
    assert scores["frames"].shape == (462, 10) and np.isfinite(scores["frames"]).all()
    assert scores["times"][-1] == pytest.approx(36.88, abs=0.01)
    again = sed(*words, "--model.inference.thresholds", "fixed")
    assert again.code == 1 and "4 of 5 inputs are done already" in again.out


def test_predict_decides_by_what_the_checkpoint_holds(trained, root, tmp_path):
    """Decisions that no loaded weights have: all events, then the same masked by tags that no clip has."""
    content = torch.load(trained[0] / "checkpoints" / "best.ckpt", weights_only=True)
    content["state_dict"]["tuned.event_thresholds"].fill_(0.0)
    content["state_dict"]["tuned.clip"].fill_(2.0)
    rows = {}
    for masked in (False, True):
        content["state_dict"]["tuned.event_masked"] = torch.tensor(masked)
        torch.save(content, tmp_path / f"{masked}.ckpt")
        out = tmp_path / f"out{masked}"
        done = sed("predict", root / "audio/eval/eval0.wav", "--ckpt_path", tmp_path / f"{masked}.ckpt", "--output.folder", out)
        assert done.code == 0, done.err
        rows[masked] = (out / "events.tsv").read_text().splitlines()[1:]
    assert len(rows[False]) >= 10 and rows[True] == ["eval0.wav\t\t\t\t"]


def test_inference_options_are_stored_and_take_either_name(trained, root, tmp_path):
    content = torch.load(trained[0] / "checkpoints" / "best.ckpt", weights_only=True)
    assert content["hyper_parameters"].pop("inference") is None
    torch.save(content, tmp_path / "before.ckpt")  # as a checkpoint from before there was `inference`
    assert load(tmp_path / "before.ckpt").inference == DetectionOptions("tuned", 10.0, 5.0)
    content["hyper_parameters"]["inference"] = {"thresholds": "fixed", "window": 1.0, "step": 0.5}
    torch.save(content, tmp_path / "stored.ckpt")
    detector, file = load(tmp_path / "stored.ckpt"), root / "audio/eval/eval2.wav"
    assert detector.inference == DetectionOptions("fixed", 1.0, 0.5)
    found = File2Events(detector)(file)
    assert len(found.scores.windows) == 5
    rows = [f"eval2.wav\t{event.onset:.3f}\t{event.offset:.3f}\t{event.label}" for event in found.events]

    def predict(checkpoint, folder, *words):
        options = ("--ckpt_path", tmp_path / checkpoint, "--output.folder", tmp_path / folder)
        done = sed("predict", file, *options, "--output.pictures", "false", *words)
        assert done.code == 0, done.err
        np.testing.assert_array_equal(np.load(tmp_path / folder / "scores/eval2.npz")["frames"], found.scores.frames)
        lines = (tmp_path / folder / "events.tsv").read_text().splitlines()[1:]
        assert [line.rpartition("\t")[0] for line in lines] == (rows or ["eval2.wav\t\t\t"])
        return done.out

    predict("stored.ckpt", "stored")
    new = ("--model.inference.thresholds", "fixed", "--model.inference.window=1", "--model.inference.step=0.5")
    predict("before.ckpt", "new", *new)
    old = ("--output.thresholds", "fixed", "--output.window", "1", "--output.step=0.5")
    with pytest.warns(UserWarning, match=r"^--output\.thresholds is now called --model\.inference\.thresholds"):
        assert "1 of 1 input is done already" in predict("before.ckpt", "new", *old)
    words = ("--ckpt_path", tmp_path / "before.ckpt", "--output.folder", tmp_path / "new", "--output.pictures", "false")
    again = sed("predict", file, *words)
    assert '1 done with other options before (--model.inference.thresholds "fixed" (now "tuned"), --model.i' in again.out


def test_windows_of_a_long_recording_say_what_one_window_says(trained):
    detector = load(trained[0])
    audio = torch.from_numpy(np.random.default_rng(1).standard_normal(9 * RATE).astype(np.float32) * 0.1)
    whole = Audio2EventScores(detector)(audio, RATE)
    parts = Audio2EventScores(detector, DetectionOptions(window=4.0, step=1.0))(audio, RATE)
    assert whole.frames.shape == parts.frames.shape == (detector.grid.count(len(audio)), 10)
    assert np.abs(whole.frames - parts.frames).mean() < 0.02
    with torch.no_grad():
        direct = detector.eval().net(*detector.net.features(audio[None], level="robust"))
    np.testing.assert_allclose(whole.frames, direct.frames[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(whole.clip, direct.clip[0].numpy(), atol=1e-6)


def test_windows_are_scored_at_their_own_level(trained):
    """A click or a loud passage elsewhere changes nothing; the last bits hold no event."""
    detector = load(trained[0])
    scores = Audio2EventScores(detector, DetectionOptions(window=4.0, step=2.0))
    soft = torch.from_numpy(np.random.default_rng(1).standard_normal(12 * RATE).astype(np.float32) * 0.01)
    plain = scores(soft, RATE)
    clicked = soft.clone()
    clicked[11 * RATE : 11 * RATE + RATE // 1000] = 1.0
    loud = soft.clone()
    loud[8 * RATE :] *= 50
    before, far = (int(s / plain.frame_s) for s in (3.9, 9.9))
    for other in (clicked, loud):
        np.testing.assert_allclose(scores(other, RATE).frames[:before], plain.frames[:before], atol=1e-6)
    assert np.abs(scores(clicked, RATE).frames - plain.frames)[:far].max() < 2e-2
    assert plain.remarks == () and scores(clicked, RATE).remarks == (
        "a peak at 11.0 s is over 20 dB above the rest of its window and is clipped.",
    )
    for nothing in (torch.zeros(5 * RATE), torch.randint(-1, 2, (5 * RATE,)) / 32768):
        silent = scores(nothing, RATE)
        assert not silent.frames.any() and not silent.clip.any()
        assert silent.remarks == ("it is silent: no window is above -75 dB of full scale, so it contains no events.",)
    assert scores(0.01 * soft, RATE).clip.any()


@pytest.mark.parametrize("size", [900, 9000, 50_000])
def test_blocks_of_any_size_are_scored_as_the_whole(trained, size):
    audio = torch.from_numpy(np.random.default_rng(1).standard_normal(round(13.21 * RATE)).astype(np.float32) * 0.1)
    scores = Audio2EventScores(load(trained[0]), DetectionOptions(window=4.0, step=1.0))
    whole, again = scores(audio, RATE), scores.streamed([part.numpy() for part in audio.split(size)])
    np.testing.assert_array_equal(whole.frames, again.frames)
    assert whole.duration_s == again.duration_s and whole.spans.tolist() == again.spans.tolist()


def test_memory_does_not_grow_with_the_recording(trained):
    """Half an hour is 58 MB of samples; what grows is its scores, less than 1 MB."""
    scores = Audio2EventScores(load(trained[0]), DetectionOptions(window=10.0, step=10.0))
    noise = 0.1 * np.random.default_rng(1).standard_normal(10 * RATE).astype(np.float32)

    def peak(seconds):
        tracemalloc.start()
        found = scores.streamed(noise.copy() for _ in range(seconds // 10))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.duration_s == seconds
        return used

    assert peak(1800) - peak(300) < 3e6


def test_antiphase_stereo_is_scored_by_its_louder_channel(trained, tmp_path):
    detector = load(trained[0])
    left = np.random.default_rng(1).standard_normal(3 * RATE).astype(np.float32) * 0.05
    soundfile.write(tmp_path / "x.wav", np.stack([left, -0.9 * left], 1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "left.wav", left, RATE, subtype="FLOAT")
    mixed, alone = (File2Events(detector)(tmp_path / name).scores for name in ("x.wav", "left.wav"))
    np.testing.assert_array_equal(mixed.frames, alone.frames)
    assert mixed.remarks == ("its channels cancel each other (anti-phase): channel 1, the loudest, is used alone.",)


def test_from_python(trained, root):
    found = File2Events(load(trained[0]), DetectionOptions("fixed"))(root / "audio/eval/eval0.wav")
    assert found.scores.duration_s == 2.0 and all(event.offset <= 2.0 for event in found.events)
    assert all(0 <= event.onset < event.offset for event in found.events)


def test_embeddings_of_a_pretrained_network_and_its_weights(root, tmp_path):
    """Random weights of the published shape: what counts is the way from the config to a prediction."""
    from models.extractors import YAMNet

    torch.manual_seed(0)
    weights = tmp_path / "yamnet.npz"
    np.savez(weights, **keras_arrays(YAMNet(random_init=True)))
    runs, out = tmp_path / "runs", tmp_path / "out"
    row = ["--config", "configs/sed/yamnet.yaml", "--data.root", root, "--runs", runs]
    done = sed("fit", *row, *NETWORK, *SHORT, "--trainer.max_epochs", "1", "--model.weights.audio", weights)
    assert done.code == 0, done.err
    folder = runs / "sed" / "yamnet"
    state = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    projection = next(value for name, value in state.items() if name.startswith("net.fusion") and value.shape == (64, 1024))
    assert not any("extractor" in name for name in state) and torch.isfinite(projection).all()
    done = sed("predict", "--ckpt_path", folder, "--data.inputs", root / "audio/eval/eval0.wav", "--output.folder", out)
    assert done.code == 0, done.err
    weights.unlink()
    gone = sed("predict", "--ckpt_path", folder, "--data.inputs", root / "audio/eval", "--output.folder", tmp_path / "two")
    assert gone.code == 2 and "yamnet.npz do not exist" in gone.err and "Traceback" not in gone.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.inference.step", "11"], "step must be above 0 s and at most --model.inference.window: 11.0, 10"),
        (["--data.root", "NOWHERE"], "is not a folder: --data.root must name the folder with metadata/"),
        (["--model.evaluate", "teacher", "--model.mean_teacher", "null"], "--model.evaluate teacher needs a teacher"),
        (["--model.weights", "{video: a.pth}"], "--model.weights: no extractor for video"),
        (["--data.streams", "{weak: 2, synthetic: 2}"], "has no training list 'synthetic'"),
    ],
)
def test_bad_words_get_one_sentence(root, tmp_path, words, said):
    row = ["--config", "configs/sed/spectral.yaml", "--data.root", root, "--runs", tmp_path, *NETWORK, *SHORT]
    done = sed("fit", *row, *words)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err
    assert not list(tmp_path.iterdir()) or not list((tmp_path / "sed").iterdir())


def test_a_row_needs_its_weights(root, tmp_path):
    done = sed("fit", "--config", "configs/sed/yamnet.yaml", "--data.root", root, "--runs", tmp_path, *SHORT)
    assert done.code == 2 and "YAMNet needs `weights`" in done.err


def test_compare_averages_the_seeds_that_are_best_in_validation(trained, tmp_path):
    content = json.loads((trained[0] / "metrics.json").read_text())
    for seed, (validated, tested) in enumerate([(0.5, 0.10), (0.9, 0.30), (0.8, 0.20)]):
        folder = tmp_path / f"spectral-seed{seed}"
        folder.mkdir()
        content |= {"seed": seed, "validation": {"clip_f1_micro": validated}}
        content["metrics"]["clip_f1_micro"] = tested
        (folder / "metrics.json").write_text(json.dumps(content))
        (folder / "config.yaml").write_text("{}")
    done = sed("compare", f"{tmp_path}/*", "--select", "clip_f1", "--best", "2", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "best 2 of 3 seeds by clip_f1_micro" in done.out and "25.00 ± 7.07" in done.out
    assert "76.22" in done.out and "22.31" in done.out


def test_a_bad_test_clip_is_named_and_left_out_whether_packed_or_not(trained, tmp_path, caplog):
    bad = write_dcase2018(tmp_path / "set")
    (bad / "audio/eval/eval1.wav").write_bytes(b"RIFF")
    scores = {}
    for pack in ("never", "build"):
        words = ("test", "--ckpt_path", trained[0], "--data.root", bad, "--data.pack", pack, "--name", pack)
        caplog.clear()
        done = sed(*words, "--runs", tmp_path / "runs", "--data.cache_dir", tmp_path / "cache", "--report.pictures", "0")
        assert done.code == 0, done.err
        assert "test split, 4 clips" in done.out
        assert len(re.findall("eval1.wav:? does not decode", caplog.text)) == 1, pack
        scores[pack] = json.loads((tmp_path / "runs/sed" / pack / "metrics.json").read_text())["metrics"]
    assert scores["never"] == pytest.approx(scores["build"], abs=1e-6, nan_ok=True)
