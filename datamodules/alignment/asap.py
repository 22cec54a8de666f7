"""ASAP and (n)ASAP (1067 piano performances of 235 scores, half of them with audio) and Vienna 4x22: folder -> pairs."""

import re
from functools import cache, partial
from pathlib import Path

import numpy as np

from datamodules.alignment.annotations import read_labels
from datamodules.alignment.listing import Drawn, Listing, Pair, Sound, audio_beside, with_splits
from datamodules.alignment.match import longest_rise, matched_times
from datamodules.common.delimited import records
from datamodules.common.errors import DataError

TABLE = "metadata.csv"
COLUMNS = (
    "composer",
    "title",
    "midi_score",
    "midi_performance",
    "performance_annotations",
    "midi_score_annotations",
    "audio_performance",
)
ASAP_LAYOUT = f"ASAP or (n)ASAP ({TABLE} and a folder per composer; github.com/CPJKU/asap-dataset or fosfrancesco/asap-dataset)"

MISALIGNED_AUDIO = frozenset(
    f"Bach/{name}"
    for name in (
        "Fugue/bwv_874/BianF01",
        "Fugue/bwv_883/Herbert02",
        "Fugue/bwv_883/Khmara04",
        "Fugue/bwv_885/SINKEV06",
        "Prelude/bwv_885/SINKEV06",
    )
)
"""Performances with audio from the wrong section of MAESTRO (CPJKU/asap-dataset, issue 13)."""

FASTER, BEATS = 6.0, 6
"""Criterion of an omitted repeat: BEATS beats in a row FASTER times as fast as the median (16 such annotations)."""

SLOWER = 30.0
"""Criterion of an additional repeat: a beat that lasts SLOWER times the median."""


def list_asap(root: Path, font: str = "embedded", score_font: str = "embedded", split: Drawn = "piece") -> Listing:
    """Performances (audio, else rendered MIDI) whose beats match those of the score, a MIDI file with unfolded repeats.

    Beats marked bR, in incomplete bars, are not used as events. Raises DataError if the table is missing or another one.
    """
    beats = cache(read_beats)
    pairs, flaws = [], []
    for row in _rows(root):
        name = str(Path(row["midi_performance"]).with_suffix(""))
        try:
            events = _events(beats(root / row["midi_score_annotations"]), beats(root / row["performance_annotations"]))
        except DataError as error:
            flaws.append(f"{name} is left out: {error}")
            continue
        midi, score = root / row["midi_performance"], root / row["midi_score"]
        sound = audio_beside(root / row["audio_performance"]) if row["audio_performance"] else None
        if sound and name in MISALIGNED_AUDIO:
            flaws.append(f"{sound} is from the wrong section of MAESTRO: its MIDI file is rendered instead.")
            sound = None
        missing = [path for path in (score, *(() if sound else (midi,))) if not path.is_file()]
        if missing:
            flaws.append(f"{missing[0]} is missing (listed in {TABLE}): {name} is left out.")
            continue
        performance = Sound(sound) if sound else Sound(midi, font)
        piece = f"{row['composer']}: {row['title']}"
        truth, own = partial(np.array, events), midi if midi.is_file() else None
        pairs.append(Pair(name, piece, "train", performance, Sound(score, score_font), truth, own))
    return Listing(with_splits(pairs, split), flaws)


def _rows(root: Path) -> list[dict[str, str]]:
    try:
        return [{column: row[column].strip() for column in COLUMNS} for row in records(root / TABLE)]
    except FileNotFoundError as error:
        raise DataError(f"{root} holds no {TABLE}: expected {ASAP_LAYOUT}.") from error
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{root / TABLE} is damaged ({type(error).__name__}: {error}): expected {ASAP_LAYOUT}.") from error


def read_beats(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Beats (beats,) in s of an annotation file, and a mask of those in complete bars."""
    labelled = [(time, label.split(",")[0].strip()) for time, label in read_labels(path)]
    labelled = [(time, kind) for time, kind in labelled if kind in ("b", "db", "bR")]
    return np.array([time for time, _ in labelled], float), np.array([kind != "bR" for _, kind in labelled], bool)


def _events(score: tuple[np.ndarray, np.ndarray], performance: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Beats of both (events, 2) without the fewest beats that do not rise."""
    if len(score[0]) != len(performance[0]):
        raise DataError(f"it has {len(performance[0])} beats, its score {len(score[0])}.")
    events = np.stack([score[0], performance[0]], 1)[score[1] & performance[1]]
    events = events[longest_rise(events[:, 1])]
    events = events[longest_rise(events[:, 0])]
    if len(events) < 2:
        raise DataError("it has fewer than two beats in common with its score.")
    if _other_repeats(events):
        raise DataError("its repeats differ from those of its score (implausible tempo between beats).")
    return events


def _other_repeats(events: np.ndarray) -> bool:
    """True if performance and score differ in their repeats, by the tempo between beats."""
    pace = np.diff(events[:, 1]) / np.diff(events[:, 0])
    usual = np.median(pace)
    fast = np.convolve(pace < usual / FASTER, np.ones(BEATS), "valid") if len(pace) >= BEATS else np.zeros(1)
    return bool(fast.max() >= BEATS or pace.max() > SLOWER * usual)


# Vienna 4x22: four excerpts by 22 pianists each, with match files

VIENNA_LAYOUT = (
    "Vienna 4x22 (match/PIECE_pNN.match, midi/PIECE_pNN.mid, musicxml/PIECE.musicxml, and audio/PIECE_pNN.wav for its sound; "
    "github.com/CPJKU/vienna4x22)"
)
FOLDERS = ("match", "midi", "musicxml", "score", "scores", "xml", ".")
PIECE = re.compile(r"(.+)_p\d+")  # excludes p23-average of the first edition


def list_vienna(root: Path, font: str = "embedded", score_font: str = "embedded", split: Drawn = "piece") -> Listing:
    """Performances (audio, else rendered MIDI) and MusicXML scores. Raises DataError if there is no match file."""
    matches, performances, scores = (_files(root, *endings) for endings in ((".match",), (".mid",), (".musicxml", ".xml")))
    if not matches:
        raise DataError(f"{root} holds no match file: expected {VIENNA_LAYOUT}.")
    alone = [path for name, path in performances.items() if PIECE.fullmatch(name) and name not in matches]
    pairs, flaws = [], [f"{path} has no match file {path.stem}.match: it is left out." for path in alone]
    for name, match in matches.items():
        result = PIECE.fullmatch(name)
        if not result:
            continue
        midi, score, sound = performances.get(name), scores.get(result[1]), _sound(root, name)
        if score is None:
            flaws.append(f"{match} has no score {result[1]}.musicxml: it is left out.")
        elif midi is None and sound is None:
            flaws.append(f"{match} has neither a recording {name}.wav nor a performance {name}.mid: it is left out.")
        else:
            performance = Sound(sound) if sound else Sound(midi, font)
            truth = partial(matched_times, match, score)
            pairs.append(Pair(name, result[1], "train", performance, Sound(score, score_font), truth, midi))
    return Listing(with_splits(pairs, split), flaws)


def _files(root: Path, *endings: str) -> dict[str, Path]:
    result = (path for name in FOLDERS for ending in endings for path in sorted((root / name).glob(f"[!.]*{ending}")))
    return {path.stem: path for path in result}


def _sound(root: Path, name: str) -> Path | None:
    paths = (audio_beside(root / folder / f"{name}.wav") for folder in ("audio", "wav", "."))
    return next(filter(None, paths), None)
