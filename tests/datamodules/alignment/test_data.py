"""Alignment data of every set: truths that are exact, copies, what is left out, features that are built once."""

import json
import logging
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from datamodules.alignment.data import COPY, AlignmentDataModule
from datamodules.alignment.listing import Sound
from datamodules.alignment.reading import read_score
from datamodules.alignment.sets import MAPS
from datamodules.alignment.sounds import hear
from datamodules.common.errors import DataError
from tests.helpers import score_layouts
from tests.helpers.numbered_recordings import FRAME_S, RATE, count_frames, counted, write_recordings

BROKEN = "MAPS_MUS-piece0_ENSTDkCl"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("maps"), pieces=5, seconds=1.0)


@pytest.fixture
def own(root, tmp_path):
    """A copy of the recordings that a test may break."""
    return shutil.copytree(root, tmp_path / "maps")


def maps(root, cache, **options) -> AlignmentDataModule:
    return counted(MAPS(str(root), cache_dir=str(cache), **options))


def test_pieces_are_never_in_two_splits(root, cache):
    data = maps(root, cache)
    pieces = [{pair.piece for pair in data.listed(split)} for split in ("train", "validation", "test")]
    assert sum(map(len, pieces)) == len(set.union(*pieces)) == 5 and all(pieces)
    listed = data.listed("train")
    assert [pair.name for pair in listed] == sorted(pair.name for pair in listed)


def test_a_performance_trains_beside_its_own_midi(root, cache):
    for velocity in (64, None):
        for pair in maps(root, cache, velocity=velocity).training_pairs():
            assert pair.score == Sound(pair.midi, "embedded", velocity=velocity) and pair.performance.font is None
            np.testing.assert_array_equal(*pair.truth().T)


