"""Private parts of Lightning and jsonargparse, and message texts of other libraries, used nowhere else in `tasks`.

Upper bounds of their versions are in pyproject.toml. tests/suite/test_lightning_internals.py has a test for each symbol and
text, whose failure names the one that a new version has changed.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import yaml
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning_fabric.utilities.logger import _convert_params
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, _InstantiatorFn
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor
from torch.optim import Optimizer

# Command line


class SteppedCLI(LightningCLI):
    """LightningCLI with public methods in place of private steps.

    Lightning's reading of settings from a checkpoint is off, because the user's options must override them.
    """

    def data_class(self, subcommand: str | None) -> type[pl.LightningDataModule]:
        """Base class of the data modules of a subcommand, or of all subcommands (None)."""
        raise NotImplementedError

    def description(self, subcommand: str) -> str:
        """First line of a subcommand's help."""
        raise NotImplementedError

    def before_module(self) -> None:
        """Hook between the construction of the data and that of the module."""

    def option(self, name: str) -> Any:
        """Value of an option of the subcommand."""
        return self._get(self.config, name)

    def part(self, name: str) -> Any:
        """Object built for an option of the subcommand."""
        return self._get(self.config_init, name)

    def model_settings(self) -> dict[str, Any]:
        """Settings of the module as plain values, before construction."""
        self._dump_config()
        settings = self.config_dump["model"]
        del self.config_dump  # created again after the links between data and module are applied
        return settings

    def _dump_config(self) -> None:
        """Set `config_dump` as Lightning does, without validating again what has just been parsed."""
        if not hasattr(self, "config_dump"):
            text = self.parser.dump(self.config, skip_link_targets=False, skip_none=False, skip_validation=True)
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            self.config_dump = yaml.load(text, Loader=loader)[self.config.subcommand]

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        self._datamodule_class = self.data_class(subcommand)
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs | {"description": self.description(subcommand)})

    def _add_instantiators(self) -> None:
        self._datamodule_class = self.data_class(None)
        super()._add_instantiators()
        self.parser.add_instantiator(_ModuleInstantiator(cli=self, key="model"), self._model_class, subclasses=False)

    def _parse_ckpt_path(self) -> None:
        pass


class _ModuleInstantiator(_InstantiatorFn):
    def __call__(self, class_type: type, *args: Any, applied_instantiation_links: dict, **kwargs: Any) -> Any:
        self.cli.before_module()
        return super().__call__(class_type, *args, applied_instantiation_links=applied_instantiation_links, **kwargs)


def option_names(parser: LightningArgumentParser) -> set[str]:
    """Names of all options of a parser and its subcommands, without dashes."""
    inner = getattr(parser, "_subcommands_action", None)
    parsers = [parser, *(inner._name_parser_map.values() if inner else ())]
    return {option.lstrip("-") for each in parsers for action in each._actions for option in action.option_strings}


# Training loop


def accumulates(trainer: pl.Trainer) -> bool:
    """True inside an accumulation window: no optimizer step has followed the last batch."""
    return trainer.fit_loop._should_accumulate()


def logged_steps(trainer: pl.Trainer) -> int:
    """Number of optimizer steps (windows) counted for the loggers."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def set_logged_steps(trainer: pl.Trainer, steps: int) -> None:
    """Correct the loggers' count of optimizer steps, which is one too high after some resumes with `max_steps`."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = steps


def is_epoch_whole(trainer: pl.Trainer) -> bool:
    """True after the last batch of an epoch; False if `max_steps` ended it early."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def end_restart(trainer: pl.Trainer) -> None:
    """End the loop's restart state, in which it does not step plateau schedulers at the end of an epoch."""
    trainer.fit_loop._restarting = False


def restore_metrics(trainer: pl.Trainer, metrics: Mapping[str, Tensor]) -> None:
    """Restore `trainer.callback_metrics` from a checkpoint, because a finished run logs none when it is resumed."""
    trainer._logger_connector._callback_metrics.update(metrics)


def end_training(trainer: pl.Trainer) -> None:
    """Stop the loop after this batch, like early stopping."""
    trainer.should_stop = True


def leave_validation(trainer: pl.Trainer) -> None:
    """Return to the training state before an exit from validation, so that the training loader's workers end."""
    trainer.training = True


