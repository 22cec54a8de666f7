"""Corpora: exact to the source, split as they were published or by piece, nothing left out without its name and reason."""

import json
from collections import Counter

import numpy as np
import pytest

from datamodules.common.errors import DataError
from datamodules.generation.corpora import (
    JSB,
    POP909,
    Blues,
    BoulangerLewandowski,
    Composers,
    FiddleTunes,
    MusicFolder,
    Nottingham,
)
from datamodules.generation.corpora.blues import BARS, SCALE
from datamodules.generation.data import minutes, survey
from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE
from datamodules.generation.splitting import content
from tests.helpers.symbolic_layouts import (
    abc_tune,
    melody,
    pieces_of,
    regrid,
    write_jsb,
    write_midi,
    write_rolls,
    write_song,
    write_tunes,
)


def test_jsb_is_exact_on_its_grid(tmp_path):
    grids = write_jsb(tmp_path)
    splits = JSB(str(tmp_path)).read()
    for split, read in zip(("train", "valid", "test"), splits, strict=False):
        assert [regrid(piece).tolist() for piece in read] == grids[split]
        for piece in read:
            for voice in range(4):
                line = piece.voice(voice)
                touching = line[1:, ONSET] == line[:-1, ONSET] + line[:-1, DURATION]
                assert (line[1:, PITCH] != line[:-1, PITCH])[touching].all()  # what repeats is one note
    assert splits.train[0].ticks == 4 and splits.train[0].tonic is None
    quarter = JSB(str(tmp_path), grid="quarter").read().train[0]
    assert quarter.ticks == 1 and quarter.tonic == 0
    rows = [[p for p in row if p >= 0] for row in regrid(quarter).tolist()]
    assert rows == [sorted((p for p in row if p >= 0), reverse=True) for row in grids["train"][0]]


@pytest.mark.parametrize("text", ["", "{", '{"train": [[[1, 2, 3, 4, 5]]], "valid": [], "test": []}', '{"train": []}', "[1, 2]"])
def test_jsb_of_another_form_is_one_sentence(tmp_path, text):
    (tmp_path / "Jsb16thSeparated.json").write_text(text)
    with pytest.raises(DataError, match=r"Jsb16thSeparated\.json does not hold"):
        JSB(str(tmp_path)).read()


def test_boulanger_lewandowski_rolls_are_exact(tmp_path):
    rolls = write_rolls(tmp_path / "MuseData.mat")
    splits = BoulangerLewandowski(str(tmp_path), set="MuseData").read()
    for key, read in zip(rolls, splits, strict=False):
        assert len(read) == len(rolls[key])
        for roll, piece in zip(rolls[key], read, strict=True):
            again = np.zeros((piece.length, 88), int)
            np.add.at(again, (piece.notes[:, ONSET], piece.notes[:, PITCH] - 21), 1)
            assert np.array_equal(again, roll) and (piece.notes[:, DURATION] == 1).all()
            for frame in range(piece.length):
                sounding = piece.notes[piece.notes[:, ONSET] == frame]
                assert sounding[:, PITCH].tolist() == sorted(sounding[:, PITCH], reverse=True)
                assert sounding[:, VOICE].tolist() == list(range(len(sounding)))


