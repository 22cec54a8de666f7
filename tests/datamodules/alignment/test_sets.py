"""Loaders of recordings with their own MIDI, on tiny trees in the real layouts, and what all loaders share."""

import shutil
from collections import Counter

import numpy as np
import pytest

from datamodules.alignment.asap import list_asap, list_vienna
from datamodules.alignment.folder import list_folder
from datamodules.alignment.listing import Pair, Sound, with_splits
from datamodules.alignment.mazurka import list_mazurka_like, list_mazurkas
from datamodules.alignment.performances import list_maestro, list_maps, list_smd
from datamodules.common.errors import DataError
from tests.helpers import score_layouts
from tests.helpers.layouts import tone, write_audio
from tests.helpers.listings import check, one

LOADERS = [list_maps, list_smd, list_maestro, list_asap, list_vienna, list_mazurkas, list_mazurka_like, list_folder]


@pytest.mark.parametrize(
    ("loader", "where"),
    [(list_maps, "amubox.univ-amu.fr/index.php/s/iNG0xc5Td1Nv4rR"), (list_smd, "zenodo.org/records/13753319")],
)
def test_where_open_sets_are_is_said(tmp_path, loader, where):
    with pytest.raises(DataError) as caught:
        loader(tmp_path)
    assert f"open at {where}" in str(caught.value)


