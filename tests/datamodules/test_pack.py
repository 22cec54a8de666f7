"""Packs: equal to the files, believed only when whole, built once whoever asks, resumed after kill -9."""

import multiprocessing
import os
import pickle
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datamodules.audio import reading
from datamodules.audio.pack import Pack, build, level_key, pack_folder
from datamodules.common.cache import cache_root, exclusive
from datamodules.common.errors import DataError
from models.blocks.features import LogMel
from tests.helpers import forkserver
from tests.helpers.layouts import tone, write_audio

RATE = 16_000


def peak_level(sound):
    """A stand-in for a network's reference level: dB of the largest sample."""
    return 20 * torch.log10(sound.float().abs().amax(1) / 32768 + 1e-5)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """(root, paths) of 40 clips of 0.2 to 1 s, so that three shards are needed."""
    root = tmp_path_factory.mktemp("clips")
    paths = [f"{i % 4:x}/clip {i:02}.{'wav' if i % 2 else 'flac'}" for i in range(40)]
    for i, path in enumerate(paths):
        write_audio(root / path, tone(0.2 + 0.02 * i, seed=i, rate=(16_000, 22_050)[i % 2]), (16_000, 22_050)[i % 2])
    return root, np.array([path.encode() for path in paths])


@pytest.fixture(scope="module")
def built(clips, tmp_path_factory):
    root, paths = clips
    return build(tmp_path_factory.mktemp("cache") / "set", root, paths, RATE, peak_level, workers=2)


def test_a_pack_holds_what_the_files_hold(clips, built):
    root, paths = clips
    assert len(list(built.folder.glob("*.i16"))) == 3
    for clip in (0, 1, 15, 16, 39):
        expected = reading.to_int16(reading.read_file(root / os.fsdecode(paths[clip]), RATE))
        assert np.array_equal(built.whole(clip), expected)
        assert built.length(clip) == built.claim(clip) == len(expected)
        assert np.array_equal(built.read(clip, 700, 900), expected[700:1600])
        assert np.array_equal(built.read(clip, len(expected) - 3, 900), expected[-3:])
        assert len(built.read(clip, len(expected) + 3, 900)) == 0
    assert built.flaws() == []


def test_levels_are_those_of_the_whole_clips(built):
    table = built.levels(level_key(peak_level, RATE))
    expected = [float(peak_level(torch.from_numpy(built.whole(clip))[None])[0]) for clip in range(40)]
    assert np.allclose(table, expected, atol=1e-6)
    assert table.dtype == np.float32
    assert built.levels("0123456789") is None


def test_the_level_key_tells_extractors_apart_by_what_they_do():
    same = level_key(lambda sound: peak_level(sound) + 0, RATE)
    assert same == level_key(peak_level, RATE)
    assert same != level_key(lambda sound: peak_level(sound) + 0.1, RATE)
    settings = [{}, {"n_mels": 128}, {"mel": "htk"}, {"n_fft": 1024}, {"db": "power"}]
    keys = [level_key(LogMel(**setting).peak, RATE) for setting in settings]
    assert len({same, *keys}) == 6
    assert level_key(LogMel().peak, RATE) == keys[0]


def test_levels_of_another_extractor_are_added_without_decoding_again(clips, built, monkeypatch):
    monkeypatch.setattr(reading, "decode", None)
    root, paths = clips
    louder = build(built.folder, root, paths, RATE, lambda sound: peak_level(sound) + 1, workers=1)
    key = level_key(lambda sound: peak_level(sound) + 1, RATE)
    assert np.allclose(louder.levels(key), built.levels(level_key(peak_level, RATE)) + 1, atol=1e-5)


def test_a_pack_travels_to_worker_processes_without_its_maps(built):
    built.read(0, 0, 10)
    content = pickle.dumps(built)
    assert len(content) < 20_000
    assert np.array_equal(pickle.loads(content).whole(5), built.whole(5))


def test_what_is_read_is_a_copy(built):
    first = built.read(0, 0, 100)
    first[:] = 1
    assert not np.array_equal(built.read(0, 0, 100), first)


def folder_of(root, paths, rate=RATE):
    return pack_folder(None, "set", root, paths, rate).name.removeprefix(f"set-{rate}-")