def test_boulanger_lewandowski_refuses_other_files(tmp_path):
    corpus = BoulangerLewandowski(str(tmp_path), set="Nottingham")
    with pytest.raises(DataError, match=r"Nottingham\.mat is missing"):
        corpus.read()
    write_rolls(tmp_path / "Nottingham.mat", columns=87)
    with pytest.raises(DataError, match="87"):
        corpus.read()
    (tmp_path / "Nottingham.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(40))
    with pytest.raises(DataError, match="fetch it again"):
        corpus.read()
    with pytest.raises(ValueError, match="Piano_midi"):
        BoulangerLewandowski(str(tmp_path), set="Bach")


def test_pop909_has_its_three_voices_on_the_beat(tmp_path):
    for number in range(1, 5):
        write_song(tmp_path / f"{number:03}/{number:03}.mid", number, offset=40 * number)
    write_song(tmp_path / "001/versions/001-v1.mid", 9)
    write_song(tmp_path / "005.mid", 5, tracks=("MELODY", "PIANO"))
    (tmp_path / "006.mid").write_bytes(b"MThd")
    splits = POP909(str(tmp_path)).read()
    assert sorted(piece.name for piece in pieces_of(splits)) == [f"pop909/00{n}" for n in range(1, 5)]
    for piece in pieces_of(splits):
        expected = [pitch for _, _, pitch in melody(int(piece.name[-3:]))]
        assert piece.voice(0)[:, PITCH].tolist() == expected
        assert piece.voice(1)[:, PITCH].tolist() == [pitch + 24 for pitch in expected]
        assert len(piece.voice(2)) == 2 * len(expected)
        assert piece.metres.tolist() == [[0, 4, 4]] and not (piece.notes[:, ONSET] % 480).any() and piece.notes[0, ONSET] == 0
        assert piece.length == (piece.notes[:, ONSET] + piece.notes[:, DURATION]).max()
    lacking, damaged = sorted(splits.dropped)
    assert "pop909/005" in lacking.reason and "BRIDGE" in lacking.reason and not lacking.damaged
    assert "006.mid" in damaged.reason and damaged.damaged


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """100 tunes of two composers, and one file of each kind that is not music to learn from."""
    root = tmp_path_factory.mktemp("music")
    for number in range(100):
        write_midi(root / ("Sor" if number % 4 else "Aguado") / f"study {number:02}.mid", {"guitar": melody(number)})
    write_midi(root / "Sor/odd.mid", {"guitar": melody(200)}, metre=(7, 8))
    write_midi(root / "Sor/changing.mid", {"guitar": melody(201)}, later_metre=(3, 4))
    write_midi(root / "Sor/one.mid", {"guitar": melody(202, notes=1)})
    write_midi(root / "drums.mid", {"kit": melody(203)}, drums=True)
    write_midi(root / "Sor/again.mid", {"guitar": [(onset, length, pitch + 5) for onset, length, pitch in melody(7)]})
    (root / "Sor/empty.mid").write_bytes(b"")
    (root / "Sor/corrupt.mid").write_bytes((root / "Sor/study 01.mid").read_bytes()[:60])
    (root / "Sor/._study 01.mid").write_bytes(b"\0")
    (root / "Sor/notes.txt").write_text("no music")
    return root


def test_bad_files_among_good_ones_are_named_and_the_rest_is_kept(folder):
    splits = MusicFolder(str(folder), metres=["4/4", "3/4"]).read()
    assert len(pieces_of(splits)) == 100
    left_out = {one.name: one for one in splits.dropped}
    reasons = {
        "Sor/odd.mid": "7/8",
        "Sor/changing.mid": "4/4, then 3/4",
        "Sor/one.mid": "single note",
        "drums.mid": "drums",
        "Sor/again.mid": "study 07",
        "Sor/empty.mid": "empty",
        "Sor/corrupt.mid": "corrupt.mid",
    }
    first = "Sor/study 07.mid" in left_out  # of two equal pieces the first in the order stays
    assert len(left_out) == 7 and (set(left_out) == set(reasons) or first)
    assert all(
        name in left_out[name].reason and said in left_out[name].reason for name, said in reasons.items() if name in left_out
    )
    assert {name for name, one in left_out.items() if one.damaged} == {"drums.mid", "Sor/empty.mid", "Sor/corrupt.mid"}
    without = MusicFolder(str(folder)).read()
    assert len(pieces_of(without)) == 102  # any metre is welcome


def test_a_folder_is_split_by_name_and_composer(folder):
    splits = MusicFolder(str(folder)).read()
    assert [len(splits.validation), len(splits.test)] == [11, 10]
    for split in (splits.validation, splits.test):
        assert Counter(piece.composer for piece in split)["Aguado"] in (2, 3)
    again = MusicFolder(str(folder), shares=(0.0, 0.5)).read()
    assert not again.validation and len(again.test) == 51
    with pytest.raises(ValueError, match="shares"):
        MusicFolder(str(folder), shares=(0.5, 0.5))


def test_folders_named_as_splits_are_the_splits(tmp_path):
    for number, split in enumerate(["Train", "Train", "valid", "test", "test", "more"]):
        write_midi(tmp_path / split / f"Sor/{number}.mid", {"a": melody(number)})
    write_midi(tmp_path / "Train/6.mid", {"a": melody(0)})  # what the user split stays as it is
    splits = MusicFolder(str(tmp_path)).read()
    assert [[piece.name for piece in split] for split in splits[:3]] == [
        ["Train/6.mid", "Train/Sor/0.mid", "Train/Sor/1.mid", "more/Sor/5.mid"],
        ["valid/Sor/2.mid"],
        ["test/Sor/3.mid", "test/Sor/4.mid"],
    ]
    assert {piece.composer for piece in pieces_of(splits)} == {"Sor", "more", ""} and not splits.dropped


@pytest.mark.parametrize(("root", "said"), [(None, "--data.root"), ("nowhere", "not a folder"), (".", "no music")])
def test_a_folder_without_music_is_one_sentence(tmp_path, monkeypatch, root, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=said):
        MusicFolder(root).read()


def test_blues_is_a_chorus_over_the_twelve_bars():
    splits = Blues(pieces=60).read()
    pieces = pieces_of(splits)
    assert [len(split) for split in splits] == [48, 6, 6, 0] and len({content(piece) for piece in pieces}) == 60
    roots = {"C": 0, "F": 5, "G": 7}
    choices = [set() for _ in BARS]
    for piece in pieces:
        assert (
            piece.length == 96
            and piece.bar == 8
            and piece.chords[:, :2].tolist() == [[8 * i, roots[r]] for i, r in enumerate(BARS)]
        )
        tune = piece.voice(0)
        assert (
            (tune[:, DURATION] == 2).all()
            and tune[:, ONSET].tolist() == list(range(0, 96, 2))
            and set(tune[:, PITCH]) <= set(SCALE)
        )
        for bar, root in enumerate(BARS):
            sounding = piece.notes[(piece.notes[:, ONSET] == 8 * bar) & (piece.notes[:, VOICE] > 0)]
            assert set(sounding[:, PITCH] % 12) == {(roots[root] + tone) % 12 for tone in (0, 4, 7, 10)}
            assert (sounding[:, DURATION] == 8).all() and np.isin(sounding[:, PITCH], range(48, 60)).all()
            choices[bar].add(tuple(tune[4 * bar : 4 * bar + 4, PITCH].tolist()))
    assert {len(segments) for segments in choices} <= {1, 2} and sum(map(len, choices)) > 20
    again, other = Blues(pieces=60).read(), Blues(pieces=60, seed=1).read()
    assert [p.name for p in again.test] == [p.name for p in splits.test] and {content(p) for p in pieces_of(again)} == {
        *map(content, pieces)
    }
    assert {content(p) for p in pieces_of(other)} != {*map(content, pieces)}


def test_tunes_of_a_nottingham_folder_are_kept_or_left_out_one_by_one(tmp_path):
    write_tunes(tmp_path / "ABC_cleaned/jigs.abc", 30)
    write_tunes(tmp_path / "ABC_cleaned/xmas.abc", 1, first=60)
    write_tunes(tmp_path / "ABC/jigs.abc", 3)  # of a checkout the cleaned ones are read
    again = abc_tune(7).replace("X:7", "X:77").replace("K:G", "K:G clef=treble")
    changing = abc_tune(88).replace('|"Em"', '|\nM:3/4\n"Em"')
    (tmp_path / "ABC_cleaned/waltzes.abc").write_text(again + changing + "X:99\nT:nothing\nK:G\n")
    (tmp_path / "ABC_cleaned/slip.abc").write_bytes(b"\0\0")
    splits = Nottingham(str(tmp_path)).read()
    pieces = pieces_of(splits)
    names = {f"nottingham/jigs-{n}" for n in range(1, 31)} | {"nottingham/xmas"}
    assert {piece.name for piece in pieces} == names and (len(splits.validation), len(splits.test)) == (4, 3)
    assert all(piece.kind == "reel" and len(piece.chords) == 8 and piece.tonic == 7 for piece in pieces)
    damaged, changing, repeated = splits.dropped
    assert damaged.damaged and "slip.abc" in damaged.reason
    assert changing == ("nottingham/waltzes-88", "nottingham/waltzes-88: its metre changes", False)
    assert repeated.name == "nottingham/waltzes-77" and "nottingham/jigs-7" in repeated.reason
    with pytest.raises(DataError, match=r"jigs\.abc"):
        Nottingham(str(tmp_path / "ABC_cleaned/none")).read()


def test_tunes_of_a_folder_have_names_of_their_own(tmp_path):
    write_tunes(tmp_path / "tunes.abc", 3)
    text = (tmp_path / "tunes.abc").read_text()
    (tmp_path / "tunes.abc").write_text(text.replace("M:4/4", "M:7/8", 1))
    splits = MusicFolder(str(tmp_path), metres=["4/4"]).read()
    assert {piece.name for piece in pieces_of(splits)} == {"tunes.abc:2", "tunes.abc:3"}
    assert splits.dropped[0].name == "tunes.abc:1" and "7/8" in splits.dropped[0].reason


def test_fiddle_tunes_are_single_lines_with_a_key():
    splits = FiddleTunes(collections=["ryansMammoth"], pieces=60).read()
    pieces = pieces_of(splits)
    assert len(pieces) + len(splits.dropped) == 60 and len(splits.test) == 6
    assert all(piece.voices == 1 and piece.tonic is not None and not piece.composer for piece in pieces)
    assert {"reel", "hornpipe", "jig"} <= {piece.kind for piece in pieces} and len({piece.name for piece in pieces}) == len(
        pieces
    )
    with pytest.raises(ValueError, match="ryansMammoth"):
        FiddleTunes(collections=["ryan"])


def test_composers_are_chosen_by_name():
    splits = Composers(composers=["Clara Schumann"]).read()
    assert {piece.composer for piece in pieces_of(splits)} == {"Clara Schumann"} and len(splits.train) == 3
    assert len(splits.validation) == len(splits.test) == 1
    with pytest.raises(ValueError, match="Haydn"):
        Composers(composers=["Salieri"])


def test_the_survey_says_what_is_there_and_what_is_not(folder):
    splits = MusicFolder(str(folder), metres=["4/4"]).read()
    found = survey(splits._replace(test=[*splits.test, splits.train[0].transposed(2)]))
    assert json.loads(json.dumps(found)) == found
    train = found["splits"]["train"]
    assert (
        train["pieces"] == len(splits.train)
        and train["notes"] == 12 * len(splits.train)
        and train["metres"] == {"4/4": len(splits.train)}
    )
    low, high = train["ranges"][0]
    assert low == min(p.notes[:, PITCH].min() for p in splits.train) and high == max(
        p.notes[:, PITCH].max() for p in splits.train
    )
    assert found["duplicates"]["across"] == [[splits.train[0].name] * 2] and not any(found["duplicates"]["inside"].values())
    assert found["left_out"]["damaged"]["number"] == 3 and found["left_out"]["a duplicate"]["number"] == 1
    assert found["left_out"]["it has a single note"]["names"] == ["Sor/one.mid"]
    assert minutes(splits.train[0]) == pytest.approx(12 * 0.25 / 60)
    assert survey(splits._replace(train=[], validation=[], test=[]))["splits"]["train"]["pieces"] == 0
