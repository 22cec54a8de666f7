"""Recordings as users have them: other keys, tunings and tempi, applause, repeats left out, odd files, silence."""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import soxr

from datamodules.alignment.degrade import Curve
from datamodules.alignment.match import read_match, truth_from_match
from datamodules.alignment.reading import read_score
from datamodules.alignment.score import PlayedMeasure, Score, notes_of
from datamodules.alignment.sounds import synthesize, synthesize_long
from datamodules.alignment.warped import write_midi
from datamodules.common.errors import DataError
from models.alignment import Handcrafted
from models.alignment.front import LogCQTFlux
from tasks.alignment.inference import File2Alignment
from tasks.alignment.options import AlignmentOptions
from tasks.alignment.remarks import ANOTHER
from tests.helpers.random_scores import BEAT_S, random_score

RATE = 22_050
BEAT = BEAT_S
BARS = 12


SCORE = random_score(BARS)
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


def median_error(result, score_s=SCORE.beats, late=0.0) -> float:
    return float(np.nanmedian(np.abs(result.time_map(score_s) - CURVE(score_s) - late)))


def of(score: Score, **changes) -> Score:
    return score._replace(notes=score.notes._replace(**changes))


@pytest.mark.parametrize("semitones", [-6, 6])
def test_another_key_is_found(semitones, recording, align):
    result = align().align("x.wav", recording, RATE, [("", of(SCORE, pitch=SCORE.notes.pitch - semitones))])
    assert result.transposition == semitones
    assert median_error(result) < 0.05
    assert any(f"{abs(semitones)} semitones" in remark for remark in result.remarks)
    assert (result.score.notes.pitch == SCORE.notes.pitch - semitones).all()  # the written ones


def test_another_tuning_is_found(align):
    result = align().align("x.wav", played(cents=40.0), RATE, [("", SCORE)])
    assert result.tuning_cents == pytest.approx(40.0, abs=6.0) and result.transposition == 0
    assert median_error(result) < 0.05


def test_applause_belongs_to_nothing(recording, align):
    random = np.random.default_rng(0)
    claps = np.repeat(random.uniform(0.3, 1.0, 1000), RATE // 100) * random.normal(size=10 * (RATE // 100) * 100)
    applause = (0.7 * recording.std() * claps).astype(np.float32)
    seconds = len(applause) / RATE
    result = align().align("x.wav", np.concatenate([applause, recording, applause]), RATE, [("", SCORE)])
    assert median_error(result, late=seconds) < 0.05
    assert result.span[0] == pytest.approx(seconds, abs=0.2)
    first, second = result.remarks
    assert first == f"0.0 to {result.segments[0].start:.1f} s of the recording are not in the score."
    assert second == f"{result.span[1]:.1f} to {result.duration_s:.1f} s of the recording are not in the score."


def test_a_score_twice_as_slow_is_followed(recording, align):
    notes = SCORE.notes
    slow = of(SCORE, onset=2 * notes.onset, offset=2 * notes.offset)._replace(beats=2 * SCORE.beats, bars=2 * SCORE.bars)
    result = align().align("x.wav", recording, RATE, [("", slow)])
    assert np.nanmedian(np.abs(result.time_map(slow.beats) - CURVE(SCORE.beats))) < 0.05


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
    result = align().align("x.wav", recording, RATE, [("", repeated(first, last))])
    assert len(result.segments) == 2
    assert np.isnan(result.notes_s).any()
    after = SCORE.beats[SCORE.beats >= last + 1]
    assert np.median(np.abs(result.time_map(after + last - first) - CURVE(after))) < 0.05
    before = SCORE.beats[SCORE.beats < first]
    assert np.median(np.abs(result.time_map(before) - CURVE(before))) < 0.05
    assert any("omits" in remark for remark in result.remarks)


def test_a_repeat_that_is_not_written_is_followed(recording, align):
    first, last = (round(float(CURVE(np.array(beat * BEAT))) * RATE) for beat in (8, 24))
    twice = np.concatenate([recording[:last], recording[first:]])
    result = align().align("x.wav", twice, RATE, [("", SCORE)])
    assert len(result.segments) == 2 and result.segments[1].score_start == pytest.approx(8 * BEAT)
    assert result.segments[1].start == pytest.approx(last / RATE, abs=0.2)
    assert result.remarks == [f"at {result.segments[1].start:.1f} s the recording repeats bars 3 to 6."]
    assert len(align(AlignmentOptions(repeats="written")).align("x.wav", twice, RATE, [("", SCORE)]).segments) == 1


def test_the_way_that_was_played_is_chosen(recording, align):
    ways = [("all repeats", repeated(8 * BEAT, 24 * BEAT)), ("no repeats", SCORE)]
    result = align().align("x.wav", recording, RATE, ways)
    assert result.unfolding == "no repeats" and len(result.segments) == 1
    assert median_error(result) < 0.05
    written = align(AlignmentOptions(repeats="written")).align("x.wav", recording, RATE, ways)
    assert written.score is ways[0][1] and len(written.segments) == 1


def test_one_note(align):
    notes = notes_of([0.5], [1.5], [60])
    score = Score(notes, np.array([0.0, 0.5]), np.array([0.0]), "one.mid")
    later = synthesize(notes._replace(onset=notes.onset + 1, offset=notes.offset + 1), RATE)
    result = align().align("x.wav", later, RATE, [("", score)])
    assert result.notes_s[0, 0] == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100])
