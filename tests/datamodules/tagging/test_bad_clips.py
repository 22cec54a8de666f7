"""Tagging data with files that are missing, empty, broken or lie; the report of `prepare`."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from datamodules.audio.pack import Pack
from datamodules.common.errors import DataError
from datamodules.common.workers import mix
from datamodules.tagging.folder import Folder
from datamodules.tagging.jamendo import Jamendo
from datamodules.tagging.msd import MSD
from datamodules.tagging.mtat import MTAT
from tests.helpers.layouts import RATE, tone, write_audio, write_mtat
from tests.helpers.tagging_batches import WINDOW, crops_of, harmed, lone_clip, peak_level, ready, same


@pytest.mark.parametrize("kind", [MTAT, MSD, Jamendo, Folder])
@pytest.mark.parametrize("root", ["empty", "missing", None])
def test_a_wrong_root_is_one_sentence_with_the_layout_and_the_command(tmp_path, kind, root):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        _ = ready(kind(root and str(tmp_path / root))).tags
    said = str(caught.value)
    assert "\n" not in said
    if root:
        assert str(tmp_path / root) in said
    if root != "empty" or kind is not Folder:
        assert "--data.root" in said
    if root == "missing":
        assert f"python -m tasks.tagging prepare --data datamodules.{kind.__name__} --data.root" in said


def test_bad_files_are_replaced_named_once_and_the_same_for_any_workers(tmp_path, caplog):
    files = harmed(tmp_path / "set")
    runs = []
    for workers in (0, 2):
        data = ready(MTAT(str(tmp_path / "set"), batch_size=4, num_workers=workers, cache_dir=str(tmp_path)))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            runs.append([*crops_of(data), *crops_of(data, epoch=1)])
        if not workers:  # a worker's words reach the terminal, not the log of this process
            said = "\n".join(caplog.messages)
            assert ": missing in " in said and ": empty in " in said and said.count("Left out 1 file: ") == 2
            assert str(Path(files["piece_0"]).relative_to(tmp_path / "set")) in said
            assert said.count(files["piece_2"]) == said.count(files["piece_3"]) == 1
    assert all(same(a, b) and a.names == b.names for a, b in zip(*runs, strict=True))
    names = [name for batch in runs[0] for name in batch.names]
    assert len(names) == 2 * 20  # 22 clips are there, a batch is 4
    assert not {name for name in names if f"{name.split('-')[3]}" in ("piece_0", "piece_1", "piece_2", "piece_3")}


def test_the_replacement_is_a_function_of_the_item_seed(tmp_path):
    harmed(tmp_path / "set")
    crops = ready(MTAT(str(tmp_path / "set"), cache_dir=str(tmp_path))).train_set()
    bad = [path.split("-")[3] for path in crops.clips.paths].index("piece_2")
    seed = 11
    tries = [mix(seed, attempt) % len(crops) for attempt in range(1, 20)]
    unreadable = {bad, [path.split("-")[3] for path in crops.clips.paths].index("piece_3")}
    assert crops[bad, seed].clip == next(clip for clip in tries if clip not in unreadable)


def test_strict_stops_at_the_flaws_of_a_pack_built_without(tmp_path):
    files = harmed(tmp_path / "set")
    for name in ("piece_0", "piece_1"):
        write_audio(Path(files[name]), tone(1.5))
    ready(MTAT(str(tmp_path / "set"), pack="build", cache_dir=str(tmp_path))).train_set()
    with pytest.raises(DataError, match="piece_"):
        ready(MTAT(str(tmp_path / "set"), strict=True, cache_dir=str(tmp_path))).train_set()


@pytest.mark.parametrize("workers", [0, 1])
def test_strict_stops_at_a_bad_file_with_one_sentence(tmp_path, workers):
    files = harmed(tmp_path / "set")
    for name in ("piece_0", "piece_1", "piece_3"):
        write_audio(Path(files[name]), tone(1.5))
    data = ready(MTAT(str(tmp_path / "set"), strict=True, batch_size=4, num_workers=workers, cache_dir=str(tmp_path)))
    with pytest.raises(DataError) as caught:
        crops_of(data)
    assert str(caught.value).startswith(f"{files['piece_2']} does not decode")
    assert "\n" not in str(caught.value)
    Path(files["piece_0"]).unlink()
    with pytest.raises(DataError, match=r"piece_0.* is missing"):
        ready(MTAT(str(tmp_path / "set"), strict=True, cache_dir=str(tmp_path))).train_set()


def test_evaluation_leaves_unreadable_clips_out(tmp_path):
    harmed(tmp_path / "set")
    data = ready(MTAT(str(tmp_path / "set"), eval_batch_size=1, cache_dir=str(tmp_path)))
    assert len(data.clips("validation")) == 2
    empty, read = sorted(data.val_dataloader(), key=lambda batch: len(batch.audio))
    assert empty.audio.shape == (0, WINDOW.samples)
    assert empty.labels.shape == (0, 50)
    assert empty.names == ()
    assert len(read.audio) == 16
    assert {int(clip) for batch in data.test_dataloader() for clip in batch.clip} == set(range(6)) - {
        [path.split("-")[3] for path in data.clips("test").paths].index("piece_13")
    }
    packed = ready(MTAT(str(tmp_path / "set"), pack="build", cache_dir=str(tmp_path)))
    assert [len(packed.clips(split)) for split in ("train", "validation", "test")] == [20, 1, 5]


def test_a_header_that_lies_gives_no_empty_crops(tmp_path):
    """Claims 40 s where 2 decode: every crop is drawn again from what is there."""
    data = lone_clip(tmp_path, tone(2.0), ending="mp3")
    path = tmp_path / "x.mp3"
    random = np.random.default_rng(0)
    sound = np.concatenate([np.zeros(RATE), 0.5 * random.standard_normal(RATE)]).clip(-1, 1).astype(np.float32)
    import soundfile

    soundfile.write(path, sound, RATE, bitrate_mode="VARIABLE", compression_level=0.0)
    content = path.read_bytes()
    at = content.index(b"Xing") + 8
    frames = int.from_bytes(content[at : at + 4], "big")
    path.write_bytes(content[:at] + (20 * frames).to_bytes(4, "big") + content[at + 4 :])
    crops = data.train_set()
    assert crops.clips.claim(0) > 30 * RATE
    length = crops.clips.length(0)
    assert length < 2.2 * RATE
    starts = set()
    for seed in range(25):
        item = crops[0, seed]
        start = round(float(item.start[0]) * RATE)
        assert 0 <= start <= length - (WINDOW.samples - 512)
        assert item.audio[0, -512 - 4000 : -512].any() or start < 3000
        starts.add(start)
    assert len(starts) > 8


def test_no_clip_of_a_split(tmp_path):
    root = write_mtat(tmp_path / "set", n=4, seconds=0.2)
    with pytest.raises(DataError, match="no readable clip of the validation split"):
        ready(MTAT(str(root), cache_dir=str(tmp_path))).validation_set()


def test_prepare_reports_and_packs(tmp_path):
    files = harmed(tmp_path / "set")
    data = ready(MTAT(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache")), level=peak_level)
    said = data.prepare(tmp_path / "run")
    assert {key: said[key] for key in ("data", "subset", "listed", "usable", "missing", "empty", "unreadable", "damaged")} == {
        "data": "mtat", "subset": "top50", "listed": 32, "usable": 26, "missing": 1, "empty": 1, "unreadable": 4, "damaged": 0,
    }  # fmt: skip
    assert said["splits"]["train"] == {"listed": 24, "usable": 20}
    assert said["test_artists_also_in_train"] == len({int(i) % 5 for i in (13, 14, 15, 29, 30, 31)})
    written = json.loads((tmp_path / "run" / "report.json").read_text())
    assert str(tmp_path / "set" / written["files"]["missing"][0]) == files["piece_0"]
    assert str(tmp_path / "set" / written["files"]["empty"][0]) == files["piece_1"]
    assert sorted(Path(message.split(" ")[0]).name.split("-")[3] for message in written["files"]["unreadable"]) == [
        "piece_12",
        "piece_13",
        "piece_2",
        "piece_3",
    ]
    counts = written["clips_per_tag"]["guitar"]
    guitar = data.index.labels[:, 0]
    clips = data.clips("train")
    assert counts["train"] == clips.labels[:, 0].sum()
    assert sum(counts.values()) < guitar.sum() or guitar.sum() == 0
    folder = Path(said["pack"]["folder"])
    assert Pack.exists(folder)
    assert len(list(folder.glob("levels-*.npy"))) == 1
    assert said["pack"]["others_of_this_name"] == []
    write_audio(Path(files["piece_0"]), tone(1.5))
    again = ready(MTAT(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))).prepare(tmp_path / "run")
    assert again["usable"] == 27
    assert again["pack"]["others_of_this_name"] == [str(folder)]


def test_prepare_without_a_pack_only_looks(tmp_path):
    harmed(tmp_path / "set")
    data = ready(MTAT(str(tmp_path / "set"), pack="never", cache_dir=str(tmp_path / "cache")))
    said = data.prepare(tmp_path / "run")
    assert said["pack"] is None
    assert said["unreadable"] == 3  # NaN shows in decoding only
    assert not (tmp_path / "cache").exists()
    with pytest.raises(DataError, match="is missing"):
        ready(MTAT(str(tmp_path / "set"), pack="never", strict=True)).prepare(tmp_path / "run")
