"""`--config NAME`: rows of the suite by name or by their path in the repository, from any folder."""

import os
from pathlib import Path

import pytest
import yaml

from datamodules.common.errors import DataError
from tasks.cli.arguments import row_of
from tasks.cli.configs import CONFIGS, config_file, with_config_files
from tasks.tagging.__main__ import TASK
from tests.helpers.commands import command, tagging

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_configs_of_a_clone_are_those_beside_the_packages():
    assert (ROOT / "configs").samefile(CONFIGS)


@pytest.mark.parametrize("name", ["tiny", "configs/tagging/tiny.yaml", str(ROOT / "configs/tagging/tiny.yaml")])
def test_a_name_and_a_path_are_one_row(name):
    words = with_config_files("tagging", ["fit", "--config", name, "--config=wandb", "--data.root", "tiny"])
    assert words[-2:] == ["--data.root", "tiny"]
    assert Path(words[2]).samefile(ROOT / "configs/tagging/tiny.yaml")
    assert Path(words[3].removeprefix("--config=")).samefile(ROOT / "configs/wandb.yaml")
    assert row_of(TASK, words) == "tiny"


def test_files_of_the_working_folder_come_first(tmp_path):
    (tmp_path / "configs/tagging").mkdir(parents=True)
    for name in ("tiny", "configs/tagging/tiny.yaml"):
        assert config_file("tagging", name) != name
        (tmp_path / name).write_text("{}")
        assert config_file("tagging", name) == name


def test_a_folder_of_that_name_hides_no_row(tmp_path):
    (tmp_path / "wandb").mkdir()
    assert config_file("sed", "wandb") == str(CONFIGS / "wandb.yaml")


def test_settings_in_place_of_a_name_are_left_to_the_parser():
    for text in ("trainer: {max_epochs: 1}", "{}", "trainer:\n  max_epochs: 1", "--name"):
        assert config_file("tagging", text) == text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are files on POSIX alone")
def test_a_pipe_is_left_to_the_parser(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert config_file("tagging", "pipe") == "pipe"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("mtat_spec_at", "mtat_spec_att"),
        ("configs/tagging/mtat_spec_at.yaml", "mtat_spec_att"),
        ("wanb", "wandb"),
        ("x" * 5000, "lists the rows"),
    ],
    ids=["name", "path", "shared", "long"],
)
def test_unknown_names_are_refused_with_the_nearest(name, nearest):
    with pytest.raises(DataError, match=f"^unknown config .* for tagging: .*{nearest}"):
        config_file("tagging", name)


def test_a_row_by_name_is_what_is_parsed(tmp_path):
    done = tagging("fit", "--config", "tiny", "--config", "wandb", "--print_config")
    assert done.code == 0, done.err
    written = yaml.safe_load(done.out)
    assert written["model"]["net"]["init_args"]["back_end"]["init_args"]["feed_forward"] == 32
    assert written["trainer"]["logger"]["class_path"] == "tasks.callbacks.WandbRun"


def test_an_unknown_row_is_one_sentence(tmp_path):
    for words in (("fit", "--config", "tinny"), ("fit", "--config=tinny", "--seeds", "2")):
        done = command("sed", *words, "--runs", tmp_path / "runs")
        assert done.code == 2
        assert "did you mean tiny" in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
