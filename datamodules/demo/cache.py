"""Cache of the embedded data sets: a set is rendered once for each generator, settings and packages."""

import hashlib
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from datamodules.common.cache import build_folder, cached

# Packages that notes and sound come from: another version makes another data set.
INGREDIENTS = ("music21", "pretty_midi", "midirenderer")


def build_once(
    name: str,
    make: Callable[[Path], None],
    sources: Iterable[str | Path],
    settings: object = None,
    cache_dir: str | Path | None = None,
) -> Path:
    """The folder of an embedded data set; `make(folder)` fills it if no run has done so before.

    The folder's name changes with the text of `sources` (the generator's own files), with `settings` (by its repr)
    and with the packages it draws on. It gets that name only when it is whole: after a kill the next run starts anew.
    Of several processes that ask at once one builds and the others wait.
    """
    target = cached(cache_dir, "demo", f"{name}-{fingerprint(sources, settings)}")
    return build_folder(target, make, f"the demo data {target}")


def fingerprint(sources: Iterable[str | Path], settings: object) -> str:
    """Twelve hex digits for a generator: its files' text, its settings, the packages in INGREDIENTS."""
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
