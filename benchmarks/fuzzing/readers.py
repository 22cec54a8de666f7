"""Readers of the suite by format: path -> None, or a DataError (for imported weights also a ValueError)."""

from collections.abc import Callable
from pathlib import Path


def _audio(path: Path) -> None:
    from datamodules.audio import reading
    from datamodules.separation.songs import Song

    reading.decode(path, 16_000)
    reading.read(path, 100, 500, 16_000)
    with Song(path) as song:
        for _ in song.blocks():
            pass


def _wav(path: Path) -> None:
    from datamodules.audio.wav import open_wav

    _each(path, lambda path: open_wav(path).read(10, 500), _audio)


def _piece(path: Path) -> None:
    from datamodules.generation.reading import read_pieces

    read_pieces(path)


def _score(path: Path) -> None:
    from datamodules.alignment.reading import unfoldings

    _each(path, _piece, unfoldings)


def _table(path: Path) -> None:
    from datamodules.alignment import annotations, asap, match
    from datamodules.sed.event_files import read_durations, read_events, read_names, read_weak
    from datamodules.tagging.tag_table import read_table

    readers = (read_events, read_weak, read_names, read_durations, read_table, match.read_match, asap.read_beats)
    _each(path, *readers, annotations.read_events, annotations.read_beats, annotations.read_labels)


def _yaml(path: Path) -> None:
    from tasks.cli.configs import parents
    from tasks.cli.run_config import checked_config
    from tasks.cli.yaml_files import read_yaml
    from tasks.tagging.__main__ import TASK

    _each(path, read_yaml, parents, lambda path: checked_config(path, TASK))


def _json(path: Path) -> None:
    from tasks.reporting.comparison import read_result

    copy = path.parent / "metrics.json"
    copy.write_bytes(path.read_bytes())
    read_result(path.parent, "tagging")


def _checkpoint(path: Path) -> None:
    from models.blocks.plain_weights import load_plain
    from tasks.cli.checkpoints import hyper_parameters, stamp
    from tasks.tagging.module import TaggingModule

    _each(path, load_plain, lambda path: stamp(path, "tagging"))
    hyper_parameters(path, "tagging", TaggingModule, with_data=True)


def _npz(path: Path) -> None:
    from datamodules.generation.pack import read
    from models.tagging.importers import load_musicnn

    _each(path, read, load_musicnn)


def _pickle(path: Path) -> None:
    from datamodules.tagging.msd import load

    load(path)


def _each(path: Path, *readers: Callable[[Path], object]) -> None:
    """Call every reader; the first error is raised once all have been tried, one that is not of the data at once."""
    from datamodules.common.errors import DataError

    refused = None
    for reader in readers:
        try:
            reader(path)
        except DataError as error:
            refused = refused or error
        except ValueError as error:
            if not reader.__module__.startswith("models."):
                raise
            refused = refused or DataError(str(error))
    if refused:
        raise refused


READERS: dict[str, Callable[[Path], None]] = {
    "wav": _wav,
    "flac": _audio,
    "mp3": _audio,
    "ogg": _audio,
    "midi": _score,
    "musicxml": _score,
    "mxl": _score,
    "abc": _piece,
    "mei": _score,
    "kern": _score,
    "table": _table,
    "yaml": _yaml,
    "json": _json,
    "checkpoint": _checkpoint,
    "npz": _npz,
    "pickle": _pickle,
}
