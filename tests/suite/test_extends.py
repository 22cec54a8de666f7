"""`extends` of configs, and departures of a run from its row: resolved, recorded at launch, shown by `compare`."""

import json
from pathlib import Path

import pytest
import yaml

from datamodules.common.errors import DataError
from tasks.cli.configs import CONFIGS, parents, parsed_config, with_parents
from tasks.cli.departures import departures, note
from tasks.reporting.comparison import read_result
from tests.helpers.commands import command, tagging

ROOT = Path(__file__).parents[2]
MODULE = "tasks.tagging.module.TaggingModule"
TINY = ROOT / "configs" / "tagging" / "tiny.yaml"


def write(folder: Path, **texts: str) -> list[Path]:
    paths = [folder / f"{name}.yaml" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths


def printed(*words: object, task: str = "tagging") -> dict:
    done = command(task, "fit", *words, "--print_config")
    assert done.code == 0, done.err
    return yaml.safe_load(done.out)


def test_parents_come_outermost_first_and_once(tmp_path):
    a, b, c, d = write(tmp_path, a="x: 1", b="extends: a.yaml", c="extends: a.yaml\nx: 2", d="extends: [b.yaml, c.yaml]")
    assert parents(a) == []
    assert parents(b) == [a]
    assert parents(d) == [a, b, c]


def test_the_key_is_cut_from_the_text_that_the_parser_reads(tmp_path):
    a, b = write(tmp_path, a="x: 1  # as it is\n", b="# B\nextends: a.yaml\nx: 1.0e-3\n")
    c, d = write(tmp_path, c="x: 2\nextends:\n  - b.yaml\n", d="extends: c.yaml")
    parsed = [parsed_config(path, MODULE) for path in (a, b, c, d)]
    assert parsed[0] == str(a) and parsed[1].startswith("# B\n")
    assert [yaml.safe_load(text) for text in parsed[1:]] == [{"x": 1.0e-3}, {"x": 2}, {}]
    inherited, words = with_parents(["fit", "--config", str(b), f"--config={c}", "--x", "3"], MODULE)
    assert inherited == parsed[:2]  # b is a parent too, of c: it comes before all that was typed
    assert words == ["fit", "--config", parsed[1], f"--config={parsed[2]}", "--x", "3"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: b.yaml", "extends b.yaml, which does not exist"),
        ("extends: a.yaml", "a.yaml extends itself"),
        ("extends: {a: b}", "expected a file or a list of files"),
        ("extends: [1]", "expected a file or a list of files"),
        ("# A diff on b.yaml: shorter\nx: 1", "add the line `extends: b.yaml`"),
    ],
)
def test_what_cannot_be_extended_is_one_sentence(text, words, tmp_path, monkeypatch):
    (path,) = write(tmp_path, a=text)
    with pytest.raises(DataError) as error:
        parents(path)
    assert str(path) in str(error.value) and words in str(error.value)
    done = tagging("fit", "--config", path)
    assert (done.code, done.err.count("\n")) == (2, 1) and words in done.err


def test_a_cycle_over_two_files(tmp_path):
    a, _ = write(tmp_path, a="extends: b.yaml", b="extends: a.yaml")
    with pytest.raises(DataError, match=r"extends itself: remove it from the key `extends` of b\.yaml"):
        parents(a)


def test_every_config_of_the_command_line_is_resolved(tmp_path):
    """Also the second one, and a config of the user's own that extends one of the suite's by its path."""
    row = ROOT / "configs" / "alignment" / "vienna_cqt_da.yaml"
    net, epochs = "models.alignment.FrameNet", 4
    alone = printed("--config", row, task="alignment")
    assert (alone["model"]["net"]["class_path"], alone["trainer"]["max_epochs"]) == (net, epochs)
    assert printed("--config", ROOT / "configs" / "wandb.yaml", "--config", row, task="alignment")["model"] == alone["model"]
    (own,) = write(tmp_path, own="extends: configs/alignment/vienna_cqt_da.yaml\ntrainer: {max_epochs: 2}\n")
    mine = printed("--config", own, task="alignment")
    assert mine["model"] == alone["model"] and mine["trainer"] == alone["trainer"] | {"max_epochs": 2}


def test_options_before_a_config_are_not_lost_to_its_parents(tmp_path):
    (own,) = write(tmp_path, own=f"extends: {TINY}\ntrainer: {{max_epochs: 2}}\n")
    assert printed("--data.batch_size", "5", "--config", own)["data"]["init_args"]["batch_size"] == 5


