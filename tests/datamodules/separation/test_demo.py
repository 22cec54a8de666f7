import hashlib
import io
from collections import Counter

import numpy as np
import pytest
import soundfile

from datamodules.audio import render
from datamodules.demo import accompany, band, cutting, music, plan, separation
from datamodules.demo.accompany import Tone
from datamodules.demo.band import STEMS
from datamodules.demo.data import SeparationDemo

TUNES, SECONDS = 4, 3.0


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(band, "SECONDS", SECONDS)
        return separation.build(tmp_path_factory.mktemp("cache"), TUNES, processes=1)


@pytest.fixture(scope="module")
def made():
    return separation.tracks()


def read(path):
    return soundfile.read(path, dtype="int16", always_2d=True)[0]


def folders(root):
    return sorted(path for path in root.glob("*/*") if path.is_dir())


def test_layout_is_that_of_musdb18_hq_and_the_mixture_is_the_exact_sum(root):
    assert {path.parent.name for path in folders(root)} == {"train", "test"}
    assert len(folders(root)) == TUNES + 2  # a second band for the two training tunes
    for folder in folders(root):
        assert " - " in folder.name
        assert {path.name for path in folder.iterdir()} == {f"{name}.wav" for name in ("mixture", *STEMS)}
        for path in folder.iterdir():
            info = soundfile.info(path)
            assert (info.samplerate, info.channels, info.subtype, info.frames) == (44_100, 2, "PCM_16", SECONDS * 44_100)
        stems = {name: read(folder / f"{name}.wav").astype(np.int32) for name in STEMS}
        mixture = read(folder / "mixture.wav")
        assert np.array_equal(sum(stems.values()), mixture)
        assert np.abs(mixture.astype(int)).max() == pytest.approx(separation.PEAK * 32767, abs=4)
        for sound in stems.values():
            blocks = np.abs(sound[: len(sound) // 4410 * 4410]).reshape(-1, 8820).max(1)
            assert (blocks > 30).mean() > 0.75  # sounds for most of the time


def test_stems_are_different_players(root):
    for folder in folders(root):
        sound = np.stack([read(folder / f"{name}.wav").mean(1) for name in STEMS])
        likeness = np.abs(np.corrcoef(sound) - np.eye(4))
        assert likeness.max() < 0.3
        spectrum = np.square(np.abs(np.fft.rfft(sound)))
        centroid = dict(zip(STEMS, (spectrum * np.arange(spectrum.shape[1])).sum(1) / spectrum.sum(1), strict=True))
        assert centroid["bass"] < min(centroid["other"], 0.7 * centroid["vocals"])


def test_data_module_reads_it_with_validation_tracks_of_its_own(root, monkeypatch):
    monkeypatch.setattr(separation, "build", lambda *_: root)
    data = SeparationDemo(tunes=TUNES, seconds=1.0, validation_seconds=1.0)
    assert (data.name, data.sources) == ("demo", list(STEMS))
    names = {split: {track.name for track in data.tracks(split)} for split in ("train", "validation", "test")}
    assert {split: len(found) for split, found in names.items()} == {"train": 4, "validation": 1, "test": 1}
    assert names["validation"] == set(separation.validation_tracks(root))
    assert not names["train"] & names["validation"]
    track = data.test_set()[0]
    sources, mixture = track.waveforms()
    assert sources.shape == (4, 2, SECONDS * 44_100)
    assert (sources.sum(0) - mixture).abs().max() < 1e-6
    assert data.train_set()[(0, 1)].stems.shape == (4, 44_100, 2)
    named = SeparationDemo(validation=[next(iter(names["train"]))])
    assert [track.name for track in named.tracks("validation")] == list(named.validation)
    assert SeparationDemo("somewhere").name == "musdb18hq"


def test_whole_set_is_large_varied_and_split_by_tune(made):
    assert band.SECONDS >= 20
    assert Counter(track.split for track in made) == {"train": 50, "validation": 5, "test": 12}
    assert len({track.name for track in made}) == len(made)
    pieces = [track.song.piece for track in made if not track.name.endswith("(second band)")]
    assert len({piece.name for piece in pieces}) == len(pieces) == separation.TUNES >= 40
    assert len(music.distinct(pieces)) == len(pieces)
    bands = {}
    for track in made:
        bands.setdefault(track.song.piece.name, []).append((track.split, track.song))
    assert all(len(tracks) == 2 and tracks[0][1] != tracks[1][1] for tracks in bands.values() if tracks[0][0] == "train")
    assert all(len({split for split, _ in tracks}) == 1 for tracks in bands.values())
    for split in separation.SHARES:
        songs = [track.song for track in made if track.split == split]
        assert len({song.kit for song in songs}) == min(len(songs), len(render.KITS))
        assert {song.singer for song in songs} == set(band.SINGERS)
        assert len({song.bass for song in songs}) >= 5
        assert len({chair.program for song in songs for chair in song.chairs}) >= 7
        assert np.ptp([song.tempo for song in songs]) > 25
    assert len({(song.transpose + song.piece.tonic) % 12 for song in (track.song for track in made)}) == 12
    assert {plan.kind_of(piece) for piece in pieces} == {"chorale", "waltz", "jig", "reel"}


def test_every_stem_has_notes_until_the_end(made):
    import pretty_midi

    for track in made[::3]:
        for stem, midi in band.scores(track.song).items():
            (*notes,) = (note for part in pretty_midi.PrettyMIDI(io.BytesIO(midi)).instruments for note in part.notes)
            starts = np.sort([note.start for note in notes])
            assert starts[-1] > band.SECONDS - 5, (track.name, stem)
            assert np.diff(starts).max() < 6, (track.name, stem)
            assert max(note.end for note in notes) <= band.SECONDS + 1e-3


def test_same_seed_same_notes_another_seed_another_band():
    def digest(seed):
        files = (midi for track in separation.tracks(5, seed) for midi in band.scores(track.song).values())
        return hashlib.sha256(b"".join(files)).hexdigest()

    assert digest(0) == digest(0) != digest(1)


def test_build_is_deterministic_whatever_the_processes(root, tmp_path, monkeypatch):
    monkeypatch.setattr(band, "SECONDS", SECONDS)
    again = separation.build(tmp_path, TUNES, processes=2)
    assert again.name == root.name
    for path in sorted(root.rglob("*.*")):
        assert (again / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_too_few_tunes_are_refused():
    with pytest.raises(ValueError, match="at least 4"):
        separation.build(tunes=3)


def test_levels_are_those_of_the_mix():
    random = np.random.default_rng(0)
    sounds = {name: 0.1 * random.standard_normal((8820, 2)).astype(np.float32) * (n + 1) for n, name in enumerate(STEMS)}
    sounds["drums"][4410:] = 0  # a pause does not make it louder
    mixed = separation.mix(sounds, (0.0, -6.0, 3.0, 1.0))
    levels = [separation.level(sound / 32768) for sound in mixed.values()]
    assert np.array(levels) - levels[0] == pytest.approx([0, -6, 3, 1], abs=0.05)


def test_a_voice_leaves_out_what_comes_too_fast():
    line = [Tone(0, 0.5, 60), Tone(0.5, 0.1, 62), Tone(0.6, 0.2, 64), Tone(0.8, 0.5, 65)]
    assert band.sung(line) == [Tone(0, 0.5, 60), Tone(0.5, pytest.approx(0.3), 62), Tone(0.8, 0.5, 65)]


def test_a_tune_that_begins_anew_keeps_its_accompaniment():
    tune = next(piece for piece in music.fiddle_tunes() if (piece.beats, piece.beat_type) == (4, 4) and piece.length < 70)
    excerpt = cutting.cut(tune, 0.25, 0.75, 0, 66, 20.0)
    bars = np.array(excerpt.grid.bars)
    assert np.diff(bars) == pytest.approx(1.0, abs=0.01)
    assert bars[-1] > 18
    assert accompany.drums(excerpt.grid, "light")[-1].start > 18
