"""Match files of both dialects, and the events that they tell of a score."""

import os
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from datamodules.alignment.match import MatchFile, MatchNote, longest_rise, note_truth, read_match, truth_from_match
from datamodules.alignment.reading import read_score
from datamodules.alignment.score import Score, notes_of
from datamodules.common.errors import DataError
from tests.helpers.score_layouts import match_line, write_match, write_text

OLD = """info(matchFileVersion,4.0).
info(midiClockUnits,4000).
info(midiClockRate,500000).
info(timeSignature,[3/4]).
snote(1-1,[C,n],5,0:1,0,1/4+3/8,-1,1.5,[staff1])-note(0,[C,n],5,27430,32960,41040,112).
snote(8-1,[B,b],3,1:2,0,1/4,1,2,[staff2])-deletion.
snote(33-1,[F,##],5,4:1,0,0,9,9,[staff1,grace])-note(27,[G,n],5,56560,57450,57600,114).
insertion-note(41,[A,#],3,71770,72260,78080,78).
sustain(10,127).
"""


def test_the_old_dialect_writes_pitches_as_names(tmp_path):
    match = read_match(write_text(tmp_path / "a.match", OLD))
    assert match.notes == [
        MatchNote("1-1", 72, -1.0, False, 27430 / 8000, 72),
        MatchNote("8-1", 58, 1.0, False, None, None),
        MatchNote("33-1", 79, 9.0, True, 56560 / 8000, 79),
    ]
    assert match.insertions == 1 and match.deletions == 1 and len(match.matched) == 2


def test_version_1_writes_pitches_as_numbers(tmp_path):
    lines = [match_line("n1", 0, 0.0, 480), match_line("n2", 1, 1.0, None), match_line("n3", 2, 2.0, 960, "0")]
    lines += ["insertion-note(n9,66,700,800,40,0,0).", "ornament(n3)-note(n10,65,990,1000,40,0,0)."]
    match = read_match(write_match(tmp_path / "a.match", lines, units=960, rate=1_000_000))
    assert match.notes == [
        MatchNote("n1", 60, 0.0, False, 0.5, 60),
        MatchNote("n2", 62, 1.0, False, None, None),
        MatchNote("n3", 64, 2.0, True, 1.0, 64),
    ]
    assert match.insertions == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "matches no note"),
        ("no match file\n", "matches no note"),
        ("info(midiClockUnits,0).\n", "line 1 is damaged"),
        ("snote(n1,[C,n],4)-note(n0,60,0,1,64,0,0).\n", "line 1 is damaged"),
        ("\nsnote(n1,[H,n],4,1:1,0,1/4,0,1,[v1])-deletion.\n", "line 2 is damaged"),
        ("snote(n1,[C,n],4,1:1,0,1/4,0,1,[v1])-note(n0,sixty,0,1,64,0,0).\n", "line 1 is damaged"),
    ],
)
def test_a_damaged_match_file_is_named_with_its_line(tmp_path, content, said):
    with pytest.raises(DataError, match=rf"a\.match.*{said}"):
        read_match(write_text(tmp_path / "a.match", content))


