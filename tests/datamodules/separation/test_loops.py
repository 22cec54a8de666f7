import csv
import os
import pickle
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.common.errors import DataError
from datamodules.common.splits import assign_splits
from datamodules.separation import loops as module
from datamodules.separation.loop_sessions import bar_prints, read_sound, variant_groups
from datamodules.separation.loops import LoopSessions, read_voices
from tests.helpers.loop_layout import BAR_S, loop, write_sessions

RATE = 8000
BAR = round(BAR_S * RATE)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_sessions(tmp_path_factory.mktemp("sessions"), rate=RATE)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def data(root, cache):
    return make(root, cache)


def make(root, cache, **how):
    how = {"sample_rate": RATE, "seconds": 1.0, "samples_per_track": 2, "mixtures": 3, "mixture_seconds": 1.2, **how}
    return LoopSessions(str(root), cache_dir=str(cache), **how)


def rewrite(root, change):
    path = next(root.glob("*/stems.csv"))
    with path.open(newline="") as file:
        rows = [change(row) for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_near_variants_stay_on_one_side_and_every_split_has_its_own_loops(data):
    for session in data.sessions:
        for role in data.sources:
            loops = [one for one in session.loops if one.role == role]
            riffs = {(Path(one.wav.path).stem[:-2], one.split) for one in loops}
            assert len({riff for riff, _ in riffs}) == len(riffs)  # no riff in two splits
            assert len(loops) == 2 * len(riffs)
            expected = {"train"} if len(riffs) == 1 else {"train", "validation", "test"}
            assert {split for _, split in riffs} == expected


def test_fixed_mixtures_are_of_their_splits_loops_alone(data):
    for split in ("train", "validation", "test"):
        tracks = data.tracks(split)
        assert len(tracks) == 6
        assert all(track.frames == 3 * BAR for track in tracks)  # 1.2 s rounded up to bars
    bars = {}
    for session in data.sessions:
        for one in session.loops:
            sound = one.wav.read(0, one.wav.frames)[:, 0].astype(float).reshape(-1, BAR)
            bars.setdefault(one.split, []).extend(sound / np.linalg.norm(sound, axis=1, keepdims=True))
    for index in range(len(data.test_set())):
        stems, mixture = data.test_set()[index].waveforms()
        assert (stems.sum(0) - mixture).abs().max() < 1e-6
        for stem in stems[:, 0].double().numpy():
            if not stem.any():
                continue
            # A bar is a sum of test loops' bars: least squares leaves nothing, with training loops' it leaves a lot.
            for split, left in (("test", (0, 1e-3)), ("train", (0.05, 1))):
                basis = np.array(bars[split]).T
                rest = stem[:BAR] - basis @ np.linalg.lstsq(basis, stem[:BAR], rcond=None)[0]
                assert left[0] <= np.square(rest).sum() / np.square(stem[:BAR]).sum() <= left[1], split


def test_role_with_one_riff_is_silent_where_it_may_not_train(data):
    silent = {track.name: not data.test_set()[i].stems[1].any() for i, track in enumerate(data.tracks("test"))}
    assert {name.split(" ")[1]: quiet for name, quiet in silent.items()} == {"0": True, "1": False}


def test_training_mixtures_are_in_sync(data):
    train = data.train_set()
    assert len(train) == 2 * 6
    shifts = set()
    for index in range(8):
        chunk = train[(index, 99 + index)]
        assert chunk.stems.shape == (3, RATE, 1)
        assert chunk.name == f"session {index % 2}"
        clicks = [np.flatnonzero(np.abs(stem[:, 0]) > 0.75 * np.abs(stem).max()) % BAR for stem in chunk.stems]
        assert {click for places in clicks for click in places.tolist()} == {-round(chunk.start * RATE) % BAR}
        shifts.add(clicks[0][0])
    assert len(shifts) > 4
    apart = make(data.root, data.cache_dir, random_tracks=True).train_set()
    chunk = apart[(0, 5)]
    assert len({int(np.abs(stem[:BAR]).argmax()) for stem in chunk.stems}) == 3


def test_chunk_is_a_function_of_index_and_seed(data):
    train = data.train_set()
    one, same, other = train[(3, 7)], pickle.loads(pickle.dumps(train))[(3, 7)], train[(3, 8)]
    for first, second in zip(one, same, strict=True):
        assert np.array_equal(first, second)
    assert not np.array_equal(one.stems, other.stems)
    assert np.all((one.gain >= 0.25) & (one.gain <= 1.25))
    batch = data.collate([one, other])
    sources, mixture = batch.waveforms()
    assert sources.shape == (2, 3, 1, RATE)
    assert mixture.shape == (2, 1, RATE)


def test_loops_go_round_from_bar_to_bar(data):
    mixer = module.LoopMixer(data.sessions[1], "train", 1, 1)
    sound = mixer.mix("other", 17, 6 * BAR, np.random.default_rng(0))[:, 0]
    assert np.array_equal(sound[: 2 * BAR], sound[2 * BAR : 4 * BAR])  # of one or two bars
    layered = module.LoopMixer(data.sessions[1], "train", 2, 1)
    draws = [layered.mix("drums", 0, BAR, np.random.default_rng(seed)) for seed in range(8)]
    single = {
        one.wav.read(0, BAR)[:, 0].astype(float).tobytes() for group in data.sessions[1].groups("drums", "train") for one in group
    }
    assert any((draw[:, 0] * 32768).round().astype(float).tobytes() not in single for draw in draws)


def test_stereo_gets_mono_loops_on_both_channels(root, cache):
    data = make(root, cache, channels=2)
    stems = data.train_set()[(0, 0)].stems
    assert stems.shape == (3, RATE, 2)
    assert np.array_equal(stems[..., 0], stems[..., 1])


def test_built_once_and_anew_when_a_loop_changes(root, cache, data, tmp_path, monkeypatch):
    folder = data.folder
    monkeypatch.setattr(module, "store_sessions", lambda *_: pytest.fail("decoded again"))
    assert make(root, cache).folder == folder
    monkeypatch.undo()
    changed = write_sessions(tmp_path / root.name, sessions=1, rate=RATE)
    before = make(changed, cache).folder
    loop = next(changed.glob("*/*.wav"))
    loop.write_bytes(loop.read_bytes()[:-2] + b"xx")
    assert make(changed, cache).folder != before


def test_broken_loops_are_left_out_by_name_or_stop_it(tmp_path, caplog):
    root = write_sessions(tmp_path / "set", sessions=1, rate=RATE)
    folder = root / "session 0"
    soundfile.write(folder / "drumsA01.wav", np.full(BAR, 0.9), RATE)  # nothing but a constant, as in a real session
    soundfile.write(folder / "drumsB01.wav", np.ones(BAR // 3), RATE)
    (folder / "otherA01.wav").write_bytes(b"")
    (folder / "otherB01.wav").unlink()
    data = make(root, tmp_path / "cache")
    names = {Path(one.wav.path).name for one in data.sessions[0].loops}
    assert len(names) == 2 * (4 + 1 + 4) - 4
    for name, why in (("drumsA01", "silent"), ("drumsB01", "lasts"), ("otherA01", "empty"), ("otherB01", "does not exist")):
        assert any(f"{name}.wav" in line and why in line for line in caplog.messages), name
    with pytest.raises(DataError, match=r"\.wav"):
        make(root, tmp_path / "cache", strict=True).tracks("train")


def test_wrong_folders_are_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"holds no SESSION/stems\.csv"):
        make(tmp_path, tmp_path / "cache").tracks("train")
    root = write_sessions(tmp_path / "set", sessions=1, rate=RATE)
    rewrite(root, lambda row: row | {"bars": "0.5"})
    with pytest.raises(DataError, match="whole bars"):
        make(root, tmp_path / "cache").tracks("train")
    rewrite(root, lambda row: {"file": row["file"], "role": row["role"]})
    with pytest.raises(DataError, match="duration_s, bars"):
        make(root, tmp_path / "cache").tracks("train")
    one = write_sessions(tmp_path / "one", sessions=1, groups=1, rate=RATE)
    with pytest.raises(DataError, match=r"no usable track of the test split.*two roles"):
        make(one, tmp_path / "cache").tracks("test")


def test_report_tells_how_loops_were_dealt_out(data, tmp_path):
    report = data.prepare(tmp_path)
    assert "session 0 bass train" in str(report) or "session 0 bass train" in str(data.remarks())
    assert sum(data.remarks()["loops"].values()) == sum(len(session.loops) for session in data.sessions)


def test_variants_are_found_by_their_bars_and_by_their_names():
    sounds = [
        loop("other", 0, 0, 2, RATE),
        loop("other", 0, 1, 2, RATE),
        loop("other", 1, 0, 2, RATE),
        loop("other", 2, 0, 1, RATE),
    ]
    one_bar = np.tile(sounds[0][BAR:], 1)  # the second bar alone is a variant of the whole
    prints = [bar_prints(sound, len(sound) // BAR, RATE) for sound in [*sounds, one_bar]]
    names = ["a1", "b1", "c1", "d1", "e1"]
    assert variant_groups(names, prints) == [[0, 1, 4], [2], [3]]
    assert variant_groups(["Bass02", "x1", "BassDup05", "Basson1", "y1"], prints) == [[0, 1, 2, 4], [3]]
    quiet = np.concatenate([sounds[0], 1e-4 * sounds[0]])
    assert [len(rows) for rows in bar_prints(quiet, 4, RATE)] == [2, 2]


def test_groups_are_dealt_out_the_largest_to_training():
    names, sizes = [f"g{i}" for i in range(20)], [1.0] * 19 + [4.0]
    splits = assign_splits(names, sizes)
    assert splits[-1] == "train"
    share = {split: sum(size for one, size in zip(splits, sizes, strict=True) if one == split) / 23 for split in set(splits)}
    assert share == {
        "train": pytest.approx(0.6, abs=0.06),
        "test": pytest.approx(0.25, abs=0.06),
        "validation": pytest.approx(0.15, abs=0.06),
    }
    assert assign_splits(names[::-1], sizes[::-1]) == splits[::-1]
    assert assign_splits(["a"], [1]) == ["train"]
    assert sorted(assign_splits(["a", "b"], [1, 3])) == ["test", "train"]
    assert sorted(assign_splits(["a", "b", "c"], [1, 8, 1])) == ["test", "train", "validation"]


@pytest.fixture
def voices(tmp_path):
    folder = tmp_path / "voices"
    folder.mkdir()
    time = np.arange(RATE) / RATE
    for singer in ("female", "male", "children"):
        for vowel in ("aa", "oo"):
            for number, pitch in enumerate(("A3", "Db4", "c4", "F#3")):
                tone = np.sin(2 * np.pi * (200 + 30 * number) * time) * (time > 0.1)
                soundfile.write(folder / f"{singer}_{vowel}_{pitch}.wav", 0.3 * tone, RATE)
    return folder


def test_sung_notes_become_vocals_split_by_singer(root, voices, tmp_path):
    assert sorted(pitch for pitch, _ in read_voices(voices)["female_aa"]) == [54, 57, 60, 61]
    data = make(root, tmp_path / "cache", voices=str(voices))
    assert data.sources == ["drums", "bass", "other", "vocals"]
    singers = {}
    for session in data.sessions:
        for one in session.loops:
            if one.role == "vocals":
                singers.setdefault(one.split, set()).add(one.group)
                assert one.wav.frames == one.bars * BAR
    assert sorted(map(len, singers.values())) == [1, 1, 1]
    assert data.test_set()[0].stems[3].any()
    assert data.train_set()[(0, 0)].stems.shape == (4, RATE, 1)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no sung notes"):
        make(root, tmp_path / "cache", voices=str(tmp_path / "none")).tracks("train")


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="layers"):
        LoopSessions(layers=0)


@pytest.mark.realdata
@pytest.mark.skipif(not os.environ.get("QUINTET_DATA"), reason="QUINTET_DATA names no folder of real recordings")
def test_real_sessions_near_variants_stay_on_one_side(tmp_path):
    data = LoopSessions(str(Path(os.environ["QUINTET_DATA"], "separation")), cache_dir=str(tmp_path), mixtures=4)
    assert [session.bar for session in data.sessions] == [88_200, 123_070]
    sides = {Path(one.wav.path).stem.split("-", 1)[1]: one.split for session in data.sessions for one in session.loops}
    assert len(sides) == 178  # two of 180 hold nothing but a constant
    for names in (
        [f"TFS1_TBass{take:02d}" for take in range(1, 14)] + [f"TFS1_TBassDup{take:02d}" for take in range(1, 13)],
        [f"SIKMelBass0{take}" for take in range(1, 7)],
        ["TFS1_TCrash01", "TFS1_TCrash02", "TFS1_TCrash03"],
        ["SIKBeat03", "SIKBreak01"],
        ["SIKBeat02", "SIKKick01"],
        ["TFS1_TBeat01", "TFS1_TKick01"],
    ):
        assert len({sides[name] for name in names}) == 1, names
    assert {len(data.tracks(split)) for split in ("train", "validation", "test")} == {8}
    # At the full rate, too, no bar of a loop is a copy of a bar across the split.
    for session in data.sessions:
        for role in data.sources:
            loops = [one for one in session.loops if one.role == role]
            bars = [_bars(one, session.bar) for one in loops]
            for (first, ours), (second, theirs) in combinations(zip(loops, bars, strict=True), 2):
                if first.split != second.split and len(ours) and len(theirs):
                    assert np.abs(ours @ theirs.T).max() < 0.8, (first.wav.path, second.wav.path)


def _bars(one, bar):
    """Waveform of each bar that is not quiet, at a norm of 1."""
    bars = one.wav.read(0, one.wav.frames)[:, 0].astype(np.float32).reshape(-1, bar)
    norms = np.linalg.norm(bars, axis=1)
    return (bars / np.maximum(norms, 1e-9)[:, None])[norms > 0.03 * norms.max()]


@pytest.mark.realdata
@pytest.mark.skipif(not os.environ.get("QUINTET_DATA"), reason="QUINTET_DATA names no folder of real recordings")
def test_real_mp3_is_decoded_without_gaps():
    path = Path(os.environ["QUINTET_DATA"], "separation/session_120bpm/SIKKick01.mp3")
    assert np.array_equal(read_sound(path, 44_100, 1)[:, 0], soundfile.read(path, dtype="float32")[0])
