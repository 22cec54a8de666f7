"""Embedded tagging set: bundled scores, orchestrated and rendered, in the layout of MagnaTagATune.

A root has `annotations_final.csv` and `clip_info_final.csv` (tab-separated, quoted) and mp3 files (10 s, mono, 16 kHz) in
folders 0 to f, which define the split as in MTAT: 0 to b train, c validation, d to f test.
"""

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from datamodules.audio import midi_file, render
from datamodules.demo import accompany, arrange, music, plan
from datamodules.demo.cache import build_once
from datamodules.demo.music import DemoPiece
from datamodules.generation.corpora.corpus import READERS

RATE = 16_000
# Pieces by kind; reels are rarely in minor, the other tunes often enough.
PIECES = {"chorale": 94, "waltz": 72, "jig": 86, "reel": 118}
VERSIONS = 2  # clips per piece, with different players, tempo, key and position
SHARES = {"train": 0.72, "validation": 0.1, "test": 0.18}
FOLDERS = {"train": "0123456789ab", "validation": "c", "test": "def"}
COLLECTIONS = {
    "bach": ("Johann Sebastian Bach", "Chorales"),
    "ryansMammoth": ("traditional", "Ryan's Mammoth Collection"),
    "oneills1850": ("traditional", "O'Neill's Music of Ireland"),
}
PARTS = ("accompany", "arrange", "cutting", "music", "plan", "tagging")
SOURCES = (*(Path(__file__).with_name(f"{part}.py") for part in PARTS), *READERS, Path(midi_file.__file__), Path(render.__file__))
"""Source files that determine the set."""


class ClipJob(NamedTuple):
    """Clip with its plan, split and path."""

    piece: DemoPiece
    plan: arrange.ClipPlan
    split: str
    path: str  # relative to the root


def build(
    cache_dir: str | Path | None = None,
    pieces: Mapping[str, int] = PIECES,
    processes: int | None = None,
    seed: int = 0,
) -> Path:
    """Root of the embedded set, rendered on the first call; `pieces`: number of each kind.

    Raises DataError if renderer, SoundFont or scores are not installed.
    """

    def make(root: Path) -> None:
        clips = jobs(pieces, seed)
        scores = [arrange.arrange(job.piece, job.plan) for job in clips]
        for folder in "".join(FOLDERS.values()):
            (root / folder).mkdir()
        pairs = list(zip(clips, scores, strict=True))
        work = [(score.midi, root / job.path) for job, score in pairs]
        render.parallel(write_clip, work, processes, f"rendering {len(work)} demo clips, once")
        write_tables(root, clips, [plan.tags(job.piece, job.plan, score.pitch) for job, score in pairs])

    return build_once("tagging", make, SOURCES, (dict(pieces), seed, extension()), cache_dir)


def jobs(pieces: Mapping[str, int] = PIECES, seed: int = 0) -> list[ClipJob]:
    """Clips of the set by clip_id: VERSIONS arrangements of each piece."""
    random = np.random.default_rng(seed)
    planners = {split: plan.Planner(random) for split in SHARES}
    results = []
    for piece, split in choose(pieces, random):
        folder = random.choice(list(FOLDERS[split]))
        name = re.sub(r"[^a-z0-9]+", "_", f"{piece.name}_{piece.title}".lower()).strip("_")
        for version in range(VERSIONS):
            path = f"{folder}/{name}-{version}.{extension()}"
            results.append(ClipJob(piece, planners[split].plan(piece), split, path))
    return results


def choose(
    pieces: Mapping[str, int], random: np.random.Generator, shares: Mapping[str, float] = SHARES
) -> list[tuple[DemoPiece, str]]:
    """Pieces and their splits in random order; tunes longer than three bars, up to 45 % of each kind in minor.

    Splits are stratified by kind and mode; else a network that recognises only the kind scores below chance on the mode.
    """
    groups = {"chorale": [piece for piece in music.chorales() if piece.beats == 4], "waltz": [], "jig": [], "reel": []}
    for tune in music.fiddle_tunes():
        if (tune.beats, tune.beat_type) in accompany.BEATS and tune.length > 3 * tune.bar:
            groups[plan.kind_of(tune)].append(tune)
    chosen: list[tuple[DemoPiece, str]] = []
    counts = dict.fromkeys(shares, 0)
    for kind, count in pieces.items():
        group = [groups[kind][index] for index in random.permutation(len(groups[kind]))]
        minor = [piece for piece in group if piece.mode == "minor"][: count * 9 // 20]
        for piece in minor + [piece for piece in group if piece.mode == "major"][: count - len(minor)]:
            # The split furthest below its share, which balances small sets too.
            split = max(shares, key=lambda split: shares[split] * (len(chosen) + 1) - counts[split])
            counts[split] += 1
            chosen.append((piece, split))
    return [chosen[index] for index in random.permutation(len(chosen))]


def extension() -> str:
    """mp3 as in MTAT; flac if libsndfile cannot write mp3."""
    return "mp3" if "MP3" in soundfile.available_formats() else "flac"


def write_clip(midi: bytes, path: Path) -> None:
    """Render a clip to a mono file at RATE."""
    audio = render.render_mono(midi, RATE, arrange.SECONDS)
    # A constant bit rate as in MTAT takes a third more time for the same size.
    options = {"bitrate_mode": "VARIABLE", "compression_level": 0.8} if path.suffix == ".mp3" else {}
    soundfile.write(path, audio, RATE, **options)


def write_tables(root: Path, clips: list[ClipJob], tags: list[set[str]]) -> None:
    """`annotations_final.csv` and `clip_info_final.csv`, with MTAT's columns."""
    annotations = [["clip_id", *plan.TAGS, "mp3_path"]]
    info = [["clip_id", "track_number", "title", "artist", "album", "url", "segmentStart", "segmentEnd",
             "original_url", "mp3_path"]]  # fmt: skip
    for number, (job, clip_tags) in enumerate(zip(clips, tags, strict=True), 1):
        annotations.append([number, *(int(tag in clip_tags) for tag in plan.TAGS), job.path])
        artist, album = COLLECTIONS[job.piece.name.split("/")[0]]
        title = job.piece.title or job.piece.name
        info.append([number, "", title, artist, album, "", 0, int(arrange.SECONDS), "", job.path])
    for name, rows in (("annotations_final.csv", annotations), ("clip_info_final.csv", info)):
        with (root / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
