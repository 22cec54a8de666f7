"""Base class of the writers of `predict`: journal, resume, tables at any exit, one failed file among many."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from datamodules.common.errors import DataError
from datamodules.common.left_out import LeftOut, LeftOutReport
from datamodules.common.locks import Lock
from tasks.callbacks.stop import AgreedStop
from tasks.suite_module import PredictionResult
from tasks.writers.journal import NAME, History, JournalEntry, PredictionJournal, compact, plain, read_history, remove_outputs
from tasks.writers.output_files import check_writable, filled, whole, write_figure, write_text
from tasks.writers.resume import Label, Made, Provenance, ResumePlan, make_plan, provenance, sources_of


class PredictionFiles:
    """Files written for one input, whole or not at all; their names are kept for the journal.

    root: output folder; label: names of the input; title: its file name, printable; keep: whether its earlier outputs stay valid
    """

    def __init__(self, root: Path, label: Label, keep: bool = False) -> None:
        self.root, self.stem, self.title, self.keep = root, label.stem, Path(label.file).name, keep
        self.written: list[str] = []

    def path(self, name: str) -> Path:
        """Path of an output to write, given relative to the folder."""
        self.written.append(name)
        return self.root / name

    def add(self, *names: str) -> None:
        """Count files that something else wrote, given relative to the folder."""
        self.written += names

    def text(self, name: str, text: str) -> None:
        """Write a text file."""
        write_text(self.path(name), text)

    def arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write an NPZ file."""
        with whole(self.path(name)) as path, path.open("wb") as file:
            np.savez_compressed(file, **arrays)

    def figure(self, name: str, figure: Any) -> None:
        """Write a matplotlib figure as PNG."""
        write_figure(self.path(name), figure)

    @contextmanager
    def folder(self, old: Sequence[str]) -> Iterator[Path]:
        """Folder of the input to fill, as a whole or not at all.

        old: names and patterns of outputs of an earlier run, which are removed unless they stay valid
        """
        with filled(self.root / self.stem, () if self.keep else old) as place:
            yield place
            names = sorted(path.name for path in place.iterdir())
        self.add(*(f"{self.stem}/{name}" for name in names))


