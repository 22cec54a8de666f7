"""Loaders of recordings with scores of another time, on tiny trees in the real layouts: truths, and what is left out."""

import shutil

import numpy as np
import pytest

from datamodules.alignment.asap import list_asap, list_vienna
from datamodules.alignment.listing import Sound
from datamodules.alignment.mazurka import list_mazurka_like, list_mazurkas, work_of
from datamodules.alignment.reading import read_score
from datamodules.common.errors import DataError
from tests.helpers import score_layouts
from tests.helpers.layouts import tone, write_audio
from tests.helpers.listings import check, names, one

KINDS = ["db", "b", "b"] * 4
NAMES = ["Bach/Fugue/bwv_846/Shi05M", "Bach/Fugue/bwv_846/Lee01M", "Chopin/Etudes/op10_1/Sun02M", "Haydn/Sonata/31_1/A01M"]


def asap_beats() -> dict[str, np.ndarray]:
    return {name: score_layouts.onsets_of(i) for i, name in enumerate(NAMES)}


def test_asap_pairs_the_beats_of_performance_and_score(tmp_path):
    beats = asap_beats()
    listing = list_asap(score_layouts.write_asap(tmp_path, beats, KINDS, audio=[NAMES[1]]), font="a.sf2", score_font="b.sf2")
    check(listing)
    assert names(listing) == sorted(NAMES) and listing.flaws == []
    for name in NAMES:
        np.testing.assert_array_equal(one(listing, name).truth(), np.stack([np.arange(12) * 0.5, beats[name]], 1))
    assert one(listing, NAMES[0]).performance == Sound(tmp_path / f"{NAMES[0]}.mid", "a.sf2")
    assert one(listing, NAMES[1]).performance == Sound(tmp_path / f"{NAMES[1]}.wav")
    assert one(listing, NAMES[1]).score == Sound(tmp_path / "Bach/Fugue/bwv_846/midi_score.mid", "b.sf2")
    assert one(listing, NAMES[1]).midi == tmp_path / f"{NAMES[1]}.mid"
    assert {pair.piece for pair in listing.pairs} == {"Bach: Fugue_bwv_846", "Chopin: Etudes_op10_1", "Haydn: Sonata_31_1"}


def test_beats_in_bars_that_do_not_add_up_are_no_events(tmp_path):
    kinds = ["db", "b", "b", "bR", "bR", "b", *KINDS[6:]]
    root = score_layouts.write_asap(tmp_path, {NAMES[0]: score_layouts.onsets_of(0)}, kinds)
    events = list_asap(root).pairs[0].truth()
    kept = [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]
    np.testing.assert_array_equal(events, np.stack([np.array(kept) * 0.5, score_layouts.onsets_of(0)[kept]], 1))


def test_asap_leaves_out_performances_of_other_repeats(tmp_path):
    kinds = ["db", "b", "b"] * 12
    even = np.arange(36) * 0.6
    skipped = np.concatenate([even[:12], even[11] + 0.004 * np.arange(1, 13), even[11] + 0.6 * np.arange(1, 13)])
    repeated = np.concatenate([even[:12], even[12:] + 40.0])
    fermata = np.concatenate([even[:12], even[12:] + 5.0])
    played = dict(zip(NAMES, (skipped, repeated, fermata, even[:-3]), strict=True))
    listing = list_asap(score_layouts.write_asap(tmp_path, played, kinds))
    assert names(listing) == [NAMES[2]] and len(listing.flaws) == 3
    said = "its repeats differ from those of its score (implausible tempo between beats)."
    assert listing.flaws[:2] == [f"{NAMES[0]} is left out: {said}", f"{NAMES[1]} is left out: {said}"]
    assert listing.flaws[2] == f"{NAMES[3]} is left out: it has 33 beats, its score 36."


def test_asap_drops_single_beats_that_do_not_rise(tmp_path):
    beats = score_layouts.onsets_of(0)
    beats[5] = beats[4]
    listing = list_asap(score_layouts.write_asap(tmp_path, {NAMES[0]: beats}, KINDS))
    assert len(listing.pairs[0].truth()) == 11


def test_sound_that_maestro_lends_wrongly_is_not_heard(tmp_path):
    name = "Bach/Fugue/bwv_883/Herbert02"
    listing = list_asap(score_layouts.write_asap(tmp_path, {name: score_layouts.onsets_of(0)}, KINDS, audio=[name]))
    assert listing.pairs[0].performance == Sound(tmp_path / f"{name}.mid", "embedded")
    assert listing.flaws == [f"{tmp_path / name}.wav is from the wrong section of MAESTRO: its MIDI file is rendered instead."]


