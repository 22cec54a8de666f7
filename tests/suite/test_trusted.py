"""A stranger's checkpoint or run folder: each name in it is refused in one sentence before any import, or stays text."""

import itertools
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
import torch
import yaml

import tasks
from datamodules.common.errors import DataError
from models.tagging import FrontBack
from tasks.cli import trusted
from tasks.cli.checkpoints import KEY, hyper_parameters, load_module
from tasks.cli.configs import CONFIGS
from tasks.cli.imported import write_imported
from tasks.cli.registry import resolve
from tasks.cli.run_config import check_run_settings, checked_config
from tasks.separation.stem_files import StemFiles
from tasks.writers.output_files import is_plain_name
from tests.helpers.checkpoints import LINKED, content_of, replaced, settings_of, strings, task_of, write
from tests.helpers.commands import command, write_tiny
from tests.helpers.layouts import tone, write_audio

TASKS = sorted(LINKED)


@pytest.fixture(scope="module")
def contents():
    return {name: content_of(name) for name in TASKS}


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that could be imported, and says so when it is."""
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "trap_module.py").write_text("class Net: pass\n\ndef fire(*_): pass\n")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    assert "trap_module" not in sys.modules, "a checkpoint has imported it"


def refusal(content, name="tagging"):
    """Sentence with which a content is refused, None where it is not."""
    try:
        with trusted.refusing("x.ckpt"):
            trusted.check_content(content)
            trusted.check_settings(content["hyper_parameters"], resolve(task_of(name).module), "model")
            data = content["datamodule_hyper_parameters"]
            trusted.check_value({"class_path": data["_class_path"], "init_args": data}, resolve(task_of(name).data), "data")
    except DataError as error:
        return str(error)
    return None


REPLACEMENTS = {
    "path": "../../../x",
    "dotted name": "trap_module.fire",
    "dotted name within a prefix": "torch.optim.optimizer.warnings.warn",
    "text of a class": '{"class_path": "trap_module.Net"}',
    "callable": torch._utils._rebuild_tensor,
    "instance": torch.nn.Parameter(torch.zeros(1)),
}
TEXT = {
    *("tags", "classes", "system", "note", "score_font"),  # printed
    *("conditions", "name", "key", "student", "teacher", "pytorch-lightning_version", "task"),  # compared with known names
}
"""Settings that may be any text, none of which becomes a class or a file."""


@pytest.mark.parametrize("kind", REPLACEMENTS)
@pytest.mark.parametrize("name", TASKS)
def test_each_string_of_a_checkpoint_is_refused_or_stays_text(name, kind, contents, trap):
    content, change = contents[name], REPLACEMENTS[kind]
    assert refusal(content, name) is None
    kept = []
    for where in strings(content):
        sentence = refusal(replaced(content, where, lambda _: change), name)
        if sentence is None:
            kept.append(where)
        else:
            assert sentence.startswith("x.ckpt was refused: "), sentence
            assert len(sentence) < 400 and "\n" not in sentence
    if kind == "callable":
        assert not kept
    named = {str(key) for where in kept for key in where[-2:]}
    assert not named & {"class_path", "_class_path", "_instantiator", "net", "optimizer", "loss"}
    if kind == "path":
        assert not named & {"sources", "row"}
    # What is left is free text, or one of several words, which the parser compares with the list of them.
    literal = [where for where in kept if not {str(key) for key in where[-2:]} & TEXT]
    for where in literal:
        assert where[0] in ("hyper_parameters", "datamodule_hyper_parameters", KEY), where


@pytest.mark.parametrize("name", TASKS)
def test_text_that_is_accepted_imports_nothing(name, contents, trap, tmp_path):
    content = contents[name]
    for where in list(strings(content)):
        if {str(key) for key in where[-2:]} & (TEXT - {"task", "name", "key", "conditions"}) and "datamodule" not in where[0]:
            content = replaced(content, where, lambda _: "trap_module.fire")
    content["pytorch-lightning_version"] = "2.6.6"
    if name == "sed":  # names of modules of the network, which must exist
        content["hyper_parameters"]["mean_teacher"]["init_args"] |= {"student": "net", "teacher": "teacher"}
    module = load_module(write(content, tmp_path / "x.ckpt"), task=name)
    assert getattr(module, "tags", ["trap_module.fire"])[0] == "trap_module.fire"


CLASSES = {
    "tasks.cli.registry.resolve": "not a class of this suite or of torch",
    "tasks.cli.runs.os.system": "not a class of this suite or of torch",
    "tasks.callbacks.media.io.open": "not a class of the installed tasks",
    "torch.optim.optimizer.warnings.warn": "not a class of the installed torch",
    "os.system": "not a class of this suite or of torch",
    "builtins.eval": "not a class of this suite or of torch",
    "subprocess.Popen": "not a class of this suite or of torch",
    "torch.load": "not a class of this suite or of torch",
    "torch.nn.functional.relu": "not a class of the installed torch",
    "torch.nn.modules.module.OrderedDict": "lies outside torch",
    "torch.nn.modules.module.functools.partial": "not a class of the installed torch",
    "models.blocks.LogMel.__init__": "not a class of the installed models",
    "models.blocks.precision.torch": "not a class of the installed models",
    "datamodules.tagging.msd.load": "not a class of the installed datamodules",
    "datamodules.generation.views.CLASSES": "not a class of the installed datamodules",
    "models.x.Net": "not a class of the installed models",
    "models..x": "expected the import path of a class",
    "models.tagging.Att ; import os": "expected the import path of a class",
    "models.blocks.LogMel\n": "expected the import path of a class",
    "torch.optim.Adam": "expected a Module",
    "": "expected the import path of a class",
}


@pytest.mark.parametrize("path", CLASSES)
def test_class_paths_beyond_the_list(path, contents, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "x.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(tmp_path)
    sentence = refusal(replaced(contents["tagging"], ("hyper_parameters", "net", "class_path"), lambda _: path))
    assert CLASSES[path] in sentence


def test_a_package_of_the_current_folder_is_not_taken_for_ours(tmp_path, monkeypatch):
    (tmp_path / "losses").mkdir()
    (tmp_path / "losses" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "losses"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(trusted.Untrusted, match="not a class of the installed losses"):
        trusted.trusted_class("losses.MultiDomainLoss", "loss")


def with_setting(content, **settings):
    return content | {"hyper_parameters": content["hyper_parameters"] | settings}


def attacks(content, folder):
    """Further ways to make a checkpoint of tagging build what it names, each with words of its refusal."""
    evil = folder / "evil.yaml"
    evil.write_text("class_path: os.system\ninit_args: {command: 'touch caught'}\n")
    spec = {"class_path": "os.system", "init_args": {"command": "touch caught"}}
    bomb = "[&a [1], " + ", ".join(f"&{y} [{','.join(['*' + x] * 10)}]" for x, y in itertools.pairwise("abcdefgh")) + "]"
    unknown = {"class_path": "torch.nn.BCELoss", "init_args": {"x": spec}}
    return {
        "a file of settings in place of a class": (with_setting(content, net=str(evil)), "class with its arguments"),
        "a class as text": (with_setting(content, loss='{"class_path": "os.system"}'), "class with its arguments"),
        "a class path without its mapping": (with_setting(content, loss="trap_module.fire"), "class with its arguments"),
        "settings under the key of old versions": (content | {"module_arguments": {"loss": spec}}, "module_arguments"),
        "all settings as one argument": (content | {"hparams_name": "net"}, "hparams_name"),
        "another instantiator": (with_setting(content, _instantiator="os.system"), "instantiator"),
        "another module": (with_setting(content, _class_path="os.system"), "not a class of this suite"),
        "a class among words": (with_setting(content, tags=[spec]), "tags"),
        "a class in an argument nobody knows": (with_setting(content, loss=unknown), "os.system"),
        "a class of another kind": (with_setting(content, loss={"class_path": "torch.optim.Adam"}), "expected a Module"),
        "a text that expands without end": (with_setting(content, scheduler_interval=bomb), "expand to more than"),
        "a tag that clears the screen": (with_setting(content, tags=["\x1b[2J", "b", "c"]), "control characters"),
        "a row that leads elsewhere": (content | {KEY: content[KEY] | {"row": "../../x"}}, "row"),
        "a device as row": (content | {KEY: content[KEY] | {"row": "NUL"}}, "row"),
    }  # fmt: skip


ATTACKS = tuple(attacks({"hyper_parameters": {}, KEY: {}}, Path(tempfile.mkdtemp())))


@pytest.mark.parametrize("attack", ATTACKS)
def test_other_attacks(attack, contents, trap, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, words = attacks(contents["tagging"], tmp_path)[attack]
    assert words in refusal(content)
    with pytest.raises(DataError, match="was refused"):
        load_module(write(content, tmp_path / "x.ckpt"), task="tagging")
    assert not (tmp_path / "caught").exists()


def test_a_word_that_is_too_long_for_a_path_is_no_file(contents):
    assert refusal(with_setting(contents["tagging"], loss="x" * 10_000)) is None  # the parser knows no class of that name


ESCAPES = ["../../../x", "/abs/x", "a/b", "a\\b", "C:x", "NUL", "com1.x", "", ".", "..", "a\0b", "x\n", " x", "x.", "x" * 300, 3]


@pytest.mark.parametrize("source", ESCAPES)
def test_sources_are_plain_file_names(source, contents):
    content = replaced(contents["separation"], ("hyper_parameters", "sources", 0), lambda _: source)
    assert "not a plain file name" in refusal(content, "separation")
    assert not is_plain_name(source)


@pytest.mark.parametrize("source", ["drums", "lead vocals", "Gitarre (links)", "гитара", "no_vocals", "stem.1"])
def test_usual_sources_are_kept(source, contents):
    assert refusal(replaced(contents["separation"], ("hyper_parameters", "sources", 0), lambda _: source), "separation") is None


def test_predict_writes_nothing_outside_its_folder(contents, tmp_path):
    write_audio(tmp_path / "song.wav", tone(1.0, 1, 44_100, channels=2), 44_100)
    content = replaced(contents["separation"], ("hyper_parameters", "sources"), lambda _: ["../../../escaped", "vocals"])
    path = write(content, tmp_path / "runs" / "x.ckpt")
    before = sorted(tmp_path.rglob("*"))
    done = command("separation", "predict", "--ckpt_path", path, "--data.inputs", tmp_path / "song.wav")
    assert done.code == 2
    assert done.err.count("\n") == 1 and "not a plain file name" in done.err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_writer_of_stems_is_the_last_line(tmp_path):
    with pytest.raises(DataError, match="not a valid file name"):
        StemFiles(tmp_path / "song", ["../x"], 44_100, 2, 10, "wav", "PCM_16")
    assert not list(tmp_path.iterdir())


def test_imported_weights_keep_to_the_same_names(tmp_path):
    with pytest.raises(DataError, match="not a plain file name"):
        write_imported(tmp_path / "x" / "checkpoints" / "best.ckpt", "separation", torch.nn.Linear(1, 1), {"sources": ["../x"]})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["validate", "test", "predict", "export", "fit"])
def test_every_verb_refuses_in_one_sentence(verb, contents, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = with_setting(contents["tagging"], net={"class_path": "os.system", "init_args": {"command": "touch caught"}})
    path = write(content, tmp_path / "runs" / "tagging" / "x" / "checkpoints" / "last.ckpt")
    done = command("tagging", verb, "--ckpt_path", path, *(["--data.inputs", "song.wav"] if verb == "predict" else []))
    assert done.code == 2
    assert done.err.count("\n") == 1 and "os.system" in done.err and "--trust true" in done.err
    assert not (tmp_path / "caught").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["runs"]


def test_a_run_that_could_not_be_read_again_does_not_start(tmp_path):
    odd = tmp_path / "a:b.yaml"
    odd.write_text("{}")
    assert "rename it" in command("tagging", "fit", "--config", odd, "--runs", tmp_path / "runs").err
    options = write_tiny(tmp_path, seconds=1.0)
    table = tmp_path / "mtat" / "annotations_final.csv"
    table.write_text(table.read_text().replace('"weird"', '"wei\x07rd"'))
    done = command("tagging", "fit", *options, "--data.tags", "all", "--trainer.max_epochs", "1")
    assert (done.code, done.err.count("error:")) == (2, 1)
    assert "tags holds 'wei" in done.err
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]


class Net(FrontBack):
    """A user's own network."""


