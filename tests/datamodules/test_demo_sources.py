"""An embedded set is another one as soon as any file changes that decides how it turns out."""

import ast
from pathlib import Path

import pytest

from datamodules.demo import alignment, separation, soundscapes, tagging
from datamodules.generation.corpora.corpus import READERS

ROOT = Path(__file__).parents[2]
SHARED = ("datamodules.audio", "datamodules.alignment")  # whose files count where a demo draws on those in MAKERS
MAKERS = ("midi_file", "render", "degrade")


def drawn_on(path, found=()):
    """The files of the demo, and those that make sound, that a file imports at any depth, and itself."""
    found = {*found, path}
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        package, _, last = (node.module or "").rpartition(".")
        if node.module in ("datamodules.demo", *SHARED):
            files = [(node.module, alias.name) for alias in node.names]
        else:
            files = [(package, last)]
        for folder, name in files:
            one = ROOT / folder.replace(".", "/") / f"{name}.py"
            if (folder == "datamodules.demo" or (folder in SHARED and name in MAKERS)) and one not in found:
                found |= drawn_on(one, found)
    return found


@pytest.mark.parametrize("module", [tagging, separation, soundscapes, alignment])
def test_a_set_is_named_after_every_file_that_decides_how_it_turns_out(module):
    here = Path(module.__file__)
    files = drawn_on(here) - {here.with_name("cache.py")}
    assert set(module.SOURCES) == files | (set(READERS) if here.with_name("music.py") in files else set())
