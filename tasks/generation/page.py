"""`compare`'s page: the tables and pictures of all runs, and a few pieces of each to see and hear, in one file."""

import html
import io
from collections.abc import Sequence
from pathlib import Path

from tasks.generation.tables import by_corpus
from tasks.reporting.comparison import Group
from tasks.reporting.comparison_tables import Section
from tasks.reporting.page import embedded, page
from tasks.writers.output_files import write_text

# Previews small enough to stand in a page.

RATE = 32_000  # Hz


def ogg(path: Path, seconds: float | None = None, peak: float | None = None) -> bytes:
    """A sound file as mono Ogg Vorbis; `seconds` of it at most, faded out, its loudest sample at `peak`."""
    import librosa
    import numpy as np
    import soundfile

    samples, _ = librosa.load(path, sr=RATE, mono=True, duration=seconds)
    if peak and np.abs(samples).max(initial=0) > 0:
        samples = samples * (peak / np.abs(samples).max())
    if seconds and len(samples) >= int(seconds * RATE):
        fade = int(0.5 * RATE)
        samples[-fade:] *= np.linspace(1, 0, fade)
    made = io.BytesIO()
    soundfile.write(made, samples, RATE, format="OGG", subtype="VORBIS")
    return made.getvalue()


HEARD = 2
"""Pieces of each run."""
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}img{max-width:100%}"
    "section{overflow-x:auto}h3{font-size:1em}table{border-collapse:collapse;font-size:13px;white-space:nowrap}"
    "th,td{padding:.2em .8em .2em 0;text-align:left;border-bottom:1px solid #ddd}figure{margin:1em 0}audio{width:100%}"
)


def write_page(path: Path, groups: Sequence[Group], figures: Sequence[Path], sections: Sequence[Section]) -> Path:
    """Write the page; it needs neither network nor other files."""
    parts = list(map(_table, sections))
    corpora = list(by_corpus(groups))
    captions = [f"<figcaption>{_caption(path, corpora)}</figcaption>" for path in figures]
    parts += [f"<figure>{said}{_picture(path, path.stem)}</figure>" for said, path in zip(captions, figures, strict=True)]
    for one in groups:
        folder = one.results[0].folder / "pieces"
        heard = sorted(folder.glob("[0-9]*.mid"))[:HEARD]
        if heard:
            parts.append(f"<h2>{html.escape(one.name)}</h2>")
            parts += [_piece(file) for file in heard]
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
    """Which corpus a picture is of: they are numbered in the order of the tables."""
    number = path.stem.rpartition("_")[2]
    return html.escape(f"trained on {corpora[int(number) - 1]}") if number.isdigit() and int(number) <= len(corpora) else ""


def _piece(midi: Path) -> str:
    picture, sound = midi.with_suffix(".png"), midi.with_suffix(".wav")
    shown = _picture(picture, midi.stem) if picture.is_file() else ""
    heard = f'<audio controls src="{embedded(ogg(sound), "audio/ogg")}"></audio>' if sound.is_file() else ""
    return f"<figure>{shown}{heard}</figure>"


def _picture(path: Path, name: str) -> str:
    return f'<img alt="{html.escape(name)}" src="{embedded(path.read_bytes(), "image/png")}">'