def test_trust_goes_beyond_the_list(contents, tmp_path):
    write_audio(tmp_path / "song.wav", tone(1.0, 1, 16_000), 16_000)
    content = replaced(contents["tagging"], ("hyper_parameters", "net", "class_path"), lambda _: "tests.suite.test_trusted.Net")
    path = write(content, tmp_path / "x" / "checkpoints" / "best.ckpt")
    words = ("predict", "--ckpt_path", path, "--data.inputs", tmp_path / "song.wav", "--trainer.accelerator", "cpu")
    assert command("tagging", *words).code == 2
    done = command("tagging", *words, "--trust", "true")
    assert done.code == 0, done.err
    with trusted.trusting():
        assert type(load_module(path, task="tagging").net).__name__ == "Net"
    with pytest.raises(DataError):
        load_module(path, task="tagging")


# --- config.yaml of a run folder, which `fit --ckpt_path FILE` goes on with ---

FOLDERS = {
    "callback": ({"trainer": {"callbacks": [{"class_path": "trap_module.Net"}]}}, "trap_module.Net"),
    "callback as text": ({"trainer": {"callbacks": "trap_module.Net"}}, "expected a class"),
    "logger": ({"trainer": {"logger": {"class_path": "trap_module.Net"}}}, "trap_module.Net"),
    "strategy": ({"trainer": {"strategy": "trap_module.Net"}}, "expected a class"),
    "data": ({"data": {"class_path": "trap_module.Net"}}, "trap_module.Net"),
    "data as text": ({"data": "trap_module.Net"}, "expected a class"),
    "network": ({"model": {"net": "trap_module.Net"}}, "expected a class"),
    "trust of its own": ({"trust": True, "model": {"net": {"class_path": "trap_module.Net"}}}, "trap_module.Net"),
    "report": ({"report": {"x": {"class_path": "trap_module.Net"}}}, "trap_module.Net"),
    "no settings": (["a"], "expected a mapping of settings"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_settings_of_a_run_folder(case, trap, tmp_path):
    content, words = FOLDERS[case]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(DataError) as error:
        checked_config(path, task_of("tagging"))
    assert str(error.value).startswith(f"{path} was refused: ")
    assert words in str(error.value)


def test_a_run_folder_does_not_say_where_to_write(tmp_path):
    path = tmp_path / "tagging" / "x" / "config.yaml"
    path.parent.mkdir(parents=True)
    logger = {"class_path": "tasks.callbacks.WandbRun", "init_args": {"save_dir": "/elsewhere"}}
    csv = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": "/elsewhere", "name": "../x"}}
    settings = {"runs": "/elsewhere", "trainer": {"logger": [logger], "default_root_dir": "/elsewhere"}}
    path.write_text(yaml.safe_dump(settings | {"checkpoint": {"dirpath": "/elsewhere"}, "trust": True}))
    content = yaml.safe_load(checked_config(path, task_of("tagging")))
    assert "/elsewhere" not in str(content)
    assert content["runs"] == str(tmp_path)
    assert "trust" not in content
    path.write_text(yaml.safe_dump({"trainer": {"logger": csv}}))
    assert yaml.safe_load(checked_config(path, task_of("tagging")))["trainer"] == {"logger": None}


@pytest.mark.parametrize("name", TASKS)
def test_every_shipped_config_is_within_the_list(name):
    for config in sorted((CONFIGS / name).glob("*.yaml")):
        settings = yaml.safe_load(config.read_text())
        settings.pop("extends", None)
        settings |= {"trust": False}
        for part in settings_of(config):
            check_run_settings(part, task_of(name))
        check_run_settings(settings, task_of(name))


@pytest.mark.parametrize("name", TASKS)
def test_a_checkpoint_of_today_is_read(name, contents, tmp_path):
    path = write(contents[name], tmp_path / "x.ckpt")
    model, data = hyper_parameters(path, name, resolve(task_of(name).module), with_data=True)
    assert "_instantiator" not in model
    assert data["_class_path"].startswith("datamodules.")
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("name", TASKS)
def test_load_takes_the_task_from_the_checkpoint(name, contents, tmp_path):
    module = tasks.load(write(contents[name], tmp_path / "x.ckpt"))
    assert type(module) is resolve(task_of(name).module) and not module.training


@pytest.mark.parametrize("owner", ["os", "../tagging", "tagging.ladder", "callbacks", ["tagging"], None])
def test_load_imports_nothing_for_a_task_that_is_none(owner, contents, tmp_path):
    content = contents["tagging"] | {KEY: contents["tagging"][KEY] | {"task": owner}}
    before = set(sys.modules)
    with pytest.raises(DataError, match="another program"):
        tasks.load(write(content, tmp_path / "x.ckpt"))
    assert set(sys.modules) == before
