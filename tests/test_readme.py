"""What README and CONTRIBUTING promise: commands, files and names that exist."""

import importlib
import re
import shlex
from itertools import product
from pathlib import Path

import pytest

from tasks.__main__ import find_tasks
from tasks.launch import VERBS

ROOT = Path(__file__).parent.parent
TEXT = {name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")}
README = TEXT["README.md"]
COMMANDS = sorted(set(re.findall(r"python -m [^`\n]+", README)))
CONFIGS = sorted(set(re.findall(r"configs/[\w{},./*-]+", README)))


def braces(text: str) -> list[str]:
    """The paths that a shell makes of {a,b} and {1..8}."""
    parts = re.split(r"\{([^}]*)\}", text)
    choices = []
    for i, part in enumerate(parts):
        span = re.fullmatch(r"(\d+)\.\.(\d+)", part) if i % 2 else None
        numbers = [str(n) for n in range(int(span[1]), int(span[2]) + 1)] if span else None
        choices.append(numbers or (part.split(",") if i % 2 else [part]))
    return ["".join(choice) for choice in product(*choices)]


def test_there_are_commands():
    assert len(COMMANDS) > 8
    assert len(CONFIGS) > 8


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_a_module_and_a_verb_that_exist(command):
    words = shlex.split(command.split("#")[0])
    module = words[2]
    if module.startswith("tasks.") and len(module.split(".")) == 2:
        assert module.split(".")[1] in find_tasks()
        assert words[3] in VERBS
    elif module not in ("venv", "pip"):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()


@pytest.mark.parametrize("pattern", CONFIGS)
def test_every_config_is_there(pattern):
    for path in braces(pattern.rstrip(".")):
        assert list(ROOT.glob(path)), path


def test_every_python_name_in_the_readme_can_be_imported():
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    module, names = re.search(r"from ([\w.]+) import ([\w, ]+)", block).groups()
    assert all(hasattr(importlib.import_module(module), name) for name in names.split(", "))
    for dotted in re.findall(r"`((?:models|datamodules)\.[\w.]+)`", README):
        parent, _, name = dotted.rpartition(".")
        assert (ROOT / dotted.replace(".", "/")).exists() or (ROOT / (dotted.replace(".", "/") + ".py")).exists() or hasattr(
            importlib.import_module(parent), name
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
