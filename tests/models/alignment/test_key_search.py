"""Search of tempo and key: transpositions, tempi and timbres of synthesized scores, and the cheapest path anywhere."""

import numpy as np
import pytest

from datamodules.alignment.sounds import synthesize
from models.alignment.jumps import MOVES
from models.alignment.key_search import TEMPI, KeySearch, best_anywhere, cheapest
from models.alignment.outline import Outline
from tests.helpers.random_scores import changed, random_score

SCORE = random_score(6)
OUTLINE = Outline()
SEARCH = KeySearch(OUTLINE, 12)
RATE = OUTLINE.rate


@pytest.fixture(scope="module")
def recording():
    return synthesize(SCORE.notes, RATE)


@pytest.mark.parametrize(
    ("semitones", "stretch", "program"), [(0, 1.0, 0), (-12, 1.0, 0), (5, 2.0, 6), (-3, 0.5, 48), (12, 1.4, 71), (1, 4.0, 0)]
)
def test_tempo_and_key_are_found(semitones, stretch, program, recording):
    score = changed(SCORE, -semitones, 1 / stretch)  # the recording is the same, the score another
    audio = recording if program == 0 else synthesize(SCORE.notes, RATE, program=program)
    tempo, key, _, distinctness = SEARCH(OUTLINE.of_audio(audio), score.notes)
    assert key == semitones and distinctness > 2
    assert abs(np.log2(tempo / stretch)) <= 0.5  # neighbours on the grid of tempi


@pytest.mark.parametrize(("program", "timbres"), [(0, ("struck", "soft")), (71, ("sustained",))])
def test_timbre_is_found(program, timbres):
    notes = changed(random_score(2), stretch=4.0).notes  # long ones, which decay or do not
    assert SEARCH(OUTLINE.of_audio(synthesize(notes, RATE, program=program)), notes)[2] in timbres


def test_keys_beyond_the_largest_transposition_are_not_tried(recording):
    outline = OUTLINE.of_audio(recording)
    assert abs(KeySearch(OUTLINE, 2)(outline, changed(SCORE, -5).notes)[1]) <= 2
    assert KeySearch(OUTLINE, 0)(outline, changed(SCORE, -1).notes)[1] == 0


def test_a_recording_that_is_mostly_something_else():
    """The part that fits decides: applause fits no key better than others."""
    random = np.random.default_rng(1)
    length = np.repeat(random.uniform(0.3, 1.0, 4000), RATE // 100)
    applause = (0.05 * length * random.normal(size=len(length))).astype(np.float32)  # 40 s
    score = changed(SCORE, 2)
    mixed = np.concatenate([applause, synthesize(SCORE.notes, RATE), applause])
    result = SEARCH(OUTLINE.of_audio(mixed), score.notes)
    assert result.semitones == -2 and 0.7 <= result.stretch <= 1.5 and result.distinctness > 1.3


def test_the_first_choice_is_left_only_for_a_clearly_cheaper_one():
    assert cheapest({"first": 1.0, "second": 0.98}) == "first"
    assert cheapest({"first": 1.0, "second": 0.9, "third": 0.8}) == "third"


def test_best_path_anywhere_equals_a_loop_over_cells():
    random = np.random.default_rng(2)
    for _ in range(30):
        costs = random.random(random.integers(1, 9, 2)).astype(np.float32)
        values = costs[0].astype(float)
        for row in costs[1:]:
            ways = [[values[j - move] + MOVES[move] for move in range(min(len(MOVES), j + 1))] for j in range(len(row))]
            values = np.array([min(way) for way in ways]) + row
        assert best_anywhere(costs.copy(), np.array(MOVES, np.float32)) == pytest.approx(values.min(), abs=1e-5)


def test_tempi_increase():
    assert list(TEMPI) == sorted(TEMPI) and 1.0 in TEMPI
