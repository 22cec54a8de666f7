"""Options that every data set shares, written once: each class has them, a checkpoint keeps them, wrong ones are refused."""

import pytest
from jsonargparse import ArgumentParser

import datamodules
from datamodules.common.base import SuiteDataModule

CLASSES = ("MTAT", "MSD", "Jamendo", "Folder", "TaggingDemo")
CLASSES += ("MUSDBHQ", "MUSDB18", "StemFolder", "LoopSessions", "SeparationDemo")
SHARED = {"batch_size": 16, "batch_scope": "global", "num_workers": 0, "seed": 0, "strict": False, "cache_dir": None}


@pytest.mark.parametrize("path", CLASSES)
def test_each_data_set_has_the_options_of_all(path, capsys):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(SuiteDataModule, "data")
    options = parser.parse_args(["--data", f"datamodules.{path}"]).data.init_args.as_dict()
    assert SHARED.items() <= options.items() and options["root"] is None
    with pytest.raises(SystemExit):
        parser.parse_args([f"--data.help=datamodules.{path}"])
    said = " ".join(capsys.readouterr().out.split())
    assert "folder of the data set (type: str | null" in said and "scope of batch_size: `global` or `rank`" in said


@pytest.mark.parametrize("path", CLASSES)
def test_a_checkpoint_would_keep_every_option(path):
    kept = dict(getattr(datamodules, path)(batch_size=3, strict=True).hparams)
    assert SHARED.keys() <= kept.keys() and (kept["batch_size"], kept["strict"], kept["root"]) == (3, True, None)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"num_workers": -1}, {"eval_batch_size": 0}])
def test_impossible_numbers_are_refused_by_name(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} .*{next(iter(options.values()))}"):
        datamodules.MTAT("somewhere", **options)
