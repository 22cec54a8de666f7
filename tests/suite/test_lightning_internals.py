"""Private symbols and messages of libraries that `lightning_internals` rests on: a failure names what a version changed."""

import ast
import importlib
import inspect
import re
import warnings
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import lightning_fabric
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from datamodules.common.base import replaces_sampler
from tasks.cli import lightning_internals
from tests.helpers.syntax_trees import syntax_tree

ROOT = Path(__file__).parents[2]
FILES = {"tasks/cli/lightning_internals.py", "datamodules/common/base.py"}
TUPLES = {"_replace", "_asdict", "_fields", "_field_defaults"}  # public parts of named tuples, whatever their names
PLAIN = {"_exit", "_foreach_norm", "_foreach_lerp_", "_check", "_version", "_core"}  # of os, torch and numpy: not Lightning's


class During(Callback):
    """Calls a function with the trainer in a hook of its training, and keeps what it returns."""

    def __init__(self, hook, call):
        self.found = []
        setattr(self, hook, lambda trainer, *args, **kwargs: self.found.append(call(trainer)))


def train(tmp_path, *callbacks, **options):
    """Train a model for four batches of one epoch; returns the trainer."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = pl.Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        callbacks=list(callbacks),
        **{"max_epochs": 1, "limit_train_batches": 4, "limit_val_batches": 0, **quiet} | options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(BoringModel())
    return trainer


def changed(symbol: str, library: str) -> str:
    return f"{library} {version(library)} has changed {symbol}: mend tasks/cli/lightning_internals.py or lower the upper bound"


def test_steps_accumulation_and_whole_epochs(tmp_path):
    open_windows = During("on_train_batch_end", lightning_internals.accumulates)
    steps = During("on_train_batch_end", lightning_internals.logged_steps)
    whole = During("on_train_epoch_end", lightning_internals.is_epoch_whole)
    train(tmp_path, open_windows, steps, whole, accumulate_grad_batches=2)
    assert open_windows.found == [True, False, True, False], changed("_FitLoop._should_accumulate", "pytorch-lightning")
    assert steps.found == [0, 0, 1, 1], changed("_TrainingEpochLoop._batches_that_stepped", "pytorch-lightning")
    assert whole.found == [True], changed("_TrainingEpochLoop._num_ready_batches_reached", "pytorch-lightning")
    cut = During("on_train_epoch_end", lightning_internals.is_epoch_whole)
    train(tmp_path, cut, max_steps=2)
    assert cut.found == [False], changed("_TrainingEpochLoop._num_ready_batches_reached", "pytorch-lightning")


def test_logged_steps_can_be_set(tmp_path):
    trainer = train(tmp_path)
    lightning_internals.set_logged_steps(trainer, 11)
    assert trainer.fit_loop.epoch_loop._batches_that_stepped == 11
    used = inspect.getsource(type(trainer.fit_loop.epoch_loop))
    assert "self._batches_that_stepped += 1" in used, changed("_TrainingEpochLoop._batches_that_stepped", "pytorch-lightning")


def test_a_restart_can_be_ended(tmp_path):
    loop = train(tmp_path).fit_loop
    loop.restarting = True
    lightning_internals.end_restart(SimpleNamespace(fit_loop=loop))
    assert loop.restarting is False, changed("_Loop._restarting", "pytorch-lightning")


def test_metrics_are_restored(tmp_path):
    trainer = train(tmp_path)
    lightning_internals.restore_metrics(trainer, {"val/x": torch.tensor(2.0)})
    assert trainer.callback_metrics["val/x"] == 2, changed("_LoggerConnector._callback_metrics", "pytorch-lightning")


def test_training_ends_after_the_batch(tmp_path):
    trainer = train(tmp_path, During("on_train_batch_end", lightning_internals.end_training), max_epochs=3)
    assert trainer.global_step == 1, changed("Trainer.should_stop", "pytorch-lightning")


def test_a_validation_that_is_left_counts_as_training(tmp_path):
    trainer = train(tmp_path)
    trainer.validating = True
    lightning_internals.leave_validation(trainer)
    assert trainer.training and not trainer.validating, changed("Trainer.training", "pytorch-lightning")


def test_optimizer_and_checkpoint_files_are_replaced(tmp_path):
    trainer = train(tmp_path)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    lightning_internals.replace_optimizer(trainer, optimizer)
    assert trainer.strategy.optimizers == [optimizer], changed("Trainer.optimizers", "pytorch-lightning")
    checkpoint_io = lightning_fabric.plugins.TorchCheckpointIO()
    lightning_internals.replace_checkpoint_io(trainer, checkpoint_io)
    assert trainer.strategy.checkpoint_io is checkpoint_io, changed("Strategy.checkpoint_io", "pytorch-lightning")


def test_lightning_installs_no_signal_handlers(tmp_path):
    calls = []
    keep = During("setup", lightning_internals.keep_signal_handlers)
    look = During("on_train_start", lambda trainer: calls.append(trainer._signal_connector._original_handlers))
    train(tmp_path, keep, look)
    assert calls == [{}], changed("_SignalConnector.register_signal_handlers", "pytorch-lightning")


def test_counters_in_a_checkpoint(tmp_path):
    trainer = train(tmp_path)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    loops = torch.load(tmp_path / "x.ckpt", weights_only=True)["loops"]["fit_loop"]
    for moment in ("step", "validation", "cut epoch"):
        lightning_internals.settle(loops, moment)
    lightning_internals.rewind(
        loops | {"epoch_loop.batch_progress": loops["epoch_loop.batch_progress"] | {"is_last_batch": False}}, 3
    )
    assert set(loops["epoch_loop.batch_progress"]["current"]) == {"ready", "started", "processed", "completed"}


def test_data_know_when_lightning_would_shard_them(tmp_path):
    trainer = train(tmp_path)
    connector = trainer._accelerator_connector
    for flag in (True, False):
        connector.use_distributed_sampler = flag
        found = replaces_sampler(SimpleNamespace(world_size=2, _accelerator_connector=connector))
        assert found is flag, changed("_AcceleratorConnector.use_distributed_sampler", "pytorch-lightning")
    used = inspect.getsource(importlib.import_module("pytorch_lightning.trainer.connectors.data_connector"))
    assert "_accelerator_connector.use_distributed_sampler" in used, changed("use_distributed_sampler", "pytorch-lightning")


def test_hyper_parameters_of_a_logger_are_plain():
    assert lightning_internals.plain_parameters(Namespace(a=1)) == {"a": 1}, changed("_convert_params", "lightning_fabric")
    assert lightning_internals.plain_parameters(None) == {}, changed("_convert_params", "lightning_fabric")


def test_rows_of_a_csv_log_are_written_once(tmp_path):
    writer = CSVLogger(tmp_path).experiment
    writer.log_metrics({"a": 1.0}, 0)
    assert writer.metrics == [{"a": 1.0, "step": 0}], changed("ExperimentWriter.metrics", "pytorch-lightning")
    lightning_internals.mark_written(writer, ["a", "step"])
    writer.save()
    assert not Path(writer.metrics_file_path).exists(), changed("ExperimentWriter.metrics", "pytorch-lightning")


def test_arguments_of_a_wandb_run_are_known_before_it_opens(tmp_path):
    logger = WandbLogger("name", tmp_path, offline=True)
    assert not lightning_internals.has_wandb_run(logger), changed("WandbLogger._experiment", "pytorch-lightning")
    assert lightning_internals.wandb_arguments(logger)["name"] == "name", changed("WandbLogger._wandb_init", "pytorch-lightning")
    used = inspect.getsource(WandbLogger)
    assert "wandb.init(**self._wandb_init)" in used, changed("WandbLogger._wandb_init", "pytorch-lightning")


@pytest.mark.parametrize("name", ["_get", "_dump_config", "_prepare_subcommand_parser", "_add_instantiators", "_parse_ckpt_path"])
def test_steps_of_the_command_line(name):
    assert callable(getattr(pl.cli.LightningCLI, name, None)), changed(f"LightningCLI.{name}", "pytorch-lightning")


@pytest.mark.parametrize("name", ["_datamodule_class", "_model_class"])
def test_classes_of_the_command_line(name):
    assert f"self.{name} =" in inspect.getsource(pl.cli.LightningCLI), changed(f"LightningCLI.{name}", "pytorch-lightning")


def test_the_module_is_built_by_an_instantiator():
    known = inspect.signature(pl.cli._InstantiatorFn.__call__).parameters
    assert list(known) == ["self", "class_type", "args", "applied_instantiation_links", "kwargs"], changed(
        "_InstantiatorFn.__call__", "pytorch-lightning"
    )
    used = inspect.getsource(pl.cli)
    for text in (lightning_internals.INSTANTIATOR, lightning_internals.CLASS_PATH, lightning_internals.INSTANTIATORS[0]):
        assert f'"{text}"' in used, changed(f"the key {text} of checkpoints", "pytorch-lightning")


def test_options_of_a_parser_and_its_subcommands():
    inner = pl.cli.LightningArgumentParser()
    inner.add_argument("--inner.x", type=int)
    outer = pl.cli.LightningArgumentParser()
    outer.add_argument("--outer")
    outer.add_subcommands().add_subcommand("verb", inner)
    names = lightning_internals.option_names(outer)
    assert {"inner.x", "outer"} <= names, changed("ArgumentParser._subcommands_action or ._actions", "jsonargparse")


def literals(module: str) -> str:
    """All texts in the source of a module, placeholders of f-strings as {}."""
    path = importlib.util.find_spec(module).origin
    texts = []
    for node in ast.walk(syntax_tree(Path(path))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
        elif isinstance(node, ast.JoinedStr):
            texts.append("".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values))
    return "\n".join(texts)


CONNECTORS, LOOPS = "pytorch_lightning.trainer.connectors.", "pytorch_lightning.loops."
WARNED = {
    "already saved during": "pytorch_lightning.utilities.parsing",
    "litlogger": CONNECTORS + "logger_connector.logger_connector",
    "many workers": CONNECTORS + "data_connector",
    "Checkpoint directory": "pytorch_lightning.callbacks.model_checkpoint",
    "logging interval": LOOPS + "fit_loop",
    "GPU available but": "pytorch_lightning.trainer.setup",
    "Experiment logs": "lightning_fabric.loggers.csv_logs",
    "LeafSpec": "torch.utils._pytree",
    "predict returned None": LOOPS + "prediction_loop",
    "across ranks": "pytorch_lightning.utilities.data",
    "No complete tensor": "torch.export.pt2_archive._package_weights",
    "not resumable": LOOPS + "training_epoch_loop",
    "sync_dist": CONNECTORS + "logger_connector.result",
    "srun": "lightning_fabric.plugins.environments.slurm",
    "self.log": "pytorch_lightning.core.module",
}
UNREADABLE = ("assigned during export", "buffer is not writable")  # written by templates or in C++
SAID = {
    "litlogger": CONNECTORS + "logger_connector.logger_connector",
    "TPU": "pytorch_lightning.trainer.setup",
    "GPU available: False": "pytorch_lightning.trainer.setup",
    "LOCAL_RANK": "pytorch_lightning.accelerators.cuda",
    "Trainer.fit": LOOPS + "fit_loop",
    "Restoring": CONNECTORS + "checkpoint_connector",
    "configure_callbacks": CONNECTORS + "callback_connector",
    "Seed set to": "lightning_fabric.utilities.seed",
}


@pytest.mark.parametrize("pattern", lightning_internals.NOISE)
def test_each_warning_that_is_silenced_is_one_that_a_library_gives(pattern):
    plain = pattern.replace("\\", "")
    if any(text in plain for text in UNREADABLE):
        return
    module = next((module for text, module in WARNED.items() if text in plain), None)
    assert module, f"name the module that gives it in WARNED: {pattern}"
    text = literals(module).replace("\n", " ").replace("{}", "DataLoader" if "across ranks" in plain else "True")
    assert re.search(pattern.removeprefix("(?s)"), text, re.IGNORECASE), changed(f"its warning {pattern!r} ({module})", "torch")


def test_a_buffer_that_is_not_writable_is_warned_of():
    with pytest.warns(UserWarning, match=next(pattern for pattern in lightning_internals.NOISE if "writable" in pattern)):
        torch.frombuffer(b"1234", dtype=torch.uint8)


@pytest.mark.parametrize("pattern", lightning_internals.TIPS)
def test_each_line_that_is_left_out_is_one_that_a_library_logs(pattern):
    plain = pattern.replace("\\d", "1")
    module = next((module for text, module in SAID.items() if text in plain), None)
    assert module, f"name the module that logs it in SAID: {pattern}"
    text = literals(module).replace("{}", "1" if "Seed" in plain else "False")
    assert re.search(pattern, text), changed(f"its line {pattern!r} ({module})", "pytorch-lightning")


def test_an_unknown_option_is_found_in_the_message():
    parser = pl.cli.LightningArgumentParser(exit_on_error=False)
    parser.add_argument("--known", type=int)
    for words, name in ((["--unknwon", "1"], "unknwon"), (["--known", "1", "--other.x", "2"], "other.x")):
        with pytest.raises(Exception, match=r".") as caught:
            parser.parse_args(words)
        assert lightning_internals.unknown_option(str(caught.value)) == name, changed(
            "its message of an unknown option", "jsonargparse"
        )


def test_an_error_of_the_parser_keeps_what_is_wrong():
    parser = pl.cli.LightningArgumentParser(exit_on_error=False)
    parser.add_argument("--x", type=int | None)
    with pytest.raises(Exception, match=r".") as caught:
        parser.parse_args(["--x", "few"])
    text = lightning_internals.in_plain_words(
        " ".join(lightning_internals.error_lines(str(caught.value))), lambda key: f"--{key}"
    )
    assert "expected a whole number" in text, changed("its message of a value of a wrong type", "jsonargparse")
    assert "Union" not in text and "Given" not in text, changed("its message of a value of a wrong type", "jsonargparse")


def test_weights_that_do_not_fit_are_said():
    with pytest.raises(RuntimeError) as caught:
        torch.nn.Linear(2, 2).load_state_dict(torch.nn.Linear(3, 2).state_dict())
    assert lightning_internals.weights_mismatch(caught.value).startswith("size mismatch for weight"), changed(
        "load_state_dict", "torch"
    )
    with pytest.raises(RuntimeError) as caught:
        torch.nn.Linear(2, 2).load_state_dict({})
    assert lightning_internals.weights_mismatch(caught.value).startswith("Missing key(s)"), changed("load_state_dict", "torch")
    assert lightning_internals.weights_mismatch(RuntimeError("something else")) is None


def test_what_a_file_asks_to_import_is_named(tmp_path):
    torch.save({"x": Path("y")}, tmp_path / "x.ckpt")
    with pytest.raises(Exception, match=r".") as caught:
        torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert (lightning_internals.refused_global(caught.value) or "").startswith("pathlib."), changed(
        "its refusal of a class", "torch"
    )


def test_an_old_file_cannot_stay_on_disk(tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.ckpt", _use_new_zipfile_serialization=False)
    with pytest.raises(RuntimeError) as caught:
        torch.load(tmp_path / "x.ckpt", weights_only=True, mmap=True)
    assert lightning_internals.is_without_mmap(caught.value), changed("torch.load(mmap=True)", "torch")


def test_the_reason_of_libsndfile(tmp_path):
    with pytest.raises(soundfile.LibsndfileError) as caught:
        soundfile.SoundFile(tmp_path / "x.mp3", "w", 96_000, 6)
    reason = lightning_internals.libsndfile_reason(caught.value)
    assert reason and "Error" not in reason and str(tmp_path) not in reason, changed("LibsndfileError", "soundfile")


def test_private_parts_of_other_objects_stand_in_one_file():
    wrong = []
    for path in (path for top in ("tasks", "datamodules", "models", "losses") for path in (ROOT / top).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(syntax_tree(path)) if name not in FILES else ():
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                own = ast.unparse(node.value) in ("self", "cls", "super()")
                if not own and node.attr not in TUPLES | PLAIN:
                    wrong.append(f"{name}:{node.lineno} {ast.unparse(node)}")
            if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] in LIBRARIES:
                wrong += [f"{name}:{node.lineno} {alias.name}" for alias in node.names if re.match("_[a-z]", alias.name)]
    assert not wrong, "move it to tasks/cli/lightning_internals.py:\n" + "\n".join(wrong)


LIBRARIES = {"pytorch_lightning", "lightning_fabric", "jsonargparse"}


def test_no_class_overrides_or_reads_private_parts_of_its_base_elsewhere():
    """Of Lightning and jsonargparse; torch's modules name private methods as hooks for subclasses."""
    wrong = set()
    for path in (ROOT / "tasks").rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        tree = syntax_tree(path)
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        used |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        if name in FILES or path.name == "__main__.py" or not any(re.match("_[a-z]", part) for part in used):
            continue
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                bases = [base for base in kind.__mro__ if base.__module__.split(".")[0] in LIBRARIES]
                theirs = {part for base in bases for part in [*vars(base), *assigned_in(base)] if re.match("_[a-z]", part)}
                own = {node.attr for node in ast.walk(class_node(tree, kind)) if is_own(node)}
                own |= {node.name for node in class_node(tree, kind).body if isinstance(node, ast.FunctionDef)}
                wrong |= {f"{name} {kind.__name__}.{part}" for part in theirs & own}
    assert not wrong, "move it to tasks/cli/lightning_internals.py:\n" + "\n".join(sorted(wrong))


def is_own(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "super()")


def class_node(tree: ast.Module, kind: type) -> ast.ClassDef:
    return next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == kind.__name__)


def assigned_in(base: type) -> set[str]:
    """Attributes that the methods of a class assign to `self`."""
    return set(re.findall(r"self\.(_[a-z]\w*)(?:: [^=\n]+)? = ", inspect.getsource(base)))
