"""`predict` of a toy task on text files, here or by `python -m tests.helpers.predict_toy` in processes of its own."""

import argparse
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch

from datamodules.audio.files import FileBatch, UserFiles
from tasks.callbacks import DestroyProcessGroup, StopEvaluation
from tasks.cli.trainer import Trainer
from tasks.suite_module import SuiteModule
from tasks.writers.base import PredictionWriter
from tasks.writers.output_files import write_json


class Texts(UserFiles):
    """Text files; an empty one cannot be read."""

    suffixes = (".txt",)

    def predict_set(self):
        return [self.read(item.path) for item in self.remaining()]

    def read(self, path):
        size = Path(path).stat().st_size
        return FileBatch(path, torch.zeros(size), None if size else f"{path} is empty")


class Counter(SuiteModule):
    """Counts the letters of each file, and remembers the files that it has seen."""

    def __init__(self, factor=1):
        super().__init__(torch.optim.Adam)
        self.save_hyperparameters()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def predict_input(self, batch):
        self.seen.append(Path(batch.path).name)
        return self.hparams.factor * len(batch.audio)


class CountWriter(PredictionWriter):
    """Writes counts/<file>.txt, on request <extra>/<file>.txt, and total.json; `act` is called before a file is written."""

    reserved = ("total.json",)

    def __init__(self, folder, overwrite=False, bold=False, act=None, **extras):
        super().__init__(str(folder), overwrite, extras, bold=bold)
        self.act = act

    def write_input(self, trainer, pl_module, batch, prediction, files):
        if self.act:
            self.act(Path(batch.path).name)
        files.text(f"counts/{files.stem}{'-bold' if self.options['bold'] else ''}.txt", str(prediction))
        for name, value in self.extras.items():
            files.text(f"{name}/{files.stem}.txt", str(value))
        return {"letters": prediction}

    def write_tables(self, pl_module, good, failed):
        content = {"files": {entry.file: entry.row["letters"] for entry in good}, "failed": [entry.file for entry in failed]}
        write_json(self.root / "total.json", content)

    def report(self, pl_module, new, good):
        print(f"{len(new)} new, {len(good)} in all")


def predict(inputs, folder, module=None, strict=False, devices=1, **options):
    """Run `predict` as the command line does; returns the names of the files that were read."""
    module = module or Counter()
    writer = CountWriter(folder, **options)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    together = {"devices": devices, "strategy": "ddp", "use_distributed_sampler": False} if devices > 1 else {}
    callbacks = [writer, StopEvaluation(), DestroyProcessGroup()]
    trainer = Trainer(callbacks=callbacks, default_root_dir=folder, **quiet, **together)
    data = Texts([str(path) for path in inputs], strict=strict)
    super(Trainer, trainer).predict(module, datamodule=data, return_predictions=False)
    predict.failed = writer.failed_files
    return module.seen


def main() -> None:
    """Send a signal to the process that writes a file.

    Of two processes, the second sends it once the first is at a file, and the first waits there until it is asked to stop:
    each has written one file then, however fast either started.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("inputs")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--signal", required=True)
    parser.add_argument("--at", required=True)
    args = parser.parse_args()
    rank = int(os.environ.get("LOCAL_RANK", "0"))

    at_work = args.folder.with_name("at_work")

    def wait(ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not ready() and time.monotonic() < deadline:
            time.sleep(0.02)

    def act(name: str) -> None:
        if args.devices > 1 and rank == 0:
            at_work.touch()
            wait(lambda: any(args.folder.glob(".stop-*")))
        if name == args.at:
            if args.devices > 1:
                wait(at_work.exists)
            os.kill(os.getpid(), getattr(signal, args.signal))

    predict([args.inputs], args.folder, devices=args.devices, act=act)


if __name__ == "__main__":
    main()
