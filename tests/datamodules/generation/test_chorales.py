"""Bach's chorales: what music21 reads, with a key, in splits that share no melody; what is left out is named."""

from collections import Counter

import pytest

from datamodules.common.errors import DataError
from datamodules.generation.corpora import Chorales, corpus
from datamodules.generation.corpora.chorales import read_chorale
from datamodules.generation.piece import DURATION, ONSET, VELOCITY
from datamodules.generation.splitting import melody_groups
from tests.helpers.symbolic_layouts import pieces_of

BACH = Chorales().folder()


@pytest.fixture(scope="module")
def chorales():
    return Chorales(100).read()


@pytest.mark.parametrize("name", ["bwv66.6", "bwv277", "bwv190.7-inst"])
def test_a_chorale_is_what_music21_reads(name):
    from music21 import converter

    path = BACH / f"{name}.mxl"
    score = converter.parse(path, forceSource=True, storePickle=False)
    piece = read_chorale(path, name)
    parts = [part for part in score.parts if part.partName in ("Soprano", "Alto", "Tenor", "Bass")]
    for voice, part in enumerate(parts):
        notes = [note for note in part.stripTies().flatten().notes if note.duration.quarterLength]
        expected = [[note.offset * piece.ticks, note.quarterLength * piece.ticks, note.pitch.midi] for note in notes]
        assert piece.voice(voice)[:, :3].tolist() == expected
    first = parts[0].getElementsByClass("Measure")[0]
    assert piece.pickup == first.duration.quarterLength % piece.bar * piece.ticks % piece.bar
    time = next(iter(parts[0].recurse().getElementsByClass("TimeSignature")))
    assert (piece.beats, piece.beat_type) == (time.numerator, time.denominator)
    held = [
        n.offset * piece.ticks for n in parts[0].stripTies().flatten().notes if any("Fermata" in e.classes for e in n.expressions)
    ]
    assert piece.fermatas.tolist() == held and held


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("bwv269", (7, "major")),
        ("bwv66.6", (6, "minor")),
        ("bwv227.1", (4, "minor")),
        ("bwv277", (2, "minor")),  # dorian: no signature, on D
        ("bwv64.2", (7, "major")),  # mixolydian: no signature, on G
        ("bwv38.6", (9, "minor")),  # phrygian: no signature, on E, and so named
        ("bwv244.54", (5, "major")),  # one flat, called minor, on F
    ],
)
def test_the_key_of_a_chorale_is_where_it_ends(name, key):
    piece = read_chorale(BACH / f"{name}.mxl", name)
    assert (piece.tonic, piece.mode) == key


def test_chorales_have_four_single_voices_on_sixteenths(chorales):
    assert len(pieces_of(chorales)) > 90
    for piece in pieces_of(chorales):
        assert piece.voices == 4 and piece.composer == "Bach" and piece.tonic in range(12) and piece.mode in ("major", "minor")
        assert not (piece.notes[:, [ONSET, DURATION]] % (piece.ticks // 4)).any() and piece.length % (piece.ticks // 4) == 0
        assert 0 <= piece.pickup < piece.bar and (piece.beats, piece.beat_type) in ((4, 4), (3, 4))
        for voice in range(4):
            line = piece.voice(voice)
            assert (line[1:, ONSET] >= line[:-1, ONSET] + line[:-1, DURATION]).all() and (line[:, VELOCITY] == 80).all()
        assert 0 <= piece.length - (piece.notes[:, ONSET] + piece.notes[:, DURATION]).max() < piece.bar


def test_settings_of_one_melody_are_in_one_split(chorales):
    splits = {piece.name: split for split in ("train", "validation", "test") for piece in getattr(chorales, split)}
    assert Counter(splits.values())["test"] == pytest.approx(0.1 * len(splits), abs=3)
    pieces = pieces_of(chorales)
    groups = melody_groups(pieces)
    assert len(set(groups)) < len(pieces) - 10
    assert len({(group, splits[piece.name]) for piece, group in zip(pieces, groups, strict=True)}) == len(set(groups))


def test_settings_of_one_melody_are_recognised():
    """All four in other keys and metres or with other passing notes: O Haupt voll Blut und Wunden, and another melody."""
    names = ["bwv244.54", "bwv244.62", "bwv248.5", "bwv270", "bwv269"]
    groups = melody_groups([read_chorale(BACH / f"{name}.mxl", name) for name in names])
    assert groups == [names[0]] * 4 + [names[4]]


def test_chorales_left_out_are_named_with_the_reason(monkeypatch):
    names = ["bwv27.6", "bwv123.6", "bwv304", "bwv432", "bwv79.3", "bwv324", "bwv190.7", "bwv190.7-inst", "bwv269"]
    monkeypatch.setattr(corpus.Path, "glob", lambda self, _: [BACH / f"{name}.mxl" for name in names])
    splits = Chorales().read()
    reasons = {one.name.removeprefix("bach/"): one.reason for one in splits.dropped}
    assert set(reasons) == set(names) - {"bwv190.7", "bwv269"} or set(reasons) == set(names) - {"bwv190.7-inst", "bwv269"}
    assert all(name in reason for name, reason in reasons.items()) and not any(one.damaged for one in splits.dropped)
    said = ("not one each of Soprano", "3/2", "metre changes", "shorter than a sixteenth", "interludes", "bars do not follow")
    assert all(text in reasons[name] for name, text in zip(names, said, strict=False))


def test_without_music21_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(corpus.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install"):
        Chorales().read()