def replace_optimizer(trainer: pl.Trainer, optimizer: Optimizer) -> None:
    """Replace the only optimizer of a training."""
    trainer.optimizers = [optimizer]


def replace_checkpoint_io(trainer: pl.Trainer, checkpoint_io: CheckpointIO) -> None:
    """Replace the reader and writer of checkpoint files."""
    trainer.strategy.checkpoint_io = checkpoint_io


def keep_signal_handlers(trainer: pl.Trainer) -> None:
    """Prevent Lightning's signal handlers, which broadcast or save inside the handler and can hang."""
    trainer._signal_connector.register_signal_handlers = lambda: None


def settle(loops: dict[str, Any], moment: str | None) -> None:
    """Rewrite the counters of a checkpoint so that Lightning resumes exactly at the moment of the save.

    Args:
        loops: `checkpoint["loops"]["fit_loop"]`
        moment: "step": start of a batch; "validation": inside a validation, to be repeated; "cut epoch": `on_train_epoch_end`
            of an epoch that `max_steps` ended early; others need no change
    """
    if moment == "step":
        # Lightning has already tested whether the next batch is the last.
        loops["epoch_loop.batch_progress"]["is_last_batch"] = False
    for part in ("total", "current"):
        if moment == "step":
            batches = loops["epoch_loop.batch_progress"][part]
            batches["ready"] = batches["started"] = batches["processed"]
        elif moment == "validation":
            validation = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            loops["epoch_loop.val_loop.batch_progress"][part] = validation
        elif moment == "cut epoch":
            loops["epoch_progress"][part]["processed"] -= 1


def rewind(loops: dict[str, Any], window: int) -> None:
    """Move a checkpoint saved inside an accumulation window (by an exception) back to the window's start.

    The partial gradient of the window is not in the checkpoint, so its batches must be repeated.
    """
    progress = loops["epoch_loop.batch_progress"]
    done = progress["current"]["processed"]
    lost = done % window
    if progress["is_last_batch"] or not lost:
        return
    total = progress["total"]["processed"] - lost
    progress["total"] = dict.fromkeys(progress["total"], total)
    progress["current"] = dict.fromkeys(progress["current"], done - lost)


# Loggers


def plain_parameters(parameters: Any) -> dict[str, Any]:
    """Convert a logger's hyper-parameters to a dictionary."""
    return _convert_params(parameters)


def mark_written(writer: Any, columns: list[str]) -> None:
    """Clear the rows of a CSVLogger's experiment after they were written with these columns."""
    writer.metrics, writer.metrics_keys = [], columns


def has_wandb_run(logger: WandbLogger) -> bool:
    """True while the run of a W&B logger is open."""
    return logger._experiment is not None


def wandb_arguments(logger: WandbLogger) -> dict[str, Any]:
    """Arguments of a logger's `wandb.init`, which may be changed in place."""
    return logger._wandb_init


# Checkpoints

INSTANTIATOR, CLASS_PATH = "_instantiator", "_class_path"
"""Keys of a checkpoint's hyper-parameters: instantiator, and class of the data."""
INSTANTIATORS = ("pytorch_lightning.cli.instantiate_module", "lightning.pytorch.cli.instantiate_module")
"""Values of `INSTANTIATOR`; the command line writes the first."""

ADVICE_ON_MODULES = ".*is an instance of `nn.Module` and is already saved during checkpointing.*"


def is_without_mmap(error: RuntimeError) -> bool:
    """True if `torch.load` refused to memory-map a file in the format before torch 1.6."""
    return "mmap can only be used with files" in str(error)


def refused_global(error: Exception) -> str | None:
    """Import of a checkpoint that `torch.load(weights_only=True)` refused."""
    match = re.search(r"GLOBAL ([\w.]+)", str(error))
    return match and match[1]


def weights_mismatch(error: Exception) -> str | None:
    """First mismatch in an error of `load_state_dict`; None for another error."""
    text = " ".join(str(error).split())
    if not text.startswith("Error(s) in loading state_dict"):
        return None
    first = re.search(r"(size mismatch for|Missing key\(s\)|Unexpected key\(s\)).*?(?=\.(?: |$)|$)", text)
    return (first[0] if first else text)[:200]


