"""Recordings as users have them: other keys, tunings and tempi, applause, repeats left out, odd files, silence."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import soxr

from datamodules.alignment.degrade import Curve
from datamodules.alignment.match import read_match, truth_from_match
from datamodules.alignment.reading import read_score
from datamodules.alignment.score import Score, notes_of
from datamodules.alignment.sounds import synthesize
from datamodules.alignment.warped import write_midi
from datamodules.common.errors import DataError
from models.alignment import Handcrafted
from models.alignment.front import LogCQTFlux
from tasks.alignment.inference import File2Alignment
from tasks.alignment.options import AlignmentOptions

RATE = 22_050
BEAT = 0.5
BARS = 12


def chorale() -> Score:
    """Twelve bars of four beats: chords of a progression that never comes back, a melody in eighths above."""
    random = np.random.default_rng(5)
    rows, pitch = [], 72
    for beat in range(4 * BARS):
        root = 48 + int(random.choice((0, 2, 4, 5, 7, 9, 11)))
        rows += [(beat * BEAT, (beat + 1) * BEAT, root + step) for step in (0, 4, 7)]
        for half in (0.0, 0.5):
            pitch = int(np.clip(pitch + random.choice((-4, -2, -1, 1, 2, 3, 5)), 64, 84))
            rows.append(((beat + half) * BEAT, (beat + half + 0.5) * BEAT, pitch))
    beats = np.arange(4 * BARS) * BEAT
    return Score(notes_of(*np.array(rows).T), beats, beats[::4], "chorale.mid")


SCORE = chorale()
CURVE = Curve(3, BARS * 4 * BEAT)


def played(score: Score = SCORE, program: int = 1, **how) -> np.ndarray:
    notes = score.notes
    return synthesize(notes._replace(onset=CURVE(notes.onset), offset=CURVE(notes.offset)), RATE, program=program, **how)


@pytest.fixture(scope="module")
def recording():
    return played()


@pytest.fixture(scope="module")
def align():
    net = Handcrafted(LogCQTFlux(), "cosine").eval()
    return lambda how=None: File2Alignment(SimpleNamespace(net=net, inference=AlignmentOptions()), how)


def median_error(found, score_s=SCORE.beats, late=0.0) -> float:
    return float(np.nanmedian(np.abs(found.time_map(score_s) - CURVE(score_s) - late)))


def of(score: Score, **changes) -> Score:
    return score._replace(notes=score.notes._replace(**changes))


@pytest.mark.parametrize("semitones", [-6, 6])
def test_another_key_is_found(semitones, recording, align):
    found = align().align("x.wav", recording, RATE, [("", of(SCORE, pitch=SCORE.notes.pitch - semitones))])
    assert found.transposition == semitones
    assert median_error(found) < 0.05
    assert any(f"{abs(semitones)} semitones" in remark for remark in found.remarks)
    assert (found.score.notes.pitch == SCORE.notes.pitch - semitones).all()  # the written ones


def test_another_tuning_is_found(align):
    found = align().align("x.wav", played(cents=40.0), RATE, [("", SCORE)])
    assert found.tuning_cents == pytest.approx(40.0, abs=6.0) and found.transposition == 0
    assert median_error(found) < 0.05


def test_applause_belongs_to_nothing(recording, align):
    random = np.random.default_rng(0)
    claps = np.repeat(random.uniform(0.3, 1.0, 1000), RATE // 100) * random.normal(size=10 * (RATE // 100) * 100)
    applause = (0.7 * recording.std() * claps).astype(np.float32)
    seconds = len(applause) / RATE
    found = align().align("x.wav", np.concatenate([applause, recording, applause]), RATE, [("", SCORE)])
    assert median_error(found, late=seconds) < 0.05
    assert found.span[0] == pytest.approx(seconds, abs=0.2)


def test_a_score_twice_as_slow_is_followed(recording, align):
    notes = SCORE.notes
    slow = of(SCORE, onset=2 * notes.onset, offset=2 * notes.offset)._replace(beats=2 * SCORE.beats, bars=2 * SCORE.bars)
    found = align().align("x.wav", recording, RATE, [("", slow)])
    assert np.nanmedian(np.abs(found.time_map(slow.beats) - CURVE(SCORE.beats))) < 0.05


def repeated(first: float, last: float) -> Score:
    """The score with what lies between two times written out twice."""
    notes, longer = SCORE.notes, last - first
    before, again, after = notes.onset < last, (notes.onset >= first) & (notes.onset < last), notes.onset >= last
    columns = [
        np.concatenate([column[before], column[again] + shift, column[after] + shift])
        for column, shift in ((notes.onset, longer), (notes.offset, longer), (notes.pitch, 0))
    ]
    beats = np.concatenate([SCORE.beats[SCORE.beats < last], SCORE.beats[SCORE.beats >= first] + longer])
    return SCORE._replace(notes=notes_of(*columns), beats=beats, bars=beats[::4])


def test_a_repeat_that_is_left_out_is_skipped(recording, align):
    first, last = 8 * BEAT, 24 * BEAT
    found = align().align("x.wav", recording, RATE, [("", repeated(first, last))])
    assert len(found.segments) == 2
    assert np.isnan(found.notes_s).any()
    after = SCORE.beats[SCORE.beats >= last + 1]
    assert np.median(np.abs(found.time_map(after + last - first) - CURVE(after))) < 0.05
    before = SCORE.beats[SCORE.beats < first]
    assert np.median(np.abs(found.time_map(before) - CURVE(before))) < 0.05
    assert any("omits" in remark for remark in found.remarks)


def test_a_repeat_that_is_not_written_is_followed(recording, align):
    first, last = (round(float(CURVE(np.array(beat * BEAT))) * RATE) for beat in (8, 24))
    twice = np.concatenate([recording[:last], recording[first:]])
    found = align().align("x.wav", twice, RATE, [("", SCORE)])
    assert len(found.segments) == 2 and found.segments[1].score_start == pytest.approx(8 * BEAT)
    assert found.segments[1].start == pytest.approx(last / RATE, abs=0.2)
    assert any("repeats" in remark for remark in found.remarks)
    assert len(align(AlignmentOptions(repeats="written")).align("x.wav", twice, RATE, [("", SCORE)]).segments) == 1


def test_the_way_that_was_played_is_chosen(recording, align):
    ways = [("all repeats", repeated(8 * BEAT, 24 * BEAT)), ("no repeats", SCORE)]
    found = align().align("x.wav", recording, RATE, ways)
    assert found.unfolding == "no repeats" and len(found.segments) == 1
    assert median_error(found) < 0.05


def test_one_note(align):
    notes = notes_of([0.5], [1.5], [60])
    score = Score(notes, np.array([0.0, 0.5]), np.array([0.0]), "one.mid")
    later = synthesize(notes._replace(onset=notes.onset + 1, offset=notes.offset + 1), RATE)
    found = align().align("x.wav", later, RATE, [("", score)])
    assert found.notes_s[0, 0] == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100])
def test_the_front_ends_rate_is_the_one_that_counts(rate, recording, align):
    bins = 108 if rate == 8000 else 144
    net = Handcrafted(LogCQTFlux(sample_rate=rate, hop=round(rate / 22_050 * 512), bins=bins), "cosine").eval()
    found = File2Alignment(SimpleNamespace(net=net, inference=AlignmentOptions()))
    found = found.align("x.wav", soxr.resample(recording, RATE, rate), rate, [("", SCORE)])
    assert found.sample_rate == rate and found.duration_s == pytest.approx(len(recording) / RATE, abs=0.001)
    assert (found.transposition, len(found.segments), found.remarks) == (0, 1, [])
    late = found.time_map(SCORE.beats) - CURVE(SCORE.beats)
    assert np.median(np.abs(late)) < 0.02 and np.abs(late).max() < 0.25


@pytest.mark.parametrize("seconds", [0.01, 20.0])
def test_silence_is_one_sentence(seconds, align):
    with pytest.raises(DataError, match=r"x\.wav cannot be aligned with chorale\.mid: it is silent"):
        align().align("x.wav", np.zeros(round(seconds * RATE), np.float32), RATE, [("", SCORE)])


@pytest.mark.parametrize("gain", [1e-3, 1e-5])
def test_a_quiet_recording_is_raised_and_aligned(gain, recording, align):
    found = align().align("x.wav", (gain * recording).astype(np.float32), RATE, [("", SCORE)])
    assert median_error(found) < 0.05
    assert found.remarks[0].startswith("it is very quiet (-") and found.remarks[0].endswith("was raised.")


def test_antiphase_stereo_is_aligned_by_its_louder_channel(recording, align, tmp_path):
    soundfile.write(tmp_path / "x.wav", np.stack([recording, -0.95 * recording], 1), RATE)
    (tmp_path / "x.mid").write_bytes(write_midi(SCORE.notes, SCORE.beats, SCORE.bars))
    found = align()(tmp_path / "x.wav", tmp_path / "x.mid")
    assert median_error(found) < 0.05
    assert found.remarks[0] == "its channels cancel each other (anti-phase): channel 1, the loudest, is used alone."


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44_100, 2), (96_000, 6)])
def test_any_rate_and_number_of_channels(rate, channels, recording, align, tmp_path):
    audio = soxr.resample(recording, RATE, rate)
    soundfile.write(tmp_path / "x.wav", np.repeat(audio[:, None], channels, 1), rate)
    (tmp_path / "x.mid").write_bytes(write_midi(SCORE.notes, SCORE.beats, SCORE.bars))
    assert median_error(align()(tmp_path / "x.wav", tmp_path / "x.mid")) < 0.05


def test_other_settings_reach_the_path(recording, align):
    for how in ({"steps": "constrained"}, {"steps": "synctoolbox"}, {"max_deviation": 4.0}, {"open_ends": False}):
        assert median_error(align(AlignmentOptions(**how)).align("x.wav", recording, RATE, [("", SCORE)])) < 0.05, how




def test_refined_onsets_lie_near_the_truth(recording, align):
    found = align(AlignmentOptions(refine=True)).align("x.wav", recording, RATE, [("", SCORE)])
    assert np.median(np.abs(found.notes_s[:, 0] - CURVE(SCORE.notes.onset))) < 0.02


@pytest.mark.parametrize(
    "how", [{"steps": "jumps"}, {"transposition": 30}, {"jump_s": 0.0}, {"max_deviation": 0.0}]
)
def test_impossible_settings_are_refused(how):
    with pytest.raises(ValueError, match="inference"):
        AlignmentOptions(**how)


@pytest.mark.realdata
def test_a_real_recording_is_aligned(align):
    if "QUINTET_DATA" not in os.environ:
        pytest.skip("QUINTET_DATA names no folder of real recordings")
    folder = Path(os.environ["QUINTET_DATA"]) / "alignment" / "real_audio"
    score = folder / "mozart_k265_var1.musicxml"  # the .mid beside it is the performance
    truth = truth_from_match(read_match(folder / "mozart_k265_var1.match"), read_score(score))
    found = align()(folder / "mozart_k265_var1.mp3", score)
    assert (np.abs(found.time_map(truth[:, 0]) - truth[:, 1]) < 0.05).mean() >= 0.95