def test_the_folder_of_a_pack_changes_with_its_files(clips, tmp_path):
    root, paths = clips
    old = folder_of(root, paths)
    assert folder_of(root, paths) == old
    assert folder_of(root, paths, 22_050) != old
    assert folder_of(root, paths[:-1]) != old
    copy = shutil.copytree(root, tmp_path / "elsewhere", copy_function=shutil.copy)
    assert folder_of(copy, paths) == old
    file = copy / os.fsdecode(paths[3])
    content = file.read_bytes()
    file.write_bytes(content[:-2] + b"xx")  # of the same length
    assert folder_of(copy, paths) != old


def bad_set(root):
    """Twenty clips: three that cannot be read, one damaged, one silent."""
    for i in range(20):
        write_audio(root / f"{i:02}.wav", tone(0.3, seed=i))
    (root / "02.wav").write_bytes(b"")
    (root / "07.wav").write_text("no sound\n" * 30)
    write_audio(root / "11.wav", np.full(4000, np.nan, np.float32))
    write_audio(root / "18.wav", np.zeros(4000, np.float32))
    flac = write_audio(root / "x.flac", tone(20))
    (root / "15.wav").write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
    flac.unlink()
    return np.array([f"{i:02}.wav".encode() for i in range(20)])


def test_bad_files_are_named_and_the_rest_is_packed(tmp_path):
    paths = bad_set(tmp_path)
    made = build(tmp_path / "cache" / "set", tmp_path, paths, RATE, peak_level, workers=1)
    flaws = {flaw.path: flaw for flaw in made.flaws()}
    assert sorted(flaws) == ["02.wav", "07.wav", "11.wav", "15.wav"]
    assert [path for path, flaw in flaws.items() if flaw.used] == ["15.wav"]
    assert "empty" in flaws["02.wav"].message
    assert "does not decode" in flaws["07.wav"].message
    assert "NaN" in flaws["11.wav"].message
    assert "breaks off" in flaws["15.wav"].message
    assert all(str(tmp_path / path) in flaw.message for path, flaw in flaws.items())
    assert made.length(2) == 0
    assert np.array_equal(made.whole(19), reading.to_int16(reading.read_file(tmp_path / "19.wav", RATE)))
    assert not made.whole(18).any()
    levels = made.levels(level_key(peak_level, RATE))
    assert np.isnan(levels[[2, 7, 11]]).all()
    assert np.isfinite(np.delete(levels, [2, 7, 11])).all()
    with pytest.raises(DataError, match=r"07\.wav"):
        made.read(7, 0, 10)


def test_strict_stops_at_the_first_bad_file(tmp_path):
    paths = bad_set(tmp_path)
    for turn in range(2):  # the second time every shard is there already
        with pytest.raises(DataError, match=r"02\.wav is empty") as caught:
            build(tmp_path / "cache" / "set", tmp_path, paths, RATE, workers=1, strict=True)
        assert "\n" not in str(caught.value)
        assert turn or not Pack.exists(tmp_path / "cache" / "set")
    build(tmp_path / "cache" / "set", tmp_path, paths, RATE, workers=1)
    with pytest.raises(DataError, match=r"02\.wav is empty"):
        build(tmp_path / "cache" / "set", tmp_path, paths, RATE, workers=1, strict=True)


def test_half_written_files_are_never_believed(clips, tmp_path):
    root, paths = clips
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "00000.i16").write_bytes(b"\x01" * 1000)  # samples without an index: killed between the two
    (folder / "00001.i16.77.part").write_bytes(b"\x02" * 1000)
    (folder / "index.npz.77.part").write_bytes(b"PK")
    assert not Pack.exists(folder)
    made = build(folder, root, paths, RATE, workers=1)
    assert np.array_equal(made.whole(0), reading.to_int16(reading.read_file(root / os.fsdecode(paths[0]), RATE)))
    assert list(folder.glob("*.part")) == []


