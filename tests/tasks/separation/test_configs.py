"""Rows of separation train one step and validate on a tiny folder of MUSDB18-HQ's layout, giants at reduced width."""

import shlex
from pathlib import Path

import pytest
import yaml

from tasks.separation.paper import TABLES
from tests.helpers.commands import separation
from tests.helpers.stems import write_musdb_hq
from tests.helpers.trained_rows import one_of_each_class

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs/separation"
ROWS = sorted(
    path for path in CONFIGS.glob("*.yaml") if path.stem not in ("base", "default", "loops") and "tiny" not in path.stem
)
EIGHT = ("c1", "c1_bar", "c2", "c2_bar", "c3", "c3_bar", "c4", "p")
SMALL = {
    "UMX": {"hidden": 16, "layers": 1},
    "ConvTasNet": {"filters": 16, "bottleneck": 8, "hidden": 8, "blocks": 2, "repeats": 1},
    "Demucs": {"width": 4, "depth": 4},
    "HDemucs": {"width": 8},
    "HTDemucs": {"width": 8, "t_layers": 1, "t_heads": 2},
    "BSRoFormer": {"width": 8, "depth": 1, "heads": 1, "head_width": 8},
    "MetaTasNet": {
        "latents": 16,
        "width": 8,
        "hidden": 8,
        "layers": 2,
        "stacks": 1,
        "bands": 16,
        "embedding": 2,
        "bottleneck": 1,
    },
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_musdb_hq(tmp_path_factory.mktemp("musdb"), seconds=2.0)


def network(path):
    """Class name of a row's network; base.yaml's where the row names none."""
    net = (yaml.safe_load(path.read_text()).get("model") or {}).get("net") or {}
    return net.get("class_path", "models.separation.UMX").rsplit(".", 1)[-1]


@pytest.mark.parametrize("path", one_of_each_class(ROWS), ids=lambda path: path.stem)
def test_each_row_trains(path, root, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, verb, *words = shlex.split(path.read_text().splitlines()[0].removeprefix("# python -m "))
    words[words.index("--data.root") + 1] = str(root)
    small = [word for name, value in SMALL[network(path)].items() for word in (f"--model.net.{name}", str(value))]
    here = ["--data.batch_size", "2", "--data.seconds", "1.0", "--data.num_workers", "0", "--runs", str(tmp_path)]
    here += ["--data.samples_per_track", "1", "--trainer.accelerator", "cpu", "--trainer.enable_model_summary", "false"]
    quick = ["--trainer.enable_progress_bar", "false", "--trainer.fast_dev_run", "true", "--data.cache_dir", str(tmp_path)]
    done = separation(verb, *words, *small, *here, *quick)
    assert done.code == 0, done.err


def test_the_eight_rows_of_table_1_differ_in_three_switches_alone():
    """bridge, multi_domain and combination of each row, as its name in the paper says."""
    base = yaml.safe_load((CONFIGS / "base.yaml").read_text())["model"]
    found = {}
    for name in EIGHT:
        row = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        model = row["model"]
        if name != "p":  # which is written out
            assert set(row) == {"model"} and set(model) <= {"net", "loss"}
        net = base["net"]["init_args"] | model.get("net", {}).get("init_args", {})
        loss = base["loss"]["init_args"] | model.get("loss", {}).get("init_args", {})
        assert {**net, "bridge": None} == {**base["net"]["init_args"], "bridge": None}
        assert loss["alpha"] == 10.0
        found[name] = tuple(int(value) for value in (net["bridge"], loss["multi_domain"], loss["combination"]))
    crossed = {name: "bar" in name or name == "p" for name in EIGHT}
    assert all(found[name][0] == crossed[name] for name in EIGHT)
    assert [found[name][1:] for name in EIGHT] == [(0, 0), (0, 0), (1, 0), (1, 0), (0, 1), (0, 1), (1, 1), (1, 1)]


def test_the_papers_rows_and_the_configs_are_the_same():
    named = {row.config for table in TABLES for row in table.rows}
    assert named <= {path.stem for path in ROWS}
    assert set(EIGHT) | {"umx_official", "conv_tasnet", "meta_tasnet", "demucs"} == named
