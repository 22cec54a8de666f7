"""ASAP and (n)ASAP (1067 piano performances of 235 scores, half of them with sound) and Vienna 4x22: folder -> pairs."""

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
"""Performances whose sound is cut from MAESTRO at the wrong place (CPJKU/asap-dataset, issue 13)."""

FASTER, BEATS = 6.0, 6
"""So many beats in a row that go so many times as fast as the piece have not been played: annotations of a performance that
leaves out a repeat, of which there are sixteen, put all of its beats into one moment."""

SLOWER = 30.0
"""A beat that takes so many times as long as the others holds a repeat that the score has not."""


def list_asap(root: Path, font: str = "embedded", score_font: str = "embedded", split: Drawn = "piece") -> Listing:
    """Every performance whose beats match its score's: its sound where it is there, else its MIDI in a SoundFont.

    The score is ASAP's MIDI file, its repeats unfolded. Beats marked bR, in bars that do not add up, are no events.
    Raises DataError if the table is missing or another one.
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
            flaws.append(f"{sound} is cut from MAESTRO at the wrong place: its MIDI file is rendered instead.")
            sound = None
        missing = [path for path in (score, *(() if sound else (midi,))) if not path.is_file()]
        if missing:
            flaws.append(f"{missing[0]} is missing, which {TABLE} names: {name} is left out.")
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
    """An annotation file's beats (beats,) s, and which of them lie in bars that add up."""
    labelled = [(time, label.split(",")[0].strip()) for time, label in read_labels(path)]
    labelled = [(time, kind) for time, kind in labelled if kind in ("b", "db", "bR")]
    return np.array([time for time, _ in labelled], float), np.array([kind != "bR" for _, kind in labelled], bool)


def _events(score: tuple[np.ndarray, np.ndarray], performance: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Beats of both (events, 2), rising; of beats that do not rise, as few as possible are left out."""
    if len(score[0]) != len(performance[0]):
        raise DataError(f"it has {len(performance[0])} beats where its score has {len(score[0])}.")
    events = np.stack([score[0], performance[0]], 1)[score[1] & performance[1]]
    events = events[longest_rise(events[:, 1])]
    events = events[longest_rise(events[:, 0])]
    if len(events) < 2:
        raise DataError("it has fewer than two beats in common with its score.")
    if _other_repeats(events):
        raise DataError("its beats cannot have been played, so its repeats are not those of its score.")
    return events


def _other_repeats(events: np.ndarray) -> bool:
    """Whether a passage of the score has no time in the performance, or one of the performance none in the score."""
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
PIECE = re.compile(r"(.+)_p\d+")  # p23-average, which the set's first edition has too, is no pianist


def list_vienna(root: Path, font: str = "embedded", score_font: str = "embedded", split: Drawn = "piece") -> Listing:
    """Every performance: its recording where it is there, else its MIDI in a SoundFont; and the score from MusicXML.

    Raises DataError if the folder holds no match file.
    """
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
    """Files by their names without the ending."""
    result = (path for name in FOLDERS for ending in endings for path in sorted((root / name).glob(f"[!.]*{ending}")))
    return {path.stem: path for path in result}


def _sound(root: Path, name: str) -> Path | None:
    places = (root / folder / f"{name}.wav" for folder in ("audio", "wav", "."))
    return next((result for place in places if (result := audio_beside(place))), None)
