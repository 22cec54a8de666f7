"""Errors of the command line: one sentence in words of the command line, without types of Python."""

import os
import sys
from typing import Literal
from unittest import mock

import pytest

from tasks.cli.launch import show
from tasks.cli.parsing import ShortErrorParser, shorten


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            "Parser key \"missing\": Expected a typing.Literal['skip', 'silence', 'stop']. Got value: x",
            "--data.missing: expected one of skip, silence, stop; got x",
        ),
        (
            "Parser key \"trainer.max_steps\": Expected a <class 'int'>. Got value: few",
            "--trainer.max_steps: expected a whole number; got few",
        ),
        ("Parser key \"lengths\": Expected a <class 'bool'>", "lengths: expected true or false"),  # of a YAML file
        (
            'Parser key "data":\n  - Expected a path but Stems either not accessible or invalid\n'
            "  - Expected a dot import path string: Stems",
            "--data: expected a class by its full path (MODULE.CLASS) or a YAML file; got Stems",
        ),
    ],
)
def test_a_wrong_value_names_the_option_as_typed_and_what_it_takes(monkeypatch, message, sentence):
    monkeypatch.setattr(sys, "argv", ["fit", "--data=Stems", "--data.missing", "x", "--trainer.max_steps=few"])
    assert shorten(message) == sentence


def test_the_command_line_says_it_so(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tasks.toy", "--rows.kind", "c"])
    parser = ShortErrorParser()
    parser.add_argument("--rows.kind", type=Literal["a", "b"])
    parser.add_argument("--rows.number", type=int)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--rows.kind", "c"])
    assert "error: --rows.kind: expected one of a, b; got c" in capsys.readouterr().err


def test_a_reader_may_take_the_first_lines_alone():
    """`python -m tasks | head -1`: no traceback when the pipe is closed early."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed, mock.patch.object(sys, "stdout", closed):
        show("tasks\n" * 100_000)
        closed.flush()
