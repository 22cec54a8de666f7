"""Files of the suite that one training step enters, from a data set's `__getitem__` to the return of `training_step`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from datamodules.common.base import SuiteDataModule

ROOT = Path(__file__).parents[2]
PACKAGES = ("tasks", "datamodules", "models", "losses")
ASIDE = ("tasks/cli/", "tasks/callbacks/")


@contextmanager
def files_entered() -> Iterator[set[str]]:
    """Paths of files whose functions the first training step of a run in this process calls, filled while it runs."""
    files: set[str] = set()
    began = False
    make = SuiteDataModule.train_dataloader

    def profile(frame, event, _):
        nonlocal began
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(str(ROOT)):
            return
        name = Path(code.co_filename).relative_to(ROOT).as_posix()
        item = any(isinstance(value, tuple | list) for value in frame.f_locals.values())
        if event == "call" and name.startswith("datamodules/") and code.co_name in ("__getitem__", "__getitems__") and item:
            began = True
        if began and event == "call" and name.split("/")[0] in PACKAGES and not name.startswith(ASIDE):
            files.add(name)
        if began and event == "return" and code.co_name == "training_step":
            sys.setprofile(None)

    def loader(data: SuiteDataModule):
        built = make(data)
        sys.setprofile(profile)
        return built

    with mock.patch.object(SuiteDataModule, "train_dataloader", loader):
        try:
            yield files
        finally:
            sys.setprofile(None)
