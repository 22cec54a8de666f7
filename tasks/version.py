"""Version of the suite, read from its clone or from the metadata of its install."""

import functools
import tomllib
from importlib.metadata import PackageNotFoundError, version

from tasks.import_path import ROOT


@functools.cache
def suite_version() -> str:
    """Version such as `0.1.0`; `unknown` in a copy that is neither a clone nor installed.

    A clone's pyproject.toml comes first: the metadata of an editable install stay those of the day it was installed.
    """
    project = ROOT / "pyproject.toml"
    if project.is_file():
        metadata = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {})
        if metadata.get("name") == "quintet":
            return metadata["version"]
    try:
        return version("quintet")
    except PackageNotFoundError:
        return "unknown"
