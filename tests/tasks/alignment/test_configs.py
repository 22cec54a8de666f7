"""Rows of alignment train a step and validates on tiny sets in the real layouts; each says the paper's number."""

import shlex
from pathlib import Path

import pytest
import torch
import yaml

from models.alignment.salience import DeepSalience
from tasks.alignment import paper
from tasks.cli.configs import parents
from tests.helpers import score_layouts
from tests.helpers.commands import command
from tests.helpers.short_sets import write_short_maps, write_short_vienna
from tests.helpers.trained_rows import one_of_each_class

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs" / "alignment"
ROWS = sorted(path for path in CONFIGS.glob("*.yaml") if path.stem not in ("base", "default") and "tiny" not in path.stem)
SMALL = {"SCNN": {"channels": "[2,2,2,2]", "embedding": "4"}, "FrameNet": {"channels": "[2,2,2]"}, "MLP": {"hidden": "4"}}
QUICK = ("--data.items", "4", "--data.batch_size", "2", "--data.num_workers", "0", "--trainer.fast_dev_run", "true")
QUIET = ("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """What the words in the commands stand for."""
    pytest.importorskip("partitura", reason="reads scores, of the extra `score`")
    folder = tmp_path_factory.mktemp("sets")
    write_short_maps(folder / "MAPS")
    write_short_vienna(folder / "VIENNA4X22")
    for ending in (".wav", ".mid"):
        (folder / "SMD").mkdir(exist_ok=True)
        source = next((folder / "MAPS").rglob(f"*{ending}"))
        (folder / "SMD" / f"Ravel_JeuxDEau_008_20110315-SMD{ending}").write_bytes(source.read_bytes())
    score_layouts.write_mazurkas(folder / "MAZURKA", {"Chopin_Op024No2_A-1950_pid1-01": score_layouts.onsets_of(0, 24)})
    torch.manual_seed(0)
    torch.save(DeepSalience().state_dict(), folder / "weights.pt")
    return {name: str(folder / name) for name in ("MAPS", "VIENNA4X22", "SMD", "MAZURKA")} | {
        "multif0.h5": str(folder / "weights.pt")
    }


def words_of(path: Path, here: dict[str, str]) -> list[str]:
    """The command in a config's first line, its folders and weights those of the test."""
    first = path.read_text().splitlines()[0]
    assert first.startswith("# python -m tasks.alignment fit --config ")
    return [here.get(word, word) for word in shlex.split(first.removeprefix("# python -m tasks.alignment "))]


def network(path: Path) -> str:
    """Class name of a row's network, that of the config it extends where it names none."""
    for one in (path, *reversed(parents(path)), CONFIGS / "base.yaml"):
        content = yaml.safe_load(one.read_text()) or {}
        if found := content.get("model", {}).get("net", {}).get("class_path"):
            return found.rsplit(".", 1)[-1]
    raise AssertionError(f"{path} has no network")


@pytest.mark.parametrize("path", one_of_each_class(ROWS), ids=lambda path: path.stem)
def test_each_row_trains(path, here, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = words_of(path, here)
    small = SMALL.get(network(path), {})
    options = [word for name, value in small.items() for word in (f"--model.net.init_args.{name}", value)]
    done = command("alignment", *words, *QUICK, *QUIET, *options, "--runs", tmp_path)
    assert done.code == 0, done.err


@pytest.mark.parametrize("row", paper.TABLE2, ids=lambda row: row.config)
def test_each_row_of_the_table_has_a_config_that_says_its_numbers(row):
    second = (CONFIGS / f"{row.config}.yaml").read_text().splitlines()[1]
    matrix, numbers = ("distance", row.distance) if row.distance else ("binary", row.binary)
    said = " / ".join(map(str, numbers))
    assert second.startswith(f"# Table II, {row.system}") and f": {said} %" in second
    assert row.distance is None or row.binary is None or f"{matrix} matrix" in second


def test_the_table_is_the_papers():
    assert len(paper.TABLE2) == len({row.config for row in paper.TABLE2}) == 9
    best = paper.row_of("scnn_sal_da")
    assert (best.binary, best.distance) == ((69.4, 76.4, 81.2, 87.5), (71.7, 78.2, 83.3, 90.1))
    assert paper.row_of("vienna") is None
    for row in paper.TABLE2:
        for shares in filter(None, (row.binary, row.distance)):
            assert list(shares) == sorted(shares) and 60 < shares[0] < shares[3] < 95
        assert set(paper.columns(row)) == {
            f"{mode}_within_{ms}" for mode in ("binary", "distance") if getattr(row, mode) for ms in (25, 50, 100, 200)
        }


def settings_of(name: str) -> dict:
    """Settings of a row, nested, with those of base.yaml that it does not change."""

    def merged(base: dict, own: dict) -> dict:
        both = {key: merged(base[key], value) for key, value in own.items() if isinstance(base.get(key), dict)}
        return base | own | both

    return merged(*(yaml.safe_load((CONFIGS / file).read_text()) for file in ("base.yaml", name)))


def test_rows_with_data_augmentation_differ_in_it_alone():
    for plain, augmented in (("scnn_cqt", "scnn_cqt_da"), ("scnn_sal", "scnn_sal_da")):
        one, other = (settings_of(f"{name}.yaml") for name in (plain, augmented))
        augmentation = {"extra": 0.2, "cents": 30.0}
        assert other == one | {"data": one["data"] | {"init_args": one["data"]["init_args"] | augmentation}}
