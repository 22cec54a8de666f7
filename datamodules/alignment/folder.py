"""User folders: recordings and scores of the same name, or listed in a table -> pairs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.alignment.annotations import read_events
from datamodules.alignment.listing import SOUNDS, Drawn, Listing, Pair, Sound, same_times, with_splits
from datamodules.alignment.match import matched_times, read_match
from datamodules.alignment.score import ENGRAVED, MIDI, TUNES
from datamodules.common.delimited import records
from datamodules.common.errors import DataError
from datamodules.common.file_search import files_under
from datamodules.common.splits import SPLIT_NAMES, SPLITS

TABLE = "pairs.csv"
TRUTHS = (".csv", ".beats", ".match")
LAYOUT = (
    f"recordings with a score of the same name beside each (song.wav, song.musicxml or song.mid), and song.csv with the columns "
    f"score_s and performance_s or song.match; or a table {TABLE} with the columns recording, score and optionally piece, "
    f"split, truth and midi (a MIDI file in the recording's own time)"
)


def list_folder(root: Path, score_font: str = "embedded", split: Drawn = "piece", aligned: bool = False) -> Listing:
    """Recordings with a score, and with reference events (evaluation) or aligned MIDI (training).

    root: folder or table. aligned: MIDI scores have the timing of their recordings, as in MAPS. Splits are those of the
    table or of folders called train, validation and test, else drawn. Raises DataError if there are no recordings.
    """
    table = root if root.is_file() else root / TABLE
    rows = _table(table) if table.is_file() else _beside(root)
    if not rows:
        raise DataError(f"{root} holds no recording with a score: expected {LAYOUT}.")
    pairs, flaws = [], []
    for row in rows:
        try:
            pairs.append(_pair(row, table.parent, score_font, aligned))
        except DataError as error:
            flaws.append(str(error))
    undrawn = [pair for pair in pairs if not pair.split]
    return Listing([pair for pair in pairs if pair.split] + with_splits(undrawn, split), flaws)


def _table(path: Path) -> list[dict[str, str]]:
    rows = [{key: value.strip() for key, value in row.items() if key} for row in records(path, errors="replace")]
    if rows and not {"recording", "score"} <= set(rows[0]):
        raise DataError(f"{path} has the columns {', '.join(rows[0])}: expected {LAYOUT}.")
    return rows


def _beside(root: Path) -> list[dict[str, str]]:
    """Table rows: each recording with the score of the same name, else the only score of its folder."""
    recordings = sorted(files_under(root, SOUNDS), key=lambda path: (SOUNDS.index(path.suffix.lower()), path))
    rows = []
    for recording in {path.with_suffix(""): path for path in reversed(recordings)}.values():
        scores = [path for ending in (*ENGRAVED, *TUNES, *MIDI) for path in sorted(recording.parent.glob(f"[!.]*{ending}"))]
        own = [path for path in scores if path.stem == recording.stem]
        shared = not own and len(scores) == 1
        piece = recording.parent if shared else recording.with_suffix("")
        truth = next((path for ending in TRUTHS if (path := recording.with_suffix(ending)).is_file()), "")
        part = recording.relative_to(root).parts[0]
        row = {"recording": recording, "score": (own or (scores if shared else [""]))[0], "truth": truth}
        row |= {"piece": piece.relative_to(root), "split": part if SPLIT_NAMES.get(part, -1) >= 0 else ""}
        rows.append({key: str(value) for key, value in row.items()})
    return sorted(rows, key=lambda row: row["recording"])


def _pair(row: dict[str, str], base: Path, score_font: str, aligned: bool) -> Pair:
    """Pair of a row, with an empty split if the row has none. Raises DataError for missing files or an unknown split."""
    recording, score, truth, midi = (_file(row, key, base) for key in ("recording", "score", "truth", "midi"))
    if recording is None or score is None:
        lacking = "recording" if recording is None else "score beside it (song.musicxml or song.mid)"
        raise DataError(f"{row['recording'] or base} has no {lacking}: it is left out.")
    own = midi or (score if aligned and score.suffix.lower() in MIDI else None)
    if truth is None and own is None:
        raise DataError(
            f"{recording} has no reference events ({recording.stem}.csv: score_s,performance_s, or {recording.stem}.match): "
            f"it is left out."
        )
    if row.get("split", "").lower() not in SPLIT_NAMES:
        raise DataError(f"{recording} has the unknown split '{row['split']}': choose from {', '.join(SPLITS)}.")
    split = SPLIT_NAMES[row.get("split", "").lower()]
    name = str(recording.relative_to(base) if recording.is_relative_to(base) else recording)
    # Without reference events, only the recording's own MIDI has known times.
    sound = Sound(score if truth else own, score_font)
    events = _truth(truth, score) if truth else partial(same_times, own)
    return Pair(name, row.get("piece") or name, SPLITS[split] if split >= 0 else "", Sound(recording), sound, events, own)


def _file(row: dict[str, str], key: str, base: Path) -> Path | None:
    if not row.get(key):
        return None
    path = base / Path(row[key]).expanduser()
    if not path.is_file():
        raise DataError(f"{path} does not exist (column {key}): it is left out.")
    return path


def _truth(path: Path, score: Path) -> Callable[[], np.ndarray]:
    """Reader of the reference events; the file is checked now."""
    if path.suffix == ".match":
        read_match(path)
        return partial(matched_times, path, score)
    read_events(path)
    return partial(read_events, path)
