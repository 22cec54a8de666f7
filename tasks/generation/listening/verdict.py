"""The analysis of a listening test as files and on screen."""

from collections.abc import Sequence
from pathlib import Path

from datamodules.errors import DataError
from tasks.generation.listening.analysis import analyse, lines_of, rows_of
from tasks.generation.listening.page import KEY
from tasks.generation.listening.responses import read_key, read_responses
from tasks.tables import write_csv
from tasks.writers.whole import write_json, write_text


def report(paths: Sequence[Path | str], out: Path, key: Path | None = None) -> str:
    """Analyse the files of listeners; write listening.json, .md and .csv to `out` and return what the screen shows.

    Args:
        paths: files that listeners sent, or folders of them
        out: folder of the test, and of the analysis
        key: default: `key.json` in `out`

    Raises:
        DataError: no key, or no file of answers that belongs to it.
    """
    held = read_key(out / KEY if key is None else key)
    responses, left_out = read_responses([Path(path) for path in paths], held)
    if not responses:
        raise DataError(
            f"no answers to this test among the files ({left_out[0] if left_out else 'a folder without .json files'})"
        )
    found = analyse(responses, held)
    lines = [*lines_of(found), *(f"- {sentence}" for sentence in left_out)]
    write_json(out / "listening.json", found | {"left_out": left_out})
    write_csv(out / "listening.csv", rows_of(found))
    write_text(out / "listening.md", "\n".join(["# Listening test", "", *lines, ""]))
    return "\n".join(lines)
