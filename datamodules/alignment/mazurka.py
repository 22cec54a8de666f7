"""Chopin's mazurkas: recordings with tapped beats, and scores warped by the beats of MazurkaBL -> pairs."""

import re
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.alignment.annotations import read_beats
from datamodules.alignment.listing import SOUNDS, Drawn, Listing, Pair, Sound, by_stem, with_splits
from datamodules.alignment.reading import unfoldings
from datamodules.alignment.score import SCORES, Score
from datamodules.alignment.warped import kept_midi, warp
from datamodules.common.delimited import rows
from datamodules.common.errors import DataError

LAYOUT = (
    "wav_22050_mono/PIECE/RECORDING.wav, annotations_beat/PIECE/RECORDING.beat and scores of the pieces in a folder scores "
    "(as Chopin_Op024No2.musicxml or mazurka24-2.xml)"
)
TABLES = "MazurkaBL (beat_time/M24-2beat_time.csv and xml_scores/mazurka24-2.xml; github.com/katkost/MazurkaBL)"
SCORE_FOLDERS = ("scores", "xml_scores", "kern", "midi")
NUMBERS = re.compile(r"(\d+)\D{1,3}(\d+)")  # opus and number in Chopin_Op024No2, mazurka24-2, M24-2beat_time
Work = tuple[int, int]
"""Opus and number."""


def list_mazurkas(
    root: Path,
    scores: Path | None = None,
    score_font: str = "embedded",
    split: Drawn = "piece",
    cache_dir: str | Path | None = None,
) -> Listing:
    """Recordings with beats; the repeats of the score are unfolded to the same number of beats.

    scores: folder of the scores, by default below root. Raises DataError if there are no recordings.
    """
    sounds, beats = by_stem(root, "*", SOUNDS), by_stem(root, "*", (".beat", ".beats"))
    if not sounds:
        raise DataError(f"{root} holds no recording: expected {LAYOUT}.")
    known, pairs, flaws = _Scores([scores] if scores else [root / name for name in SCORE_FOLDERS]), [], []
    for name, sound in sorted(sounds.items()):
        work = work_of(sound.parent.name) or work_of(name)
        try:
            if name not in beats:
                raise DataError(f"{name}.beat not found.")
            times = read_beats(beats[name])
            score = known.with_beats(work, len(times))
            written = Sound(kept_midi(score, cache_dir), score_font)
            truth = partial(np.array, np.stack([score.beats, times], 1))
            pairs.append(Pair(name, _piece(work), "train", Sound(sound), written, truth, None))
        except DataError as error:
            flaws.append(f"{sound} is left out: {error}")
    return Listing(with_splits(pairs, split), flaws)


def list_mazurka_like(
    root: Path,
    font: str = "embedded",
    score_font: str = "embedded",
    split: Drawn = "piece",
    per_piece: int | None = None,
    cache_dir: str | Path | None = None,
) -> Listing:
    """Rendered scores, warped to the beats of each recording in MazurkaBL: real rubato with exact reference events.

    per_piece: maximum number of recordings per mazurka, spread evenly. Raises DataError if the tables are missing.
    """
    tables = sorted(root.glob("beat_time/[!.]*.csv"))
    if not tables:
        raise DataError(f"{root} holds no table beat_time/M24-2beat_time.csv: expected {TABLES}.")
    known, pairs, flaws = _Scores([root / name for name in SCORE_FOLDERS]), [], []
    for table in tables:
        work, columns = work_of(table.stem), _columns(table)
        for pid in _spread(sorted(columns), per_piece):
            try:
                times = _rising(columns[pid])
                score = known.with_beats(work, len(times))
                events = np.stack([score.beats, times], 1)
                midi, written = kept_midi(warp(score, events), cache_dir), kept_midi(score, cache_dir)
            except DataError as error:
                flaws.append(f"{pid} of {table} is left out: {error}")
                continue
            name, sounds = f"{table.stem}_{pid}", (Sound(midi, font), Sound(written, score_font))
            pairs.append(Pair(name, _piece(work), "train", *sounds, partial(np.array, events), midi))
    return Listing(with_splits(pairs, split), flaws)


class _Scores:
    """Scores of the mazurkas, read once."""

    def __init__(self, folders: list[Path]) -> None:
        results = [path for folder in folders for ending in SCORES for path in sorted(folder.rglob(f"[!.]*{ending}"))]
        self.paths = {work: path for path in reversed(results) if (work := work_of(path.stem))}
        self.ways: dict[Work, list[Score]] = {}

    def with_beats(self, work: Work | None, count: int) -> Score:
        """Unfolding of a score with `count` beats. Raises DataError if there is none."""
        if work is None or work not in self.paths:
            raise DataError(f"it has no score: expected one such as mazurka24-2.xml in {', '.join(SCORE_FOLDERS[:-1])}.")
        if work not in self.ways:
            self.ways[work] = [score for _, score in unfoldings(self.paths[work])]
        fitting = [score for score in self.ways[work] if len(score.beats) == count]
        if not fitting:
            known = " or ".join(dict.fromkeys(str(len(score.beats)) for score in self.ways[work]))
            raise DataError(f"it has {count} beats, {self.paths[work].name} {known}.")
        return fitting[0]


def work_of(name: str) -> Work | None:
    """Opus and number in the name of a piece, score or table, or None."""
    match = NUMBERS.search(name)
    return (int(match[1]), int(match[2])) if match else None


def _piece(work: Work) -> str:
    return f"Op. {work[0]} No. {work[1]}"


def _columns(table: Path) -> dict[str, list[str]]:
    """Columns of a MazurkaBL table by recording."""
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        head, *beats = [row for _, row in rows(file, ",", table)] or [[]]
    return {pid: [row[i] if i < len(row) else "" for row in beats] for i, pid in enumerate(head) if pid.startswith("pid")}


def _rising(cells: list[str]) -> np.ndarray:
    """Beats of a column in s. Raises DataError if they are not rising times."""
    try:
        times = np.array(cells, float)
    except ValueError as error:
        raise DataError(f"its beats are not times ({error}).") from error
    if not np.isfinite(times).all() or np.any(np.diff(times) <= 0) or times[0] < 0:
        raise DataError("its beats do not rise.")
    return times


def _spread(names: list[str], most: int | None) -> list[str]:
    if most is None or len(names) <= most:
        return names
    return [names[i] for i in np.linspace(0, len(names) - 1, most).round().astype(int)]
