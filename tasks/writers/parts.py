"""Files of one prediction: written whole or not at all, one journal per rank, merged by rank 0."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Trainer

from datamodules.errors import DataError
from datamodules.errors import counted as counted
from datamodules.left_out import LeftOut
from tasks.writers.whole import whole, write_figure, write_text


class Parts:
    """Output folder of a prediction shared by several ranks.

    Args:
        root: folder, created on first use
        rank: rank of this process; each keeps its own journal until `merge`
    """

    def __init__(self, root: Path, rank: int) -> None:
        self.root, self.rank = Path(root), rank
        self.left_out: list[dict[str, Any]] = []
        self._journal = self.root / f".part-{rank}.jsonl"
        self._journal.unlink(missing_ok=True)

    def add(self, row: dict[str, Any]) -> None:
        """Append one row to this rank's journal."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def merge(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows of all ranks, sorted by file, each file once: those without and with an `error`; removes the journals."""
        rows: dict[str, dict] = {}
        for journal in sorted(self.root.glob(".part-*.jsonl")):
            for line in journal.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                rows.setdefault(row["file"], row)
            journal.unlink()
        good, failed = [], []
        for name in sorted(rows):
            (failed if "error" in rows[name] else good).append(rows[name])
        return good, failed

    def finish(self, trainer: Trainer) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
        """On rank 0, once all ranks are done: `merge`, and the failed files told to the Trainer; None on the others.

        Files that failed, and what else of the files could not be used (`left_out` of a row: rows of `LeftOut`), join the
        data module's report, which `self.left_out` holds for the JSON file of the prediction.
        """
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return None
        good, failed = self.merge()
        trainer.failed_files = sentences(failed)
        report = trainer.datamodule.left_out
        report.extend(LeftOut.from_sentence("file", row["file"], row["error"]) for row in failed)
        report.extend(LeftOut(*entry) for row in good for entry in row.pop("left_out", ()))
        self.left_out = report.as_json(limit=None)
        return good, failed

    def write(self, name: str, text: str) -> None:
        """Write a text file under the folder."""
        write_text(self.root / name, text)

    def arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write an NPZ file under the folder."""
        with whole(self.root / name) as path, path.open("wb") as file:
            np.savez_compressed(file, **arrays)

    def figure(self, name: str, figure: Any) -> None:
        """Write a matplotlib figure as PNG under the folder."""
        write_figure(self.root / name, figure)


def refuse(trainer: Trainer, place: Path, overwrite: bool) -> None:
    """Raise DataError where an earlier prediction left `place`, unless it may be overwritten."""
    if trainer.is_global_zero and place.exists() and not overwrite:
        raise DataError(f"{place.parent} already holds predictions: add --overwrite true, or --output.folder ANOTHER")


def sentences(failed: list[dict[str, Any]]) -> list[str]:
    """What went wrong with each file, its name said once: most errors begin with it."""
    return [row["error"] if row["file"] in row["error"] else f"{row['file']}: {row['error']}" for row in failed]


def unique_stem(path: str) -> str:
    """File name for the outputs of an input path: readable, safe, and different for equal names in two folders."""
    stem = re.sub(r"[^\w.-]+", "_", Path(path).stem).strip("._") or "file"
    return f"{stem[:80]}-{hashlib.sha256(path.encode()).hexdigest()[:6]}"
