"""The wheel: what it holds, and that it trains and predicts from another folder without the clone."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.layouts import tone, write_audio, write_mtat

ROOT = Path(__file__).parents[2]
PACKAGES = ("tasks", "datamodules", "models", "losses")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
# Writes the files of all imported modules of the suite when a process of the environment ends.
RECORDER = """
import atexit, os, sys
def record():
    names = os.environ["NAMES"].split()
    files = [getattr(module, "__file__", None) for name, module in sys.modules.items() if name.split(".")[0] in names]
    with open(os.environ["FILES"], "a") as file:
        file.writelines(f"{path}\\n" for path in files if path)
if "FILES" in os.environ:
    atexit.register(record)
"""


class Install(NamedTuple):
    """Environment that the wheel is installed in."""

    python: Path
    site: Path  # its site-packages


def sources() -> list[Path]:
    """Files of the four packages and of configs, relative to the clone."""
    folders = (*PACKAGES, "configs")
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return sorted(path.relative_to(ROOT) for path in found if "__pycache__" not in path.parts)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Wheel built from a copy of the sources: setuptools writes its work files beside them."""
    copy, target = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("wheel")
    for path in [*sources(), *map(Path, ("pyproject.toml", "setup.py", "README.md", "LICENSE"))]:
        (copy / path.parent).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy / path)
    (copy / "build/lib/tasks").mkdir(parents=True)
    (copy / "build/lib/tasks/earlier.py").touch()  # left by a build of an earlier version
    subprocess.run([sys.executable, "-c", BUILD, str(target)], cwd=copy, capture_output=True, check=True)
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def install(wheel, tmp_path_factory):
    """A new environment with the wheel, and the libraries of this one behind it."""
    folder = tmp_path_factory.mktemp("venv").resolve()
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "libraries.pth").write_text("\n".join([*libraries, "import recorder"]))
    (site / "recorder.py").write_text(RECORDER)
    scripts = Path(sysconfig.get_path("scripts", "venv", {"base": str(folder)}))
    return Install(next(path for path in scripts.iterdir() if path.stem == "python"), site)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Working folder with packages of the suite's names, which must not be imported."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("models", "losses", "datamodules", "tests"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('imported from the working folder')")
    return folder


def run(install: Install, folder: Path, *words: object) -> str:
    """Output of the environment's Python in a folder; all that it imports of the suite must be the installed one."""
    files = folder / "files.txt"
    files.unlink(missing_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "QUINTET_RUN"))}
    environment = kept | {"FILES": str(files), "NAMES": " ".join(PACKAGES)}
    done = subprocess.run([install.python, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    used = files.read_text().splitlines()
    assert used and all(Path(path).resolve().is_relative_to(install.site) for path in used), used
    return done.stdout


def test_the_wheel_holds_every_file_and_adds_four_names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    tops = {name.split("/")[0] for name in names}
    (metadata,) = tops - set(PACKAGES)
    assert metadata.endswith(".dist-info") and set(PACKAGES) < tops
    code = {name for name in names if not name.startswith(metadata)}
    assert code == {("tasks" / path if path.parts[0] == "configs" else path).as_posix() for path in sources()}
    assert {f"{name}/py.typed" for name in PACKAGES} < code


def test_tasks_and_rows_are_listed_from_another_folder(install, stranger):
    listing = run(install, stranger, "-m", "tasks")
    assert "mtat_spec_att" in listing and f"configs: {install.site / 'tasks' / 'configs'}" in listing
    script = "from importlib.metadata import entry_points; entry_points(group='console_scripts')['quintet'].load()()"
    assert run(install, stranger, "-P", "-c", script) == listing


def test_an_install_trains_and_predicts_from_another_folder(install, stranger):
    data = ("--data", "datamodules.MTAT", "--data.root", write_mtat(stranger / "mtat", 32, seconds=2.0))
    options = ("--trainer.accelerator", "cpu", "--trainer.max_epochs", "1", "--test_after_fit", "false")
    run(install, stranger, "-m", "tasks.tagging", "fit", "--config", "tiny", *data, *options)
    environment = json.loads((stranger / "runs/tagging/tiny/environment.json").read_text())
    assert environment["git_commit"] is None and environment["quintet"] == environment["packages"]["quintet"]
    write_audio(stranger / "tone.wav", tone(2.0))
    run(install, stranger, "-m", "tasks", "tagging", "predict", "--ckpt_path", "runs/tagging/tiny", "--data.inputs", "tone.wav")
    assert (stranger / "runs/tagging/tiny/predictions/tags.csv").is_file()