def test_the_front_ends_rate_is_the_one_that_counts(rate, recording, align):
    bins = 108 if rate == 8000 else 144
    net = Handcrafted(LogCQTFlux(sample_rate=rate, hop=round(rate / 22_050 * 512), bins=bins), "cosine").eval()
    result = File2Alignment(SimpleNamespace(net=net, inference=AlignmentOptions()))
    result = result.align("x.wav", soxr.resample(recording, RATE, rate), rate, [("", SCORE)])
    assert result.sample_rate == rate and result.duration_s == pytest.approx(len(recording) / RATE, abs=0.001)
    assert (result.transposition, len(result.segments), result.remarks) == (0, 1, [])
    late = result.time_map(SCORE.beats) - CURVE(SCORE.beats)
    assert np.median(np.abs(late)) < 0.02 and np.abs(late).max() < 0.25


@pytest.mark.parametrize("seconds", [0.01, 20.0])
def test_silence_is_one_sentence(seconds, align):
    with pytest.raises(DataError, match=r"x\.wav cannot be aligned with chorale\.mid: it is silent"):
        align().align("x.wav", np.zeros(round(seconds * RATE), np.float32), RATE, [("", SCORE)])


@pytest.mark.parametrize("gain", [1e-3, 1e-5])
def test_a_quiet_recording_is_raised_and_aligned(gain, recording, align):
    result = align().align("x.wav", (gain * recording).astype(np.float32), RATE, [("", SCORE)])
    assert median_error(result) < 0.05
    assert result.remarks[0].startswith("it is very quiet (-") and result.remarks[0].endswith("was raised.")


def test_antiphase_stereo_is_aligned_by_its_louder_channel(recording, align, tmp_path):
    soundfile.write(tmp_path / "x.wav", np.stack([recording, -0.95 * recording], 1), RATE)
    (tmp_path / "x.mid").write_bytes(write_midi(SCORE.notes, SCORE.beats, SCORE.bars))
    result = align()(tmp_path / "x.wav", tmp_path / "x.mid")
    assert median_error(result) < 0.05
    assert result.remarks[0] == "its channels cancel each other (anti-phase): channel 1, the loudest, is used alone."


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
    result = align(AlignmentOptions(refine=True)).align("x.wav", recording, RATE, [("", SCORE)])
    assert np.median(np.abs(result.notes_s[:, 0] - CURVE(SCORE.notes.onset))) < 0.02


@pytest.mark.parametrize("how", [{"steps": "jumps"}, {"transposition": 30}, {"jump_s": 0.0}, {"max_deviation": 0.0}])
def test_impossible_settings_are_refused(how):
    with pytest.raises(ValueError, match="inference"):
        AlignmentOptions(**how)


# Parts of scores and recordings


def numbered(score: Score, numbers) -> Score:
    """Score with printed numbers of its bars, and ids of its notes."""
    passes = [numbers[: index + 1].count(number) for index, number in enumerate(numbers)]
    columns = zip(score.bars.tolist(), map(str, numbers), passes, strict=True)
    ids = tuple(f"n{index}" for index in range(len(score.notes.onset)))
    return score._replace(measures=tuple(PlayedMeasure(*row) for row in columns), ids=ids)


PRINTED = numbered(SCORE, range(1, BARS + 1))


def sample(bar: int) -> int:
    """Sample of the recording at which a bar begins, counted from 1."""
    return round(float(CURVE(SCORE.bars[bar - 1])) * RATE)