def test_asap_names_what_is_missing(tmp_path):
    root = score_layouts.write_asap(tmp_path, asap_beats(), KINDS)
    (root / f"{NAMES[0]}_annotations.txt").unlink()
    (root / f"{NAMES[2]}.mid").unlink()
    score_layouts.write_text(root / f"{NAMES[3]}_annotations.txt", "0.5\t0.5\tdb\nsoon\tsoon\tb\n")
    listing = list_asap(root)
    assert names(listing) == [NAMES[1]]
    assert "Shi05M_annotations.txt cannot be read" in listing.flaws[0] and "Sun02M.mid is missing" in listing.flaws[1]
    assert "A01M_annotations.txt line 2 is not a label" in listing.flaws[2]
    score_layouts.write_text(root / "metadata.csv", "composer,title\nA,B\n")
    with pytest.raises(DataError, match=r"metadata\.csv is damaged \(KeyError: 'midi_score'\)"):
        list_asap(root)


def test_vienna_tells_the_time_of_every_onset(tmp_path):
    pytest.importorskip("partitura")
    listing = list_vienna(score_layouts.write_vienna(tmp_path), font="a.sf2")
    check(listing)
    assert len(listing.pairs) == 6 and listing.flaws == []
    for pianist in (1, 2):
        pair = one(listing, f"Mozart_K331_1st-mov_p{pianist:02}")
        assert pair.piece == "Mozart_K331_1st-mov" and pair.performance == Sound(pair.midi, "a.sf2")
        wanted = np.stack([np.arange(12) * 0.5, score_layouts.vienna_ticks(pianist) / 960], 1)
        np.testing.assert_allclose(pair.truth(), wanted, atol=1e-9)


def test_vienna_prefers_sound_and_leaves_out_who_is_no_pianist(tmp_path):
    root = score_layouts.write_vienna(tmp_path, pianists=1)
    write_audio(root / "audio" / "Chopin_op38_p01.wav", tone(0.3))
    shutil.copy(root / "match/Chopin_op38_p01.match", root / "match/Chopin_op38_p23-average.match")
    (root / "midi/Mozart_K331_1st-mov_p01.mid").unlink()
    (root / "musicxml/Schubert_D783_no15.musicxml").unlink()
    score_layouts.write_midi_notes(root / "midi/Chopin_op38_p07.mid", [0.0])
    listing = list_vienna(root)
    assert names(listing) == ["Chopin_op38_p01"] and listing.pairs[0].performance == Sound(root / "audio/Chopin_op38_p01.wav")
    assert [flaw.removeprefix(f"{root}/") for flaw in listing.flaws] == [
        "midi/Chopin_op38_p07.mid has no match file Chopin_op38_p07.match: it is left out.",
        "match/Mozart_K331_1st-mov_p01.match has neither a recording Mozart_K331_1st-mov_p01.wav nor a performance "
        "Mozart_K331_1st-mov_p01.mid: it is left out.",
        "match/Schubert_D783_no15_p01.match has no score Schubert_D783_no15.musicxml: it is left out.",
    ]


def test_opus_and_number_are_read_from_every_spelling():
    spelled = ("Chopin_Op024No2", "mazurka24-2", "Mazurka24-2", "M24-2beat_time", "Chopin_Op024No2_Cortot-1951_pid9066-15")
    assert {work_of(name) for name in spelled} == {(24, 2)}
    assert work_of("wav_22050_mono") is None


