"""Every YAML file in configs does what its first line says, on tiny data in the real layout."""

import copy
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from pytorch_lightning.cli import Namespace

from tasks.__main__ import find_tasks
from tasks.cli.arguments import row_of
from tasks.cli.configs import configs_in
from tasks.cli.loggers import run_loggers
from tasks.tagging.paper import FIGURE_5, SAME_RUN, TABLE_5_CONFIG, TABLES
from tests.helpers.commands import command, tagging
from tests.helpers.layouts import write_folder, write_jamendo, write_msd, write_mtat
from tests.helpers.trained_rows import left_to_slow, one_of_each_class

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
TASKS = set(find_tasks())
ROWS = sorted(path for path in CONFIGS.glob("*/*.yaml") if path.parent.name in TASKS and path.stem not in ("base", "default"))
SHARED = [*CONFIGS.glob("*/base.yaml"), *CONFIGS.glob("*/default.yaml")]
TAGGING = [path for path in ROWS if path.parent.name == "tagging"]
LAYOUTS = {"MTAT": write_mtat, "MSD": write_msd, "Jamendo": write_jamendo}
LAYOUTS["Folder"] = write_folder
SMALL = {"batch_size": 2, "eval_batch_size": 1, "num_workers": 0, "pack": "never", "policy": "cover"}
LIGHT = ["--model.net.front_end.channels", "1", "--model.net.front_end.width", "32"]
name_of = {path: f"{path.parent.name}/{path.stem}" for path in ROWS}.get


def content(path):
    return yaml.safe_load(path.read_text()) or {}


def launch_words(path):
    """Command in the first line of a config, after `python -m`."""
    first = path.read_text().splitlines()[0]
    assert first.startswith("# python -m tasks."), f"{path} does not begin with the command that runs it"
    return shlex.split(first.removeprefix("# python -m "))


def family(path):
    """The network of a row but for the number of heads and layers: one of each family is run in full size."""
    net = copy.deepcopy(content(path).get("model", {}).get("net", {}))
    parts = net.get("init_args", {})
    back_end = parts.get("back_end", {}).get("init_args", {})
    for name in ("heads", "layers"):
        back_end.pop(name, None)
    if parts.get("back_end") == {"init_args": {}}:
        parts.pop("back_end")
    return yaml.safe_dump(net if net != {"init_args": {}} else {})


