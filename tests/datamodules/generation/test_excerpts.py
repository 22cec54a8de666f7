"""Which pieces, keys and frames training sees, and that those that are scored stay as they are."""

from collections import Counter

import numpy as np
import pytest

from datamodules.common.errors import DataError
from datamodules.generation.corpora.corpus import Corpus, Splits
from datamodules.generation.data import GenerationDataModule
from datamodules.generation.encoded import Encoder, Excerpts
from datamodules.generation.views import PianoRoll, VoiceGrid
from models.generation import Ngram
from tasks.generation.module import GenerationModule
from tests.helpers.pieces import fitted, random_piece

BARS = (1, 2, 4, 1, 8)


def excerpts(items: int | None) -> Excerpts:
    pieces = [random_piece(seed, bars=bars) for seed, bars in enumerate(BARS)]
    return Excerpts(Encoder(pieces, fitted(VoiceGrid(), *pieces)), items, crop=16, align=16)


def drawn(found: Excerpts, epochs: int) -> Counter:
    random = np.random.default_rng(0)
    return Counter(found[item, int(random.integers(2**62))].index for _ in range(epochs) for item in range(len(found)))


@pytest.mark.parametrize("items", [3, None, 7, 40])
def test_every_piece_is_drawn_in_proportion_to_its_length(items):
    found = excerpts(items)
    epochs = 4000 // len(found)
    shares = drawn(found, epochs)
    for piece, bars in enumerate(BARS):
        assert shares[piece] / epochs / len(found) == pytest.approx(bars / sum(BARS), abs=0.03)


def test_as_many_items_as_places_are_every_place_once():
    assert drawn(excerpts(None), 1) == dict(enumerate(BARS))


class High(Corpus):
    """Training pieces in several registers, and a test piece above all of them."""

    name = "high"

    def folder(self):
        raise NotImplementedError

    def read(self) -> Splits:
        train = [random_piece(seed).transposed(shift) for seed, shift in enumerate((-3, 0, 1, 3))]
        return Splits(train, [train[1]], [train[1], train[1].transposed(8)], [])


def test_only_training_pieces_change_key_and_only_as_far_as_each_voice_reaches(tmp_path):
    data = GenerationDataModule(High(), VoiceGrid(ranges="learned", spread=0), transpose=5, cache_dir=str(tmp_path))
    ranges = [[voice[:, 2] for piece in data.pieces("train") if len(voice := piece.voice(v))] for v in range(4)]
    edges = [(min(map(min, pitches)), max(map(max, pitches))) for pitches in ranges]
    encoder = data.encoder("train")
    for piece, shifts in zip(encoder.pieces, encoder.shifts, strict=True):
        for shift in range(-5, 6):
            moved = [piece.voice(v)[:, 2] + shift for v in range(4)]
            fits = all(low <= min(p) and max(p) <= high for p, (low, high) in zip(moved, edges, strict=True))
            assert (shift in shifts) == fits
    assert any(len(shifts) > 1 for shifts in encoder.shifts)
    assert all(data.encoder(split).shifts == [[0]] for split in ("validation", "test"))
    assert len(data.pieces("test")) == 1, "the view learns from training pieces alone, so one test piece is too high"


def test_a_checkpoint_is_not_scored_on_frames_that_mean_other_pitches():
    piece = random_piece(3)
    low, high = (fitted(VoiceGrid(ranges="learned", spread=0), piece.transposed(shift)) for shift in (0, 2))
    assert low.form()["sizes"] == high.form()["sizes"], "so the weights would fit"
    checkpoint = {"hyper_parameters": {"view": low.state()}}
    GenerationModule(low.state(), Ngram).on_load_checkpoint(dict(checkpoint))
    with pytest.raises(DataError, match=r"low, lows, highs. than these data have"):
        GenerationModule(high.state(), Ngram).on_load_checkpoint(dict(checkpoint))
    rolls = [fitted(PianoRoll(), piece.transposed(shift)).state() for shift in (0, 2)]
    GenerationModule(rolls[0], Ngram).on_load_checkpoint({"hyper_parameters": {"view": rolls[1]}})
