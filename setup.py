"""Packages of the wheel; all other metadata stand in pyproject.toml.

A list there would have to name every new folder of code by hand, and `packages.find` cannot place `configs/` in `tasks`.
"""

from setuptools import find_packages, setup

CODE = ("tasks", "datamodules", "models", "losses")

setup(
    packages=[*find_packages(include=[pattern for name in CODE for pattern in (name, f"{name}.*")]), "tasks.configs"],
    package_dir={"tasks.configs": "configs"},
)
