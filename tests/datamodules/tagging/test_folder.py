"""A folder and a table of one's own: every kind of tag column, drawn splits, tables that do not do."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from datamodules.audio import reading
from datamodules.audio.windows import cut
from datamodules.common.errors import DataError
from datamodules.common.left_out import LeftOut
from datamodules.common.splits import draw_splits
from datamodules.tagging.folder import Folder
from datamodules.tagging.tags import published
from tasks.cli.arguments import expand
from tasks.tagging.__main__ import TASK
from tests.helpers.commands import tagging, write_tiny
from tests.helpers.layouts import RATE, tone, write_audio, write_folder
from tests.helpers.tagging_batches import WINDOW, ready, table

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
        ("file,split,loud\nx.wav,trian,1\n", {}, "row 2: unknown split 'trian'"),
        ("file,loud\nx.wav,1\nx.wav,0\n", {}, "lists x.wav 2 times"),
        ("file,loud\nx.wav,1\n,1\n", {}, "row 3: column file names no file"),
        ("file,loud,slow\nx.wav,1\n", {}, "row 2: expected 3 cells"),
        ("file,p:loud\nx.wav,much\n", {"tag_columns": ["p:*"], "split_column": "file"}, "unknown split"),
        ("file,split,p:loud\nx.wav,train,much\n", {"tag_columns": ["p:*"]}, "row 2: could not convert"),
        ("file,split,title\nx.wav,train,Song\n", {}, "no tags"),
        ("file,loud\nx.wav,1\ny.wav,1\n", {}, "at least three"),
        ("file,band,loud\nx.wav,a,1\ny.wav,a,1\nz.wav,b,1\n", {"group_column": "band"}, "at least three"),
    ],
)
def test_folder_tables_that_do_not_do(tmp_path, text, options, said):
    with pytest.raises(DataError, match=said) as caught:
        _ = Folder(table(tmp_path, text), **options).index
    assert "\n" not in str(caught.value)
    assert "clips.csv" in str(caught.value)


def albums(root, tags, clips=20):
    """A folder whose clips have one tag each: `tags` says how many clips of each."""
    names = [tag for tag, count in tags.items() for _ in range(count)]
    rows = [f"{i:02}.wav,{tag}" for i, tag in enumerate(names)]
    return Folder(table(root, "\n".join(["file,tags", *rows])))


def test_folder_keeps_every_tag_that_each_split_can_hold(tmp_path):
    data = albums(tmp_path, {"jazz": 5, "pop": 8, "quiet": 3, "rock": 3, "rare": 1})
    assert data.tags == ["jazz", "pop", "quiet", "rock"]
    index = data.index
    for split in range(3):
        assert (index.labels[index.split == split].sum(0) >= 1).all()
    assert data.left_out.items() == [
        LeftOut("tag", "rare", "fewer than 1 clips in a split (--data.min_clips)", "1 train, 0 validation, 0 test")
    ]


def test_left_out_tags_stand_in_the_report_and_in_metrics(tmp_path):
    root = write_folder(tmp_path / "own", n=16, seconds=2.0)
    lines = (root / "clips.csv").read_text().splitlines()
    rare = ["0"] * 15 + ["1"]
    (root / "clips.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(lines, ["odd", *rare], strict=True)) + "\n")
    write_tiny(tmp_path)
    data = ("--data", "datamodules.Folder", "--data.root", root, "--data.batch_size", 2, "--data.pack", "never")
    words = ("--config", tmp_path / "tiny.yaml", *data, "--runs", tmp_path / "runs", "--name", "own")
    expected = [
        {
            "kind": "tag",
            "reason": "fewer than 1 clips in a split (--data.min_clips)",
            "count": 1,
            "items": ["odd"],
            "details": ["0 train, 0 validation, 1 test"],
        }
    ]
    done = tagging("prepare", *words, "--name", "prepared")
    assert done.code == 0 and json.loads(done.out[done.out.index("{") :])["left_out"] == expected
    done = tagging("fit", *words, "--trainer.max_epochs", 1, "--report.gallery", "false")
    assert done.code == 0, done.err
    for name in ("metrics.json", "fit.json"):
        assert json.loads((tmp_path / "runs" / "tagging" / "own" / name).read_text())["left_out"] == expected


def test_folder_reads_a_table_as_pandas_writes_it(tmp_path):
    clips = [str(tmp_path / "sounds" / f"{i}.wav") for i in range(6)]
    rows = [f"{i},{clip},{i % 2}.0,{bool(i % 3)},{'' if i == 5 else '1.0'},{i}" for i, clip in enumerate(clips)]
    root = table(tmp_path, "\n".join([",file,rock,loud,calm,year", *rows]))
    (tmp_path / "sounds").mkdir()
    for clip in clips:
        write_audio(Path(clip), tone(0.1))
    data = Folder(root)
    listed = data._by_table(tmp_path)
    assert listed.tags == ["rock", "loud", "calm"] and listed.paths.tolist() == [f"sounds/{i}.wav" for i in range(6)]
    assert listed.labels.tolist() == [[i % 2, int(i % 3 > 0), int(i < 5)] for i in range(6)]
    assert data.files.present.tolist() == list(range(6))


def test_folder_finds_absolute_paths_of_another_machine_by_their_ends(tmp_path):
    rows = [f"/home/who/set/{kind}/{i}.wav,1" for i, kind in enumerate(["a", "b", "c"])] + ["C:\\set\\a\\3.wav,1"]
    root = table(tmp_path, "\n".join(["file,loud", *rows]))
    for name in ("a/0.wav", "b/1.wav", "c/2.wav", "a/3.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_audio(tmp_path / name, tone(0.1))
    assert [Path(path).as_posix() for path in Folder(root).index.paths] == ["a/0.wav", "b/1.wav", "c/2.wav", "a/3.wav"]


def test_folder_takes_lists_as_python_writes_them(tmp_path):
    rows = ["a.wav,\"['slow', 'no vocals']\"", 'b.wav,"slow,no vocals"', "c.wav,\"['slow','no vocals']\"", "d.wav,nan"]
    listed = Folder(table(tmp_path, "\n".join(["file,tags", *rows])))._by_table(tmp_path)
    assert listed.tags == ["no vocals", "slow"] and listed.labels.tolist() == [[1, 1], [1, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("splits", [False, True])
def test_folder_without_a_table_takes_folders_as_tags(tmp_path, splits):
    for tag in ("jazz", "rock"):
        for i, split in enumerate(("train", "train", "valid", "test")):
            path = tmp_path / (split if splits else "") / tag / f"{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_audio(path, tone(0.1))
    index = Folder(str(tmp_path)).index
    assert index.tags == ["jazz", "rock"] and np.bincount(index.split).tolist() == [4, 2, 2]
    assert [Path(path).parent.name for path in index.paths[index.labels[:, 1] == 1]] == ["rock"] * 4
    assert all((index.labels[index.split == split].sum(0) >= 1).all() for split in range(3))


def test_a_checkpoint_from_before_keeps_its_splits(tmp_path):
    stored = {"_class_path": "datamodules.Folder", "root": "DIR", "seed": 0}
    content = {"state_dict": {}, "datamodule_hyper_parameters": stored, "quintet": {"task": "tagging", "seed": 0}}
    torch.save(content, tmp_path / "old.ckpt")
    config = yaml.safe_load(expand(TASK, ["test", "--ckpt_path", str(tmp_path / "old.ckpt")])[4])
    assert config["data"]["init_args"] == {"root": "DIR", "drawn_by": "name"}
    names = [f"{i}.wav" for i in range(30)]
    root = table(tmp_path, "\n".join(["file,loud", *(f"{name},1" for name in names)]))
    assert np.array_equal(Folder(root, drawn_by="name").index.split, draw_splits(names))


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
    whole = reading.to_int16(reading.read_file(root / "clips" / item.name, RATE))
    expected = cut(whole, WINDOW, round(float(item.start[0]) * RATE))
    assert np.abs(item.audio[0].astype(int) - expected).max() <= 1
