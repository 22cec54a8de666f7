"""Base class of the writers of `predict`: results -> output files, journal for resuming, tables at any exit."""

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
from tasks.writers.resume import Label, Provenance, ResumePlan, RunSignature, make_plan, provenance, sources_of


class PredictionFiles:
    """Atomically written files of one input, with their names for the journal.

    Args:
        root: output folder
        label: names of the input
        keep: whether its earlier outputs are still valid
    """

    def __init__(self, root: Path, label: Label, keep: bool = False) -> None:
        self.root, self.stem, self.title, self.keep = root, label.stem, Path(label.file).name, keep
        self.written: list[str] = []

    def path(self, name: str) -> Path:
        """Register an output, named relative to the folder, and return its path."""
        self.written.append(name)
        return self.root / name

    def add(self, *names: str) -> None:
        """Register files written elsewhere, named relative to the folder."""
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
        """Context with a folder of the input to fill, which is moved into place at the end.

        Args:
            old: names and patterns of an earlier run's outputs, which are removed unless they are still valid
        """
        with filled(self.root / self.stem, () if self.keep else old) as folder:
            yield folder
            names = sorted(path.name for path in folder.iterdir())
        self.add(*(f"{self.stem}/{name}" for name in names))


class PredictionWriter(BasePredictionWriter):
    """Write files and a journal line per input, and tables of all inputs at any exit.

    A later run into the same folder adds its inputs, skips those that are done with the same network and options, and
    repeats those that failed, have changed or were done with other options. Predictions of another network are refused.
    Subclasses implement `write_input`, `write_tables` and `report`, and `check` if options may not fit the network.

    Args:
        folder: output folder
        overwrite: remove the outputs of earlier runs
        extras: optional kinds of outputs: option -> value and other settings that change them
        options: options that change the outputs of an input

    Attributes:
        failed_files: messages about the failed files of the last run
    """

    reserved: tuple[str, ...] = ()
    """Names in the folder besides those of inputs; the first is a table that every run writes."""

    tables_only: tuple[str, ...] = ()
    """Options that change only the tables, which every run rewrites, such as `model.inference.top`."""

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
        """Raise DataError for an option that network or data do not support; called before the weights are loaded."""

    def prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read values that depend on the loaded weights, such as thresholds; called once before anything is written."""

    def write_input(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, prediction: Any, files: PredictionFiles
    ) -> dict[str, Any]:
        """Write the files of one input and return its row of the tables; raise DataError if there is nothing to write."""
        raise NotImplementedError

    def write_tables(self, pl_module: LightningModule, good: list[JournalEntry], failed: list[JournalEntry]) -> None:
        """Write the tables of all inputs in the folder, sorted by file."""
        raise NotImplementedError

    def report(self, pl_module: LightningModule, new: list[JournalEntry], good: list[JournalEntry]) -> None:
        """Print a summary of the inputs of this run (`new`), which are among those in the tables (`good`)."""
        raise NotImplementedError

    # hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check options and earlier predictions, and plan the remaining inputs."""
        if stage != "predict":
            return
        self.root, data = Path(self.folder), trainer.datamodule
        data.exclude(self.root)
        self.check(trainer, pl_module)
        self.items = data.items()
        source = provenance(trainer, pl_module, self.options, self.tables_only)
        self._plan = _agreed(trainer, lambda: self._open(source))
        self._is_prepared = False
        self._signature, self._by_path = source.signature, {item.path: item for item in self.items}
        self.journal = PredictionJournal(self.root, trainer.global_rank)
        data.leave_out(self._plan.done)
        if trainer.is_global_zero and self._plan.notice:
            print(f"{self.root / NAME}: {self._plan.notice}", flush=True)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.prepare(trainer, pl_module)
        self._is_prepared = True

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, prediction: PredictionResult, *args: Any) -> None:
        """Write the files and journal line of one input immediately, so that a later failure loses nothing."""
        batch = args[1]
        item = self._by_path[batch.path]
        label = self._plan.labels[item.key]
        keep = item.key in self._plan.kept
        files = PredictionFiles(self.root, label, keep)
        previous = self._plan.previous.get(item.key)
        complete = keep and all((self.root / name).exists() for name in previous.outputs)
        entry = JournalEntry(item.key, *label, self._signature, self._plan.session, sources_of(item))
        try:
            if prediction.error is not None:
                raise DataError(prediction.error)
            row = self.write_input(trainer, pl_module, batch, prediction.value, files)
            extras = {**previous.extras, **self.extras} if complete else self.extras
            entry = replace(entry, row=plain(row), extras=extras)
        except DataError as error:
            if trainer.datamodule.strict:
                raise
            entry = replace(entry, error=plain(_with_table_name(str(error), str(batch.path), label.file)))
        earlier = [] if previous is None else [name for name in previous.outputs if name not in files.written]
        if entry.error is None and not keep:
            remove_outputs(self.root, earlier)
        # After an error the outputs of an earlier run are kept until there are new ones.
        existing = [name for name in earlier if (self.root / name).exists()]
        self.journal.add(replace(entry, outputs=(*files.written, *existing)))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Merge the journals of all ranks, write the tables and report."""
        if stage == "predict" and self._plan is not None:
            if not self._is_prepared:  # there were no remaining inputs
                self.prepare(trainer, pl_module)
                self._is_prepared = True
            self._finish(trainer, pl_module, together=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the tables of finished inputs; the ranks wait for each other only if all of them stop."""
        if self._plan is None:
            return
        try:
            self._finish(trainer, pl_module, together=isinstance(exception, AgreedStop))
        except Exception as error:  # the exception that stopped the run is raised anyway
            sys.stderr.write(f"the tables could not be written ({error}); {NAME} holds the finished inputs\n")

    # journal

    def _open(self, source: Provenance) -> ResumePlan:
        """Lock the folder, read its journal and plan the run; called on rank 0."""
        check_writable(self.root)
        self._lock = Lock(self.root / ".journal.lock")
        if not self._lock.acquire():
            owner = self._lock.owner() or "another process"
            raise DataError(f"{owner} is writing predictions into {self.root}: wait for it, or choose --output.folder ANOTHER")
        try:
            history = self._history(source)
            plan = make_plan(self.items, history, RunSignature(source.signature, self.extras), self.root, self.reserved)
            _remove_temporary(self.root)
            compact(self.root, history)
            journal = PredictionJournal(self.root)
            journal.add_run(source.signature, source._asdict())
            journal.close()
        except BaseException:
            self._release()
            raise
        return plan

    def _release(self) -> None:
        """Release the lock and remove its file."""
        if os.name != "nt":  # Windows cannot remove an open file
            self._lock.path.unlink(missing_ok=True)
        self._lock.release()
        if os.name == "nt":
            with suppress(OSError):
                self._lock.path.unlink(missing_ok=True)

    def _history(self, source: Provenance) -> History:
        """Content of the journal; raises DataError if the folder holds predictions of another network."""
        history = read_history(self.root)
        advice = "add --overwrite true to replace them, or --output.folder ANOTHER"
        if self.overwrite:
            remove_outputs(self.root, (name for entry in history.entries.values() for name in entry.outputs))
            history = History({}, {})
        elif not (self.root / NAME).exists() and (self.root / self.reserved[0]).exists():
            raise DataError(f"{self.root} already holds predictions of an earlier version without {NAME}: {advice}")
        for run in dict.fromkeys(entry.run for entry in history.entries.values()):
            about = history.runs.get(run, {})
            if about.get("network") != source.network:
                other = about.get("checkpoint", "an unknown checkpoint")
                owner = "other weights" if other == source.checkpoint else other
                raise DataError(f"{self.root} already holds predictions of {owner}: {advice}")
        history.runs[source.signature] = source._asdict()
        return history

    def _finish(self, trainer: Trainer, pl_module: LightningModule, together: bool) -> None:
        """Write tables and report on rank 0; with `together` wait for all ranks and merge their journals first."""
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
            if not together:  # after an exception the command line does not print it
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
            print(f"{others} of the inputs in the tables were done with other options", flush=True)

    def _gather_left_out(
        self, trainer: Trainer, plan: ResumePlan, good: list[JournalEntry], failed: list[JournalEntry]
    ) -> list[JournalEntry]:
        """Collect failed files and `left_out` of the rows (rows of `LeftOut`); returns `good` without the latter.

        The data module's report receives those of this run, `self.left_out` (for the JSON of the folder) those of all runs.
        """
        all_runs, this_run = LeftOutReport(), trainer.datamodule.left_out
        all_runs.extend(this_run.items())
        for entry in (*failed, *good):
            items = [LeftOut.from_sentence("file", entry.file, entry.error)] if entry.error is not None else []
            items += [LeftOut(*row) for row in (entry.row or {}).get("left_out", ())]
            all_runs.extend(items)
            if entry.session == plan.session:
                this_run.extend(items)
        self.left_out = all_runs.as_json(limit=None)
        return [replace(entry, row={key: value for key, value in entry.row.items() if key != "left_out"}) for entry in good]


def _with_table_name(error: str, path: str, file: str) -> str:
    """Replace the typed path at the start of an error by the file's name in the tables."""
    for typed in (path, str(Path(path))):
        if error.startswith(typed):
            return f"{file}{error.removeprefix(typed)}"
    return error


def sentences(failed: Sequence[JournalEntry]) -> list[str]:
    """Errors of files, each with the name of its file."""
    return [entry.error if entry.file in entry.error else f"{entry.file}: {entry.error}" for entry in failed]


def of_all(new: Sequence[JournalEntry], good: Sequence[JournalEntry]) -> str:
    """Total count of a folder with several runs, such as ` (4 in all)`; empty for a single run."""
    return "" if len(new) == len(good) else f" ({len(good)} in all)"


def _agreed(trainer: Trainer, plan: Any) -> ResumePlan:
    """Plan of rank 0 on all ranks; an error of rank 0 ends all of them."""
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
        raise SystemExit(0)  # rank 0 prints the error
    return result


def _remove_temporary(root: Path) -> None:
    """Remove temporary files of a killed run; the folder is locked."""
    for path in [*root.glob(".[0-9]*.*"), *root.glob("*/.[0-9]*.*")]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
