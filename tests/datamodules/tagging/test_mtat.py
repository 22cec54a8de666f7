"""MagnaTagATune: its table, its split, its tag lists."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from datamodules.common.errors import DataError
from datamodules.tagging.mtat import MTAT
from datamodules.tagging.tags import by_count, published
from tests.helpers.layouts import write_annotations, write_mtat
from tests.helpers.tagging_batches import ready

real = pytest.mark.skipif(not os.environ.get("QUINTET_DATA"), reason="QUINTET_DATA names no folder of real recordings")


@pytest.fixture(scope="module")
def mtat_root(tmp_path_factory):
    return write_mtat(tmp_path_factory.mktemp("mtat"), n=32, seconds=2.2)


@pytest.fixture
def mtat(mtat_root, tmp_path):
    return ready(MTAT(str(mtat_root), batch_size=4, cache_dir=str(tmp_path)))


def test_the_shipped_list_breaks_the_tie_as_published():
    tags = published("mtat")
    assert len(set(tags)) == 50
    assert tags[:3] == ["guitar", "classical", "slow"]
    assert tags[-5:] == ["weird", "country", "metal", "female voice", "choral"]


def test_mtat_labels_follow_the_names_of_the_table(mtat, mtat_root):
    with (mtat_root / "annotations_final.csv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows[0]) == 190
    index = mtat.index
    assert index.tags == mtat.tags == published("mtat")
    assert index.paths.tolist() == [row["mp3_path"] for row in rows]
    assert index.labels.tolist() == [[int(row[tag]) for tag in index.tags] for row in rows]


def test_mtat_splits_by_the_first_hex_digit(mtat):
    for path, split in zip(mtat.index.paths.tolist(), mtat.index.split.tolist(), strict=True):
        assert split == (0 if path[0] in "0123456789ab" else 1 if path[0] == "c" else 2)
    assert [len(mtat.clips(split)) for split in ("train", "validation", "test")] == [24, 2, 6]


def test_mtat_subset_drops_clips_without_a_chosen_tag(tmp_path):
    rows = [("0/a.mp3", {"choral"}), ("c/b.mp3", {"other"}), ("d/c.mp3", set()), ("f/d.mp3", {"guitar", "other"})]
    root = write_annotations(tmp_path, [*published("mtat"), "other"], rows)
    assert MTAT(str(root)).index.split.tolist() == [0, -1, -1, 2]
    assert MTAT(str(root), subset="full").index.split.tolist() == [0, 1, 2, 2]
    assert MTAT(str(root), tags=["other"]).index.split.tolist() == [-1, 1, -1, 2]


def test_mtat_tag_choices(tmp_path):
    rows = [("0/a.mp3", {"b", "c"}), ("1/b.mp3", {"c", "a", "b"}), ("c/c.mp3", {"c", "z"}), ("d/d.mp3", {"z"})]
    root = write_annotations(tmp_path, ["z", "a", "never", "b", "c"], rows)
    assert MTAT(str(root)).tags == ["c", "b", "z", "a"]  # by count, ties by name, what never occurs left out
    assert MTAT(str(root), tags="computed").tags == ["c", "b", "z", "a"]
    data = MTAT(str(root), tags=["z", "a"])
    assert data.tags == ["z", "a"]
    assert data.index.labels.tolist() == [[0, 0], [0, 1], [1, 0], [1, 0]]
    for choice, name in (("top50", "guitar"), (["a", "brass"], "brass")):
        with pytest.raises(DataError, match=f"no column '{name}'"):
            _ = MTAT(str(root), tags=choice).tags


def test_the_computed_fifty_are_the_largest_columns(mtat_root):
    tags = MTAT(str(mtat_root), tags="computed").tags
    assert set(tags) == set(published("mtat"))
    labels = np.array([[1, 0, 1, 1], [1, 0, 1, 0]])
    assert by_count(["d", "c", "b", "a"], labels) == ["b", "d", "a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clip_id,a,mp3_path\n", "tab-separated"),
        ("clip_id\ta\tmp3_path\n", "lists no clip"),
        ("clip_id\ta\tmp3_path\n1\t2\t0/x.mp3\n", "line 2"),
        ("clip_id\ta\tmp3_path\n1\t1\t0/x.mp3\n2\t1\n", "line 3"),
        ("clip_id\ta\tmp3_path\n1\t1\tx/x.mp3\n", "hex digit"),
        ("clip_id\ta\tb\tmp3_path\n1\t11\t\t0/x.mp3\n", "line 2"),
    ],
)
def test_a_table_that_is_not_mtats_is_refused(tmp_path, text, said):
    (tmp_path / "annotations_final.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        _ = MTAT(str(tmp_path)).index


def test_annotations_without_any_audio(tmp_path):
    root = write_annotations(tmp_path, published("mtat"), [("0/a.mp3", {"rock"}), ("1/b.mp3", {"rock"})])
    with pytest.raises(DataError, match="None of the 2 listed audio files"):
        ready(MTAT(str(root))).train_set()


def test_audio_is_found_in_a_folder_of_its_own(tmp_path):
    root = write_mtat(tmp_path / "set", n=2, seconds=0.3)
    for digit in "01":
        (root / "mp3").mkdir(exist_ok=True)
        (root / digit).rename(root / "mp3" / digit)
    assert MTAT(str(root)).index.audio == root / "mp3"


@pytest.mark.realdata
@real
def test_the_real_index_of_magnatagatune_splits_as_published(tmp_path):
    lines = Path(os.environ["QUINTET_DATA"], "mtat/index_mtt.tsv").read_text().splitlines()
    paths = [line.split("\t")[1] for line in lines]
    root = write_annotations(tmp_path, published("mtat"), [(path, {"guitar"}) for path in paths])
    data = MTAT(str(root), subset="full")
    assert np.bincount(data.index.split).tolist() == [18_709, 1_825, 5_329]
    folders = [1108, 1543, 1562, 1238, 2421, 1604, 1788, 1163, 1144, 1773, 1417, 1948, 1825, 1677, 1547, 2105]
    assert [sum(path[0] == f"{i:x}" for path in data.index.paths) for i in range(16)] == folders
    assert data.remarks()["test_artists"] == 75
    assert data.remarks()["test_artists_also_in_train"] == 45
