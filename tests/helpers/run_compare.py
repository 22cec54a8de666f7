"""`compare` of any task called in this process, and the tables that it leaves."""

import csv

import yaml

from tasks.cli.configs import CONFIGS
from tasks.cli.departures import departures


def table(out, name):
    """Rows of one of its CSV files."""
    with (out / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def compared(compare, tmp_path, *argv, code=0):
    """Folder that `compare.main` wrote, given runs and options."""
    out = tmp_path / "out"
    assert compare.main([*map(str, argv), "--out", str(out)]) == code
    return out


def departing(task: str, **sections: dict) -> dict[str, list]:
    """Departures of a run whose settings are those of the task's base.yaml but for some, such as trainer={"max_epochs": 2}."""
    row = yaml.safe_load((CONFIGS / task / "base.yaml").read_text())
    return departures(row, row | {name: row.get(name, {}) | values for name, values in sections.items()})