def test_headline_rows_stand_in_one_file():
    """A row that base.yaml would train as it is says all of it, so that the experiment is read in one place."""
    for name in ("tagging/mtat_spec_att", "sed/spectral", "separation/p", "alignment/scnn_cqt"):
        row, base = (yaml.safe_load((CONFIGS / path).read_text()) for path in (f"{name}.yaml", f"{name.split('/')[0]}/base.yaml"))
        assert row == base


ROW = {
    "model": {"net": {"class_path": "m.Spec", "init_args": {"heads": 8, "layers": 2}}, "optimizer": {"class_path": "torch.Adam"}},
    "data": {"class_path": "d.MTAT", "init_args": {"root": None, "batch_size": 16, "num_workers": 4, "policy": "won16"}},
    "trainer": {"max_epochs": 120, "limit_train_batches": None, "precision": None, "callbacks": []},
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"data": {"class_path": "d.MTAT", "init_args": ROW["data"]["init_args"] | {"root": "x", "num_workers": 0}}}, ""),
        ({"trainer": ROW["trainer"] | {"limit_train_batches": 1.0, "devices": 2, "callbacks": None}}, ""),
        ({"trainer": ROW["trainer"] | {"limit_train_batches": 1, "precision": "bf16-mixed"}},
         "trainer.limit_train_batches=1, trainer.precision=bf16-mixed"),
        ({"model": ROW["model"] | {"net": {"class_path": "m.CNN_P", "init_args": {"width": 3}}}}, "model.net=CNN_P"),
        ({"model": ROW["model"] | {"optimizer": {"class_path": "torch.SGD"}}}, "model.optimizer=SGD"),
        ({"model": ROW["model"] | {"net": {"class_path": "m.Spec", "init_args": {"heads": 8, "layers": [1, 2]}}}},
         "model.net.layers=[1, 2]"),
        ({"data": {"class_path": "d.Folder", "init_args": {"batch_size": 4, "drawn_by": "name"}}}, "data.batch_size=4"),
        ({"trainer": ROW["trainer"] | {"callbacks": [{"class_path": "c.Stop"}]}}, 'trainer.callbacks=[{"class_path": "c.Stop"}]'),
    ],
)  # fmt: skip
def test_departures_are_of_any_kind(changes, words):
    assert note(departures(ROW, ROW | changes)) == words


def test_a_run_records_and_compare_shows_how_it_departs(tmp_path, capsys):
    """Also where another class stands under the name of a row, and after a `test` with other options."""
    own = tmp_path / "mine" / "tiny.yaml"
    own.parent.mkdir()
    optimizer = "{class_path: torch.optim.SGD, init_args: {lr: 0.01}}"
    own.write_text(f"extends: {TINY}\nmodel: {{optimizer: {optimizer}}}\n")
    options = ("--runs", tmp_path, "--report.gallery", "false")
    short = ("--trainer.max_epochs", 1, "--trainer.enable_progress_bar", "false")
    done = tagging("fit", "--config", own, "--name", "a", *short, *options)
    assert done.code == 0, done.err
    result = read_result(tmp_path / "tagging" / "a", "tagging")
    assert result.row == "tiny" and set(result.departures) == {"model.optimizer.class_path", "trainer.max_epochs"}
    assert result.departures["model.optimizer.class_path"] == ["torch.optim.AdamW", "torch.optim.SGD"]
    again = tagging("test", "--ckpt_path", tmp_path / "tagging" / "a", *options)
    assert again.code == 0, again.err
    assert read_result(tmp_path / "tagging" / "a", "tagging").departures == result.departures
    printed = tagging("compare", tmp_path / "tagging" / "a", "--out", tmp_path / "out").out
    assert "tiny [trainer.max_epochs=1, model.optimizer=SGD]" in printed


def test_results_of_earlier_versions_say_that_nothing_was_recorded(tmp_path):
    content = {"task": "tagging", "row": "tiny", "seed": 0, "metrics": {}, "data": {}}
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    assert note(read_result(tmp_path, "tagging").departures) == "settings not recorded: run `test` again"
    (tmp_path / "metrics.json").write_text(json.dumps(content | {"departures": {"x": 1}}))
    with pytest.raises(DataError, match=r"is not a metrics\.json written by `test`"):
        read_result(tmp_path, "tagging")
