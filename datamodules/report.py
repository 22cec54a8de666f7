"""What `prepare` says of a data set: everything in report.json, the first files of each kind on the screen."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datamodules.errors import printable
from datamodules.rooted import RootedData
from datamodules.whole import write_json

log = logging.getLogger(__name__)

SHOWN = 10
"""Files of a kind that are named on the screen."""


def write_report(
    data: RootedData,
    folder: Path,
    counts: Mapping[str, Any],
    files: Mapping[str, Sequence[str]],
    results: Mapping[str, Any],
    **details: Any,
) -> dict:
    """Write `folder`/report.json and return what is shown of it.

    counts: how much is listed and `usable`; files: sentences or paths by what is wrong, all of them for the file alone;
    results: what `prepare` made; details: for the file alone.
    """
    files = {kind: [printable(text) for text in texts] for kind, texts in files.items()}
    summary = {
        "data": data.name,
        "root": printable(str(data.find_root())),
        "subset": data.subset,
        **counts,
        **{kind: len(names) for kind, names in files.items()},
        **data.remarks(),
        **results,
    }
    left_out = data.left_out
    path = folder / "report.json"
    write_json(path, summary | {"left_out": left_out.as_json(limit=None), "files": files} | details)
    first = {kind: names[:SHOWN] for kind, names in files.items() if names}
    return summary | {"left_out": left_out.as_json(SHOWN), "first": first, "report": str(path)}


def warn(text: str, sentences: Sequence[object]) -> None:
    """Log `text` with the first of the sentences; `prepare` writes all to report.json."""
    for sentence in sentences[:SHOWN]:
        log.warning(text, printable(str(sentence)))
    if len(sentences) > SHOWN:
        log.warning("... and %d more: the `prepare` verb writes a report of all.", len(sentences) - SHOWN)
