"""Stems of any system on disk: found, scored, scored again only where they changed; what is wrong said in a sentence."""

import json
import os

import numpy as np
import pytest
import soundfile

from tasks.metrics import bss
from tasks.separation.evaluate import main
from tasks.separation.track_scores import read_track_json
from tests.helpers.stems import STEMS, write_musdb_hq

RATE = 2000


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
    assert code == 1 and "1 track (" in out
    assert err.count("\n") == 1 and "not scored: B" in err and "bass.wav does not exist" in err
    for wrong in ((estimates / "nowhere", root), (estimates, estimates / "A")):
        code, _, err = run(capsys, *wrong)
        assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
    sound, _ = soundfile.read(estimates / "A" / "bass.wav")
    soundfile.write(estimates / "A" / "bass.wav", sound, 2 * RATE)
    code, _, err = run(capsys, estimates, root, "--overwrite")
    assert code == 1 and "bass.wav is resampled from 4000 to 2000 Hz" in err


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
