"""Files on the command line of `predict`: words up to the next option, positional files, lists in brackets."""

import pytest

from tasks.cli.parsing import split_files


@pytest.mark.parametrize(
    ("words", "rest", "files"),
    [
        (["--data.inputs", "a.mp3", "b.mp3", "--name", "x"], ["--name", "x"], {"inputs": ["a.mp3", "b.mp3"]}),
        (["--data.inputs=a.mp3", "b.mp3"], [], {"inputs": ["a.mp3", "b.mp3"]}),
        (["a.mp3", "--ckpt_path", "run", "b.mp3"], ["--ckpt_path", "run"], {"inputs": ["a.mp3", "b.mp3"]}),
        (["--ckpt_path=run", "b.mp3"], ["--ckpt_path=run"], {"inputs": ["b.mp3"]}),
        (["--data.inputs", "[a.mp3, 'b c.mp3']", "d.mp3"], [], {"inputs": ["a.mp3", "b c.mp3", "d.mp3"]}),
        (["--data.inputs", "null", "1.0"], [], {"inputs": ["null", "1.0"]}),
        (["-c", "a.yaml", "b.mp3"], ["-c", "a.yaml"], {"inputs": ["b.mp3"]}),
        (["--x", "-1", "--", "--odd.mp3", "-c"], ["--x", "-1"], {"inputs": ["--odd.mp3", "-c"]}),
        (
            ["--data.scores", "a.mid", "b.mid", "--data.inputs", "a.wav", "b.wav", "--data.strict", "true"],
            ["--data.strict", "true"],
            {"scores": ["a.mid", "b.mid"], "inputs": ["a.wav", "b.wav"]},
        ),
        (["--print_config", "--data.inputs"], ["--print_config"], {}),
        (["--data.inputs", "a.mp3", "--data.inputs", "b.mp3"], [], {"inputs": ["a.mp3", "b.mp3"]}),
    ],
)
def test_words_become_options_and_files(words, rest, files):
    assert split_files(["predict", *words]) == (["predict", *rest], files)


def test_a_file_in_brackets_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "[live]").mkdir()
    assert split_files(["predict", "[live]", "[a, b]", "[2003"]) == (["predict"], {"inputs": ["[live]", "a", "b", "[2003"]})
