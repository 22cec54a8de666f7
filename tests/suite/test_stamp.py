"""Stamp of a checkpoint: version and format of the suite that wrote it."""

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from datamodules.common.errors import DataError
from tasks.cli import checkpoints, registry
from tasks.cli.checkpoints import Stamp
from tests.helpers.toy import train

VERSION = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"]


def test_a_checkpoint_says_which_version_wrote_it_and_in_which_format(tmp_path):
    train(tmp_path, max_epochs=1, callbacks=(Stamp("toy", "row"),))
    stamp = checkpoints.stamp(tmp_path / "checkpoints" / "last.ckpt", "toy")
    assert (stamp["task"], stamp["row"]) == ("toy", "row")
    assert (stamp["version"], stamp["format"]) == (VERSION, checkpoints.FORMAT)


@pytest.mark.parametrize(
    ("version", "shown"), [("9.1.0", "quintet 9.1.0"), ("\x1b[2J", "a later version of"), (None, "a later version of")]
)
def test_a_newer_format_is_refused_with_the_version_to_install(version, shown, tmp_path):
    stamp = {"task": "renamed", "format": checkpoints.FORMAT + 1, "version": version}
    torch.save({"state_dict": {}, "quintet": stamp}, tmp_path / "newer.ckpt")
    with pytest.raises(DataError) as refusal:
        checkpoints.read(tmp_path / "newer.ckpt", "toy")
    assert f"quintet {VERSION} reads formats up to {checkpoints.FORMAT}: install" in str(refusal.value)
    assert shown in str(refusal.value) and "\x1b" not in str(refusal.value)


def test_a_checkpoint_from_before_formats_is_read(tmp_path):
    stamp = {"task": "toy", "row": "row", "seed": 3}
    torch.save({"state_dict": {}, "quintet": stamp}, tmp_path / "older.ckpt")
    assert checkpoints.stamp(tmp_path / "older.ckpt", "toy") == stamp


def test_the_version_is_the_clones_else_the_installs(tmp_path, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    read = registry.suite_version.__wrapped__
    assert read() == VERSION
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'another'\nversion = '7'\n")
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    monkeypatch.setattr(registry, "version", lambda name: "1.2.3")
    assert read() == "1.2.3"
    monkeypatch.setattr(registry, "version", missing)
    assert read() == "unknown"
