"""Listening test of runs: generated pieces and their test pieces -> page and key."""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datamodules.common.errors import DataError
from datamodules.generation.data import GenerationDataModule
from datamodules.generation.piece import Piece
from datamodules.generation.reading import read_piece
from datamodules.generation.writing.midi import preview
from tasks.cli import trusted
from tasks.cli.yaml_files import read_yaml
from tasks.generation.evaluation import as_seen
from tasks.generation.inference import shortened
from tasks.generation.listening.page import ListeningDesign, Stimulus, write_page
from tasks.reporting.comparison import Result, group, load

RATE = 32_000  # Hz
PAGE = "listening.html"


def build_page(runs: Sequence[str], count: int, out: Path, seed: int) -> str:
    """Write the page and its key.

    Args:
        runs: run folders, folders of runs or globs
        count: number of pieces per run (first seed), and of real pieces per corpus
        out: output folder
        seed: seed of names and order

    Returns:
        Lines to print.

    Raises:
        DataError: a run has no pieces, or its corpus cannot be read.
    """
    if count < 1:
        raise DataError(f"--listening {count}: at least one piece of each run is needed")
    results, left_out = load(list(runs), "generation")
    groups, older = group(results)
    excerpts, composers, corpora = [], Counter(), set()
    for members in groups:
        result = members.results[0]
        files = _evenly_spaced(result.folder, count)
        real = _real(result, files)
        excerpts += [Stimulus(_sound(_read(file)), members.name, piece.name, False) for file, piece in real.items()]
        corpus = f"{result.data['name']}, {result.data['subset']}"
        if corpus not in corpora:
            excerpts += [Stimulus(_sound(piece), f"test pieces of {corpus}", piece.name, True) for piece in real.values()]
            composers.update(piece.composer for piece in real.values())
            corpora.add(corpus)
    names = [name.split()[-1] for name in composers if name]
    human = names[0] if len(names) == len(composers) == 1 else "a human"
    try:
        key = write_page(out / PAGE, excerpts, seed, questions=ListeningDesign(human=human))
    except ValueError as reason:
        raise DataError(f"no listening test of these runs is possible: {reason}.") from reason
    about = f"{len(groups)} systems, {len(excerpts)} excerpts"
    return "\n".join([f"page          {out / PAGE} ({about})", f"key           {key} (not for listeners)", *left_out, *older])


def _evenly_spaced(folder: Path, count: int) -> list[Path]:
    """`count` evenly spaced pieces of a run."""
    files = sorted((folder / "pieces").glob("[0-9]*.mid"))
    if not files:
        raise DataError(f"{folder} has no pieces: `python -m tasks.generation test --ckpt_path {folder}` writes some")
    indices = np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int))
    return [files[index] for index in indices]


def _real(result: Result, files: Sequence[Path]) -> dict[Path, Piece]:
    """Test piece of each generated piece, encoded and decoded by the run's view."""
    data, bars = _settings(result.folder)
    references = data.pieces("test")
    count = len(list((result.folder / "pieces").glob("[0-9]*.mid")))
    indices = np.linspace(0, len(references) - 1, count).round().astype(int)
    templates = [references[indices[int(file.stem) - 1]] for file in files]
    decoded = as_seen(data.view, [shortened(piece, piece.pickup + bars * piece.bar) for piece in templates])
    return dict(zip(files, decoded, strict=True))


def _settings(folder: Path) -> tuple[GenerationDataModule, int]:
    """Data and number of bars of a run, from its config."""
    from jsonargparse import ArgumentParser

    path = folder / "config.yaml"
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(GenerationDataModule, "data")
    content = read_yaml(path)
    try:
        with trusted.refusing(path):
            trusted.check_names(content["data"])
            trusted.check_value(content["data"], GenerationDataModule, "data")
        data = parser.instantiate_classes(parser.parse_object({"data": content["data"]})).data
        return data, int(content["report"]["bars"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}): expected the settings of a run of this task") from error


def _read(file: Path) -> Piece:
    return read_piece(file)


def _sound(piece: Piece) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, preview(piece, RATE), RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
