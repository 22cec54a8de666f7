"""What README and CONTRIBUTING promise: commands, files and names that exist."""

import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tasks.__main__ import find_tasks
from tasks.cli.configs import configs_in
from tasks.cli.registry import SUBCOMMANDS

ROOT = Path(__file__).parents[2]
TEXT = {name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")}
README = TEXT["README.md"]
CONFIGS = sorted(set(re.findall(r"configs/[\w/*]+\.(?:yaml|sh)", README)))


def lines(text: str) -> list[str]:
    """What a reader would copy: code between backticks and the lines of code blocks."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [*re.findall(r"`([^`\n]+)`", text), *(line for block in blocks for line in block.splitlines())]


def typed(line: str) -> list[str]:
    """The calls of python that a shell makes of a line, loops and braces run."""
    script = 'python() { printf "%s\\n" "$*"; }\nset -f\n' + line.replace(".venv/bin/python", "python")
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()


COPIED = [line for line in lines(README) if re.match(r"(python -m|for \w+ in) ", line)]
COMMANDS = sorted({command for line in COPIED for command in typed(line)})
ROWS = [line.split("|")[1:-1] for line in README.splitlines() if re.match(r"\| (Tables?|Figures?) \d", line)]


def test_there_are_commands():
    assert len(COMMANDS) > 40
    assert len(CONFIGS) > 5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_a_module_and_a_verb_that_exist(command):
    words = shlex.split(command)
    module = words[1]
    if module.startswith("tasks.") and len(module.split(".")) == 2:
        assert module.split(".")[1] in find_tasks()
        assert words[2] in SUBCOMMANDS
    else:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    for config in configs_in(words):
        assert (ROOT / config).is_file(), config


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip())
def test_every_row_of_a_papers_table_is_a_command(row):
    assert row[1].strip().strip("`") in COPIED


@pytest.mark.parametrize("pattern", CONFIGS)
def test_every_config_is_there(pattern):
    assert list(ROOT.glob(pattern))


def test_every_row_of_the_papers_is_in_the_readme():
    from tasks.separation import paper as separation
    from tasks.tagging import paper as tagging

    named = {row.config for paper in (separation, tagging) for table in paper.TABLES for row in table.rows}
    assert named <= {Path(config).stem for command in COMMANDS for config in configs_in(shlex.split(command))}


def test_every_python_name_in_the_readme_can_be_imported():
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        for module, names in re.findall(r"from ([\w.]+) import ([\w, ]+)", block):
            assert all(hasattr(importlib.import_module(module), name) for name in names.split(", "))
    for dotted in re.findall(r"`((?:models|datamodules)\.[\w.]+)`", README):
        parent, _, name = dotted.rpartition(".")
        assert (
            (ROOT / dotted.replace(".", "/")).exists()
            or (ROOT / (dotted.replace(".", "/") + ".py")).exists()
            or hasattr(importlib.import_module(parent), name)
        ), dotted


@pytest.mark.parametrize("name", sorted(TEXT))
def test_links_and_pictures_are_there(name):
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT[name]):
        assert (ROOT / target).exists(), target


def test_the_two_first_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo:", "test:", "test-slow:"} <= {line.split()[0] for line in makefile.splitlines() if line and line[0].isalpha()}


def test_no_placeholder_is_left():
    assert "@@" not in README
