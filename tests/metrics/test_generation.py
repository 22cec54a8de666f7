"""Features by hand and against mgeval's definitions, overlap against scipy's densities, structure, and guards of density."""

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from datamodules.generation.piece import Piece
from tasks.generation.metrics import structure
from tasks.generation.metrics.arrays import roll_array
from tasks.generation.metrics.features import FEATURES, LENGTHS, compared, distances, features, overlap
from tests.helpers.written_pieces import written


def noted(notes: list[tuple[int, ...]], length: int, ticks: int = 4, **options) -> Piece:
    """A piece of (onset, duration, pitch, voice)."""
    rows = [[on, duration, pitch, 80, voice] for on, duration, pitch, voice in notes]
    return Piece(np.zeros((0, 5), np.int32), ticks=ticks, length=length, **options).with_notes(np.array(rows).reshape(-1, 5))


def melody(seed: int, notes: int = 24, pool: int = 8, lengths: tuple[int, ...] = (1, 2, 4), **options) -> Piece:
    random = np.random.default_rng(seed)
    durations = random.choice(lengths, notes)
    onsets = np.cumsum(durations) - durations
    rows = [(int(on), int(long), int(60 + random.integers(pool)), 0) for on, long in zip(onsets, durations, strict=True)]
    return noted(rows, int(durations.sum()), **options)


WALTZ = noted([(0, 4, 60, 0), (4, 2, 64, 0), (6, 6, 67, 0), (0, 12, 48, 1), (12, 12, 43, 1), (12, 12, 71, 0)], 24,
              metres=np.array([[0, 3, 4]], np.int32))  # fmt: skip


def test_features_of_a_waltz_by_hand():
    found = {name: values[0] for name, values in features([WALTZ]).items()}
    assert (found["pitch_count"], found["pitch_range"], found["notes_per_bar"]) == (6, 28, 3)
    assert found["interval"] == np.mean([4, 3, 4, 5]) and found["inter_onset"] == np.mean([4, 2, 6, 12]) / 4
    assert found["pitch_classes"].tolist() == [2 / 6, 0, 0, 0, 1 / 6, 0, 0, 2 / 6, 0, 0, 0, 1 / 6]
    steps = np.argwhere(found["pitch_class_transitions"].reshape(12, 12))
    assert sorted(map(tuple, steps)) == [(0, 4), (0, 7), (4, 7), (7, 11)]
    lengths = dict(zip(LENGTHS, found["note_lengths"], strict=True))
    assert {length: share for length, share in lengths.items() if share} == {1: 1 / 6, 0.5: 1 / 6, 1.5: 1 / 6, 3: 1 / 2}
    long = LENGTHS.tolist()
    assert found["note_length_transitions"].reshape(12, 12)[long.index(3), long.index(3)] == 1 / 4


def test_features_keep_to_their_sizes_and_do_not_depend_on_ticks():
    pieces = [WALTZ, melody(0), noted([], 8), noted([(0, 4, 60, 0)], 4)]
    found = features(pieces)
    assert {name: values.shape for name, values in found.items()} == {name: (4, size) for name, size in FEATURES.items()}
    again = features([piece.at(480) for piece in pieces])
    assert all(np.array_equal(found[name], again[name]) for name in found) and not found["pitch_classes"][2].any()


def test_of_notes_struck_at_once_the_highest_leads():
    chord = noted([(0, 4, 60, 0), (0, 4, 64, 0), (4, 4, 65, 0), (4, 4, 59, 0)], 8)
    assert features([chord])["interval"][0] == 1.0


@pytest.mark.parametrize("name", ["pitch_classes", "interval", "note_lengths", "pitch_count"])
def test_overlap_and_divergence_equal_scipys(name):
    made, training = (
        features([melody(seed, 30, pool) for seed in seeds]) for seeds, pool in ((range(30), 6), (range(40, 80), 9))
    )
    found = compared(made[name], training[name], resamples=10)
    inter = np.linalg.norm(made[name][:, None] - training[name], axis=2).ravel()
    within = np.linalg.norm(training[name][:, None] - training[name], axis=2)[np.triu_indices(40, 1)]
    grid = np.linspace(-4, inter.max() + 4, 20_000) if inter.max() > 2 else np.linspace(-1, 3, 20_000)
    p, q = gaussian_kde(inter)(grid), gaussian_kde(within)(grid)
    width = grid[1] - grid[0]
    assert found.overlap.value == pytest.approx(np.minimum(p, q).sum() * width, abs=5e-3)
    divergence = np.where(p > 1e-9, p * np.log(np.maximum(p, 1e-12) / np.maximum(q, 1e-12)), 0).sum() * width
    assert found.divergence.value == pytest.approx(divergence, rel=0.05, abs=5e-3)
    assert found.inter == pytest.approx(inter.mean()) and found.training == pytest.approx(within.mean())