def part_of(recording, first: int, last: int) -> np.ndarray:
    """Recording from the beginning of a bar to that of another."""
    return recording[sample(first) : sample(last)]


FIRST, LAST = 4, 9
"""First bar of the excerpt, and the bar after it."""


@pytest.mark.parametrize(("program", "semitones"), [(1, 0), (48, 0), (1, -2)])
def test_an_excerpt_is_located_and_not_doubted(program, semitones, recording, align, monkeypatch):
    synthesized = []

    def counted(notes, rate):
        synthesized.append(len(notes.onset))
        return synthesize_long(notes, rate)

    monkeypatch.setattr("tasks.alignment.search.synthesize_long", counted)
    audio = part_of(recording if program == 1 else played(program=program), FIRST, LAST)
    result = align().align("x.wav", audio, RATE, [("", of(PRINTED, pitch=SCORE.notes.pitch - semitones))])
    (segment,) = result.segments
    assert (segment.score_start, segment.score_end) == pytest.approx((6.0, 16.0), abs=0.25)
    inside = (SCORE.notes.onset >= 6.0) & (SCORE.notes.onset < 15.7)
    late = result.notes_s[inside, 0] - (CURVE(SCORE.notes.onset[inside]) - sample(FIRST) / RATE)
    assert np.nanmedian(np.abs(late)) < 0.05 and np.isnan(result.notes_s[~inside, 0]).mean() > 0.95
    parts = "the recording begins in bar 4 and ends in bar 8; bars 1 to 3 and bars 9 to 12 of the score are not in it."
    assert result.remarks == [*["the recording is 2 semitones below the score."] * (semitones == -2), parts]
    assert len(synthesized) == 1 and synthesized[0] < len(SCORE.notes.onset)  # one rendering, of the excerpt


@pytest.mark.parametrize(("first", "last", "semitones"), [(1, BARS, 0), (FIRST, LAST, 3)])
def test_a_wrong_score_is_doubted_and_nothing_else_is_said(first, last, semitones, recording, align):
    other = random_score(BARS, seed=6)
    other = of(other, pitch=other.notes.pitch + semitones)
    result = align().align("x.wav", part_of(recording, first, last), RATE, [("", other)])
    assert result.remarks == [ANOTHER] and result.transposition == 0
    assert len(result.segments) == 1 and np.isfinite(result.notes_s).all()  # a guess


def test_a_score_an_octave_too_high_is_found(recording, align):
    result = align().align("x.wav", recording, RATE, [("", of(SCORE, pitch=SCORE.notes.pitch + 12))])
    assert result.transposition == -12 and median_error(result) < 0.05
    assert result.remarks == ["the recording is 12 semitones below the score."]


def test_a_count_in_is_said_in_seconds(recording, align):
    random, clicks, size = np.random.default_rng(0), np.zeros(round(2.4 * RATE), np.float32), RATE // 20
    for start in range(0, len(clicks), round(0.6 * RATE)):
        clicks[start : start + size] = 0.5 * np.exp(-np.linspace(0, 6, size)) * random.normal(size=size)
    result = align().align("x.wav", np.concatenate([clicks, recording]), RATE, [("", SCORE)])
    assert result.remarks == ["0.0 to 2.4 s of the recording are not in the score."]
    assert median_error(result, late=2.4) < 0.05


REPEATED = numbered(repeated(8 * BEAT, 24 * BEAT), [1, 2, 3, 4, 5, 6, 3, 4, 5, 6, *range(7, BARS + 1)])


def test_omitted_bars_are_named_by_number_and_pass(recording, align):
    audio = np.concatenate([part_of(recording, 1, 7), part_of(recording, 3, 5), recording[sample(8) :]])
    result = align(AlignmentOptions(transposition=0)).align("x.wav", audio, RATE, [("", REPEATED)])
    first, second = result.segments
    assert (first.score_end, second.score_start) == pytest.approx((16.0, 22.0))
    assert result.remarks == [f"at {second.start:.1f} s the recording omits bars 5 (pass 2) to 7."]


def test_music_that_is_played_twice_ends_with_the_second_playing(recording, align):
    part = part_of(recording, 1, 6)
    result = align(AlignmentOptions(transposition=0)).align("x.wav", np.concatenate([recording, part]), RATE, [("", PRINTED)])
    assert len(result.segments) == 2 and result.span[1] == pytest.approx((len(recording) + len(part)) / RATE, abs=0.1)
    assert result.remarks == [f"at {result.segments[1].start:.1f} s the recording repeats bars 1 to 12."]