def test_a_missing_match_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.match cannot be read \(No such file"):
        read_match(tmp_path / "none.match")


def score(ids=("a", "b", "c", "d", "e"), pitches=(60, 64, 67, 60, 62)) -> Score:
    """Two notes at 0 s, then one at each second."""
    onsets = np.array([0.0, 0.0, 1.0, 2.0, 3.0])
    return Score(notes_of(onsets, onsets + 1, pitches), np.arange(4.0), np.zeros(1), "score.musicxml", tuple(ids))


def match(*notes: tuple[str, int, float, float | None], grace: str = "") -> MatchFile:
    """Notes by id, pitch, beat and time."""
    return MatchFile([MatchNote(n, p, beat, n == grace, t, p) for n, p, beat, t in notes], 0, "a.match")


PLAYED = (("a", 60, 0, 1.0), ("b", 64, 0, 1.2), ("c", 67, 1, 2.0), ("d", 60, 2, 3.5), ("e", 62, 3, 4.0))


def test_an_event_is_an_onset_of_the_score_at_the_median_of_its_notes():
    events = truth_from_match(match(*PLAYED), score())
    np.testing.assert_allclose(events, [[0, 1.1], [1, 2.0], [2, 3.5], [3, 4.0]])
    assert events.dtype == np.float64


def test_one_note_that_is_matched_wrongly_does_not_move_a_chord():
    onsets = np.array([0.0, 0.0, 0.0, 1.0])
    chords = Score(notes_of(onsets, onsets + 1, [60, 64, 67, 60]), onsets, onsets, "s", ("a", "b", "c", "d"))
    found = note_truth(match(("a", 60, 0, 1.0), ("b", 64, 0, 9.0), ("c", 67, 0, 1.02), ("d", 60, 1, 2.0)), chords)
    np.testing.assert_allclose(found.events, [[0, 1.02], [1, 2.0]])


def test_repeats_are_told_by_ids_with_and_without_a_number():
    wanted = truth_from_match(match(*PLAYED), score())
    numbered = [(f"{name}-1", *rest) for name, *rest in PLAYED]
    np.testing.assert_array_equal(truth_from_match(match(*numbered), score()), wanted)
    np.testing.assert_array_equal(truth_from_match(match(*PLAYED), score(ids=[f"{one}-1" for one in "abcde"])), wanted)


def test_a_score_without_ids_is_matched_by_the_order_of_each_pitch():
    wanted = truth_from_match(match(*PLAYED), score())
    np.testing.assert_array_equal(truth_from_match(match(*reversed(PLAYED)), score(ids=())), wanted)
    fewer = note_truth(match(*PLAYED[:3], PLAYED[4]), score(ids=()))  # the score has two notes 60, the match file one
    assert fewer.unknown == 1 and fewer.events[:, 0].tolist() == [0, 1, 3] and fewer.events[0, 1] == 1.2


def test_what_is_left_out_is_counted():
    played = (*PLAYED[:3], ("d", 60, 2, 0.5), ("e", 62, 3, 4.0), ("x", 62, 3, 4.0), ("c", 66, 1, 2.0))
    found = note_truth(match(*played, grace="b"), score())
    np.testing.assert_allclose(found.events, [[0, 1.0], [1, 2.0], [3, 4.0]])
    assert (found.graces, found.unknown, found.crossed) == (1, 2, 1)


def test_files_of_different_pieces_are_told(tmp_path):
    with pytest.raises(DataError, match=r"a\.match and score\.musicxml have fewer than two notes in common"):
        truth_from_match(match(("x", 60, 0, 1.0), ("y", 61, 1, 2.0)), score())


def test_the_longest_rise_is_the_longest():
    random = np.random.default_rng(0)
    assert longest_rise(np.zeros(0)).tolist() == []
    for _ in range(50):
        values = random.integers(0, 8, random.integers(1, 9))
        subsets = (list(one) for size in range(len(values), 0, -1) for one in combinations(range(len(values)), size))
        most = next(len(one) for one in subsets if np.all(np.diff(values[one]) > 0))
        found = longest_rise(values)
        assert len(found) == most and np.all(np.diff(values[found]) > 0) and np.all(np.diff(found) > 0)


REAL = Path(os.environ.get("QUINTET_DATA", ""), "alignment")


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason="QUINTET_DATA names no folder with alignment/")
def test_real_match_files_fit_their_scores_and_performances():
    pytest.importorskip("partitura")
    files = [*sorted((REAL / "vienna4x22/match").glob("*.match")), REAL / "real_audio/mozart_k265_var1.match"]
    scores: dict[Path, Score] = {}
    matched = graces = 0
    for path in files:
        place = path.with_suffix(".musicxml")
        if "vienna" in str(path):
            place = path.parent.parent / "musicxml" / f"{path.stem.rsplit('_', 1)[0]}.musicxml"
        known, found = scores.setdefault(place, scores.get(place) or read_score(place)), read_match(path)
        truth = note_truth(found, known)
        matched, graces = matched + len(found.matched), graces + truth.graces
        assert truth.unknown == truth.crossed == 0, path
        assert found.deletions < 0.05 * len(found.notes) and found.insertions < 12
        # Every note is in the performance's MIDI, to half a tick.
        played = read_score(Path(str(path).replace("/match/", "/midi/")).with_suffix(".mid")).notes
        for note in found.matched:
            assert np.abs(played.onset[played.pitch == note.played] - note.onset).min() < 0.6e-3
        # Onsets of the score are spread in time as they are played: the tempo never leaves a factor of 6 of its median.
        tempo = np.diff(truth.events[:, 1]) / np.diff(truth.events[:, 0])
        assert np.all(np.abs(np.log2(tempo / np.median(tempo))) < np.log2(6)), path
    print(f"{len(files)} files, {matched} notes matched, {graces} of them grace notes", file=sys.stderr)
    assert len(files) == 67 and matched > 27_000


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason="QUINTET_DATA names no folder with alignment/")
@pytest.mark.parametrize("name", ["Chopin_op10_no3_p08", "Mozart_K331_1st-mov_p15", "Schubert_D783_no15_p11"])
def test_match_files_read_as_by_partitura(name):
    partitura = pytest.importorskip("partitura")
    performance, alignment, written = partitura.load_match(str(REAL / f"vienna4x22/match/{name}.match"), create_score=True)
    when = {note["id"]: note["note_on"] for note in performance.performedparts[0].notes}
    wanted = {pair["score_id"]: when[pair["performance_id"]] for pair in alignment if pair["label"] == "match"}
    match = read_match(REAL / f"vienna4x22/match/{name}.match")
    assert {note.name for note in match.matched} == set(wanted)
    np.testing.assert_allclose([note.onset for note in match.matched], [wanted[note.name] for note in match.matched], atol=1e-4)
    beats = dict(zip(written.note_array()["id"], written.note_array()["onset_beat"], strict=True))
    assert all(beats[note.name] == pytest.approx(note.beat, abs=1e-3) for note in match.notes if note.name in beats)
    assert match.insertions == sum(pair["label"] == "insertion" for pair in alignment)
    assert match.deletions == sum(pair["label"] == "deletion" for pair in alignment)
