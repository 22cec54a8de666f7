"""`compare` of any task called in this process, and the tables that it leaves."""

import csv


def table(out, name):
    """Rows of one of its CSV files."""
    with (out / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def compared(compare, tmp_path, *argv, code=0):
    """Folder that `compare.main` wrote, given runs and options."""
    out = tmp_path / "out"
    assert compare.main([*map(str, argv), "--out", str(out)]) == code
    return out
