"""A user's own recordings and scores, and the times that somebody wrote down."""

from collections import Counter

import numpy as np
import pytest

from datamodules.alignment.annotations import read_beats, read_events
from datamodules.alignment.folder import list_folder
from datamodules.common.errors import DataError
from tests.helpers import score_layouts
from tests.helpers.layouts import tone, write_audio
from tests.helpers.listings import check, names, one


def test_a_folder_pairs_recordings_with_what_lies_beside_them(tmp_path):
    pytest.importorskip("partitura")
    for name in ("a", "b", "c", "d"):
        write_audio(tmp_path / "songs" / f"{name}.wav", tone(0.3))
    write_audio(tmp_path / "songs" / "a.mp3", tone(0.3))
    score_layouts.write_midi_notes(tmp_path / "songs/a.mid", np.arange(12) * 0.5)
    score_layouts.write_text(tmp_path / "songs/a.csv", "score_s,performance_s\n0,0.25\n0.5,1\n1.0,1.5\n")
    score_layouts.write_text(tmp_path / "songs/b.musicxml", score_layouts.musicxml(*score_layouts.waltz(1)))
    lines = [score_layouts.match_line(f"n1{beat}", i, i, 960 * i + 96) for i, beat in enumerate("abc")]
    score_layouts.write_match(tmp_path / "songs/b.match", lines)
    score_layouts.write_midi_notes(tmp_path / "songs/d.mid", np.arange(12) * 0.5)
    listing = list_folder(tmp_path)
    check(listing)
    assert names(listing) == ["songs/a.wav", "songs/b.wav"]
    np.testing.assert_array_equal(one(listing, "songs/a.wav").truth(), [[0, 0.25], [0.5, 1], [1, 1.5]])
    np.testing.assert_allclose(one(listing, "songs/b.wav").truth(), [[0, 0.1], [0.5, 1.1], [1, 2.1]])
    assert all(pair.midi is None for pair in listing.pairs)
    assert "c.wav has no score beside it" in listing.flaws[0] and "d.wav has no reference events (d.csv" in listing.flaws[1]


def test_a_folder_of_aligned_midi_needs_no_truth(tmp_path):
    for i, part in enumerate(("train", "train", "val", "test")):
        write_audio(tmp_path / part / f"{i}.flac", tone(0.3))
        score_layouts.write_midi_notes(tmp_path / part / f"{i}.mid", score_layouts.onsets_of(i))
    listing = list_folder(tmp_path, aligned=True)
    check(listing)
    splits = {pair.name: pair.split for pair in listing.pairs}
    assert splits == {"train/0.flac": "train", "train/1.flac": "train", "val/2.flac": "validation", "test/3.flac": "test"}
    pair = one(listing, "val/2.flac")
    assert pair.midi == pair.score.path == tmp_path / "val/2.mid"
    np.testing.assert_allclose(pair.truth(), np.stack([score_layouts.onsets_of(2)] * 2, 1), atol=1e-3)


def test_recordings_of_one_piece_may_share_the_score_in_their_folder(tmp_path):
    for piece in ("one", "two"):
        score_layouts.write_midi_notes(tmp_path / piece / "score.mid", np.arange(4) * 0.5)
        for who in ("x", "y"):
            write_audio(tmp_path / piece / f"{who}.wav", tone(0.3))
            score_layouts.write_text(tmp_path / piece / f"{who}.beats", "0 0.1\n0.5 0.9\n")
    listing = list_folder(tmp_path)
    check(listing)
    assert Counter(pair.piece for pair in listing.pairs) == {"one": 2, "two": 2}


def test_a_table_says_which_files_belong_together(tmp_path):
    write_audio(tmp_path / "a.wav", tone(0.3))
    for name in ("score", "played"):
        score_layouts.write_midi_notes(tmp_path / f"{name}.mid", np.arange(4) * 0.5)
    score_layouts.write_text(tmp_path / "a.txt", "# mine\n0;1\n1;2.5\n")
    rows = ["recording,score,piece,split,truth,midi", "a.wav,score.mid,P,test,a.txt,", "a.wav,score.mid,P,train,,played.mid"]
    rows += ["b.wav,score.mid,,,a.txt,", "a.wav,,,,a.txt,", "a.wav,score.mid,,exam,a.txt,"]
    table = score_layouts.write_text(tmp_path / "pairs.csv", "\n".join(rows))
    for root in (tmp_path, table):
        listing = list_folder(root)
        first, second = listing.pairs
        assert (first.piece, first.split, first.midi) == ("P", "test", None)
        np.testing.assert_array_equal(first.truth(), [[0, 1], [1, 2.5]])
        # Without a truth the recording's own MIDI is its score.
        assert (second.split, second.midi, second.score.path) == ("train", tmp_path / "played.mid", tmp_path / "played.mid")
        assert [flaw.split("/")[-1].split(":")[0] for flaw in listing.flaws] == [
            "b.wav does not exist (column recording)",
            "a.wav has no score beside it (song.musicxml or song.mid)",
            "a.wav has the unknown split 'exam'",
        ]
    table.write_text("sound,score\na.wav,score.mid\n")
    with pytest.raises(DataError, match=r"pairs\.csv has the columns sound, score: expected recordings with a score"):
        list_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "lists 0 times: expected two or more"),
        ("score_s,performance_s\n0,1\n", "lists 1 times"),
        ("0,1\n1,soon\n", "line 2 is not a time"),
        ("0,1\n1\n", "line 2 has one column"),
        ("0,1\n2,3\n1,4\n", r"does not rise: after \[2.0, 3.0\] comes \[1.0, 4.0\]"),
        ("0,1\n1,nan\n", "lists 2 times, not all of them numbers"),
    ],
)
def test_times_that_cannot_be_are_named(tmp_path, content, said):
    with pytest.raises(DataError, match=rf"a\.csv {said}"):
        read_events(score_layouts.write_text(tmp_path / "a.csv", content))


def test_beats_are_the_first_number_of_a_line(tmp_path):
    text = "% Sonic Visualiser\ntime\tlabel\n0.5\t1.1\n\n1.25\t1.2\n2.0\n"
    assert read_beats(score_layouts.write_text(tmp_path / "a.beat", text)).tolist() == [0.5, 1.25, 2.0]