FULL = {family(path): path for path in reversed(TAGGING)}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Folder of a tiny data set of a class, written when it is first asked for."""
    made = {}

    def root(kind):
        if kind not in made:
            made[kind] = LAYOUTS[kind](tmp_path_factory.mktemp(kind), n=16, seconds=4.0)
        return made[kind]

    return root


@pytest.mark.parametrize("path", ROWS, ids=name_of)
def test_each_row_begins_with_its_own_command(path):
    module, verb, *words = launch_words(path)
    assert (module, verb) == (f"tasks.{path.parent.name}", "fit")
    configs = configs_in(words)
    assert configs[-1] == str(path.relative_to(ROOT))
    assert {Path(name).parent.name for name in configs} == {path.parent.name}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/default.yaml")), ids=lambda path: path.parent.name)
def test_each_demo_is_fit_without_arguments(path):
    assert launch_words(path) == [f"tasks.{path.parent.name}", "fit"]


@pytest.mark.parametrize("path", one_of_each_class(TAGGING), ids=name_of)
def test_each_tagging_row_trains(path, roots, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    kind = (content(path).get("data") or {}).get("class_path", "datamodules.MTAT").rsplit(".", 1)[-1]
    _, verb, *words = launch_words(path)
    if "--data.root" in words:
        words[words.index("--data.root") + 1] = str(roots(kind))
    small = [word for name, value in SMALL.items() for word in (f"--data.{name}", str(value))]
    here = ["--data.root", str(roots(kind)), "--runs", str(tmp_path), "--trainer.accelerator", "cpu"]
    light = [] if FULL[family(path)] == path else LIGHT
    shown = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
    done = tagging(verb, *words, *small, *here, *light, *shown, "--trainer.fast_dev_run", "true")
    assert done.code == 0, done.err


@pytest.mark.parametrize("task", sorted(TASKS))
def test_rows_that_slow_tests_train_are_parsed(task):
    for path in left_to_slow(one_of_each_class([path for path in ROWS if path.parent.name == task])):
        done = command(task, "fit", "--config", path, "--print_config")
        assert done.code == 0, f"{path}: {done.err}"


@pytest.mark.parametrize("path", SHARED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_base_and_demo_parse(path):
    done = command(path.parent.name, "fit", "--config", path, "--print_config")
    assert done.code == 0, done.err


def test_a_run_is_named_by_its_row_not_by_what_is_added_to_it():
    from tasks.tagging.__main__ import TASK

    row, wandb = str(TAGGING[0]), str(CONFIGS / "wandb.yaml")
    assert row_of(TASK, ["fit", "--config", row, "--config", wandb]) == TAGGING[0].stem
    assert row_of(TASK, ["fit", f"--config={wandb}"]) == row_of(TASK, ["fit"]) == "default"


def test_wandb_can_be_added_to_a_row():
    done = tagging("fit", "--config", TAGGING[0], "--config", CONFIGS / "wandb.yaml", "--print_config")
    assert done.code == 0, done.err
    assert yaml.safe_load(done.out)["trainer"]["logger"]["class_path"].startswith("tasks.callbacks.")


CSV, WANDB, BOARD = "tasks.callbacks.CSVLog", "tasks.callbacks.WandbRun", "pytorch_lightning.loggers.TensorBoardLogger"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, [CSV]),
        (True, [CSV]),
        (False, False),
        (WANDB, [WANDB, CSV]),
        ([WANDB, BOARD], [WANDB, BOARD, CSV]),
        ([BOARD, "pytorch_lightning.loggers.CSVLogger"], [BOARD, "pytorch_lightning.loggers.CSVLogger"]),
    ],
)
def test_csv_logs_are_written_beside_those_of_other_loggers(given, expected, tmp_path):
    def logger(path):
        return Namespace(class_path=path, init_args=Namespace(save_dir=".", name=None))

    if isinstance(given, str):
        given = logger(given)
    elif isinstance(given, list):
        given = [logger(path) for path in given]
    if expected and CSV in expected:  # of another run, by whose config a checkpoint is resumed
        another = Namespace(class_path=CSV, init_args=Namespace(save_dir="/another", name="logs"))
        given = [*(given if isinstance(given, list) else [given] if given not in (None, True) else []), another]
    options = Namespace(trainer=Namespace(logger=given), seed_everything=0, ckpt_path=None)
    loggers = run_loggers(options, tmp_path, "row", "fit")
    assert loggers == expected or [logger.class_path for logger in loggers] == expected
    assert not loggers or {logger.init_args.save_dir for logger in loggers} == {str(tmp_path)}


@pytest.mark.parametrize("path", sorted((CONFIGS / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_sweeps_name_accepted_options_and_a_logged_metric(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sweep = content(path)
    words = [word for word in sweep["command"] if not word.startswith("${")]
    assert words[:4] == ["python", "-m", f"tasks.{path.stem}", "fit"]
    tried = {name: (one.get("values") or [one.get("min")])[0] for name, one in sweep["parameters"].items()}
    done = command(path.stem, *words[3:], *(f"--{name}={value}" for name, value in tried.items()), "--print_config")
    assert done.code == 0, done.err
    written = yaml.safe_load(done.out)
    assert written["model"]["optimizer"]["init_args"]["lr"] == tried["model.optimizer.lr"]
    assert sweep["metric"]["name"] == written["checkpoint"]["monitor"]
    assert sweep["metric"]["goal"][:3] == written["checkpoint"]["mode"]


def test_the_papers_rows_and_the_configs_are_the_same():
    named = {row.config for table in TABLES for row in table.rows} | set(FIGURE_5) | {TABLE_5_CONFIG} | set(SAME_RUN)
    assert named == {path.stem for path in TAGGING if path.stem.startswith(("mtat_", "msd_"))}


def test_the_cluster_script_is_valid_shell():
    checked = subprocess.run(["bash", "-n", str(CONFIGS / "slurm.sh")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_each_yaml_is_covered_here(path):
    kinds = {"sweeps": True, "configs": path.name == "wandb.yaml"}
    assert kinds.get(path.parent.name, path.parent.name in TASKS), f"no test parses {path}"
