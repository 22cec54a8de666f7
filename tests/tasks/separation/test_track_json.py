"""Scores per track in museval's JSON, and the official package on our arrays, without ffmpeg."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datamodules.common.errors import DataError
from tasks.metrics import bss
from tasks.separation import track_scores
from tasks.separation.track_scores import read_track_json, write_track_json
from tests.tasks.separation.test_evaluate import sounds

RATE = 2000
SOURCES = ("drums", "vocals")


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
from tasks.separation.track_scores import evaluate_with_museval, import_museval
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
    done = subprocess.run(words, env={**os.environ, "PATH": ""}, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table, sdr = json.loads(done.stdout.splitlines()[-1])
    for j, source in enumerate(SOURCES):
        for i, name in enumerate(("SDR", "ISR", "SIR", "SAR")):
            np.testing.assert_allclose(table[f"{source}/{name}"], frames.medians()[j, i], atol=1e-9)
    np.testing.assert_allclose(sdr, bss.evaluate(reference, estimate, RATE).sdr, atol=1e-6)


def test_nothing_is_left_of_the_programs_that_museval_looks_for(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with track_scores._programs_on_path():
        (folder,) = {Path(shutil.which(name)).parent for name in track_scores.PROGRAMS}
    assert os.environ["PATH"] == str(tmp_path)
    assert not folder.exists()
