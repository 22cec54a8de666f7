"""MTG-Jamendo: TSV files of variable width, five splits, two audio folders."""

import pytest

from datamodules.common.errors import DataError
from datamodules.tagging.jamendo import Jamendo
from tests.helpers.layouts import JAMENDO_TAGS, write_jamendo
from tests.helpers.tagging_batches import ready


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("split", [0, 4])
def test_jamendo_tsv_of_variable_width(tmp_path, split, low):
    root = write_jamendo(tmp_path, n=8, split=split, low=low, seconds=0.2)
    index = Jamendo(str(root), split=split).index
    assert index.tags == JAMENDO_TAGS == sorted(JAMENDO_TAGS)
    assert index.split.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    row = 0
    widths = set()
    for name in ("train", "validation", "test"):
        lines = (root / f"data/splits/split-{split}/autotagging_top50tags-{name}.tsv").read_text().splitlines()[1:]
        for line in lines:
            cells = line.split("\t")
            widths.add(len(cells))
            assert {tag for tag, on in zip(index.tags, index.labels[row], strict=True) if on} == set(cells[5:])
            assert index.paths[row] == (cells[3].replace(".mp3", ".low.mp3") if low else cells[3])
            row += 1
    assert len(widths) > 1
    assert len(ready(Jamendo(str(root), split=split)).files.present) == 8


def test_jamendo_other_subsets_bring_their_own_tags(tmp_path):
    root = write_jamendo(tmp_path, n=4, seconds=0.1)
    folder = root / "data/splits/split-0"
    for name in ("train", "validation", "test"):
        text = (folder / f"autotagging_top50tags-{name}.tsv").read_text()
        (folder / f"autotagging-{name}.tsv").write_text(text.rstrip("\n") + "\tgenre---zydeco\n")
    assert "genre---zydeco" in Jamendo(str(root), subset="all").tags
    with pytest.raises(DataError, match="autotagging_genre-train"):
        _ = Jamendo(str(root), subset="genre").tags


def test_jamendo_says_what_is_wrong(tmp_path):
    root = write_jamendo(tmp_path, n=4, seconds=0.1)
    with pytest.raises(ValueError, match="splits 0 to 4"):
        Jamendo(str(root), split=5)
    with pytest.raises(DataError, match="split-3"):
        _ = Jamendo(str(root), split=3).tags
    path = root / "data/splits/split-0/autotagging_top50tags-test.tsv"
    path.write_text(path.read_text() + "track_1\tartist_1\talbum_1\t01/1.mp3\t9.0\n")
    with pytest.raises(DataError, match=r"test\.tsv, line 3"):
        _ = Jamendo(str(root)).tags
    path.write_text("id\tpath\n")
    with pytest.raises(DataError, match="does not begin with TRACK_ID"):
        _ = Jamendo(str(root)).tags
