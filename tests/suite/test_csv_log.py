"""CSV logs: whole rows, none lost to a disk that was full for a while."""

import csv
import errno
from pathlib import Path

import pytest

from datamodules.common.errors import DataError
from tasks.callbacks import CSVLog
from tests.helpers.toy import train


def rows(folder):
    with (folder / "logs" / "version_0" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def log_to(folder, **options):
    return CSVLog(folder, "logs", flush_logs_every_n_steps=1, **options)


@pytest.fixture
def disk(monkeypatch):
    """Disk that takes half a row and no more while `disk.full`."""

    class Disk:
        full = False

    real, state = Path.open, Disk()

    def open_(path, mode="r", *args, **options):
        file = real(path, mode, *args, **options)
        if state.full and mode != "r" and path.name.endswith("metrics.csv"):
            write = file.write

            class Half:
                def __enter__(self):
                    return self

                def __exit__(self, *_):
                    file.close()

                def write(self, text):
                    write(text[: len(text) // 2])
                    file.flush()
                    raise OSError(errno.ENOSPC, "No space left on device")

            return Half()
        return file

    monkeypatch.setattr(Path, "open", open_)
    return state


def test_rows_wait_until_the_disk_takes_them(disk, tmp_path):
    log = log_to(tmp_path)
    log.log_metrics({"a": 1.0}, 0)
    disk.full = True
    with pytest.warns(UserWarning, match="No space left on device.*its rows are kept"):
        log.log_metrics({"a": 2.0}, 1)
    log.log_metrics({"a": 3.0, "b": 1.0}, 2)  # a new column: the file is written anew
    assert rows(tmp_path) == [{"a": "1.0", "step": "0"}]
    disk.full = False
    log.log_metrics({"b": 4.0}, 3)
    log.finalize("success")
    assert [row["step"] for row in rows(tmp_path)] == ["0", "1", "2", "3"]
    assert [row["a"] for row in rows(tmp_path)] == ["1.0", "2.0", "3.0", ""]
    assert len(list((tmp_path / "logs" / "version_0").iterdir())) == 1


def test_rows_that_are_never_written_are_an_error(disk, tmp_path):
    log = log_to(tmp_path)
    log.log_metrics({"a": 1.0}, 0)
    disk.full = True
    with pytest.warns(UserWarning, match="its rows are kept"):
        log.log_metrics({"a": 2.0}, 1)
    with pytest.raises(DataError, match=r"metrics.csv: the last rows could not be written .disk full"):
        log.finalize("success")
    log.finalize("failed")


def test_it_writes_what_lightning_writes(tmp_path):
    from pytorch_lightning.loggers import CSVLogger

    train(tmp_path / "ours", logger=log_to(tmp_path / "ours"))
    train(tmp_path / "theirs", logger=CSVLogger(tmp_path / "theirs", "logs"))
    assert rows(tmp_path / "ours") == rows(tmp_path / "theirs")
