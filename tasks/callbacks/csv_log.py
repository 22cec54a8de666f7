"""CSV logger that survives a full disk: rows are kept in memory until they can be written."""

import csv
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning.core.saving import save_hparams_to_yaml
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only, rank_zero_warn

from datamodules.common.errors import DataError
from tasks.callbacks.storage import reason_of
from tasks.cli.lightning_internals import mark_written, plain_parameters
from tasks.writers.output_files import whole


class CSVLog(CSVLogger):
    """Lightning's CSVLogger (same arguments) whose file contains complete rows, also after a failed write."""

    _reason: str | None = None
    _hparams_left = False

    @rank_zero_only
    def log_hyperparams(self, params: Any = None) -> None:
        """Write hparams.yaml; a failed write is retried with the next rows."""
        self.experiment.hparams.update(plain_parameters(params))
        self._hparams_left = True
        self._write_hparams()

    def _write_hparams(self) -> None:
        writer = self.experiment
        try:
            with whole(Path(writer.log_dir) / writer.NAME_HPARAMS_FILE) as temporary:
                save_hparams_to_yaml(temporary, writer.hparams)
            self._hparams_left = False
        except OSError as error:
            rank_zero_warn(f"{writer.NAME_HPARAMS_FILE} could not be written ({reason_of(error)}): writing is tried again.")

    @rank_zero_only
    def save(self) -> None:
        """Append the rows since the last call; a failed write is retried at the next."""
        writer = self.experiment
        if self._hparams_left:
            self._write_hparams()
        if not writer.metrics:
            return
        path = Path(writer.metrics_file_path)
        columns = sorted({*writer.metrics_keys, *(name for row in writer.metrics for name in row)})
        try:
            if path.is_file() and columns == writer.metrics_keys:
                _append(path, columns, writer.metrics)
            else:
                _rewrite(path, columns, writer.metrics)
        except OSError as error:
            if self._reason is None:
                rank_zero_warn(
                    f"{path} could not be written ({reason_of(error)}): its rows are kept, and writing is tried again."
                )
            self._reason = reason_of(error)
            return
        mark_written(writer, columns)
        self._reason = None

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the last rows.

        Raises:
            DataError: they cannot be written.
        """
        super().finalize(status)
        if self._hparams_left and status == "success":
            raise DataError(f"{self.experiment.log_dir}/hparams.yaml could not be written: make room for it")
        if self._reason and status == "success":
            raise DataError(
                f"{self.experiment.metrics_file_path}: the last rows could not be written ({self._reason}); make room"
            )


def _append(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    size = path.stat().st_size
    try:
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, columns).writerows(rows)
    except OSError:
        with suppress(OSError):
            os.truncate(path, size)
        raise


def _rewrite(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """Rewrite the file with additional columns."""
    previous: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            previous = list(csv.DictReader(file))
    with whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows([*previous, *rows])
