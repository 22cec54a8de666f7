"""Readers of the suite by format: each takes a path and raises nothing but DataError (weights of others: ValueError too)."""

from collections.abc import Callable
from pathlib import Path


def _audio(path: Path) -> None:
    from datamodules import audio
    from datamodules.songs import Song

    audio.decode(path, 16_000)
    audio.read(path, 100, 500, 16_000)
    with Song(path) as song:
        for _ in song.blocks():
            pass


def _wav(path: Path) -> None:
    from datamodules.wav import open_wav

    _each(path, lambda path: open_wav(path).read(10, 500), _audio)


def _piece(path: Path) -> None:
    from datamodules.symbolic.reading import read_pieces

    read_pieces(path)


def _score(path: Path) -> None:
    from datamodules.alignment.score import unfoldings

    _each(path, _piece, unfoldings)


def _table(path: Path) -> None:
    from datamodules.alignment import annotations, asap, match
    from datamodules.event_files import read_durations, read_events, read_names, read_weak
    from datamodules.tag_table import read_table

    readers = (read_events, read_weak, read_names, read_durations, read_table, match.read_match, asap.read_beats)
    _each(path, *readers, annotations.read_events, annotations.read_beats, annotations.read_labels)


def _yaml(path: Path) -> None:
    from tasks.configs import parents
    from tasks.run_config import checked_config
    from tasks.tagging.__main__ import TASK
    from tasks.yaml_files import read_yaml

    _each(path, read_yaml, parents, lambda path: checked_config(path, TASK))


def _json(path: Path) -> None:
    from tasks.comparison import read_result

    copy = path.parent / "metrics.json"
    copy.write_bytes(path.read_bytes())
    read_result(path.parent, "tagging")


def _checkpoint(path: Path) -> None:
    from models.plain_weights import load_plain
    from tasks.checkpoints import hyper_parameters, stamp
    from tasks.tagging.module import Tagger

    _each(path, load_plain, lambda path: stamp(path, "tagging"))
    hyper_parameters(path, "tagging", Tagger, with_data=True)


def _npz(path: Path) -> None:
    from datamodules.symbolic.pack import read
    from models.tagging.importers import load_musicnn

    _each(path, read, load_musicnn)


def _pickle(path: Path) -> None:
    from datamodules.pickles import load

    load(path)


def _each(path: Path, *readers: Callable[[Path], object]) -> None:
    """Call every reader; the first error is raised once all have been tried, one that is not of the data at once."""
    from datamodules.errors import DataError

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
