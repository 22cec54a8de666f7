"""Cache of the embedded data sets, keyed by generator, settings and package versions."""

import hashlib
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from datamodules.common.cache import build_folder, cached

# Packages that provide scores and sound, whose versions are part of the key.
INGREDIENTS = ("music21", "pretty_midi", "midirenderer")


def build_once(
    name: str,
    make: Callable[[Path], None],
    sources: Iterable[str | Path],
    settings: object = None,
    cache_dir: str | Path | None = None,
) -> Path:
    """Folder of an embedded data set, filled by `make(folder)` on the first call.

    Its name is a hash of `sources` (text of the generator), `settings` (by repr) and package versions. A lock makes other
    processes wait; an interrupted build is started again.
    """
    target = cached(cache_dir, "demo", f"{name}-{fingerprint(sources, settings)}")
    return build_folder(target, make, f"the demo data {target}")


def fingerprint(sources: Iterable[str | Path], settings: object) -> str:
    """Hash (12 hex digits) of source files, settings and versions of INGREDIENTS."""
    digest = hashlib.sha256(repr(settings).encode())
    for source in sources:
        digest.update(Path(source).read_text(encoding="utf-8").encode())
    for package in INGREDIENTS:
        digest.update(f"{package} {_version(package)}\n".encode())
    return digest.hexdigest()[:12]


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return "none"
