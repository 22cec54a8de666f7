"""The scores bundled in the music21 wheel; music21 itself, which takes seconds to import, is not needed to find them."""

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

from datamodules.errors import DataError
from datamodules.symbolic.corpora.corpus import Corpus


class Packaged(Corpus):
    """Base of the corpora that lie in a folder of music21's."""

    bundle: ClassVar[str] = ""  # the folder

    def folder(self) -> Path:
        """The folder in the wheel. Raises DataError where it is absent."""
        spec = importlib.util.find_spec("music21")
        path = Path(spec.origin).with_name("corpus") / self.bundle if spec and spec.origin else None
        if path is None or not path.is_dir():
            raise DataError(f"the scores bundled with music21 ({self.name}) are missing: pip install --force-reinstall music21")
        return path

    def ingredients(self) -> list[object]:
        """Arguments, readers, and the package's version, which stands for its files."""
        try:
            return [*super().ingredients(), version("music21")]
        except PackageNotFoundError:
            return super().ingredients()


def spread(items: list, number: int | None) -> list:
    """So many of the items, evenly spread; None: all."""
    if number is None or number >= len(items):
        return items
    return [items[index * len(items) // number] for index in range(number)]
