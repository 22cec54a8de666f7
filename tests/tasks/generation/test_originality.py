"""Copied runs: a planted excerpt is found by name and bar, runs and n-grams equal a plain search, Bach copies as was measured."""

import numpy as np
import pytest

from datamodules.generation.piece import Piece
from tasks.generation.metrics.originality import NGRAMS, Originality, flagged, originality
from tests.helpers.written_pieces import jsb, no_jsb, written


def random_piece(seed: int, chords: int = 30, pool: int = 24, name: str = "", **options) -> Piece:
    """Chords drawn from few pitches, so that short runs recur."""
    random = np.random.default_rng(seed)
    return written(np.sort(60 + random.integers(0, pool, (chords, 3)), 1)[:, ::-1].tolist(), name=name, **options)


def sets(piece: Piece) -> list[frozenset[int]]:
    """Sounding pitches wherever they change, read off tick by tick."""
    notes = piece.notes.tolist()
    now = [frozenset(p for on, duration, p, *_ in notes if on <= tick < on + duration) for tick in range(piece.length)]
    return [chord for tick, chord in enumerate(now) if not tick or chord != now[tick - 1]]


def alike(first: list[frozenset[int]], second: list[frozenset[int]]) -> bool:
    """True if one is the other transposed."""
    shift = min(second[0]) - min(first[0])
    return [{pitch + shift for pitch in chord} for chord in first] == [set(chord) for chord in second]


def test_a_planted_transposed_excerpt_is_found_with_its_source_and_bar():
    training = [random_piece(seed, name=f"chorale {seed}", pickup=4) for seed in range(20)]
    rows = [training[13].notes[training[13].notes[:, 0] == 4 * k, 2][::-1].tolist() for k in range(9, 22)]
    planted = [sorted((pitch - 5 for pitch in row), reverse=True) for row in rows]
    around = [random_piece(seed, 10) for seed in (100, 101)]
    before, after = ([one.notes[one.notes[:, 0] == 4 * k, 2].tolist() for k in range(10)] for one in around)
    copy = originality([written(before + planted + after, name="made")], training).copies[0]
    assert copy.changes in (12, 13), "by chance a chord more may fit"
    assert (copy.piece, copy.source, copy.transposition) == ("made", "chorale 13", -5)
    assert (copy.bar, copy.source_bar) == (10 // 4 + 1, (9 - 1) // 4 + 1)


@pytest.mark.parametrize("pool", [3, 4])
def test_runs_and_novelty_equal_a_plain_search(pool):
    training, pieces = ([random_piece(seed, 14, pool) for seed in seeds] for seeds in (range(4), range(10, 14)))
    found = originality(pieces, training)
    known, ours = [sets(piece) for piece in training], [sets(piece) for piece in pieces]

    def copied(one: list[frozenset[int]], at: int, length: int) -> bool:
        run = one[at : at + length + 1]
        return any(alike(run, other[k : k + length + 1]) for other in known for k in range(len(other) - length))

    runs = [max((n for n in range(1, len(one)) for at in range(len(one) - n) if copied(one, at, n)), default=0) for one in ours]
    assert found.runs.tolist() == runs and max(runs) > 1
    for length, share in enumerate(found.novelty[:4], 1):
        new = [not copied(one, at, length) for one in ours for at in range(len(one) - length)]
        assert share.value == pytest.approx(np.mean(new))


def test_a_piece_of_the_training_set_is_copied_whole_in_any_key_and_tempo():
    training = [random_piece(seed, name=str(seed)) for seed in range(5)]
    copy = originality([training[3].transposed(4).at(8)], training).copies[0]
    assert copy.changes == len(sets(training[3])) - 1 and (copy.source, copy.transposition) == ("3", 4)


def test_rests_belong_to_a_run():
    rows = [[64, 60], [-1, -1], [65, 62], [67, 59]]
    found = originality([written(rows).transposed(2)], [written(rows)])
    assert found.runs.tolist() == [3] and found.copies[0].transposition == 2
    assert originality([written(rows)], [written([rows[0], rows[2], rows[3]])]).runs.tolist() == [1]


def test_who_copies_more_than_the_test_set_is_flagged():
    training, fresh = ([random_piece(seed) for seed in seeds] for seeds in (range(8), range(20, 28)))
    human, copier = originality(fresh, training), originality(training[:4], training)
    assert flagged(copier, human) and not flagged(human, human) and not flagged(human, copier)


def test_nothing_to_judge_and_nothing_to_compare_with():
    alone = originality([random_piece(0)], [])
    assert alone.runs.tolist() == [0] and alone.novelty[0].value == 1.0 and len(alone.novelty) == NGRAMS
    silent = written([[-1]])
    assert originality([silent, written([[60]])], [silent]).runs.tolist() == [0, 0]
    assert np.isnan(Originality([], []).summary()["copied_p95"]) and not flagged(Originality([], []), alone)


@pytest.mark.realdata
@no_jsb
def test_bach_copies_himself_as_was_measured():
    assert originality(jsb("test"), jsb("train")).summary() == {"copied_median": 5, "copied_p95": 7, "copied_max": 23}
