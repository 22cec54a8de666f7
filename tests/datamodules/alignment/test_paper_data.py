"""The paper's three sets as one, and Vienna's performances rendered, on tiny trees in the real layouts."""

import numpy as np
import pytest

from datamodules.alignment.rendered import Vienna
from datamodules.alignment.sets import PaperData
from datamodules.common.errors import DataError
from tests.helpers import score_layouts
from tests.helpers.numbered_recordings import counted


@pytest.fixture(scope="module")
def three_sets(tmp_path_factory):
    """Folders of MAPS, SMD and the Mazurkas."""
    pytest.importorskip("partitura")
    folder = tmp_path_factory.mktemp("paper")
    score_layouts.write_maps(folder / "maps", pieces=[f"p{k}" for k in range(10)])
    score_layouts.write_smd(folder / "smd")
    beats = {f"Chopin_Op0{op}No2_A-1950_pid{op}-01": score_layouts.onsets_of(op, 24) for op in (24, 30)}
    score_layouts.write_mazurkas(folder / "mazurka", beats)
    return folder


def paper(folder, cache, **options) -> PaperData:
    named = {"root": folder / "maps", "smd": folder / "smd", "mazurka": folder / "mazurka"} | options
    named = {name: str(path) if path else None for name, path in named.items()}
    return counted(PaperData(**named, split="recording", cache_dir=str(cache)))


def test_the_paper_trains_on_maps_and_smd_and_tests_on_mazurkas(three_sets, cache):
    data = paper(three_sets, cache)
    names = {split: [pair.name for pair in data.listed(split)] for split in ("train", "validation", "test")}
    assert all("MAPS" in name or name.endswith("-SMD") for name in names["train"] + names["validation"])
    assert {name.endswith("-SMD") for name in names["train"]} == {True, False}
    assert (len(names["train"]), len(names["validation"])) == (16 + 3, 4 + 2), "four fifths and one, as near as few come"
    assert names["test"] == ["Chopin_Op024No2_A-1950_pid24-01", "Chopin_Op030No2_A-1950_pid30-01"]
    assert data.remarks() == {"training_and_validation": 25, "in_the_paper": 288} and data.name == "mazurka"
    (first, _) = data.evaluated("test")
    np.testing.assert_allclose(first.truth(), np.stack([np.arange(24) * 0.5, score_layouts.onsets_of(24, 24)], 1), atol=1e-9)
    assert first.score.curve is None, "its score has a tempo of its own"
    assert data.evaluated("validation")[0].score.curve is not None


def test_the_paper_can_train_without_smd_and_mazurkas(three_sets, cache):
    data = paper(three_sets, cache, smd=None, mazurka=None)
    assert len(data.listed("train")) == 16
    with pytest.raises(DataError, match="mazurka has no recording for the test split in") as error:
        data.test_set()
    assert "python -m tasks.alignment prepare --data datamodules.PaperData" in str(error.value)


@pytest.mark.parametrize("option", ["root", "smd", "mazurka"])
def test_a_missing_folder_is_one_sentence(three_sets, cache, tmp_path, option):
    with pytest.raises(DataError, match=rf"nowhere is not a folder: --data\.{option} must name ") as error:
        paper(three_sets, cache, **{option: tmp_path / "nowhere"}).listed("train")
    assert "\n" not in str(error.value)


def test_no_folder_is_one_sentence():
    with pytest.raises(DataError, match=r"--data\.root is required: MAPS"):
        PaperData().listed("train")


@pytest.fixture(scope="module")
def vienna_root(tmp_path_factory):
    pytest.importorskip("partitura")
    return score_layouts.write_vienna(tmp_path_factory.mktemp("vienna"), pianists=4)


def vienna(root, cache, **options) -> Vienna:
    return counted(Vienna(str(root), **{"test_piece": "Chopin_op38", "validating": 20, "cache_dir": str(cache)} | options))


def test_vienna_tests_another_piece_in_another_voice(vienna_root, cache):
    data = vienna(vienna_root, cache)
    found = {split: data.listed(split) for split in ("train", "validation", "test")}
    assert {pair.piece for pair in found["test"]} == {"Chopin_op38"} and len(found["test"]) == 4
    assert [pair.name[-3:] for pair in found["train"]] == ["p01", "p02"] * 2
    assert [pair.name[-3:] for pair in found["validation"]] == ["p03", "p04"] * 2
    for pair in found["test"]:
        assert (pair.performance.program, pair.performance.worse) == (1, "shellac") and 0 < abs(pair.performance.cents) <= 30
        pianist = int(pair.name[-2:])
        np.testing.assert_allclose(pair.truth()[:, 1], score_layouts.vienna_ticks(pianist) / 960, atol=1e-9)
    assert all(pair.performance.worse is None and pair.performance.cents == 0 for pair in found["train"])
    assert data.subset == "Chopin_op38, embedded bright piano, shellac"
    item = data.test_set()[0]
    assert item.performance[0, 0].tolist() == list(range(item.performance.shape[-1])) and not item.performance[0, 1].any()


def test_vienna_trains_each_performance_in_several_voices(vienna_root, cache, tmp_path, caplog):
    data = vienna(
        vienna_root, cache, voices=3, training=1, fonts=[str(tmp_path / "no.sf2")], test_fonts=[str(tmp_path / "no.sf2")]
    )
    assert data.fonts == ["embedded"] and data.test_font is None
    assert sum("no.sf2 not found" in record.getMessage() for record in caplog.records) == 2
    pairs = data.training_pairs()
    assert len({pair.name for pair in pairs}) == len(pairs) == 6
    assert all(pair.midi.stem.endswith("p01") and pair.score.path == pair.midi for pair in pairs)
    by_midi = {pair.midi: [one.performance.program for one in pairs if one.midi == pair.midi] for pair in pairs}
    assert all(set(programs) == {0, 1} for programs in by_midi.values())


def test_vienna_in_tune_and_undamaged(vienna_root, cache, tmp_path):
    from datamodules.audio.render import soundfont

    font = tmp_path / "grand.sf2"
    font.symlink_to(soundfont())
    data = vienna(vienna_root, cache, test_worse=None, test_fonts=[str(font)])
    sound = data.listed("test")[0].performance
    assert (sound.font, sound.worse, sound.cents) == (str(font), None, 0.0)
    assert data.subset == "Chopin_op38, grand, undamaged"
