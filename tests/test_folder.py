"""A folder and a table of one's own: every kind of tag column, drawn splits, tables that do not do."""

import os
from pathlib import Path

import numpy as np
import pytest

from datamodules import audio
from datamodules.errors import DataError
from datamodules.folder import Folder
from datamodules.tags import published
from datamodules.windows import cut
from tests.layouts import RATE, write_folder
from tests.tagging_batches import WINDOW, ready, table

real = pytest.mark.skipif(not os.environ.get("QUINTET_DATA"), reason="QUINTET_DATA names no folder of real recordings")


def test_folder_tables_of_every_kind_say_the_same(tmp_path):
    options = {"binary": {}, "scores": {"tag_columns": ["score:*"]}, "names": {"separator": ";"}}
    said = {}
    for kind, option in options.items():
        index = Folder(str(write_folder(tmp_path / kind, n=16, kind=kind, seconds=0.1)), **option).index
        assert index.audio == tmp_path / kind / "clips"
        assert index.split.tolist() == [0, 0, 0, 0, 1, 1, 2, 2] * 2
        said[kind] = {tag: index.labels[:, i].tolist() for i, tag in enumerate(index.tags)}
    assert said["binary"] == said["scores"] == said["names"]
    assert sorted(said["binary"]) == ["no vocals", "piano", "slow"]


def test_folder_threshold_and_rare_tags(tmp_path):
    rows = ["a.wav,train,.9,.1", "b.wav,test,.3,.9", "c.wav,valid,.3,.2", "d.wav,,.9,.9"]
    root = table(tmp_path, "\n".join(["file,split,p:loud,p:slow", *rows]))
    assert Folder(root, tag_columns=["p:*"], threshold=0.3).tags == ["loud"]
    data = Folder(root, tag_columns=["p:slow", "p:loud"], threshold=0.1)
    assert data.tags == ["p:slow", "p:loud"]
    assert data.index.split.tolist() == [0, 2, 1, -1]
    assert data.index.labels.tolist() == [[1, 1], [1, 1], [1, 1], [1, 1]]
    with pytest.raises(DataError, match="no tag has 2 clips"):
        _ = Folder(root, tag_columns=["p:*"], min_clips=2).tags


def test_folder_draws_splits_by_group(tmp_path):
    rows = [f"x{i:03}.wav;album {i // 10};1" for i in range(200)]
    root = table(tmp_path, "\n".join(["file;album;loud", *rows]))
    split = Folder(root, group_column="album").index.split
    assert (split.reshape(20, 10) == split.reshape(20, 10)[:, :1]).all()
    assert np.bincount(split).tolist() == [160, 20, 20]
    assert np.array_equal(split, Folder(root, group_column="album").index.split)
    assert sorted(np.bincount(Folder(root).index.split)) == [20, 20, 160]
    few = table(tmp_path, "file\tband\tloud\na.wav\tx\t1\nb.wav\ty\t1\nc.wav\tz\t1\n")
    assert sorted(Folder(few, group_column="band").index.split) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("file,loud\n", {}, "lists nothing"),
        ("path,loud\nx.wav,1\n", {}, "no column 'file'"),
        ("file,split,loud\nx.wav,trian,1\n", {}, "row 2: split 'trian'"),
        ("file,loud\nx.wav,1\nx.wav,0\n", {}, "lists x.wav 2 times"),
        ("file,loud\n/abs/x.wav,1\n", {}, "/abs/x.wav"),
        ("file,loud,slow\nx.wav,1\n", {}, "row 2: 2 cells"),
        ("file,p:loud\nx.wav,much\n", {"tag_columns": ["p:*"], "split_column": "file"}, "none of train"),
        ("file,split,p:loud\nx.wav,train,much\n", {"tag_columns": ["p:*"]}, "row 2: could not convert"),
        ("file,split,title\nx.wav,train,Song\n", {}, "no tags"),
        ("file,loud\nx.wav,1\ny.wav,1\n", {}, "three at least"),
        ("file,band,loud\nx.wav,a,1\ny.wav,a,1\nz.wav,b,1\n", {"group_column": "band"}, "three at least"),
    ],
)
def test_folder_tables_that_do_not_do(tmp_path, text, options, said):
    with pytest.raises(DataError, match=said) as caught:
        _ = Folder(table(tmp_path, text), **options).index
    assert "\n" not in str(caught.value)
    assert "clips.csv" in str(caught.value)


def test_folder_names_a_file_that_is_not_there(tmp_path):
    text = "file,split,loud\na.wav,train,1\nb.wav,valid,1\nc.wav,test,1\nghost.wav,train,0\n"
    root = table(tmp_path, text, ["a.wav", "b.wav", "c.wav"])
    with pytest.raises(DataError, match=r"lists ghost\.wav, which is not in .* \(1 of 4 rows\)"):
        ready(Folder(root)).train_set()
    assert ready(Folder(root, missing="skip")).files.present.tolist() == [0, 1, 2]


@pytest.mark.realdata
@real
def test_the_real_clips_with_silver_scores(tmp_path):
    root = Path(os.environ["QUINTET_DATA"], "tagging")
    data = ready(Folder(str(root), tag_columns=["mtt:*"], threshold=0.2, min_clips=3, cache_dir=str(tmp_path)))
    assert [len(data.clips(split)) for split in ("train", "validation", "test")] == [281, 34, 85]
    assert set(data.tags) <= set(published("mtat"))
    item = data.train_set()[0, 7]
    whole = audio.to_int16(audio.read_file(root / "clips" / item.name, RATE))
    expected = cut(whole, WINDOW, round(float(item.start[0]) * RATE))
    assert np.abs(item.audio[0].astype(int) - expected).max() <= 1
