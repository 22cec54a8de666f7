"""Private parts of Lightning and jsonargparse, and wordings of other libraries' messages.

Nothing else in `tasks` touches them. Their versions have upper bounds in pyproject.toml, and each has a test in
tests/suite/test_lightning_internals.py whose failure names the symbol or the sentence that a new version has changed.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning_fabric.utilities.logger import _convert_params
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, _InstantiatorFn
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor
from torch.optim import Optimizer

# Command line


class SteppedCLI(LightningCLI):
    """LightningCLI whose private steps are methods for a subclass to give.

    Settings of a checkpoint are not read here: the command line puts them before the user's options, which must win.
    """

    def data_class(self, subcommand: str | None) -> type[pl.LightningDataModule]:
        """Base class of the data that a subcommand accepts; of None: of those that any accepts."""
        raise NotImplementedError

    def description(self, subcommand: str) -> str:
        """First line of a subcommand's help."""
        raise NotImplementedError

    def before_module(self) -> None:
        """Do what must precede the construction of the module; the data are there."""

    def option(self, name: str) -> Any:
        """Value of an option of the subcommand."""
        return self._get(self.config, name)

    def part(self, name: str) -> Any:
        """Object that was built for an option of the subcommand."""
        return self._get(self.config_init, name)

    def model_settings(self) -> dict[str, Any]:
        """Settings of the module as plain values, before anything is built."""
        self._dump_config()
        settings = self.config_dump["model"]
        del self.config_dump  # made again once links between data and module are followed
        return settings

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
    """Names of all options of a parser and of its subcommands, without dashes."""
    inner = getattr(parser, "_subcommands_action", None)
    parsers = [parser, *(inner._name_parser_map.values() if inner else ())]
    return {option.lstrip("-") for one in parsers for action in one._actions for option in action.option_strings}


# Training loop


def accumulates(trainer: pl.Trainer) -> bool:
    """True inside an accumulation window: the last batch was followed by no optimizer step."""
    return trainer.fit_loop._should_accumulate()


def logged_steps(trainer: pl.Trainer) -> int:
    """Optimizer steps (windows) as the loggers count them."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def set_logged_steps(trainer: pl.Trainer, steps: int) -> None:
    """Put the loggers' count of optimizer steps right: after some resumes with `max_steps` it is one too many."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = steps


def is_epoch_whole(trainer: pl.Trainer) -> bool:
    """True after the last batch of an epoch; False where `max_steps` has cut it short."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def end_restart(trainer: pl.Trainer) -> None:
    """Tell the loop that its resumed epoch is over: up to then it steps no plateau scheduler at the end of an epoch."""
    trainer.fit_loop._restarting = False


def restore_metrics(trainer: pl.Trainer, metrics: Mapping[str, Tensor]) -> None:
    """Show logged metrics of a checkpoint as `trainer.callback_metrics`: a finished run that is resumed logs no others."""
    trainer._logger_connector._callback_metrics.update(metrics)


def end_training(trainer: pl.Trainer) -> None:
    """Let the loop stop after this batch, as early stopping does."""
    trainer.should_stop = True


def leave_validation(trainer: pl.Trainer) -> None:
    """Count as training again before an exit out of a validation, which else leaves the training loader's workers behind."""
    trainer.training = True


def replace_optimizer(trainer: pl.Trainer, optimizer: Optimizer) -> None:
    """Train on with another optimizer."""
    trainer.optimizers = [optimizer]


def replace_checkpoint_io(trainer: pl.Trainer, checkpoint_io: CheckpointIO) -> None:
    """Read and write checkpoint files in another way."""
    trainer.strategy.checkpoint_io = checkpoint_io


def keep_signal_handlers(trainer: pl.Trainer) -> None:
    """Keep Lightning's signal handlers out: they broadcast, or save, inside the handler, which can hang."""
    trainer._signal_connector.register_signal_handlers = lambda: None


