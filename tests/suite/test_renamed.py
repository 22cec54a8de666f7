"""Names of earlier versions in checkpoints, configs and on the command line: read as those of today."""

import pytest
import torch
import yaml

import tasks
from tasks.callbacks.storage import DurableIO
from tasks.cli import renamed
from tests.helpers.checkpoints import content_of, write
from tests.helpers.commands import tagging

MODULE = "tasks.tagging.module.TaggingModule"


@pytest.fixture
def tables(monkeypatch):
    """The back end, one of its arguments, one of the module's, weights and a callback, as if they had been renamed."""
    monkeypatch.setattr(renamed, "CLASS_PATHS", {"models.tagging.OldAtt": "models.tagging.Att"})
    monkeypatch.setattr(renamed, "ARGUMENTS", {"models.tagging.Att": {"storeys": "layers"}, MODULE: {"criterion": "loss"}})
    monkeypatch.setattr(renamed, "STATE_KEYS", {"tagging": [(r"^net\.behind\.", "net.back_end.")]})
    monkeypatch.setattr(renamed, "CALLBACK_STATES", {"OldCheckpoint": "Checkpoint"})


def aged(content: dict) -> dict:
    """A checkpoint as the version before the renaming wrote it."""
    text = yaml.safe_dump(content["hyper_parameters"]).replace("models.tagging.Att", "models.tagging.OldAtt")
    settings = yaml.safe_load(text.replace("layers:", "storeys:"))
    settings["criterion"] = settings.pop("loss")
    state = {key.replace("net.back_end.", "net.behind."): value for key, value in content["state_dict"].items()}
    return content | {"hyper_parameters": settings, "state_dict": state, "callbacks": {"OldCheckpoint{'x': 1}": {"best": 0.5}}}


def test_a_checkpoint_of_before_is_the_same_network(tables, tmp_path):
    content = content_of("tagging")
    old = aged(content)
    assert "net.behind." in str(old["state_dict"].keys()) and "storeys" in str(old["hyper_parameters"])
    module = tasks.load(write(old, tmp_path / "old.ckpt"))
    today = tasks.load(write(content, tmp_path / "today.ckpt"))
    assert repr(module) == repr(today)
    for name, value in today.state_dict().items():
        assert torch.equal(module.state_dict()[name], value)
    assert list(module.state_dict()) == list(today.state_dict())


def test_the_trainer_reads_it_likewise(tables, tmp_path):
    """Weights in their order, and the states of callbacks: on a miss Lightning only warns."""
    content = content_of("tagging")
    path = write(aged(content), tmp_path / "old.ckpt")
    for mapped in (False, True):
        storage = DurableIO()
        storage.mapped = mapped
        loaded = storage.load_checkpoint(path, weights_only=True)
        assert list(loaded["state_dict"]) == list(content["state_dict"])
        assert loaded["callbacks"] == {"Checkpoint{'x': 1}": {"best": 0.5}}
        assert loaded["hyper_parameters"] == content["hyper_parameters"]


def test_configs_and_options_of_before(tables, tmp_path):
    back_end = "{class_path: models.tagging.OldAtt, init_args: {storeys: 3}}"
    config = tmp_path / "own.yaml"
    model = f"{{criterion: null, net: {{init_args: {{back_end: {back_end}}}}}}}"
    config.write_text(f"extends: configs/tagging/tiny.yaml\nmodel: {model}\n")
    done = tagging("fit", "--config", config, "--model.criterion", "torch.nn.BCEWithLogitsLoss", "--print_config")
    assert done.code == 0, done.err
    model = yaml.safe_load(done.out)["model"]
    assert model["net"]["init_args"]["back_end"]["class_path"] == "models.tagging.Att"
    assert model["net"]["init_args"]["back_end"]["init_args"]["layers"] == 3
    assert model["loss"]["class_path"] == "torch.nn.BCEWithLogitsLoss"


def test_what_has_todays_name_wins(tables):
    assert renamed.renamed_arguments({"storeys": 1, "layers": 2}, "models.tagging.Att") == {"layers": 2}


def test_without_renamed_parts_nothing_changes():
    content = content_of("tagging") | {"callbacks": {"Checkpoint{'x': 1}": {}}}
    again = renamed.renamed_checkpoint(content, "tagging", MODULE)
    assert again == content and again["state_dict"] is content["state_dict"]


def test_weights_within_the_states_of_callbacks():
    weights = {"net.storeys.0.weight": 1, "net.head.heard.0.weight": 2, "net.out.weight": 3}
    content = {"state_dict": dict(weights), "callbacks": {"OptimizerSwitch": {"best_weights": dict(weights)}, "Other": None}}
    today = renamed.renamed_checkpoint(content, "generation", "tasks.generation.module.GenerationModule")
    names = ["net.layers.0.weight", "net.head.embeddings.0.weight", "net.out.weight"]
    assert list(today["state_dict"]) == list(today["callbacks"]["OptimizerSwitch"]["best_weights"]) == names


def test_settings_that_nothing_reads_are_dropped():
    """The number of cells above which DTW once was inexact."""
    module = "tasks.alignment.module.AlignmentModule"
    settings = {"steps": "unit", "inference": {"jump_s": 3.0, "exact_cells": 1.5e9}}
    kept = {"steps": "unit", "inference": {"jump_s": 3.0}}
    assert renamed.renamed_config({"model": settings}, module) == {"model": kept}
    checkpoint = renamed.renamed_checkpoint({"hyper_parameters": settings}, "alignment", module)
    assert checkpoint["hyper_parameters"] == kept