def test_closed_ends_take_the_whole_score(recording, align):
    how = AlignmentOptions(open_ends=False, transposition=0)
    (segment,) = align(how).align("x.wav", part_of(recording, FIRST, LAST), RATE, [("", SCORE)]).segments
    assert (segment.score_start, segment.start) == (0.0, 0.0)
    assert segment.score_end > SCORE.notes.offset.max() and segment.end > (sample(LAST) - sample(FIRST)) / RATE - 0.1


@pytest.mark.parametrize("bar", ["bar 5 pass 1", "bar 5 pass 2", "note n{}"])
def test_an_anchor_chooses_the_pass(bar, recording, align):
    second = "1" not in bar  # the excerpt is played in both passes
    time = (sample(5) - sample(3)) / RATE
    anchor = f"{bar.format(int(np.searchsorted(REPEATED.notes.onset, 16.0)))} = {time:.2f}"
    how = AlignmentOptions(anchors=[anchor], transposition=0)
    result = align(how).align("x.wav", part_of(recording, 3, 7), RATE, [("", REPEATED)])
    (segment,) = result.segments
    assert segment.score_start == pytest.approx(12.0 if second else 4.0, abs=0.1)
    assert float(result.time_map(np.array(16.0 if second else 8.0))) == pytest.approx(time, abs=0.05)


def test_an_anchor_holds_against_the_music(recording, align):
    time = sample(4) / RATE + 1.0
    how = AlignmentOptions(anchors=[f"bar 4 = {time:.2f}"], transposition=0)
    result = align(how).align("x.wav", recording, RATE, [("", PRINTED)])
    assert float(result.time_map(np.array(6.0))) == pytest.approx(time, abs=0.1)


@pytest.mark.parametrize(
    ("anchors", "words"),
    [
        (["bar 99 = 3"], "anchor 'bar 99 = 3': chorale.mid has no such bar."),
        (["bar 5 pass 2 = 3"], "anchor 'bar 5 pass 2 = 3': chorale.mid has no such bar and pass."),
        (["note n9999 = 3"], "anchor 'note n9999 = 3': chorale.mid has no such note."),
        (["bar 4 = 900"], "no path found (no passage of the score meets the anchor at 900 s): loosen"),
        (["bar 5 = 5", "bar 7 = 5"], "no path found ("),
    ],
)
def test_an_anchor_that_cannot_be_kept_is_refused(anchors, words, recording, align):
    how = AlignmentOptions(anchors=anchors, transposition=0)
    with pytest.raises(DataError, match=re.escape(f"x.wav cannot be aligned with chorale.mid: {words}")):
        align(how).align("x.wav", part_of(recording, FIRST, LAST), RATE, [("", PRINTED)])


@pytest.mark.parametrize(("limit", "cells"), [(5.0, 3e8), (5.0, 2e4)], ids=["short", "long"])
def test_max_deviation_holds_where_a_repeat_is_left_out(limit, cells, recording, align, monkeypatch):
    monkeypatch.setattr("models.alignment.search.CELLS", cells)  # outlines of a long recording are averaged
    how = AlignmentOptions(max_deviation=limit, transposition=0)
    result = align(how).align("x.wav", recording, RATE, [("", REPEATED)])
    line = result.rows * result.frame_s * float(REPEATED.notes.offset.max()) / result.duration_s
    assert np.abs(result.columns * result.frame_s - line).max() < limit + result.frame_s
    assert len(result.segments) == 2


def test_a_max_deviation_that_allows_no_path_is_refused(recording, align):
    how = AlignmentOptions(max_deviation=2.0, transposition=0)
    with pytest.raises(
        DataError, match=r"no path found \(nothing of the score is within 2 s of a straight line at .* s\): loosen"
    ):
        align(how).align("x.wav", recording, RATE, [("", REPEATED)])


@pytest.mark.realdata
def test_a_real_recording_is_aligned(align):
    if "QUINTET_DATA" not in os.environ:
        pytest.skip("QUINTET_DATA names no folder of real recordings")
    folder = Path(os.environ["QUINTET_DATA"]) / "alignment" / "real_audio"
    score = folder / "mozart_k265_var1.musicxml"  # the .mid beside it is the performance
    truth = truth_from_match(read_match(folder / "mozart_k265_var1.match"), read_score(score))
    result = align()(folder / "mozart_k265_var1.mp3", score)
    assert (np.abs(result.time_map(truth[:, 0]) - truth[:, 1]) < 0.05).mean() >= 0.95
