"""Voice-leading rules: bars with one known fault each, music21's judgement of random quartets, and Bach."""

import numpy as np
import pytest

from datamodules.generation.piece import Piece
from tasks.generation.metrics import rules
from tasks.generation.metrics.arrays import chords, voice_array
from tasks.metrics.bootstrap import mean, ratio
from tests.helpers.written_pieces import jsb, no_jsb, written

WHITE = np.array([0, 2, 4, 5, 7, 9, 11])
"""Pitch classes whose intervals music21 spells as we count them: every 7 semitones is a fifth."""


def broken(rows: list[list[int]]) -> dict[str, list[int]]:
    """Faults by rule, of the rules that were broken."""
    found = rules.error_counts(written(rows))
    return {name: counts.tolist() for name, counts in found.items() if counts.any()}


CLEAN = [[67, 64, 60, 48], [67, 62, 59, 43], [67, 64, 60, 48]]
FAULTS = {
    "parallel_fifths": [[72, 64, 55, 48], [69, 65, 57, 50]],
    "parallel_octaves": [[72, 67, 64, 48], [74, 65, 57, 50]],
    "antiparallels": [[72, 64, 55, 48], [67, 62, 59, 55]],
    "hidden_fifths": [[64, 60, 55, 48], [69, 57, 53, 50]],
    "hidden_octaves": [[71, 67, 62, 43], [72, 64, 60, 48]],
    "crossings": [[67, 69, 60, 48]],
    "overlaps": [[67, 64, 60, 48], [72, 69, 60, 48]],
    "out_of_range": [[83, 72, 64, 48]],
    "wide_spacing": [[76, 62, 60, 48]],
    "leading_tones": [[71, 67, 62, 43], [67, 67, 64, 48]],
    "leaps": [[60, 60, 52, 36], [69, 60, 52, 36], [71, 60, 52, 36]],
}


def test_a_clean_cadence_breaks_no_rule():
    assert broken(CLEAN) == {}


@pytest.mark.parametrize("rule", rules.RULES)
def test_one_known_fault_is_found_once_and_alone(rule):
    found = broken(FAULTS[rule])
    assert set(found) == {rule} and sum(found[rule]) == 1
    where = 1 if rule == "leaps" else -1
    assert found[rule][where] == 1, "where it is complete"


def test_a_rest_between_two_fifths_parts_them():
    first, second = FAULTS["parallel_fifths"]
    assert "parallel_fifths" in broken([first, second])
    assert broken([first, [-1] * 4, second]) == {}
    assert "parallel_fifths" not in broken([first, [-1, -1, -1, 48], second])


def test_faults_do_not_depend_on_how_long_chords_last():
    for rows in FAULTS.values():
        once = rules.error_counts(written(rows))
        again = rules.error_counts(written([row for row in rows for _ in range(3)], ticks=480))
        assert all(np.array_equal(once[name], again[name]) for name in once)


def test_a_leading_tone_that_rises_late_is_no_fault():
    held = [[71, 67, 62, 43], [71, 67, 64, 48], [72, 67, 64, 48]]
    assert "leading_tones" not in broken(held)
    assert "leading_tones" in broken([*held[:2], [69, 67, 64, 48]])
    assert not rules.leading_tones(np.array(FAULTS["leading_tones"]), 2).any(), "of another key"


def test_a_leap_that_turns_back_is_no_fault():
    first, second, _ = FAULTS["leaps"]
    assert broken([first, second, [67, 60, 52, 36]]) == {} == broken([first, second])


def random_quartets(count: int) -> np.ndarray:
    """(quartets, 2 moments, 2 voices) on white keys, fifths and octaves often."""
    random = np.random.default_rng(0)
    pitches = (WHITE + 12 * np.arange(4, 7)[:, None]).ravel()
    made = random.choice(pitches, (count, 2, 2))
    snapped = made[..., 0] - random.choice([0, 7, 12, 19, -7, 3, 5], (count, 2))
    fits = np.isin(snapped, pitches)
    made[..., 1] = np.where(fits, snapped, made[..., 1])
    return made