class PredictionWriter(BasePredictionWriter):
    """Writes each input's files at once and a line into the journal, and tables of all at any exit.

    A later run into the same folder adds its inputs, skips those that are done with the same network and options, and
    replaces those that failed, have changed or were done with other options. Predictions of another network are refused.
    Subclasses give `write_input` and `write_tables`, and `check` where options may not fit the network.

    Args:
        folder: output folder
        overwrite: forget what earlier runs left in it
        extras: kinds of outputs that are written on request: by option, its value and what else changes them
        options: options that change what is written per input

    Attributes:
        failed_files: a sentence on each file of the last run that could not be used
    """

    reserved: tuple[str, ...] = ()
    """Names in the folder besides those of inputs; the first is a table that every run leaves."""

    tables_only: tuple[str, ...] = ()
    """Options that change only the tables, which every run writes anew, such as `model.inference.top`."""

    def __init__(self, folder: str | None, overwrite: bool, extras: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__("batch")
        self.folder, self.overwrite, self.options = folder, overwrite, options
        self.extras = {name: value for name, value in (extras or {}).items() if value}
        self.failed_files: list[str] = []
        self._plan: ResumePlan | None = None
        self._lock: Lock | None = None
        self._is_prepared = False

    # for subclasses

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise DataError for an option that the network or the data cannot serve; the weights are not loaded yet."""

    def prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take what depends on the loaded weights, such as thresholds; called once before inputs and tables are written."""

    def write_input(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, prediction: Any, files: PredictionFiles
    ) -> dict[str, Any]:
        """Write the files of one input; returns its row of the tables. Raises DataError where there is nothing to write."""
        raise NotImplementedError

    def write_tables(self, pl_module: LightningModule, good: list[JournalEntry], failed: list[JournalEntry]) -> None:
        """Write the tables of all inputs in the folder, sorted by file."""
        raise NotImplementedError

    def report(self, pl_module: LightningModule, new: list[JournalEntry], good: list[JournalEntry]) -> None:
        """Print what the user must know of the inputs of this run, which are some of those in the tables."""
        raise NotImplementedError

    # hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse options that cannot be served and predictions of another network; choose what is still to do."""
        if stage != "predict":
            return
        self.root, data = Path(self.folder), trainer.datamodule
        data.exclude(self.root)
        self.check(trainer, pl_module)
        self.items = data.items()
        made = provenance(trainer, pl_module, self.options, self.tables_only)
        self._plan = _agreed(trainer, lambda: self._open(made))
        self._is_prepared = False
        self._signature, self._by_path = made.signature, {item.path: item for item in self.items}
        self.journal = PredictionJournal(self.root, trainer.global_rank)
        data.leave_out(self._plan.done)
        if trainer.is_global_zero and self._plan.notice:
            print(f"{self.root / NAME}: {self._plan.notice}", flush=True)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take what depends on the weights."""
        self.prepare(trainer, pl_module)
        self._is_prepared = True

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, prediction: PredictionResult, *args: Any) -> None:
        """Write what belongs to one input at once, so that nothing is lost when a later one fails."""
        batch = args[1]
        item = self._by_path[batch.path]
        label = self._plan.labels[item.key]
        keep = item.key in self._plan.kept
        files = PredictionFiles(self.root, label, keep)
        before = self._plan.before.get(item.key)
        complete = keep and all((self.root / name).exists() for name in before.outputs)
        entry = JournalEntry(item.key, *label, self._signature, self._plan.session, sources_of(item))
        try:
            if prediction.error is not None:
                raise DataError(prediction.error)
            row = self.write_input(trainer, pl_module, batch, prediction.value, files)
            extras = {**before.extras, **self.extras} if complete else self.extras
            entry = replace(entry, row=plain(row), extras=extras)
        except DataError as error:
            if trainer.datamodule.strict:
                raise
            entry = replace(entry, error=plain(_by_file(str(error), str(batch.path), label.file)))
        earlier = [] if before is None else [name for name in before.outputs if name not in files.written]
        if entry.error is None and not keep:
            remove_outputs(self.root, earlier)
        # After an error outputs of an earlier run stay until there are new ones.
        existing = [name for name in earlier if (self.root / name).exists()]
        self.journal.add(replace(entry, outputs=(*files.written, *existing)))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Merge what all ranks have done, and report it."""
        if stage == "predict" and self._plan is not None:
            if not self._is_prepared:  # all inputs were done before
                self.prepare(trainer, pl_module)
                self._is_prepared = True
            self._finish(trainer, pl_module, together=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the tables of what is done; the ranks wait for each other only where all of them stop."""
        if self._plan is None:
            return
        try:
            self._finish(trainer, pl_module, together=isinstance(exception, AgreedStop))
        except Exception as error:  # what stopped the run is being raised
            sys.stderr.write(f"the tables could not be written ({error}); {NAME} holds what is done\n")

    # journal

    def _open(self, made: Provenance) -> ResumePlan:
        """Lock the folder, read its journal and compare; on rank 0 alone."""
        check_writable(self.root)
        self._lock = Lock(self.root / ".journal.lock")
        if not self._lock.acquire():
            owner = self._lock.owner() or "another process"
            raise DataError(f"{owner} is writing predictions into {self.root}: wait for it, or choose --output.folder ANOTHER")
        try:
            history = self._history(made)
            plan = make_plan(self.items, history, Made(made.signature, self.extras), self.root, self.reserved)
            _remove_temporary(self.root)
            compact(self.root, history)
            journal = PredictionJournal(self.root)
            journal.add_run(made.signature, made._asdict())
            journal.close()
        except BaseException:
            self._release()
            raise
        return plan

    def _release(self) -> None:
        """Give the lock back and leave no file of it."""
        if os.name != "nt":  # Windows removes no open file
            self._lock.path.unlink(missing_ok=True)
        self._lock.release()
        if os.name == "nt":
            with suppress(OSError):
                self._lock.path.unlink(missing_ok=True)

    def _history(self, made: Provenance) -> History:
        """Content of the journal. Raises DataError where the folder holds predictions of another network."""
        history = read_history(self.root)
        advice = "add --overwrite true to replace them, or --output.folder ANOTHER"
        if self.overwrite:
            remove_outputs(self.root, (name for entry in history.entries.values() for name in entry.outputs))
            history = History({}, {})
        elif not (self.root / NAME).exists() and (self.root / self.reserved[0]).exists():
            raise DataError(f"{self.root} already holds predictions, of an earlier version without {NAME}: {advice}")
        for run in dict.fromkeys(entry.run for entry in history.entries.values()):
            about = history.runs.get(run, {})
            if about.get("network") != made.network:
                other = about.get("checkpoint", "an unknown checkpoint")
                then = "with other weights than now" if other == made.checkpoint else f"of {other}"
                raise DataError(f"{self.root} already holds predictions {then}: {advice}")
        history.runs[made.signature] = made._asdict()
        return history

    def _finish(self, trainer: Trainer, pl_module: LightningModule, together: bool) -> None:
        """Write tables and report on rank 0; with `together` once all ranks are done, whose journals are then merged."""
        plan, self._plan = self._plan, None
        self.journal.close()
        if together:
            trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        try:
            history = read_history(self.root)
            if together:
                compact(self.root, history)
            self._conclude(trainer, pl_module, plan, history, together)
            if not together:  # the command line, which says it else, is left by an exception
                sys.stderr.write("".join(f"{line}\n" for line in trainer.datamodule.left_out.lines()))
        finally:
            self._release()

    def _conclude(self, trainer: Trainer, pl_module: LightningModule, plan: ResumePlan, history: History, together: bool) -> None:
        good, failed = history.split()
        good = self._gather_left_out(trainer, plan, good, failed)
        if self._is_prepared and (good or failed):
            self.write_tables(pl_module, good, failed)
        self.failed_files = sentences([entry for entry in failed if entry.session == plan.session])
        new = [entry for entry in good if entry.session == plan.session]
        if new or together:
            self.report(pl_module, new, good)
        if others := sum(entry.run != self._signature for entry in good):
            print(f"made with other options, of the inputs in the tables: {others}", flush=True)

    def _gather_left_out(
        self, trainer: Trainer, plan: ResumePlan, good: list[JournalEntry], failed: list[JournalEntry]
    ) -> list[JournalEntry]:
        """Report files that failed and what else could not be used (`left_out` of a row: rows of `LeftOut`), out of the rows.

        The data module's report gets what this run left out; `self.left_out`, for the JSON of the folder, that of all runs.
        """
        everything, shown = LeftOutReport(), trainer.datamodule.left_out
        everything.extend(shown.items())
        for entry in (*failed, *good):
            items = [LeftOut.from_sentence("file", entry.file, entry.error)] if entry.error is not None else []
            items += [LeftOut(*row) for row in (entry.row or {}).get("left_out", ())]
            everything.extend(items)
            if entry.session == plan.session:
                shown.extend(items)
        self.left_out = everything.as_json(limit=None)
        return [replace(entry, row={key: value for key, value in entry.row.items() if key != "left_out"}) for entry in good]


def _by_file(error: str, path: str, file: str) -> str:
    """An error that begins with the path as the user typed it, beginning with the name that the tables have for the file."""
    for typed in (path, str(Path(path))):
        if error.startswith(typed):
            return f"{file}{error.removeprefix(typed)}"
    return error


def sentences(failed: Sequence[JournalEntry]) -> list[str]:
    """Errors of files, each with the name of its file once: most errors begin with it."""
    return [entry.error if entry.file in entry.error else f"{entry.file}: {entry.error}" for entry in failed]


def of_all(new: Sequence[JournalEntry], good: Sequence[JournalEntry]) -> str:
    """Remark on the tables of a folder that several runs wrote into; empty where one run wrote all."""
    return "" if len(new) == len(good) else f" ({len(good)} in all)"


def _agreed(trainer: Trainer, plan: Any) -> ResumePlan:
    """Plan that rank 0 makes, on all ranks; what it raises ends all of them."""
    result: ResumePlan | DataError | None = None
    if trainer.is_global_zero:
        try:
            result = plan()
        except DataError as error:
            result = error
    if trainer.world_size > 1:
        result = trainer.strategy.broadcast(result)
    if isinstance(result, DataError):
        if trainer.is_global_zero:
            raise result
        raise SystemExit(0)  # rank 0 says it
    return result


def _remove_temporary(root: Path) -> None:
    """Remove what a killed run left half-written: nobody else writes into a folder that is locked."""
    for path in [*root.glob(".[0-9]*.*"), *root.glob("*/.[0-9]*.*")]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
