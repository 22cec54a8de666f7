"""Command line of all tasks: LightningCLI with run folders, implied configs, argument links, `prepare` and `export`."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse.typing import PositiveInt
from pytorch_lightning import seed_everything
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI, Namespace
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

from datamodules.common.base import SuiteDataModule
from datamodules.common.errors import DataError
from tasks.callbacks import (
    Checkpoint,
    DestroyProcessGroup,
    FiniteGuard,
    Preempt,
    RequireSplits,
    RunRecord,
    SetAsideResults,
    StepSeed,
    StopEvaluation,
    Watchdog,
    newest_loadable,
    progress_callback,
)
from tasks.cli import trusted
from tasks.cli.arguments import WITHOUT_LABELS, expand, row_alone, row_of
from tasks.cli.checkpoints import Stamp, hyper_parameters, stamped_departures
from tasks.cli.departures import departures, note
from tasks.cli.lightning_internals import SteppedCLI
from tasks.cli.loggers import run_loggers
from tasks.cli.parsing import ShortErrorParser, harden, quiet, shorten, split_files
from tasks.cli.registry import SUBCOMMANDS, Task, resolve
from tasks.cli.rendezvous import Launch
from tasks.cli.run_info import RunInfo
from tasks.cli.runs import Run, RunRequest, open_run
from tasks.cli.trainer import Trainer

MAX_PRINTED = 8
"""Departures from the row that are printed at the start of a run; metrics.json has all."""


class CLI(SteppedCLI):
    """Parse, build and run one subcommand of one task.

    Args:
        task: task
        argv: subcommand and options
    """

    def __init__(self, task: Task, argv: list[str]) -> None:
        quiet()
        self.task = task
        self.argv, self.row = argv, row_of(task, argv)
        self.subcommand = argv[0]
        self.run: Run | None = None
        harden()
        try:
            self._launch(argv)
        except Exception:
            if self.run:
                self.run.discard()
            raise
        finally:
            if self.run:
                self.run.close()

    def _launch(self, argv: list[str]) -> None:
        task = self.task
        # Not for the parser: YAML reads a file called `null` as None, and refuses names that are not UTF-8.
        argv, self.files = split_files(argv) if self.subcommand == "predict" else (argv, {})
        super().__init__(
            resolve(task.module),
            resolve(task.data),
            save_config_callback=RunRecord,
            trainer_class=Trainer,
            trainer_defaults={"use_distributed_sampler": False},  # the data modules shard without repeats
            seed_everything_default=0,
            parser_class=ShortErrorParser,
            parser_kwargs={"prog": f"python -m tasks.{task.name}", "description": None},
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            args=expand(task, argv),
        )

    def subcommands(self) -> dict[str, set[str]]:
        """The current subcommand with its arguments that are no options; building all parsers would be slow."""
        own = {"prepare": {"model", "datamodule"}, "export": {"model", "datamodule"}}
        return {self.subcommand: (LightningCLI.subcommands() | own)[self.subcommand]}

    def data_class(self, subcommand: str | None) -> type[SuiteDataModule]:
        """Base class of the data: the task's for labelled data, the suite's for a user's own files."""
        return SuiteDataModule if subcommand is None or subcommand in WITHOUT_LABELS else resolve(self.task.data)

    def description(self, subcommand: str) -> str:
        """First line of a subcommand's help."""
        return SUBCOMMANDS[subcommand]

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of a run, and the links between seed, data, module and writer."""
        add = parser.add_argument
        add("--name", type=str | None, default=None, help="folder under RUNS/TASK (default: the config's; `prepare`: the cache)")
        add("--runs", type=str, default="runs", help="folder of all runs")
        add("--overwrite", type=bool, default=False, help="replace the results of an earlier run or prediction")
        add("--trust", type=bool, default=False, help="accept any class in a checkpoint or run folder, which may run any code")
        add("--test_after_fit", type=bool, default=True, help="evaluate on the test split after `fit`")
        text = "CPU threads of PyTorch in each process (default: PyTorch's)"
        add("--threads", type=PositiveInt | None, default=None, help=text)
        kinds = Literal["best", "last"]
        add("--test_checkpoint", type=kinds, default="best", help="weights of the test after `fit`: best in validation, or last")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.set_defaults({"checkpoint.monitor": self.task.monitor[0], "checkpoint.mode": self.task.monitor[1]})
        if self.task.report and self.subcommand not in WITHOUT_LABELS:
            parser.add_lightning_class_args(resolve(self.task.report), "report")
        if self.subcommand == "predict" and self.task.writer:
            parser.add_lightning_class_args(resolve(self.task.writer), "output")
            parser.link_arguments("overwrite", "output.overwrite")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
        for source, target in self.task.links.items():
            parser.link_arguments(f"data.{source}", f"model.{target}", apply_on="instantiate")

    def before_module(self) -> None:
        """Seed again, so that rendering or packing data before does not change the initial weights."""
        seed_everything(int(self.option("seed_everything")), workers=True, verbose=False)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse `args` without Lightning's warning about arguments beside sys.argv: these are sys.argv, expanded."""
        self.config = parser.parse_args(args)
        self.departures = self._departures(parser)
        if self.departures:
            printed = note(dict([*self.departures.items()][:MAX_PRINTED]))
            more = f" and {len(self.departures) - MAX_PRINTED} more" if len(self.departures) > MAX_PRINTED else ""
            rank_zero_info(f"Settings that differ from the row {self.row}: {printed}{more}")

    def _departures(self, parser: LightningArgumentParser) -> dict[str, list[Any]]:
        """Settings in which this run differs from its row; for `validate` and `test` those stored in the checkpoint.

        Settings are compared if the checkpoint does not have them, or an option changes the network.
        """
        if self.subcommand not in ("fit", "validate", "test"):
            return {}
        words = row_alone(self.task, self.argv, self.row)
        row = self._row_settings(parser, words) if words else None
        different = departures(row, self._plain(parser, self.config)) if row else {}
        if self.subcommand == "fit":
            return different
        known = stamped_departures(Path(self.config[self.subcommand].ckpt_path), self.task.name)
        trained = {key: value for key, value in (different if known is None else known).items() if not key.startswith("model.")}
        if known is None:  # the checkpoint does not have the trainer's settings
            trained = {key: value for key, value in trained.items() if key.startswith("data.")}
        return trained | {key: value for key, value in different.items() if key.startswith("model.")}

    def _row_settings(self, parser: LightningArgumentParser, words: list[str]) -> dict[str, Any] | None:
        """Settings of a row's command line as plain values; None if they are incomplete."""
        row = parser.parse_complete(words)
        return self._plain(parser, row) if row else None

    def _plain(self, parser: LightningArgumentParser, config: Namespace) -> dict[str, Any]:
        return json.loads(parser.dump(config, format="json", skip_none=False, skip_validation=True))[self.subcommand]

    def before_instantiate_classes(self) -> None:
        """Choose the run folder, and set it for checkpoints, loggers and the resumed checkpoint."""
        options = self.config[self.subcommand]
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        root, ckpt_path = Path(options.runs) / self.task.name, options.get("ckpt_path")
        request = RunRequest(root, self.subcommand, options.name, self.row, ckpt_path, options.overwrite)
        self.run = open_run(request, Launch.detect(options.trainer.num_nodes, options.trainer.devices))
        self.folder = self.run.folder
        settings = {
            "trainer.default_root_dir": str(self.folder),
            "checkpoint.dirpath": str(self.folder / "checkpoints"),
            "trainer.logger": run_loggers(options, self.folder, self.row, self.subcommand),
        }
        if self.subcommand == "fit" and ckpt_path == "last":
            settings["ckpt_path"] = newest_loadable(self.folder / "checkpoints")
        if self.subcommand == "predict" and options.output.folder is None:
            settings["output.folder"] = str(self.folder / "predictions")
        for key, value in settings.items():
            options[key] = value
        if self.subcommand == "fit" and options.ckpt_path:
            self._warn_of_restored_settings(Path(options.ckpt_path))

    def _warn_of_restored_settings(self, path: Path) -> None:
        """Warn if a resumed run keeps the checkpoint's optimizer although the command line sets another."""
        stored, _ = hyper_parameters(path, self.task.name)
        requested = self.model_settings()
        changed = [name for name in ("optimizer", "scheduler") if name in stored and stored[name] != requested.get(name)]
        if changed:
            rank_zero_warn(
                f"{path} restores its own {' and '.join(changed)}, whose settings differ from the requested ones: a resumed "
                "run continues exactly. Start a new run to train with other settings."
            )

    def instantiate_classes(self) -> None:
        """Build data, module and trainer; a ValueError of a constructor becomes a DataError."""
        try:
            super().instantiate_classes()
            trusted.check_names(dict(self.model.hparams))  # otherwise checkpoints of this run could not be read
        except ValueError as error:
            raise DataError(shorten(str(error))) from error
        if self.files:
            self.datamodule.set_files(**self.files)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Trainer with the default callbacks of the suite."""
        options = self.config[self.subcommand]
        stamp, watchdog = Stamp(self.task.name, self.row, self.departures), Watchdog(self.folder)
        default_callbacks = [stamp, StepSeed(), Preempt(), StopEvaluation(), FiniteGuard(), watchdog, SetAsideResults()]
        if self.subcommand == "fit":
            default_callbacks.append(RequireSplits(options.test_after_fit))
        if options.trainer.enable_progress_bar is not False and not _has_progress_bar(options.trainer.callbacks):
            default_callbacks.append(progress_callback())
        self.trainer_defaults["callbacks"] = [*default_callbacks, DestroyProcessGroup()]
        # The report of `prepare` belongs to the data set, not to the run folder of the config.
        report_folder = self.folder if options.name else None
        run = RunInfo(self.task.name, self.row, self.departures, options.overwrite, report_folder)
        self.trainer_class = partial(Trainer.of_run, run)
        return super().instantiate_trainer(**kwargs)

    def after_fit(self) -> None:
        """Evaluate the best or the last weights on the test split."""
        options: Namespace = self.config[self.subcommand]
        if not options.test_after_fit or self.trainer.fast_dev_run:
            return
        if path := getattr(self.trainer.checkpoint_callback, f"{options.test_checkpoint}_model_path", ""):
            self.trainer.test(self.model, self.datamodule, path)
        else:
            rank_zero_warn(
                "The training ended before its first validation, so the test split is not evaluated: lower "
                f"--trainer.check_val_every_n_epoch, or run `python -m tasks.{self.task.name} test --ckpt_path "
                f"{self.folder / 'checkpoints' / 'last.ckpt'}`."
            )

    def after_predict(self) -> None:
        """Print what was left out; exit with 1 if files failed."""
        if self.trainer.is_global_zero:
            sys.stderr.write("".join(f"{line}\n" for line in self.datamodule.left_out.lines()))
        if self.part("output").failed_files:
            sys.exit(1)


def _has_progress_bar(callbacks: Any) -> bool:
    return any("progress" in getattr(callback, "class_path", "").lower() for callback in callbacks or ())
