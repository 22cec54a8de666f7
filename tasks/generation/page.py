"""HTML page of `compare`: runs -> tables, figures and a few playable pieces in one self-contained file."""

import html
import io
from collections.abc import Sequence
from pathlib import Path

from tasks.generation.tables import by_corpus
from tasks.reporting.comparison import Group
from tasks.reporting.comparison_tables import Section
from tasks.reporting.page import embedded, page
from tasks.writers.output_files import write_text

RATE = 32_000  # Hz


def ogg(path: Path, seconds: float | None = None, peak: float | None = None) -> bytes:
    """Convert an audio file to mono Ogg Vorbis, at most `seconds` long with a fade-out, normalised to `peak`."""
    import librosa
    import numpy as np
    import soundfile

    samples, _ = librosa.load(path, sr=RATE, mono=True, duration=seconds)
    if peak and np.abs(samples).max(initial=0) > 0:
        samples = samples * (peak / np.abs(samples).max())
    if seconds and len(samples) >= int(seconds * RATE):
        fade = int(0.5 * RATE)
        samples[-fade:] *= np.linspace(1, 0, fade)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


PIECES = 2
"""Number of pieces per run."""
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}img{max-width:100%}"
    "section{overflow-x:auto}h3{font-size:1em}table{border-collapse:collapse;font-size:13px;white-space:nowrap}"
    "th,td{padding:.2em .8em .2em 0;text-align:left;border-bottom:1px solid #ddd}figure{margin:1em 0}audio{width:100%}"
)


def write_page(path: Path, groups: Sequence[Group], figures: Sequence[Path], sections: Sequence[Section]) -> Path:
    """Write the page, which needs neither network nor other files."""
    parts = list(map(_table, sections))
    corpora = list(by_corpus(groups))
    captions = [f"<figcaption>{_caption(path, corpora)}</figcaption>" for path in figures]
    pairs = zip(captions, figures, strict=True)
    parts += [f"<figure>{caption}{_picture(path, path.stem)}</figure>" for caption, path in pairs]
    for runs in groups:
        files = sorted((runs.results[0].folder / "pieces").glob("[0-9]*.mid"))[:PIECES]
        if files:
            parts.append(f"<h2>{html.escape(runs.name)}</h2>")
            parts += [_piece(file) for file in files]
    write_text(path, page("Music generation: systems on the same data", "".join(parts), style=STYLE))
    return path


def _table(section: Section) -> str:
    columns = list(dict.fromkeys(column for row in section.rows for column in row))
    rows = [["-" if row.get(column) in (None, "") else str(row[column]) for column in columns] for row in section.rows]
    lines = [_line("th", columns), *(_line("td", row) for row in rows)]
    return f"<section><h3>{html.escape(section.title)}</h3><table>{''.join(lines)}</table></section>"


def _line(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _caption(path: Path, corpora: Sequence[str]) -> str:
    """Corpus of a figure, whose number is that of the corpus' table."""
    number = path.stem.rpartition("_")[2]
    return html.escape(f"trained on {corpora[int(number) - 1]}") if number.isdigit() and int(number) <= len(corpora) else ""


def _piece(midi: Path) -> str:
    picture, sound = midi.with_suffix(".png"), midi.with_suffix(".wav")
    image = _picture(picture, midi.stem) if picture.is_file() else ""
    player = f'<audio controls src="{embedded(ogg(sound), "audio/ogg")}"></audio>' if sound.is_file() else ""
    return f"<figure>{image}{player}</figure>"


def _picture(path: Path, name: str) -> str:
    return f'<img alt="{html.escape(name)}" src="{embedded(path.read_bytes(), "image/png")}">'
