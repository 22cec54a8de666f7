"""The one command line of all tasks: LightningCLI with run folders, implied configs, links and two more verbs."""

import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
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
from tasks.cli.registry import VERBS, Task, resolve
from tasks.cli.rendezvous import Launch
from tasks.cli.run_info import RunInfo
from tasks.cli.runs import Request, Run, open_run
from tasks.cli.trainer import Trainer

SHOWN = 8
"""Departures from the row that are printed at the start of a run; metrics.json has all."""


class CLI(SteppedCLI):
    """Parse, build and run one verb of one task."""

    def __init__(self, task: Task, argv: list[str]) -> None:
        quiet()
        self.task = task
        self.argv, self.row = argv, row_of(task, argv)
        self.verb = argv[0]
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
        # Kept out of the parser: to YAML a file called `null` is none, and one whose name is no UTF-8 cannot be.
        argv, self.files = split_files(argv) if self.verb == "predict" else (argv, {})
        super().__init__(
            resolve(task.module),
            resolve(task.data),
            save_config_callback=RunRecord,
            trainer_class=Trainer,
            trainer_defaults={"use_distributed_sampler": False},  # the data shard themselves, without repeats
            seed_everything_default=0,
            parser_class=ShortErrorParser,
            parser_kwargs={"prog": f"python -m tasks.{task.name}", "description": None},
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            args=expand(task, argv),
        )

    def subcommands(self) -> dict[str, set[str]]:
        """The verb that was typed, with the arguments that the command line fills in itself; parsers of all six take long."""
        own = {"prepare": {"model", "datamodule"}, "export": {"model", "datamodule"}}
        return {self.verb: (LightningCLI.subcommands() | own)[self.verb]}

    def data_class(self, subcommand: str | None) -> type[SuiteDataModule]:
        """Base class of the task's data; a user's own files are no data set of it: no labels, no splits."""
        return SuiteDataModule if subcommand is None or subcommand in WITHOUT_LABELS else resolve(self.task.data)

    def description(self, subcommand: str) -> str:
        """First line of a subcommand's help."""
        return VERBS[subcommand]

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Options of the run, and the links that keep each fact written once."""
        add = parser.add_argument
        add("--name", type=str | None, default=None, help="folder under RUNS/TASK (default: the config's; `prepare`: the cache)")
        add("--runs", type=str, default="runs", help="where the folders of all runs live")
        add("--overwrite", type=bool, default=False, help="replace what a run or prediction left before")
        add("--trust", type=bool, default=False, help="let a checkpoint or run folder name any class, which may run any code")
        add("--test_after_fit", type=bool, default=True, help="end `fit` with the test split")
        text = "CPU threads of PyTorch in each process (default: its own choice)"
        add("--threads", type=PositiveInt | None, default=None, help=text)
        kinds = Literal["best", "last"]
        add("--test_checkpoint", type=kinds, default="best", help="weights that `fit` ends with: best in validation, or last")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.set_defaults({"checkpoint.monitor": self.task.monitor[0], "checkpoint.mode": self.task.monitor[1]})
        if self.task.report and self.verb not in WITHOUT_LABELS:
            parser.add_lightning_class_args(resolve(self.task.report), "report")
        if self.verb == "predict" and self.task.writer:
            parser.add_lightning_class_args(resolve(self.task.writer), "output")
            parser.link_arguments("overwrite", "output.overwrite")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
        for source, target in self.task.links.items():
            parser.link_arguments(f"data.{source}", f"model.{target}", apply_on="instantiate")

    def before_module(self) -> None:
        """Seed anew: rendering or packing data first must not change the first weights."""
        seed_everything(int(self.option("seed_everything")), workers=True, verbose=False)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse without Lightning's warning about arguments given beside sys.argv: they are sys.argv, expanded."""
        self.config = parser.parse_args(args)
        self.departures = self._departures(parser)
        if self.departures:
            shown = note(dict([*self.departures.items()][:SHOWN]))
            more = f" and {len(self.departures) - SHOWN} more" if len(self.departures) > SHOWN else ""
            rank_zero_info(f"Settings other than those of the row {self.row}: {shown}{more}")

    def _departures(self, parser: LightningArgumentParser) -> dict[str, list[Any]]:
        """Settings in which this run differs from its row; of a checkpoint that is scored those it is stamped with.

        Older checkpoints have no such stamp: then, and where an option changes the network now, its settings are compared.
        """
        if self.verb not in ("fit", "validate", "test"):
            return {}
        words = row_alone(self.task, self.argv, self.row)
        row = parser.parse_complete(words) if words else None
        different = departures(self._plain(parser, row), self._plain(parser, self.config)) if row else {}
        if self.verb == "fit":
            return different
        known = stamped_departures(Path(self.config[self.verb].ckpt_path), self.task.name)
        trained = {key: value for key, value in (different if known is None else known).items() if not key.startswith("model.")}
        if known is None:  # of the trainer's settings that checkpoint says nothing
            trained = {key: value for key, value in trained.items() if key.startswith("data.")}
        return trained | {key: value for key, value in different.items() if key.startswith("model.")}

    def _plain(self, parser: LightningArgumentParser, config: Namespace) -> dict[str, Any]:
        return yaml.safe_load(parser.dump(config, skip_none=False))[self.verb]

    def before_instantiate_classes(self) -> None:
        """Choose the run folder and point checkpoints, loggers and the resumed checkpoint at it."""
        options = self.config[self.subcommand]
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        root, ckpt_path = Path(options.runs) / self.task.name, options.get("ckpt_path")
        request = Request(root, self.subcommand, options.name, self.row, ckpt_path, options.overwrite)
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
        """Say where a resumed run keeps the checkpoint's optimizer although the command line asks for another."""
        stored, _ = hyper_parameters(path, self.task.name)
        asked = self.model_settings()
        changed = [name for name in ("optimizer", "scheduler") if name in stored and stored[name] != asked.get(name)]
        if changed:
            rank_zero_warn(
                f"{path} restores its own {' and '.join(changed)}, whose settings differ from those asked for: a resumed "
                "run goes on exactly. To train with other settings start a new run."
            )

    def instantiate_classes(self) -> None:
        """Build data, module and trainer; a value that a constructor refuses is the user's to mend."""
        try:
            super().instantiate_classes()
            trusted.check_names(dict(self.model.hparams))  # else no checkpoint of this run could be read again
        except ValueError as error:
            raise DataError(shorten(str(error))) from error
        if self.files:
            self.datamodule.set_files(**self.files)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Trainer with the callbacks that carry the suite's guarantees."""
        options = self.config[self.subcommand]
        stamp, watchdog = Stamp(self.task.name, self.row, self.departures), Watchdog(self.folder)
        guarantees = [stamp, StepSeed(), Preempt(), StopEvaluation(), FiniteGuard(), watchdog, SetAsideResults()]
        if self.subcommand == "fit":
            guarantees.append(RequireSplits(options.test_after_fit))
        if options.trainer.enable_progress_bar is not False and not _names_progress_bar(options.trainer.callbacks):
            guarantees.append(progress_callback())
        self.trainer_defaults["callbacks"] = [*guarantees, DestroyProcessGroup()]
        # A data set's report says nothing about the run that its config would train.
        report_folder = self.folder if options.name else None
        run = RunInfo(self.task.name, self.row, self.departures, options.overwrite, report_folder)
        self.trainer_class = partial(Trainer.of_run, run)
        return super().instantiate_trainer(**kwargs)

    def after_fit(self) -> None:
        """Score the best or the last weights on the test split."""
        options: Namespace = self.config[self.subcommand]
        path = getattr(self.trainer.checkpoint_callback, f"{options.test_checkpoint}_model_path", "")
        if options.test_after_fit and path and not self.trainer.fast_dev_run:
            self.trainer.test(self.model, self.datamodule, path)

    def after_predict(self) -> None:
        """Say what was left out; where that is a whole file the others are done, so the exit code is 1 and not 2."""
        if self.trainer.is_global_zero:
            sys.stderr.write("".join(f"{line}\n" for line in self.datamodule.left_out.lines()))
        if self.part("output").failed_files:
            sys.exit(1)


def _names_progress_bar(callbacks: Any) -> bool:
    """Whether the user's own callbacks show progress."""
    return any("progress" in getattr(callback, "class_path", "").lower() for callback in callbacks or ())