def test_random_quartets_are_judged_as_music21_judges_them():
    from music21.note import Note
    from music21.voiceLeading import VoiceLeadingQuartet

    seen = dict.fromkeys(("fifth", "octave", "contrary", "hidden_fifth", "hidden_octave", "crossing", "overlap"), 0)
    for quartet in random_quartets(600):
        (first, below), (then, below_then) = quartet
        theirs = VoiceLeadingQuartet(*(Note(int(pitch)) for pitch in (first, then, below, below_then)))
        before, after = abs(first - below), abs(then - below_then)
        ours = {name: bool(rules.RULES[name](quartet).any()) for name in rules.RULES if name not in ("leading_tones", "leaps")}
        # A unison that opens into an octave is hidden to music21; a tritone can be spelled as a fourth or as a fifth.
        if before % 12 or after % 12 or (before == 0) == (after == 0):
            assert ours["parallel_fifths"] == theirs.parallelMotion("P5", allowOctaveDisplacement=True)
            octaves = [theirs.parallelMotion(name, allowOctaveDisplacement=True) for name in ("P8", "P1")]
            assert ours["parallel_octaves"] == any(octaves)
            parallel = theirs.parallelFifth() or theirs.parallelUnisonOrOctave()
            assert (ours["parallel_fifths"] or ours["parallel_octaves"] or ours["antiparallels"]) == parallel
            assert ours["hidden_octaves"] == theirs.hiddenOctave()
            if before % 12 != 6:
                assert ours["hidden_fifths"] == theirs.hiddenFifth()
        assert ours["crossings"] == theirs.voiceCrossing()
        assert ours["overlaps"] == theirs.voiceOverlap()
        found = (
            "parallel_fifths",
            "parallel_octaves",
            "antiparallels",
            "hidden_fifths",
            "hidden_octaves",
            "crossings",
            "overlaps",
        )
        for name, rule in zip(seen, found, strict=True):
            seen[name] += ours[rule]
    assert min(seen.values()) >= 10, seen


def test_rates_are_per_hundred_changes_of_chord_with_an_interval_over_pieces():
    faulty, clean = written(CLEAN + FAULTS["parallel_fifths"]), written(CLEAN)
    rates = rules.check([faulty, clean, written([[60, 55]])])
    fifths = rates["parallel_fifths"]
    assert fifths.value == pytest.approx(100 * 1 / (4 + 2)) and fifths.low == 0.0 < fifths.value < fifths.high == 25.0
    assert rates["parallels"].value >= fifths.value
    assert all(np.isnan(rate.value) for rate in rules.check([written([[60, 55]])]).values()), "no piece of four voices"


def test_intervals_hold_the_ratio_and_ask_for_pieces():
    parts, wholes = np.random.default_rng(0).poisson(3, 50), np.random.default_rng(1).poisson(30, 50)
    found = ratio(parts, wholes)
    assert found.low < found.value == parts.sum() / wholes.sum() < found.high and found == ratio(parts, wholes)
    assert str(ratio([], [])) == "–" and mean([1.0, float("nan"), 3.0]).value == 2.0


def test_voices_become_arrays_with_rests_holds_and_strikes():
    notes = [[0, 480, 60, 80, 0], [480, 240, 60, 80, 0], [0, 960, 48, 80, 1], [0, 960, 52, 80, 1]]
    piece = Piece(np.zeros((0, 5), np.int32), ticks=480, length=1200).with_notes(np.array(notes))
    pitch, onset = voice_array(piece, steps=2)
    assert pitch.tolist() == [[60, 52], [60, 52], [60, 52], [-1, 52], [-1, -1]]
    assert onset.tolist() == [[True, True], [False, False], [True, False], [False, False], [False, False]]
    rows, starts = chords(pitch)
    assert rows.tolist() == [[60, 52], [-1, 52], [-1, -1]] and starts.tolist() == [0, 3, 4]
    empty, _ = voice_array(Piece(np.zeros((0, 5), np.int32), ticks=4, length=8))
    assert empty.shape == (8, 0)


@pytest.mark.realdata
@no_jsb
def test_bach_breaks_the_rules_as_seldom_as_was_measured():
    rates = rules.check(jsb("train"))
    assert rates["parallels"].value == pytest.approx(0.34, abs=0.06)
    assert rates["crossings"].value == pytest.approx(2.8, abs=0.2) and rates["out_of_range"].value == pytest.approx(
        0.08, abs=0.01
    )