@pytest.mark.parametrize("harm", ["flipped", "cut", "cut alike", "gone", "index", "shard index", "levels"])
def test_a_damaged_pack_is_built_again_where_it_is_damaged(clips, built, tmp_path, harm, caplog, monkeypatch):
    root, paths = clips
    folder = shutil.copytree(built.folder, tmp_path / "set")
    key = level_key(peak_level, RATE)
    shard, index, levels = folder / "00001.i16", folder / "index.npz", folder / f"levels-{key}.npy"
    harmed = {"index": index, "shard index": index, "levels": levels}.get(harm, shard)
    content = bytearray(harmed.read_bytes())
    if harm == "gone":
        shard.unlink()
    elif harm == "cut":
        os.truncate(shard, len(content) - 2)
    else:
        content[len(content) // 2] ^= 1
        harmed.write_bytes(content[:-40] + content[:40] if harm == "cut alike" else content)
    if harm == "shard index":
        (folder / "00001.npz").write_bytes(b"no archive")
    decoded, decode = [], reading.decode
    monkeypatch.setattr(reading, "decode", lambda path, rate: (decoded.append(path), decode(path, rate))[1])
    if harm not in ("index", "shard index", "levels"):
        assert Pack(folder).damaged() == [1]
    again = build(folder, root, paths, RATE, peak_level, workers=1)
    assert all(np.array_equal(again.whole(clip), built.whole(clip)) for clip in range(40))
    np.testing.assert_array_equal(again.levels(key), built.levels(key))
    assert again.damaged() == [] and ("is damaged" in caplog.text) is (harm != "levels")


def test_an_intact_pack_is_checked_once_a_process(built, monkeypatch):
    assert built.damaged() == []
    monkeypatch.setattr("datamodules.common.checksum._crc", None)
    assert Pack(built.folder).damaged() == []


def test_a_full_disk_is_foreseen(clips, tmp_path, monkeypatch):
    root, paths = clips
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match="choose another --data"):
        build(tmp_path / "set", root, paths, RATE, workers=1)


def slow_build(root, cache, log, pause):
    """Build a pack with a pause before each clip, and log which clips are decoded; prints the samples in the pack."""
    decode = reading.decode

    def slow(path, rate):
        with log.open("a") as file:
            file.write(f"{path}\n")
        time.sleep(pause)
        return decode(path, rate)

    reading.decode = slow
    print(int(build(cache / "set", root, np.load(cache / "paths.npy"), RATE, workers=1).lengths.sum()))


def test_a_killed_build_goes_on_and_several_processes_build_once(clips, built, tmp_path):
    root, paths = clips
    np.save(tmp_path / "paths.npy", paths)
    folder, log = tmp_path / "set", tmp_path / "log"
    first = forkserver.call(slow_build, root, tmp_path, log, 0.05)
    until = time.monotonic() + 60
    while not (folder / "00000.npz").exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)  # the worker too, in the midst of the second shard
    first.communicate()
    assert (folder / "00000.npz").exists()
    assert not Pack.exists(folder)
    before = len(log.read_text().splitlines())
    assert before < 40
    others = [forkserver.call(slow_build, root, tmp_path, log, 0.01) for _ in range(2)]
    totals = {int(one.communicate(timeout=100)[0]) for one in others}
    decoded = log.read_text().splitlines()[before:]
    assert len(decoded) == len(set(decoded)) == 24  # the first shard's 16 clips were kept; nobody decoded twice
    assert totals == {int(built.lengths.sum())}
    made = Pack(folder)
    assert all(np.array_equal(made.whole(clip), built.whole(clip)) for clip in range(40))


def hold(path, entered, release):
    with exclusive(Path(path), "a test"):
        entered.set()
        release.wait(30)


def test_a_lock_is_free_once_its_holder_is_killed(tmp_path):
    context = multiprocessing.get_context("fork")
    entered, release = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(tmp_path / "lock", entered, release))
    holder.start()
    assert entered.wait(30)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    began = time.monotonic()
    with exclusive(tmp_path / "lock", "a test"):
        assert time.monotonic() - began < 5


def test_the_cache_is_where_the_user_says(monkeypatch):
    monkeypatch.setenv("QUINTET_CACHE", "/scratch")
    assert cache_root(None) == Path("/scratch")
    assert cache_root("here") == Path("here")
    monkeypatch.delenv("QUINTET_CACHE")
    assert cache_root(None) == Path(".cache")