def libsndfile_reason(error: Exception) -> str:
    """Reason of libsndfile in an error of soundfile."""
    return getattr(error, "error_string", str(error)).rpartition("Error : ")[2].rstrip(".")


# Warnings and log lines that require no action of a user

NOISE = (
    ADVICE_ON_MODULES,
    ".*litlogger.*",
    ".*does not have many workers which may be a bottleneck.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*is smaller than the logging interval.*",
    ".*GPU available but not used.*",
    ".*Experiment logs directory .* exists and is not empty.*",
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    "(?s).*The tensor attributes? .*assigned during export.*",
    ".*predict returned None if it was on purpose.*",
    ".*Total length of `DataLoader` across ranks is zero.*",
    ".*No complete tensor found in the group.*",
    ".*The given buffer is not writable.*",
    ".*your dataloader is not resumable.*",  # ours are, by `resume_position`
    ".*It is recommended to use .*sync_dist.True.*",  # values per epoch are torchmetrics', equal on all ranks
    ".*The `srun` command is available on your system but is not used.*",
    ".*You are trying to `self.log\\(\\)` but the `self.trainer` reference is not registered.*",
)
"""Patterns of ignored warnings."""
FILTERED_LOGGERS = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed")
"""Loggers whose lines that match `TIPS` are dropped."""
TIPS = (
    "litlogger",
    "TPU available",
    "GPU available: False",
    "LOCAL_RANK: .*CUDA_VISIBLE",
    "`Trainer.fit` stopped",
    "Restoring states",
    "configure_callbacks",
    r"Seed set to \d",
)
"""Patterns of log lines."""
_TIP = re.compile("|".join(TIPS))


def ignore_noise() -> None:
    """Ignore the warnings that match `NOISE`."""
    for pattern in NOISE:
        warnings.filterwarnings("ignore", pattern)


def is_tip(line: str) -> bool:
    """True for a log line that matches `TIPS`."""
    return _TIP.search(line) is not None


# Errors of jsonargparse

_UNKNOWN = re.compile(r"(?:[Oo]ption|[Kk]ey) '?-{0,2}([\w.]+)'?(?: is not accepted|$)|nrecognized arguments: -*([\w.]+)")
# Lines with echoed values and types, not the error.
_ECHO = re.compile(
    r"Does not validate against any|Subtypes:|Errors:|Not a valid subclass of|Subclass types expect one of|a class path \(str\)"
    r"|a dict with|Expected a <class 'NoneType'>|Given value|Given type|Parser 'tasks|tip:|a dict without"
)
_KEY = re.compile(r'Parser key "([\w.]+)": ')
_WORDS = re.compile(r"Expected a typing\.Literal\[([^\]]*)\]")
_TYPE = re.compile(r"Expected an? <class '(\w+)'>")
_VALUE = re.compile(r"\.? Got value: ")
_NO_CLASS = re.compile(r"Expected a path but (\S+) either not accessible or invalid\W+Expected a dot import path string: \S+")
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
}


def unknown_option(message: str) -> str | None:
    """Name of the unknown option in a parser's message."""
    match = _UNKNOWN.search(message)
    return match and (match[1] or match[2])


_BULLET = re.compile(r"^(?:\s|-\s)+|[\s-]+$")
"""Bullet at the start of a line and rule at its end, but not the dashes of an option."""


def error_lines(message: str) -> Iterator[str]:
    """Distinct lines of a parser's nested message without echoed values and types."""
    lines = dict.fromkeys(_BULLET.sub("", line) for line in message.splitlines())
    return (line for line in lines if line and not _ECHO.match(line))


def in_plain_words(text: str, typed: Callable[[str], str]) -> str:
    """Rewrite a parser's message in words of the command line instead of Python's types.

    Args:
        text: message
        typed: name of a setting -> option as the user typed it
    """
    text = _KEY.sub(lambda match: f"{typed(match[1])}: ", text)
    text = _WORDS.sub(lambda match: f"expected one of {match[1].replace(chr(39), '')}", text)
    text = _TYPE.sub(lambda match: f"expected {_TYPES.get(match[1], match[1])}", text)
    text = _NO_CLASS.sub(r"expected a class by its full path (MODULE.CLASS) or a YAML file; got \1", text)
    return _VALUE.sub("; got ", text)
