"""Syntax trees of our own files, parsed once for all tests that read them."""

import ast
from functools import cache
from pathlib import Path


@cache
def syntax_tree(path: Path) -> ast.Module:
    """Syntax tree of a file; not to be changed."""
    return ast.parse(path.read_text(encoding="utf-8"))