def loudest_rises(audio: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Where near each of these times a note begins, s: the steepest rise within 50 ms, in steps of 2 ms."""
    step = RATE // 500
    power = (audio[: len(audio) // step * step] ** 2).reshape(-1, step).sum(1)
    rise = np.diff(np.log(power + 1e-3 * power.max()), prepend=0)
    places = [np.arange(round(500 * (t - 0.05)), round(500 * (t + 0.05))).clip(0, len(rise) - 1) for t in at]
    return np.array([window[rise[window].argmax()] for window in places]) / 500


def test_the_truth_of_a_made_tempo_is_where_the_rendering_has_it(root, cache):
    """An organ is silent between notes of 0.2 s: its onsets are plain."""
    pair = next(pair for pair in maps(root, cache).evaluated("test"))
    truth = pair.truth()
    midi = np.unique(read_score(pair.midi).notes.onset)
    np.testing.assert_array_equal(truth[:, 1], midi)
    assert np.all(np.diff(truth, axis=0) > 0) and np.abs(truth[:, 0] - midi).max() > 0.2, "the tempo must differ"
    late = loudest_rises(hear(pair.score._replace(program=16), RATE, cache), truth[:, 0]) - truth[:, 0]
    assert np.abs(late - np.median(late)).max() < 0.012 and abs(np.median(late)) < 0.02


def test_whole_recordings_are_evaluated(root, cache):
    data = maps(root, cache)
    whole = data.test_set()
    assert len(whole) == len(data.listed("test"))
    for index, pair in enumerate(data.evaluated("test")):
        item = whole[index]
        assert (item.index, item.name, item.piece, item.names) == (index, pair.name, pair.piece, (pair.name,))
        assert item.performance.shape == (1, 2, 1 + RATE // 512)
        assert item.performance[0, 0].tolist() == list(range(item.performance.shape[-1]))
        assert item.score.shape[-1] * FRAME_S > pair.truth()[-1, 0]
        np.testing.assert_array_equal(item.truth, pair.truth())
    (batch,) = list(data.test_dataloader())[:1]
    assert batch.name == whole[0].name and batch.performance.shape == whole[0].performance.shape


def test_a_limit_spreads_over_the_validation_recordings(tmp_path, cache):
    root = score_layouts.write_maps(
        tmp_path, pieces=[f"p{k}" for k in range(12)], pianos=("AkPnBcht", "ENSTDkCl", "StbgTGd2", "SptkBGAm")
    )
    data = maps(root, cache, limit=3, split="recording")
    every = data.listed("validation")
    found = data.evaluated("validation")
    assert len(every) > 3 and [pair.name for pair in found] == [every[k].name for k in (0, len(every) // 2, len(every) - 1)]
    assert len(data.evaluated("test")) == len(data.listed("test"))


def test_copies_are_detuned_and_worse_and_weigh_their_share(root, cache):
    options = {"items": 300, "extra": 0.5, "cents": 30.0, "worse": ["room", "hiss"], "frames": 8, "pairs": 2}
    data = maps(root, cache, **options)
    found = data.train_set()
    copies = [pair for pair in found.pairs if pair.name.endswith(COPY)]
    plain = {pair.name: pair for pair in found.pairs if pair not in copies}
    assert len(copies) == len(plain) and len(found) == 450
    cents = [pair.performance.cents for pair in copies]
    assert len(set(cents)) == len(cents) and 5 < max(map(abs, cents)) <= 30
    assert {pair.performance.worse for pair in copies} <= {"room", "hiss"}
    for pair in copies:
        own = plain[pair.name.removesuffix(COPY)]
        assert (pair.score, pair.midi, pair.piece) == (own.score, own.midi, own.piece)
        assert own.performance == pair.performance._replace(cents=0.0, worse=None, seed=0)
        # A recording is detuned by the front end, which listens so much lower.
        np.testing.assert_allclose(found.store.read(pair.performance)[:, 0, 1], -pair.performance.cents)
    again = {pair.name: pair.performance for pair in maps(root, cache, **options).train_set().pairs}
    assert all(again[pair.name] == pair.performance for pair in copies)
    drawn = [found[k, k].names[0] for k in range(500)]
    assert np.mean([name.endswith(COPY) for name in drawn]) == pytest.approx(1 / 3, abs=0.07)


def test_without_extra_there_are_no_copies(root, cache):
    found = maps(root, cache, items=300).train_set()
    assert len(found) == 300 and not any(pair.name.endswith(COPY) for pair in found.pairs)


def break_one(root, name=BROKEN):
    path = next(root.rglob(f"{name}.wav"))
    path.write_bytes(b"no audio")
    return path


def split_with(data, name):
    return next(pair.split for pair in data.listing.pairs if pair.name == name)


def test_a_bad_file_among_good_ones_is_named_and_left_out(own, cache, caplog):
    path = break_one(own)
    data = maps(own, cache)
    data.listing = data.listing._replace(pairs=[pair._replace(split="train") for pair in data.listing.pairs])
    with caplog.at_level(logging.WARNING):
        found = data.train_set()
    assert len(found.pairs) == 9 and BROKEN not in {pair.name for pair in found.pairs}
    assert [record for record in caplog.records if str(path) in record.getMessage() and "Left out 1 file" in record.getMessage()]
    strict = maps(own, cache, strict=True)
    strict.listing = data.listing
    with pytest.raises(DataError, match=BROKEN) as error:
        strict.train_set()
    assert "\n" not in str(error.value)


def test_a_bad_score_is_left_out_as_a_bad_recording_is(own, cache):
    next(own.rglob(f"{BROKEN}.mid")).write_bytes(b"no MIDI")
    data = maps(own, cache)
    data.listing = data.listing._replace(pairs=[pair._replace(split="train") for pair in data.listing.pairs])
    assert len(data.train_set().pairs) == 9 and len(data.unreadable) == 1


def test_recordings_none_of_which_can_be_heard_are_one_sentence(own, cache):
    for path in own.rglob("*.wav"):
        path.write_bytes(b"no audio")
    with pytest.raises(DataError, match="none of 6 recordings could be read; first error:") as error:
        maps(own, cache).train_set()
    assert "\n" not in str(error.value)


def test_flaws_of_the_folder_stop_a_strict_run(own, cache):
    next(own.rglob(f"{BROKEN}.mid")).unlink()
    assert len(maps(own, cache).listing.pairs) == 9
    with pytest.raises(DataError, match=rf"{BROKEN}\.wav has no {BROKEN}\.mid beside it"):
        maps(own, cache, strict=True).listed("train")


def test_prepare_says_what_is_there(own, tmp_path, cache):
    path = break_one(own)
    next(own.rglob("MAPS_MUS-piece1_AkPnBcht.mid")).unlink()
    data = maps(own, cache)
    said = data.prepare(tmp_path / "report")
    written = json.loads((tmp_path / "report/report.json").read_text())
    assert (said["listed"], said["usable"], said["missing"], said["unreadable"]) == (9, 8, 1, 1)
    assert (
        sum(one["listed"] for one in said["splits"].values()) == 9 and sum(one["usable"] for one in said["splits"].values()) == 8
    )
    assert written["files"]["unreadable"] == [str(path)] and "piece1_AkPnBcht" in written["files"]["missing"][0]
    assert said["features"] == str(cache / "alignment/features/counted")
    strict = maps(own, cache, strict=True)
    with pytest.raises(DataError, match="piece1_AkPnBcht"):
        strict.prepare(tmp_path / "report")


def test_features_are_built_once(root, tmp_path):
    heard = []

    def extract(audio, cents):
        heard.append(len(audio))
        return count_frames(audio, cents)

    def data(key="once"):
        made = counted(MAPS(str(root), items=4, cache_dir=str(tmp_path / "cache")), extract=extract)
        made.connect(replace(made.spec, feature_key=lambda: key))
        return made

    first = data()
    first.train_set(), first.validation_set()
    built = len(heard)
    assert built == 2 * (len(first.listed("train")) + len(first.listed("validation")))
    first.train_set(), data().train_set()
    assert len(heard) == built
    data("other").train_set()
    assert len(heard) == built + 2 * len(first.listed("train")), "another front end hears for itself"


def test_several_processes_hear_the_same(root, tmp_path):
    found = {}
    for apart in (False, True):
        data = maps(root, tmp_path / f"cache {apart}")
        data.connect(replace(data.spec, on_cpu=partial(bool, apart)))
        training = data.train_set()
        found[apart] = [np.array(training.store.read(pair.performance)) for pair in training.pairs]
    assert all(np.array_equal(a, b) for a, b in zip(found[False], found[True], strict=True))


def test_features_that_are_not_finite_or_gone_are_said(root, tmp_path):
    data = counted(MAPS(str(root), cache_dir=str(tmp_path)), extract=lambda audio, cents: np.full((1, 2, 3), np.nan, np.float32))
    data.connect(replace(data.spec, feature_key=lambda: "not finite"))  # the shared cache has those of the usual key
    with pytest.raises(DataError, match="non-finite features: replace or remove it"):
        data.train_set()
    data = maps(root, tmp_path)
    data.connect(replace(data.spec, feature_key=lambda: "gone"))
    whole = data.test_set()
    whole.store.path(whole.pairs[0].performance).unlink()
    with pytest.raises(DataError, match=r"features of .*\.wav not found in .*: start again"):
        whole[0]
    with pytest.raises(ValueError, match="MAPS does not know what the network reads"):
        MAPS(str(root)).train_set()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"items": 0}, "items, frames and pairs must be positive"),
        ({"near": (9, 4)}, "near two rising distances"),
        ({"near_share": 1.5}, "probabilities"),
        ({"extra": -0.1}, "extra and cents must not be negative"),
        ({"limit": 0}, "limit positive"),
        ({"velocity": 128}, r"velocity must be within 1 \.\. 127: 128"),
    ],
)
def test_impossible_numbers_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        MAPS("x", **options)


def test_a_truth_that_cannot_be_read_is_named_and_left_out(own, cache, caplog):
    def wrong():
        raise DataError("x.match tells of other notes: replace it or leave it out.")

    data = maps(own, cache)
    found = [pair for pair in data.listing.pairs if pair.split == "train"][:2]
    for pair, truth in zip(found, (wrong, found[1].truth), strict=True):
        data.listing.pairs.remove(pair)
        data.listing.pairs.append(pair._replace(split="test", midi=None, truth=truth))
    names = {pair.name for pair in data.listed("test")}
    with caplog.at_level(logging.WARNING):
        left = {pair.name for pair in data.evaluated("test")}
        assert {pair.name for pair in data.evaluated("test")} == left
    assert names - left == {found[0].name}
    assert len([record for record in caplog.records if "x.match" in record.getMessage()]) == 1  # said once
    data.strict = True
    with pytest.raises(DataError, match=r"x\.match"):
        data.evaluated("test")
