"""A folder of outputs that is filled as a whole or not at all."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from datamodules.errors import DataError


@contextmanager
def filled(place: Path, old: Sequence[str]) -> Iterator[Path]:
    """A folder to fill, whose files take their places at the end, or vanish; those of an earlier run go with them.

    old: names and patterns of what an earlier run may have left there. Raises DataError where nothing can be written.
    """
    temporary = place.with_name(f".{os.getpid()}.{place.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        place.mkdir(exist_ok=True)
        for left in [path for pattern in old for path in place.glob(pattern)]:
            left.unlink()
        for made in temporary.iterdir():
            made.replace(place / made.name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{place} cannot be written ({reason}): free space or choose another place by --output.folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
