"""Packages of the wheel; all other metadata stand in pyproject.toml.

A list there would have to name every new folder of code by hand, and `packages.find` cannot place `configs/` in `tasks`.
"""

import shutil
from pathlib import Path

from setuptools import find_packages, setup

CODE = ("tasks", "datamodules", "models", "losses")

# Whatever lies there goes into the wheel, files that an earlier version had too.
shutil.rmtree(Path(__file__).parent / "build" / "lib", ignore_errors=True)
setup(
    packages=[*find_packages(include=[pattern for name in CODE for pattern in (name, f"{name}.*")]), "tasks.configs"],
    package_dir={"tasks.configs": "configs"},
)