@pytest.mark.parametrize("loader", LOADERS)
def test_a_folder_of_something_else_is_told_what_it_should_be(tmp_path, loader):
    score_layouts.write_text(tmp_path / "readme.txt", "nothing of the kind")
    with pytest.raises(DataError, match=r"holds no .*: expected ") as caught:
        loader(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def pairs_of(pieces: dict[str, int]) -> list[Pair]:
    sound = Sound(score_layouts.Path("x"))
    return [Pair(f"{p}-{i}", p, "train", sound, sound, np.zeros, None) for p, count in pieces.items() for i in range(count)]


def test_pieces_stay_together_and_recordings_do_not():
    pairs = pairs_of({f"piece {i}": 9 for i in range(30)})
    by_piece, by_recording = with_splits(pairs, "piece"), with_splits(pairs, "recording")
    assert Counter(pair.split for pair in by_piece) == {"train": 216, "validation": 27, "test": 27}
    assert all(len({pair.split for pair in by_piece if pair.piece == piece}) == 1 for piece in {pair.piece for pair in pairs})
    assert Counter(pair.split for pair in by_recording) == {"train": 216, "validation": 27, "test": 27}
    assert sum(len({pair.split for pair in by_recording if pair.piece == f"piece {i}"}) > 1 for i in range(30)) > 15
    assert with_splits(pairs[::-1], "piece") == by_piece[::-1]  # by names alone
    few = with_splits(pairs_of({"a": 2, "b": 2, "c": 2}), "piece")
    assert Counter(pair.split for pair in few) == {"train": 2, "validation": 2, "test": 2}
    assert with_splits([], "piece") == []


def test_maps_lists_every_piece_on_every_piano(tmp_path):
    root = score_layouts.write_maps(tmp_path)
    listing = list_maps(root)
    check(listing)
    assert len(listing.pairs) == 6 and listing.flaws == []
    pair = one(listing, "MAPS_MUS-alb_se3_ENSTDkCl")
    assert pair.piece == "alb_se3" and pair.performance.font is None and pair.midi == pair.score.path
    np.testing.assert_allclose(pair.truth(), np.stack([score_layouts.onsets_of(10)] * 2, 1), atol=1e-3)
    text = pair.midi.with_suffix(".txt").read_text().splitlines()[1:]
    np.testing.assert_allclose(pair.truth()[:, 1], [float(line.split("\t")[0]) for line in text], atol=1e-3)


def test_maps_takes_the_pianos_that_are_asked_for(tmp_path):
    root = score_layouts.write_maps(tmp_path)
    assert len(list_maps(root, pianos=["ENSTDkCl"]).pairs) == 3
    with pytest.raises(DataError, match=r"MAPS_MUS-PIECE_PIANO\.wav of the pianos StbgTGd2: expected MAPS"):
        list_maps(root, pianos=["StbgTGd2"])


def test_maps_names_what_lacks_its_other_half(tmp_path):
    root = score_layouts.write_maps(tmp_path)
    folder = root / "MAPS_AkPnBcht_1/AkPnBcht/MUS"
    (folder / "MAPS_MUS-alb_se3_AkPnBcht.mid").unlink()
    (folder / "MAPS_MUS-mz_331_3_AkPnBcht.wav").unlink()
    score_layouts.write_text(folder / "._MAPS_MUS-x_AkPnBcht.wav", "what macOS leaves behind")
    listing = list_maps(root)
    assert len(listing.pairs) == 4 and len(listing.flaws) == 2
    assert "MAPS_MUS-alb_se3_AkPnBcht.wav has no MAPS_MUS-alb_se3_AkPnBcht.mid beside it" in listing.flaws[0]
    assert "MAPS_MUS-mz_331_3_AkPnBcht.mid has no MAPS_MUS-mz_331_3_AkPnBcht.wav beside it" in listing.flaws[1]


@pytest.mark.parametrize("ending", [".wav", ".mp3"])
def test_smd_groups_performances_by_movement(tmp_path, ending):
    root = score_layouts.write_smd(tmp_path, ending)
    listing = list_smd(root)
    check(listing)
    pieces = Counter(pair.piece for pair in listing.pairs)
    assert pieces == {"Bach_BWV849-01": 1, "Bach_BWV849-02": 1, "Chopin_Op028-01": 2, "Ravel_JeuxDEau": 1}
    assert {pair.performance.path.suffix for pair in listing.pairs} == {ending}


def test_smd_may_lie_in_several_folders_and_prefers_wav(tmp_path):
    root = score_layouts.write_smd(tmp_path)
    for path in sorted(root.glob("*.mid")):
        score_layouts.write_text(root / "midi" / "x", "")
        shutil.move(path, root / "midi" / path.name)
    shutil.copy(root / "Ravel_JeuxDEau_008_20110315-SMD.wav", root / "Ravel_JeuxDEau_008_20110315-SMD.mp3")
    (root / "midi" / "Bach_BWV849-01_001_20090916-SMD.mid").unlink()
    listing = list_smd(root)
    assert len(listing.pairs) == 4 and one(listing, "Ravel_JeuxDEau_008_20110315-SMD").performance.path.suffix == ".wav"
    assert listing.flaws == [
        f"{root}/Bach_BWV849-01_001_20090916-SMD.wav has no MIDI file Bach_BWV849-01_001_20090916-SMD.mid: it is left out."
    ]


@pytest.mark.parametrize("table", ["csv", "json"])
def test_maestro_keeps_its_own_splits(tmp_path, table):
    listing = list_maestro(score_layouts.write_maestro(tmp_path, table=table))
    check(listing)
    assert Counter((pair.piece, pair.split) for pair in listing.pairs) == {
        ("A, Major: Sonata", "train"): 2,
        ("A, Major: Fugue", "validation"): 1,
        ("A, Major: Waltz", "test"): 1,
    }
    assert all(pair.performance.path.suffix == ".wav" for pair in listing.pairs)


def test_maestro_without_sound_is_rendered_but_not_in_part(tmp_path):
    root = score_layouts.write_maestro(tmp_path, sound=False)
    listing = list_maestro(root, font="other.sf2")
    assert [pair.performance.font for pair in listing.pairs] == ["other.sf2"] * 4 and listing.flaws == []
    assert all(pair.performance.path == pair.score.path == pair.midi for pair in listing.pairs)
    write_audio(root / "2004/MIDI-Unprocessed_SMF_1.flac", tone(0.3))
    listing = list_maestro(root)
    assert [pair.performance.path.name for pair in listing.pairs] == ["MIDI-Unprocessed_SMF_1.flac"] and len(listing.flaws) == 3


def test_maestro_names_missing_files_and_unknown_splits(tmp_path):
    root = score_layouts.write_maestro(tmp_path)
    (root / "2004/MIDI-Unprocessed_SMF_2.midi").unlink()
    table = root / "maestro-v2.0.0.csv"
    table.write_text(table.read_text().replace("Waltz,test", "Waltz,exam"))
    listing = list_maestro(root)
    assert len(listing.pairs) == 2 and "SMF_2.midi is missing" in listing.flaws[0] and "unknown split 'exam'" in listing.flaws[1]
    table.write_text("composer,title\nA,B\n")
    with pytest.raises(DataError, match=r"maestro-v2\.0\.0\.csv is damaged.*expected the columns canonical_composer"):
        list_maestro(root)
