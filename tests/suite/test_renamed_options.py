"""Earlier names of options: words and configs under today's names, with a warning."""

import pytest
import yaml

from tasks.cli.arguments import with_current_names
from tasks.cli.renamed import OPTIONS


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("tagging", ["--{}.threshold", "0.3"]),
        ("tagging", ["--{}.top=5"]),
        ("tagging", ["--print_config", "--{}.calibrated", "true"]),
        ("sed", ["--{}.thresholds=a=b", "--{}.step", "2"]),
    ],
)
def test_words_get_todays_names_and_a_warning(task, words):
    earlier, current = ([word.format(group) for word in words] for group in ("output", "model.inference"))
    with pytest.warns(UserWarning, match=r"^--output\.\w+ is now called --model\.inference\.\w+"):
        assert with_current_names(task, earlier) == current


def test_other_words_stay_as_they_are(recwarn):
    words = ["--config", "{output: {maps: true}}", "--output.folder", "--output.thresholds", "--output.top_k=1", "output.top"]
    assert with_current_names("tagging", words) == words
    assert with_current_names("separation", ["--output.top", "5"]) == ["--output.top", "5"]
    assert not recwarn.list


@pytest.mark.parametrize("form", [("--config", "{}"), ("-c", "{}"), ("--config={}",)])
def test_renamed_options_of_a_config_follow_it_as_words(tmp_path, form):
    path = tmp_path / "mine.yaml"
    path.write_text("output:\n  threshold: 0.25\n  top: null\n  maps: true\n  calibrated: true\ndata: {strict: true}\n")
    words = [word.format(path) for word in form]
    with pytest.warns(UserWarning, match="the earlier name is accepted") as warned:
        *_, config, threshold, least, top, none, calibrated, true, last = with_current_names("tagging", [*words, "--x=1"])
    assert yaml.safe_load(config.removeprefix("--config=")) == {"output": {"maps": True}, "data": {"strict": True}}
    assert [threshold, least, top, none] == ["--model.inference.threshold", "0.25", "--model.inference.top", "null"]
    assert [calibrated, true, last] == ["--model.inference.calibrated", "true", "--x=1"] and len(warned) == 3


def test_every_earlier_name_leads_to_an_option_of_the_task():
    from inspect import signature
    from types import UnionType
    from typing import get_args

    from tasks.cli.registry import resolve, task_named

    for task, names in OPTIONS.items():
        writer = signature(resolve(task_named(task).writer)).parameters
        inference = signature(resolve(task_named(task).module)).parameters["inference"].annotation
        assert isinstance(inference, UnionType)
        fields = signature(get_args(inference)[0]).parameters
        for old, new in names.items():
            assert old.removeprefix("output.") not in writer and new.removeprefix("model.inference.") in fields
