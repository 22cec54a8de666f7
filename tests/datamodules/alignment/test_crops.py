"""Crops and the pairs of frames in them: which match, which do not, where they lie, and that seeds decide it all."""

import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from datamodules.alignment.crops import PairSampling, RecordingCrops, other_frame, roll, sounding, within
from datamodules.alignment.features import crop
from datamodules.alignment.reading import read_score
from datamodules.alignment.score import notes_of
from datamodules.alignment.sets import MAPS
from tests.helpers.numbered_recordings import FRAME_S, counted, write_recordings

CONTEXT = 9
HALF = CONTEXT // 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("maps"), pieces=5)


@pytest.fixture
def crops(root, cache):
    """The training set with options of the data module."""

    def make(context=CONTEXT, **options) -> RecordingCrops:
        settings = {"items": 100, "frames": 64, "pairs": 40, "cache_dir": str(cache)} | options
        return counted(MAPS(str(root), **settings), context).train_set()

    return make


def some(found: RecordingCrops, count: int = 60):
    return [found[index, 1000 + index] for index in range(count)]


def frames_at(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Which frames of the recording the embeddings at these places stand for."""
    return features[0, 0, places + HALF].int()


def test_half_of_the_pairs_match_and_are_the_same_frame(crops):
    seen = []
    for item in some(crops(ends=0.0)):
        assert item.performance.shape == item.score.shape == (1, 2, 64 + CONTEXT - 1)
        assert item.places.shape == (40, 2) and item.label.shape == (40,)
        match = item.label == 0
        assert match.sum() == 20 and set(item.label.tolist()) == {0.0, 1.0}
        left, right = (frames_at(side, item.places[:, k]) for k, side in enumerate((item.performance, item.score)))
        assert torch.equal(left[match], right[match])
        assert not (left[~match] == right[~match]).any()
        seen += left.tolist()
    assert len(set(seen)) > 150, "all over the recordings"


def test_other_pairs_sound_other_pitches_and_lie_apart(crops):
    different, count = 0, 0
    for item in some(crops()):
        left, right = item.places[item.label == 1].T
        assert (left - right).abs().min() >= 4 and item.places.min() >= 0 and item.places.max() < 64
        heard = (item.pitches[:, left + HALF] != item.pitches[:, right + HALF]).any(0)
        if item.pitches[:, HALF:-HALF].any(0).float().mean() > 0.3:  # in silence there is no other pitch to be found
            different, count = different + int(heard.sum()), count + len(left)
    assert different > 0.98 * count > 500


def test_pitches_may_be_left_out_of_account(crops):
    found = some(crops(by_pitch=False))
    same = [
        (item.pitches[:, (p := item.places[item.label == 1] + HALF)[:, 0]] == item.pitches[:, p[:, 1]]).all(0).float().mean()
        for item in found
    ]
    assert np.mean(same) > 0.05


def test_how_many_are_near(crops):
    def apart(share):
        found = [item.places[item.label == 1].diff(dim=1).abs()[:, 0] for item in some(crops(near=[4, 8], near_share=share))]
        return torch.cat(found)

    near, anywhere, both = apart(1.0), apart(0.0), apart(0.5)
    assert near.max() <= 8, "where no other pitch is near, the frame at the lowest distance"
    assert 15 < anywhere.float().mean() < 27 and anywhere.max() > 45, "a third of 64, more as the nearest are left out"
    shares = [(one <= 8).float().mean() for one in (anywhere, both, near)]
    assert shares[0] < 0.25 < shares[1] - 0.1 < shares[1] + 0.1 < shares[2] == 1.0


def test_a_crop_hears_its_context_and_names_what_sounds(crops):
    found, checked = crops(ends=0.0), 0
    for item in some(found, 20):
        (pair,) = [pair for pair in found.pairs if pair.name == item.names[0]]
        last = min(len(found.store.read(sound)) for sound in (pair.performance, pair.score)) - 1
        notes, frames = read_score(pair.midi).notes, item.performance[0, 0].numpy().astype(int)
        start = frames[32] - 32
        for k, frame in enumerate(range(start, start + len(frames))):
            time = frame * FRAME_S
            near = np.abs(np.concatenate([notes.onset, notes.offset]) - time).min() < FRAME_S
            if not 0 <= frame < last or near:
                continue
            assert frames[k] == item.score[0, 0, k] == frame
            assert set(np.flatnonzero(item.pitches[:, k])) == set(notes.pitch[(notes.onset <= time) & (time < notes.offset)])
            checked += 1
    assert checked > 500


def test_patches_are_in_turn_a_match_and_none(crops):
    found = crops(frames=1, pairs=1)
    apart = []
    for index, item in enumerate(some(found, 80)):
        assert item.label.tolist() == [index % 2] and item.places.tolist() == [[0, 0]]
        assert item.performance.shape == (1, 2, CONTEXT)
        apart.append(int(item.score[0, 0, HALF] - item.performance[0, 0, HALF]))
    assert not any(apart[::2]) and min(map(abs, apart[1::2])) >= 4
    assert 0.4 < np.mean(np.abs(apart[1::2]) <= 40) < 0.9 and min(apart) < -40 and max(apart) > 40


def equal(first, second) -> bool:
    return first.names == second.names and all(torch.equal(a, b) for a, b in zip(first[:5], second[:5], strict=True))


def test_an_item_is_its_index_and_seeds(crops):
    found, again = crops(), crops()
    assert equal(found[3, 77], again[3, 77]) and not equal(found[3, 77], found[3, 78])
    assert len({found[3, seed].names for seed in range(40)}) == len(found.pairs)


def test_batches_do_not_depend_on_the_workers(root, cache):
    def batches(workers):
        options = {"items": 24, "frames": 16, "pairs": 4, "batch_size": 8, "cache_dir": str(cache)}
        return list(counted(MAPS(str(root), num_workers=workers, **options), CONTEXT).train_dataloader())

    one, two = batches(0), batches(2)
    assert len(one) == 3 and all(equal(a, b) for a, b in zip(one, two, strict=True))
    assert one[0].performance.shape == (8, 1, 2, 24) and one[0].places.shape == (8, 4, 2) and one[0].label.shape == (8, 4)
    assert one[0].pitches.shape == (8, 128, 24) and len(one[0].names) == 8


def test_sets_travel_to_spawned_workers(root, cache):
    data = counted(MAPS(str(root), items=8, frames=16, pairs=4, cache_dir=str(cache)), CONTEXT)
    training, whole = data.train_set(), data.validation_set()
    assert equal(pickle.loads(pickle.dumps(training))[2, 5], training[2, 5])
    assert torch.equal(pickle.loads(pickle.dumps(whole))[0].truth, whole[0].truth)
    pickle.dumps(data)


@pytest.mark.parametrize("ends", [0.0, 1.0])
def test_crops_across_the_ends(crops, ends):
    found = crops(ends=ends)
    across = []
    for item in some(found):
        (place,) = [k for k, pair in enumerate(found.pairs) if pair.name == item.names[0]]
        first, *_, last = np.flatnonzero(found.active[place].any(1))
        frames = item.performance[0, 0, HALF:-HALF].numpy()
        outside = (frames < first) | (frames > last)
        across.append(outside.any() and not outside.all())
    assert all(across) if ends else not all(across)


def test_recordings_are_drawn_as_often_as_they_are_long_and_weigh(crops):
    plain = crops(frames=2, pairs=1)
    lengths = np.array([len(active) for active in plain.active])
    weights = [1.0, 0.0, 3.0, *[0.5] * (len(lengths) - 3)]
    weighted = RecordingCrops(plain.pairs, weights, plain.store, 100, 1, plain.sampling, FRAME_S)
    counts = Counter(weighted[k, k].names[0] for k in range(600))
    for pair, share in zip(weighted.pairs, lengths * weights / (lengths * weights).sum(), strict=True):
        assert counts[pair.name] / 600 == pytest.approx(share, abs=0.06 if share else 0)


@pytest.mark.parametrize("start", [-30, -12, -3, 0, 7, 15, 19, 25])
@pytest.mark.parametrize("frames", [1, 6, 40])
def test_a_crop_beyond_the_ends_hears_the_last_frame(start, frames):
    features = np.random.default_rng(0).normal(size=(20, 2, 3)).astype(np.float32)
    wanted = [features[k if 0 <= k < 20 else 19] for k in range(start, start + frames)]
    found = crop(features, start, frames)
    assert found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found, np.stack(wanted, 2).reshape(2, 3, frames))


def test_what_sounds_is_kept_as_bits():
    notes = notes_of([0.0, 0.1, 0.1], [0.2, 0.11, 5.0], [0, 63, 127])
    active = sounding(notes, 4, 0.1)
    wanted = np.zeros((128, 4), np.uint8)
    wanted[0, :2] = wanted[63, 1] = wanted[127, 1:] = 1
    np.testing.assert_array_equal(roll(active), wanted)
    np.testing.assert_array_equal(roll(within(active, -2, 8)), np.pad(wanted, ((0, 0), (2, 2))))
    assert not roll(within(active, 4, 3)).any() and not roll(within(active, -9, 3)).any()


@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_a_crop_too_short_gives_its_farthest_frame(length):
    active, random = np.zeros((length, 2), np.uint64), np.random.default_rng(0)
    for place in range(length):
        frame = other_frame(place, 0, length, active, PairSampling(), random)
        assert 0 <= frame < length
        assert abs(frame - place) == min(4, max(place, length - 1 - place))
