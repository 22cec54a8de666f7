"""What an aligned recording becomes: every time in tables, MIDI and sound is the one that it was played at."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.alignment.reading import read_score
from datamodules.alignment.score import notes_of
from datamodules.common.errors import DataError
from tasks.alignment.aligned import bars_played, beats_played, notes_played
from tasks.alignment.output_tables import bar_rows, beat_numbers, beat_rows, labels, note_name, note_rows
from tasks.alignment.writer import FILES, AlignmentFiles, check, clicks, warped, write_files
from tests.helpers.known_alignments import (
    BARS,
    FRAME_S,
    ONSETS,
    RATE,
    a_score,
    aligned,
    first,
    played_through,
    second,
    through,
    twice,
    without_second_bar,
)

TABLES_ALONE = AlignmentFiles(page=False, check=False, clicks=False, picture=False, font="embedded")


def test_notes_are_named_timed_and_counted():
    rows = note_rows(aligned())
    assert len(rows) == 12
    assert rows[0] == {
        "onset_s": 0.4,
        "offset_s": round(float(through(0.45)), 4),
        "pitch": 60,
        "name": "C4",
        "velocity": 40,
        "score_onset_s": 0.0,
        "score_beat": 1.0,
        "bar": 0,
        "confidence": 0.2,
        "id": "n0",
        "part": "",
        "staff": "",
        "voice": "",
        "lyric": "",
        "measure": "",
        "pass": "",
    }
    assert [row["name"] for row in rows[:3]] == ["C4", "C#4", "D4"]
    assert [row["bar"] for row in rows] == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert [row["onset_s"] for row in rows] == pytest.approx(through(ONSETS), abs=5.1e-5)


@pytest.mark.parametrize(("pitch", "name"), [(0, "C-1"), (21, "A0"), (61, "C#4"), (69, "A4"), (108, "C8"), (127, "G9")])
def test_names_of_pitches(pitch, name):
    assert note_name(pitch) == name


def test_beats_within_the_score_are_fractions_also_beyond_its_ends():
    notes = notes_of([0.0, 0.75, 1.0, 2.5], [0.1, 0.9, 1.2, 2.6], [60, 61, 62, 63])
    score = a_score(notes=notes, beats=np.array([0.5, 1.0, 2.0]), bars=np.array([0.5]), ids=())
    rows = note_rows(aligned(score=score))
    assert [row["score_beat"] for row in rows] == [0.0, 1.5, 2.0, 3.5]
    assert [row["id"] for row in rows] == ["1", "2", "3", "4"]
    without = note_rows(aligned(score=score._replace(beats=np.zeros(0), bars=np.zeros(0))))
    assert np.isnan([row["score_beat"] for row in without]).all() and {row["bar"] for row in without} == {0}


def test_beats_of_a_pickup_count_up_to_the_bar():
    assert beat_numbers(a_score()).tolist() == [2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 4]
    assert beat_numbers(a_score(bars=BARS - 1.0)).tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 5, 6]
    assert beat_numbers(a_score(bars=np.zeros(0))).tolist() == list(range(1, 13))


def test_beats_and_bars():
    beats, bars = beat_rows(aligned()), bar_rows(aligned())
    at = {"score_s": 1.5, "recording_s": round(float(through(1.5)), 4)}
    at |= {"confidence": round(0.5 + 0.4 * 3 / 11, 4), "measure": "", "pass": ""}
    assert beats[3] == {"beat": 4, "bar": 1, "beat_in_bar": 2, **at}
    assert [(row["bar"], row["score_s"], row["confidence"]) for row in bars] == [(1, 1.0, 0.75), (2, 2.5, 0.75), (3, 4.0, 0.75)]
    assert [row["recording_s"] for row in bars] == pytest.approx(through(BARS), abs=5.1e-5)


def test_labels_are_stretches_for_bars_and_points_for_the_other_beats():
    lines = [line.split("\t") for line in labels(aligned()).splitlines()]
    spans = {label: (float(start), float(end)) for start, end, label in lines}
    assert [label for *_, label in lines[:6]] == ["0.2", "0.3", "bar 1", "1.2", "1.3", "bar 2"]
    assert spans["bar 1"] == pytest.approx(through(np.array([1.0, 2.5])), abs=1e-4)
    assert spans["bar 3"] == pytest.approx((through(4.0), 6.5), abs=1e-4)  # the last one to the end of the music
    assert spans["2.3"][0] == spans["2.3"][1] == pytest.approx(through(3.5), abs=1e-4)
    assert len(lines) == 12


def test_what_is_left_out_is_in_no_table():
    short = without_second_bar()
    assert [row["pitch"] for row in note_rows(short)] == [60, 61, 62, 63, 64, 68, 69, 70, 71]
    assert [row["bar"] for row in bar_rows(short)] == [1, 3]
    assert [row["beat"] for row in beat_rows(short)] == [1, 2, 3, 4, 5, 9, 10, 11, 12]
    said = [line.split("\t")[2] for line in labels(short).splitlines()]
    assert said == ["0.2", "0.3", "bar 1", "1.2", "1.3", "bar 3", "3.2", "3.3", "3.4"]
    assert warped(short).pitch.tolist() == [60, 61, 62, 63, 64, 68, 69, 70, 71]


def test_what_is_played_twice_comes_twice_in_order_at_the_time_of_each_pass():
    played = notes_played(twice())
    assert played.index.tolist() == [*range(8), *range(2, 12)]
    expected = np.concatenate([first(ONSETS[:8]), second(ONSETS[2:])])
    np.testing.assert_allclose(played.time[:, 0], expected, atol=FRAME_S)
    # What has a time of its own keeps it to the last digit: only the second time of bars 1 and 2 is read off the path.
    own = [*range(8), *range(14, 18)]
    assert np.array_equal(played.time[own, 0], expected[own])
    assert (played.time[:, 1] > played.time[:, 0]).all()
    assert [row["bar"] for row in bar_rows(twice())] == [1, 2, 1, 2, 3]
    assert beats_played(twice()).index.tolist() == [*range(8), *range(2, 12)]
    assert bars_played(twice()).time[:, 0] == pytest.approx([1.4, 2.9, 4.4, 6.05, 7.7], abs=FRAME_S)


def test_a_time_of_its_own_may_lie_in_any_pass():
    later = twice()
    notes_s = later.notes_s.copy()
    notes_s[2:8] = second(np.stack([ONSETS, ONSETS + 0.45], 1))[2:8]
    played = notes_played(later._replace(notes_s=notes_s))
    assert played.index.tolist() == [*range(8), *range(2, 12)]
    assert played.time[2:8, 0] == pytest.approx(first(ONSETS[2:8]), abs=FRAME_S)
    assert np.array_equal(played.time[8:14, 0], second(ONSETS[2:8]))


@pytest.mark.parametrize("made", [aligned, without_second_bar, twice])
def test_the_midi_file_plays_each_note_and_beat_to_the_millisecond(made, tmp_path):
    import pretty_midi

    write_files(tmp_path, made(), TABLES_ALONE)
    read = pretty_midi.PrettyMIDI(str(tmp_path / "warped.mid"))
    notes = sorted((n.start, n.end, n.pitch, n.velocity) for instrument in read.instruments for n in instrument.notes)
    played, score = notes_played(made()), made().score.notes
    expected = np.column_stack([played.time, score.pitch[played.index], score.velocity[played.index]])
    np.testing.assert_allclose(notes, expected, rtol=0, atol=1e-3)
    grid = read.get_beats()
    for beat in beats_played(made()).time[:, 0]:
        assert np.abs(grid - beat).min() < 1e-3


def test_tables_on_disk_say_what_the_rows_say(tmp_path):
    write_files(tmp_path, twice(), TABLES_ALONE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.csv", "beats.csv", "labels.txt", "notes.csv", "warped.mid"]
    for name, rows in (("notes", note_rows), ("beats", beat_rows), ("bars", bar_rows)):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            read = list(csv.DictReader(file))
        assert read == [{key: str(value) for key, value in row.items()} for row in rows(twice())]


CASES = Path(__file__).parents[2] / "cases" / "alignment"
VOLTA = [("1", 1), ("2", 1), ("1", 2), ("2", 2), ("1", 3), ("3", 1)]
"""Printed number and pass of the played measures; measures 1 and 2 are played three times, with an ending for the third."""


@pytest.mark.parametrize(("score", "measures", "notes"), [("volta", VOLTA, (4, 1, 4, 1, 4, 1)), ("lied", [("1", 1)], (8,))])
def test_tables_name_measures_as_printed_with_their_pass(score, measures, notes, tmp_path):
    write_files(tmp_path, played_through(read_score(CASES / f"{score}.musicxml")), TABLES_ALONE)
    columns = {"bars": [1] * len(measures), "beats": [4] * len(measures), "notes": notes}  # events of each measure
    for name, counts in columns.items():
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        expected = [measure for measure, count in zip(measures, counts, strict=True) for _ in range(count)]
        assert [(row["measure"], int(row["pass"])) for row in rows] == expected
    assert [row["bar"] for row in rows] == [str(k + 1) for k, count in enumerate(notes) for _ in range(count)]


def onset_near(audio, time, rate=RATE):
    """The first moment from 20 ms before `time` on at which 1 ms of sound is ten times louder than the ms before it, s."""
    step = rate // 1000
    for start in range(max(0, round((time - 0.02) * rate)), len(audio) - step):
        if np.square(audio[start : start + step]).sum() > 100 * np.square(audio[max(0, start - step) : start]).sum() + 1e-9:
            return start / rate
    return np.inf


@pytest.mark.parametrize("made", [aligned, without_second_bar, twice])
def test_clicks_rise_within_two_milliseconds_of_each_beat(made):
    noise = np.random.default_rng(0).normal(0, 1e-3, len(made().audio)).astype(np.float32)
    noise[-1] = 1.0  # the peak that the recording's level goes by
    heard, beats = clicks(made(audio=noise)), beats_played(made())
    assert len(heard) == len(noise) and np.abs(heard).max() < 1
    for time, i in zip(beats.time[:, 0], beats.index, strict=True):
        assert abs(onset_near(heard, time) - time) < 2e-3
        piece = heard[round(time * RATE) :][: RATE // 50]
        peak = np.abs(np.fft.rfft(piece)).argmax() * RATE / len(piece)
        assert peak == pytest.approx(2500 if beat_numbers(made().score)[i] == 1 else 1500, abs=60)
    away = np.abs(np.subtract.outer(np.arange(len(heard)) / RATE, beats.time[:, 0])).min(1) > 0.06
    np.testing.assert_allclose(heard[away], noise[away] * 0.55, atol=1e-7)


def test_clicks_at_and_beyond_the_end_leave_the_length_alone():
    cut = aligned(audio=np.zeros(round(through(5.0) * RATE) + 5, np.float32))
    heard = clicks(cut)
    assert len(heard) == len(cut.audio) and np.abs(heard[-5:]).max() > 0.1
    assert clicks(aligned(beats_s=through(ONSETS) - 1.0)).shape == aligned().audio.shape  # before the beginning


def test_the_check_has_the_recording_left_and_the_score_right_equally_loud():
    import librosa

    noise = np.random.default_rng(1).normal(0, 0.1, len(aligned().audio)).astype(np.float32)
    heard = check(aligned(audio=noise))
    assert heard.shape == (len(noise), 2)
    assert np.corrcoef(heard[:, 0], noise)[0, 1] > 0.999999
    loud = np.sqrt(np.square(heard).mean(0))
    assert loud[0] == pytest.approx(loud[1], rel=1e-4) and np.abs(heard).max() == pytest.approx(0.95)
    onsets = librosa.onset.onset_detect(y=heard[:, 1], sr=RATE, hop_length=64, backtrack=False, units="time")
    for time in through(ONSETS):
        assert np.abs(onsets - time).min() < 0.03
    assert abs(np.corrcoef(heard.T)[0, 1]) < 0.05


@pytest.mark.parametrize("seconds", [0.05, 3.0, 12.34567])
def test_the_check_is_as_long_as_the_recording(seconds):
    audio = np.full(round(seconds * RATE), 0.1, np.float32)
    assert check(aligned(audio=audio)).shape == (len(audio), 2)


def test_the_check_sounds_in_the_recordings_key_and_tuning():
    score = a_score(notes=notes_of([0.0, 0.1], [3.0, 0.2], [69, 38], program=[74, -1]))
    times = np.array([[0.5, 3.5], [4.5, 4.6]])  # a flute, then a drum, which has no key
    higher = aligned(score=score, notes_s=times, transposition=3, tuning_cents=40.0)
    as_written = aligned(score=score, notes_s=times)
    found = []
    for one in (as_written, higher):
        flute = check(one)[RATE : 3 * RATE, 1]
        spectrum = np.abs(np.fft.rfft(flute * np.hanning(len(flute)), 16 * len(flute)))
        found.append(spectrum.argmax() * RATE / (16 * len(flute)))
    assert 1200 * np.log2(found[1] / found[0]) == pytest.approx(340, abs=4)
    moved = higher._replace(tuning_cents=0.0)
    drums = [np.abs(np.fft.rfft(check(one)[round(4.5 * RATE) : round(4.6 * RATE), 1])) for one in (as_written, moved)]
    assert np.corrcoef(drums)[0, 1] > 0.98


def test_silence_is_checked_without_a_division_by_zero():
    heard = check(aligned())
    assert np.isfinite(heard).all() and not heard[:, 0].any() and np.abs(heard[:, 1]).max() == pytest.approx(0.95)


def test_a_recording_without_a_note_of_the_score_is_named(tmp_path):
    nothing = aligned(notes_s=np.full((12, 2), np.nan))
    with pytest.raises(DataError, match=r"songs/waltz\.wav has no note of pieces/waltz\.mid: the score may belong"):
        write_files(tmp_path, nothing, TABLES_ALONE)
    assert not check(nothing)[:, 1].any()


def test_every_file_is_written_at_the_recordings_length(tmp_path):
    write_files(tmp_path, aligned(), AlignmentFiles(page=True, check=True, clicks=True, picture=True, font="embedded"))
    assert {path.name for path in tmp_path.iterdir()} == set(FILES) - {"recording.flac"}
    for name, channels in (("check.flac", 2), ("clicks.wav", 1)):
        known = soundfile.info(tmp_path / name)
        assert (known.frames, known.samplerate, known.channels) == (len(aligned().audio), RATE, channels)
    written = soundfile.read(tmp_path / "clicks.wav", dtype="float32")[0]
    np.testing.assert_allclose(written, clicks(aligned()), atol=2**-15)