def test_music_of_the_same_kind_overlaps_more_than_of_another():
    training = [melody(seed) for seed in range(40)]
    same = overlap([melody(seed) for seed in range(50, 80)], training)
    other = overlap([melody(seed, pool=3, lengths=(8,)) for seed in range(50, 80)], training)
    for name in ("pitch_count", "interval", "inter_onset", "note_lengths"):
        assert other[name].overlap.high < same[name].overlap.low and other[name].divergence.value > same[name].divergence.value
        assert same[name].overlap.low <= same[name].overlap.value + 0.02 and 0.75 < same[name].overlap.value <= 1


def test_sets_that_are_all_alike_overlap_wholly_and_of_a_single_piece_nothing_is_known():
    one = overlap([WALTZ] * 3, [WALTZ] * 3)
    assert set(one) == set(FEATURES)
    assert all(found.overlap.value == 1.0 and found.divergence.value == 0.0 for found in one.values())
    assert all(np.isnan(found.overlap.value) for found in overlap([WALTZ], [WALTZ] * 3).values())


def test_distances_are_euclidean():
    first, second = np.random.default_rng(0).random((2, 7, 12))
    np.testing.assert_allclose(distances(first, second), np.linalg.norm(first[:, None] - second, axis=2), atol=1e-7)


def test_a_piece_of_four_equal_beats_returns_after_four():
    piece = written([[60], [62], [64], [65]] * 6)
    profile = structure.lag_profile(piece, lags=26)
    assert profile[[3, 7, 11]].tolist() == [1.0] * 3 and not profile[[0, 1, 2, 4, 5, 6]].any()
    assert np.isnan(profile[-1]) and profile.shape == (26,)
    assert structure.repeated_bars(piece) == 1.0 and np.isnan(structure.repeated_bars(written([[60], [62]])))
    assert [round(one.value, 9) for one in structure.profile([piece, written([[60]] * 8)], lags=4)] == [0.5, 0.5, 0.5, 1.0]


def test_likeness_is_minima_over_maxima_of_how_long_pitches_sound():
    piece = melody(3, 40, pickup=2)
    likeness = structure.self_similarity(piece)
    roll = np.pad(roll_array(piece), ((2, -(piece.length + 2) % 4), (0, 0)))
    beats = roll.reshape(-1, 4, 128).sum(1)
    for i, j in ((0, 1), (3, 9), (5, 5)):
        assert likeness[i, j] == pytest.approx(np.minimum(beats[i], beats[j]).sum() / np.maximum(beats[i], beats[j]).sum())
    np.testing.assert_array_equal(likeness, likeness.T)


@pytest.mark.parametrize(("bars", "share"), [("abab", 2 / 3), ("abcd", 0.0), ("aaaa", 1.0), ("aab", 0.5)])
def test_repeated_bars_are_counted_from_the_first_downbeat(bars, share):
    tunes = {"a": [60, 62, 64], "b": [65, 64, 62], "c": [67, 67, 60], "d": [59, 60, 62]}
    notes = [(4 + 12 * bar + 4 * k, 4, pitch, 0) for bar, name in enumerate(bars) for k, pitch in enumerate(tunes[name])]
    piece = noted(notes, 4 + 12 * len(bars), pickup=4, metres=np.array([[0, 3, 4]], np.int32))
    assert structure.repeated_bars(piece) == pytest.approx(share)


def test_density_of_silence_of_one_note_and_of_music():
    found = structure.measured([noted([], 16), written([[60]] * 8), noted([(0, 4, 60, 0), (12, 4, 64, 0)], 16), WALTZ])
    assert found["empty_rate"].tolist() == [1.0, 0.0, 0.5, 0.0] and found["longest_silence"].tolist() == [4, 0, 2, 0]
    assert found["longest_chord"].tolist() == [0, 8, 1, 3] and found["notes_per_bar"].tolist() == [0, 4, 2, 3]
    assert found["pitch_entropy"].tolist() == pytest.approx([0, 0, 1, np.log2(6)])
    assert found["repeated_notes"].tolist() == [0, 1, 0, 0]
    means = structure.density([noted([], 16), written([[60]] * 8)])
    assert means["empty_rate"].value == 0.5 and set(means) == set(structure.MEASURES)


def test_what_lies_beyond_every_human_piece_is_named():
    human = [melody(seed) for seed in range(20)]
    made = [melody(50), written([[60]] * 8, name="stuck"), noted([], 16, name="mute")]
    said = structure.warnings(made, human)
    assert (
        len(said) == 2 and said[0].startswith("stuck is") and "repeated_notes 1.00" in said[0] and said[1].startswith("mute is")
    )
    assert not structure.warnings(made, [])
