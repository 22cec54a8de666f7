"""YAML that expands without end, nests too deeply or contains itself: one sentence within a second, wherever it is read."""

import itertools
import time

import pytest
import yaml

from datamodules.common.errors import DataError
from tasks.cli.configs import parents
from tasks.cli.run_config import checked_config
from tasks.cli.yaml_files import YAMLError, load_yaml, read_yaml
from tests.helpers.checkpoints import task_of
from tests.helpers.commands import tagging

BOMB = "a: &a [x]\n" + "".join(f"{y}: &{y} [{','.join(['*' + x] * 10)}]\n" for x, y in itertools.pairwise("abcdefghijkl"))
LINE = "[&a [x], " + ", ".join(f"&{y} [{','.join(['*' + x] * 10)}]" for x, y in itertools.pairwise("abcdefghij")) + "]"
REFUSED = {
    "aliases that double": (BOMB, "expand to more than"),
    "merged mappings": (BOMB.replace("[x]", "{x: 1}").replace("[*", "{<<: [*").replace("]\n", "]}\n"), "expand to more than"),
    "a list 3,000 deep": ("[" * 3000 + "]" * 3000, "more than 60 levels deep"),
    "a mapping 3,000 deep": ("{a: " * 3000 + "}" * 3000, "more than 60 levels deep"),
    "100,000 dashes": ("- " * 100_000 + "x", "more than 60 levels deep"),
    "an alias of itself": ("a: &a [*a]", "contains itself"),
    "a mapping of itself": ("&a {b: *a}", "contains itself"),
    "a bomb in a text": (yaml.safe_dump({"trainer": {"max_epochs": LINE}}), "expand to more than"),
}


@pytest.fixture(autouse=True)
def within_a_second():
    before = time.process_time()
    yield
    assert time.process_time() - before < 5  # of a busy machine; without bounds they take minutes


@pytest.mark.parametrize("case", REFUSED)
def test_texts_beyond_the_bounds(case, tmp_path):
    text, words = REFUSED[case]
    with pytest.raises(YAMLError, match=words):
        load_yaml(text)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    for read in (read_yaml, parents, lambda path: checked_config(path, task_of("tagging"))):
        with pytest.raises(DataError, match=words) as error:
            read(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("case", REFUSED)
def test_the_command_line_refuses_them_in_one_sentence(case, tmp_path):
    text, words = REFUSED[case]
    path = tmp_path / "x.yaml"
    path.write_text(text)
    for typed in (("--config", path), ("--data.pieces", text), (f"--model.net={text}",)):
        done = tagging("fit", *typed, "--runs", tmp_path / "runs")
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert words in done.err
    assert not (tmp_path / "runs").exists()


def test_a_file_of_settings_inside_a_config_is_bounded_too(tmp_path):
    (tmp_path / "net.yaml").write_text(BOMB)
    (tmp_path / "x.yaml").write_text(f"model: {{net: {tmp_path / 'net.yaml'}}}")
    done = tagging("fit", "--config", tmp_path / "x.yaml", "--runs", tmp_path / "runs")
    assert done.code == 2
    assert "Traceback" not in done.err
    assert len(done.err) < 1000


READ = {
    "a: &a {b: 1}\nc: *a\nd: {<<: *a, e: 2}": {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}},
    "a: 'x [ y * z'": {"a": "x [ y * z"},
    "": None,
}


@pytest.mark.parametrize("text", READ)
def test_usual_aliases_are_read(text):
    assert load_yaml(text) == READ[text]


@pytest.mark.parametrize("text", ["a: 2020-99-99", "a: " + "9" * 5000, "a: [", "!!python/object/apply:os.system [x]", "a\0b"])
def test_other_faults_are_errors_of_yaml(text):
    with pytest.raises(YAMLError):
        load_yaml(text)
