"""MAESTRO 1 to 3: some 200 hours of piano competitions on Disklaviers, sound and MIDI."""

import json
from pathlib import Path

from datamodules.alignment.listing import Drawn, Listing, audio_beside, own_midi_pair, with_splits
from datamodules.alignment.pairs import Sound
from datamodules.delimited import records
from datamodules.errors import DataError
from datamodules.splits import SPLITS

LAYOUT = (
    "MAESTRO (maestro-vX.Y.Z.csv or .json, and a folder per year with .midi and .wav files; "
    "magenta.tensorflow.org/datasets/maestro)"
)
COLUMNS = ("canonical_composer", "canonical_title", "split", "midi_filename", "audio_filename")


def list_maestro(root: Path, font: str = "embedded", score_font: str = "embedded", split: Drawn = "piece") -> Listing:
    """Every performance, its MIDI as the score; the splits are MAESTRO's own, which part pieces, unless drawn by recording.

    Where no sound at all is there, as in the edition with MIDI alone, the performances are rendered in `font`.
    Raises DataError where the table is missing or another one.
    """
    table = next((path for ending in ("csv", "json") for path in sorted(root.glob(f"maestro-*.{ending}"))), None)
    if table is None:
        raise DataError(f"{root} holds no table maestro-v3.0.0.csv: expected {LAYOUT}.")
    pairs, flaws = [], []
    for row in _rows(table):
        midi, sound = root / row["midi_filename"], audio_beside(root / row["audio_filename"])
        name, piece = Path(row["midi_filename"]).stem, f"{row['canonical_composer']}: {row['canonical_title']}"
        if not midi.is_file():
            flaws.append(f"{midi} is missing, which {table.name} names: it is left out.")
        elif row["split"] not in SPLITS:
            flaws.append(f"{table} puts {name} into the unknown split '{row['split']}': it is left out.")
        else:
            performance = Sound(sound) if sound else Sound(midi, font)
            pairs.append(own_midi_pair(name, piece, performance, midi, score_font)._replace(split=row["split"]))
    silent = [pair for pair in pairs if pair.performance.font]
    if len(silent) < len(pairs):
        flaws += [f"{pair.midi} has no sound file, others have: it is left out." for pair in silent]
        pairs = [pair for pair in pairs if not pair.performance.font]
    return Listing(with_splits(pairs, split) if split == "recording" else pairs, flaws)


def _rows(table: Path) -> list[dict[str, str]]:
    """The table's rows; as JSON it is a list of rows or a dictionary of columns."""
    try:
        table_rows = json.loads(table.read_text(encoding="utf-8")) if table.suffix == ".json" else records(table)
        if isinstance(table_rows, dict):
            table_rows = [{column: table_rows[column][key] for column in COLUMNS} for key in table_rows[COLUMNS[0]]]
        return [{column: str(row[column]) for column in COLUMNS} for row in table_rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise DataError(f"{table} is damaged ({said}): expected the columns {', '.join(COLUMNS)}.") from error
