"""Data that lie in a folder which the user names."""

import hashlib
import re
from pathlib import Path
from typing import Any

from datamodules.base import SuiteData
from datamodules.errors import DataError


class RootedData(SuiteData):
    """Base of the data modules that read a data set's own folder.

    Args:
        root: folder of the data set
    """

    task: str  # whose `prepare` verb says what is wrong with the folder
    layout: str  # what `root` must name, in words
    name: str  # results are filed under it
    subset: str = "full"  # what a printed number has to name beside it

    def __init__(self, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root

    def find_root(self) -> Path:
        """The folder of the data set. Raises DataError where none was named or it is no folder."""
        if self.root is None:
            raise DataError(f"No data set was named: give --data.root, {self.layout}.")
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise DataError(f"{root} is no folder: --data.root must name {self.layout}. {self.advice()}")
        return root

    @property
    def cached_as(self) -> str:
        """Name that cached files bear: of the kind of data set, whatever the user's folder is called."""
        kind = type(self).name
        return kind if isinstance(kind, str) else type(self).__name__.lower()

    def advice(self) -> str:
        """The command that says what is wrong with a data set."""
        kind = f"{type(self).__module__}.{type(self).__name__}"
        root = str(self.root or "DIR")
        typed = f'"{root}"' if " " in root else root
        return f"Check it with: python -m tasks.{self.task} prepare --data {kind} --data.root {typed}"

    def report_folder(self) -> Path:
        """Where `prepare` writes its report: in the cache, one folder for each set, since no run is meant."""
        settings = f"{type(self).__qualname__} {self.find_root().resolve()} {self.subset}"
        key = hashlib.sha256(settings.encode(errors="surrogateescape")).hexdigest()[:6]
        return super().report_folder().parent / self.task / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', self.name)}-{key}"

    def remarks(self) -> dict:
        """What else the report of `prepare` says about this kind of data set."""
        return {}