def test_mazurkas_are_played_with_the_repeats_that_the_beats_count(tmp_path):
    pytest.importorskip("partitura")
    beats = {
        "Chopin_Op024No2_A-1950_pid1-01": score_layouts.onsets_of(0, 24),
        "Chopin_Op024No2_B-1951_pid2-02": score_layouts.onsets_of(1, 12),
        "Chopin_Op068No3_C-1952_pid3-03": score_layouts.onsets_of(2, 24),
        "Chopin_Op030No2_D-1953_pid4-04": score_layouts.onsets_of(3, 23),
    }
    root = score_layouts.write_mazurkas(tmp_path / "set", beats)
    listing = list_mazurkas(root, cache_dir=tmp_path / "cache")
    check(listing)
    assert {pair.name: pair.piece for pair in listing.pairs} == {
        "Chopin_Op024No2_A-1950_pid1-01": "Op. 24 No. 2",
        "Chopin_Op024No2_B-1951_pid2-02": "Op. 24 No. 2",
        "Chopin_Op068No3_C-1952_pid3-03": "Op. 68 No. 3",
    }
    for pair in listing.pairs:
        count = len(beats[pair.name])
        np.testing.assert_allclose(pair.truth(), np.stack([np.arange(count) * 0.5, beats[pair.name]], 1), atol=1e-9)
        played = read_score(pair.score.path)
        np.testing.assert_allclose(played.notes.onset, np.arange(count) * 0.5, atol=1e-6)
        assert pair.midi is None and pair.performance.font is None
    assert len(listing.flaws) == 1 and listing.flaws[0].endswith("it has 23 beats, Chopin_Op030No2.musicxml 24 or 12.")


def test_mazurkas_name_what_is_missing(tmp_path):
    pytest.importorskip("partitura")
    beats = {f"Chopin_Op0{op}No2_A_pid1-01": score_layouts.onsets_of(op, 24) for op in (24, 30, 63)}
    root = score_layouts.write_mazurkas(tmp_path / "set", beats)
    (root / "scores/Chopin_Op024No2.musicxml").unlink()
    (root / "annotations_beat/Chopin_Op030No2/Chopin_Op030No2_A_pid1-01.beat").unlink()
    file = root / "annotations_beat/Chopin_Op063No2/Chopin_Op063No2_A_pid1-01.beat"
    file.write_text("\n".join(file.read_text().splitlines()[::-1]))
    listing = list_mazurkas(root, cache_dir=tmp_path / "cache")
    assert listing.pairs == [] and "it has no score: expected one such as mazurka24-2.xml" in listing.flaws[0]
    assert "Chopin_Op030No2_A_pid1-01.beat not found" in listing.flaws[1] and "does not rise" in listing.flaws[2]


def test_mazurkas_bend_a_score_to_real_beats(tmp_path):
    pytest.importorskip("partitura")
    works = ("24-2", "30-2", "68-3")
    tables = {work: {f"pid{i}-0{i}": score_layouts.onsets_of(10 * j + i, 13) for i in range(3)} for j, work in enumerate(works)}
    root = score_layouts.write_mazurka_bl(tmp_path / "set", tables)
    listing = list_mazurka_like(root, "a.sf2", "b.sf2", cache_dir=tmp_path / "cache")
    check(listing)
    assert len(listing.pairs) == 9 and listing.flaws == []
    for pair in listing.pairs:
        work, pid = pair.name.split("beat_time_")
        wanted = tables[work.removeprefix("M")][pid]
        np.testing.assert_allclose(pair.truth(), np.stack([np.arange(13) * 0.5, wanted], 1), atol=1e-6)
        bent = read_score(pair.performance.path)
        np.testing.assert_allclose(bent.notes.onset, wanted, atol=1e-3)  # a note a beat
        np.testing.assert_allclose(read_score(pair.score.path).notes.onset, np.arange(13) * 0.5, atol=1e-6)
        assert (pair.performance.font, pair.score.font, pair.midi) == ("a.sf2", "b.sf2", pair.performance.path)
    few = list_mazurka_like(root, per_piece=2, cache_dir=tmp_path / "cache")
    assert [name[-7:] for name in names(few)] == ["pid0-00", "pid2-02"] * 3


def test_mazurka_tables_name_columns_that_cannot_be(tmp_path):
    pytest.importorskip("partitura")
    rising = score_layouts.onsets_of(0, 13)
    columns = {"pid1-01": rising, "pid2-02": rising[::-1], "pid3-03": rising[:9]}
    root = score_layouts.write_mazurka_bl(
        tmp_path / "set", {"24-2": columns, "30-2": {"pid4-04": score_layouts.onsets_of(1, 13)}}
    )
    (root / "xml_scores/mazurka30-2.xml").unlink()
    listing = list_mazurka_like(root, cache_dir=tmp_path / "cache")
    assert names(listing) == ["M24-2beat_time_pid1-01"] and len(listing.flaws) == 3
    assert "pid2-02 of" in listing.flaws[0] and "its beats do not rise" in listing.flaws[0]
    assert "its beats are not times" in listing.flaws[1] and "it has no score" in listing.flaws[2]