def settle(loops: dict[str, Any], moment: str | None) -> None:
    """Rewrite the counters of `checkpoint["loops"]["fit_loop"]` so that Lightning resumes exactly at the moment of the save.

    "step": at the start of a batch that has not begun. "validation": inside a validation that is to be repeated
    whole. "cut epoch": `on_train_epoch_end` of an epoch that `max_steps` cut short. Else nothing to do.
    """
    if moment == "step":
        # Lightning has looked ahead whether the batch about to begin is the last.
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
    """Put a checkpoint saved inside an accumulation window (by an exception) back to the window's start.

    The window's partial gradient is not in the checkpoint, so its batches must be done again.
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
    """Hyper-parameters of a logger as a dictionary."""
    return _convert_params(parameters)


def mark_written(writer: Any, columns: list[str]) -> None:
    """Tell the experiment of a CSVLogger that its rows are on disk, under these columns."""
    writer.metrics, writer.metrics_keys = [], columns


def has_wandb_run(logger: WandbLogger) -> bool:
    """True while the run of a W&B logger is open."""
    return logger._experiment is not None


def wandb_arguments(logger: WandbLogger) -> dict[str, Any]:
    """Arguments of `wandb.init` that a logger will open its run with; changes count."""
    return logger._wandb_init


# Checkpoints

INSTANTIATOR, CLASS_PATH = "_instantiator", "_class_path"
"""Keys among the hyper-parameters in a checkpoint: who builds the class, and the class of the data."""
INSTANTIATORS = ("pytorch_lightning.cli.instantiate_module", "lightning.pytorch.cli.instantiate_module")
"""Values of `INSTANTIATOR`; the first is what the command line writes."""

ADVICE_ON_MODULES = ".*is an instance of `nn.Module` and is already saved during checkpointing.*"


def is_without_mmap(error: RuntimeError) -> bool:
    """Whether `torch.load` refused a file because its format, of a torch before 1.6, cannot stay on disk."""
    return "mmap can only be used with files" in str(error)


def refused_global(error: Exception) -> str | None:
    """Name that a checkpoint asked to import and `torch.load(weights_only=True)` refused."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return found and found[1]


def weights_mismatch(error: Exception) -> str | None:
    """First reason why weights do not fit a network, of the error of `load_state_dict`; None for another error."""
    text = " ".join(str(error).split())
    if not text.startswith("Error(s) in loading state_dict"):
        return None
    first = re.search(r"(size mismatch for|Missing key\(s\)|Unexpected key\(s\)).*?(?=\.(?: |$)|$)", text)
    return (first[0] if first else text)[:200]


def libsndfile_reason(error: Exception) -> str:
    """Reason of libsndfile for not opening a file, without soundfile's words around it."""
    return getattr(error, "error_string", str(error)).rpartition("Error : ")[2].rstrip(".")


# Warnings and log lines that tell a user nothing to act on

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
    ".*It is recommended to use .*sync_dist.True.*",  # what is logged on an epoch is a torchmetrics value, equal on all ranks
    ".*The `srun` command is available on your system but is not used.*",
    ".*You are trying to `self.log\\(\\)` but the `self.trainer` reference is not registered.*",
)
"""Patterns of warnings."""
TALKATIVE = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed")
"""Loggers with lines that match `TIPS`."""
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
    """Filter the warnings that match `NOISE`."""
    for pattern in NOISE:
        warnings.filterwarnings("ignore", pattern)


def is_tip(line: str) -> bool:
    """True for a log line that matches `TIPS`."""
    return _TIP.search(line) is not None


# Errors of jsonargparse

_UNKNOWN = re.compile(r"(?:[Oo]ption|[Kk]ey) '?-{0,2}([\w.]+)'?(?: is not accepted|$)|nrecognized arguments: -*([\w.]+)")
# Lines that say how it looked, not what is wrong.
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
    """Name of the option that a parser does not know, of its message."""
    wrong = _UNKNOWN.search(message)
    return wrong and (wrong[1] or wrong[2])


_BULLET = re.compile(r"^(?:\s|-\s)+|[\s-]+$")
"""Bullet of a line, and rules at its end; the dashes of an option stay."""


def telling_lines(message: str) -> Iterator[str]:
    """Lines of a parser's nested message without the values and types that it echoes, each once."""
    lines = dict.fromkeys(_BULLET.sub("", line) for line in message.splitlines())
    return (line for line in lines if line and not _ECHO.match(line))


def in_plain_words(text: str, typed: Callable[[str], str]) -> str:
    """A sentence of a parser in words of the command line instead of Python's types.

    Args:
        text: the sentence
        typed: from the name of a setting to the option by which the user gave it
    """
    text = _KEY.sub(lambda match: f"{typed(match[1])}: ", text)
    text = _WORDS.sub(lambda match: f"expected one of {match[1].replace(chr(39), '')}", text)
    text = _TYPE.sub(lambda match: f"expected {_TYPES.get(match[1], match[1])}", text)
    text = _NO_CLASS.sub(r"expected a class by its full path (MODULE.CLASS) or a YAML file; got \1", text)
    return _VALUE.sub("; got ", text)
