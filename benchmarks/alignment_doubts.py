"""Wrong and right scores of recordings: how often the remark that the score may belong to another piece is made.

Twenty wrong scores, of the same composer, key and metre where there are any, and twenty right ones: whole recordings and
excerpts, other instruments, keys, tunings and tempi, noise. Half of them need QUINTET_DATA.
"""

import time
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.alignment_engine import engine
from benchmarks.alignment_material import (
    RATE,
    Excerpt,
    Recording,
    Ways,
    data_folder,
    demo_recordings,
    performed,
    real,
    vienna,
    whole,
    written,
)
from benchmarks.alignment_truth import judge
from datamodules.alignment.reading import in_seconds, unfoldings
from datamodules.alignment.score import Origin, Score
from datamodules.common.errors import DataError
from datamodules.demo import music
from datamodules.demo.music import DemoPiece
from datamodules.generation.reading import read_pieces
from tasks.alignment.aligned import Aligned
from tasks.alignment.inference import File2Alignment

DOUBT = "another piece"
"""Words of the remark."""
STRINGS, CLARINET, FLUTE = 48, 71, 73
CASES = Path(__file__).parent.parent / "tests/cases/alignment"


class Pairing(NamedTuple):
    """Recording, or excerpt of one, and a score."""

    name: str
    excerpt: Excerpt
    ways: Ways
    right: bool


def run() -> None:
    """Print each pairing with its confidence and whether its score is doubted, and the counts."""
    align, start, totals = engine(), time.process_time(), []
    for title, pairings in (("wrong scores", wrong()), ("right scores", right())):
        print(f"{title:56} {'doubted':>8} {'confidence':>11} {'cost':>6}  faults / remarks")
        doubts = [_row(align, pairing) for pairing in pairings]
        totals.append(f"{title}: {sum(doubts)} of {len(doubts)} doubted")
        print(flush=True)
    print("\n".join(totals) + f"\nconfidence: median over the notes claimed as played; {time.process_time() - start:.0f} CPU s")


def _row(align: File2Alignment, pairing: Pairing) -> bool:
    """Print a pairing; returns whether its score is doubted."""
    try:
        aligned = align.align(pairing.name, pairing.excerpt.audio, RATE, pairing.ways)
    except DataError as error:
        doubted = DOUBT in str(error)
        print(f"{pairing.name:56} {_yes(doubted):>8} {'':18}  refused: {error}", flush=True)
        return doubted
    doubted = any(DOUBT in remark for remark in aligned.remarks)
    faults = judge(aligned, pairing.excerpt).faults if pairing.right else []
    verdict = [", ".join(faults) or "located"] if pairing.right else []
    text = f"{_confidence(aligned):11.2f} {aligned.cost:6.3f}  {' / '.join([*verdict, *aligned.remarks])}"
    print(f"{pairing.name:56} {_yes(doubted):>8} {text}", flush=True)
    return doubted


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _confidence(aligned: Aligned) -> float:
    played = np.isfinite(aligned.notes_s).all(1)
    return float(np.median(aligned.note_confidence[played])) if played.any() else 0.0


# Wrong scores


def wrong() -> list[Pairing]:
    """Recordings with scores of other pieces."""
    demos = demo_recordings()
    tunes, chorales = ([item for item in demos if ("bach" in item.name) == bach] for bach in (False, True))
    pairs = [*zip(tunes[:2], tunes[2:4], strict=True), *zip(chorales[:2], chorales[2:4], strict=True)]
    results = [_wrong(whole(recording), other) for recording, other in pairs]
    pairs = [(performed(first.name, written(first)), performed(other.name, written(other))) for first, other in _same_key()]
    results += [_wrong(whole(recording), other, " (same key)") for recording, other in pairs]
    return [*results, *(_wrong_real(folder) if (folder := data_folder()) else [])]


def _wrong_real(folder: Path) -> list[Pairing]:
    pianists = vienna(folder / "alignment/vienna4x22", False, range(1, 2))
    recordings = real(folder)
    mozart, bach = recordings["mozart_k265_var1"], recordings["Bach-fugue_bwv_858"]
    results = [_wrong(whole(recording), other) for recording, other in permutations(pianists, 2)]
    results += [_wrong(whole(mozart), pianists[1]), _wrong(whole(bach), mozart)]
    first, second, third = (performed(score.path, score) for score in nottingham(folder, 3))
    results += [_wrong(whole(first), second, " (same key)"), _wrong(whole(second), third, " (same key)")]
    return [*results, _wrong(Excerpt(third, 3.0, 15.0), first), _wrong(Excerpt(pianists[0], 20.0, 45.0), pianists[2])]


def _wrong(excerpt: Excerpt, other: Recording, remark: str = "") -> Pairing:
    span = "" if excerpt.begin == 0 else f" {excerpt.begin:.0f}-{excerpt.end:.0f} s"
    return Pairing(f"{excerpt.recording.name[:24]}{span} / {other.name[:24]}{remark}", excerpt, other.ways, False)


def _same_key() -> list[tuple[DemoPiece, DemoPiece]]:
    """Four pairs of chorales of the same key and metre."""
    groups: dict[tuple, list[DemoPiece]] = {}
    for piece in music.chorales():
        groups.setdefault((piece.tonic, piece.mode, piece.beats), []).append(piece)
    large = sorted(groups.values(), key=len, reverse=True)
    return [(group[0], group[1]) for group in large[:4]]


def nottingham(folder: Path, count: int) -> list[Score]:
    """Waltzes of the Nottingham Music Database in the key of most of them."""
    path = folder / "generation/nottingham_abc/waltzes.abc"
    pieces = read_pieces(path)
    keys = [(piece.tonic, piece.mode) for piece in pieces]
    common = max(set(keys), key=keys.count)
    chosen = [piece for piece, key in zip(pieces, keys, strict=True) if key == common and piece.voices == 1][:count]
    return [in_seconds(piece, Path(piece.name), [Origin()] * len(piece.notes)) for piece in chosen]


# Right scores


def right() -> list[Pairing]:
    """Recordings with their own scores."""
    chorales = [written(piece) for piece in music.chorales()[10:16]]
    tune, tune2 = (written(piece, 0.4) for piece in music.fiddle_tunes()[20:22])
    demos, shifted = demo_recordings(), performed("", _part_a_tone_higher(chorales[2]))
    transposing, bass = (unfoldings(CASES / f"{name}.musicxml")[0][1] for name in ("transposing", "bass"))
    recordings = {
        "demo, degraded": demos[0],
        "strings": performed("", chorales[0], program=STRINGS),
        "clarinet alone": performed("", tune, program=CLARINET),
        "flutes": performed("", chorales[1], program=FLUTE),
        "flute and clarinet in B flat (4 s)": performed("", transposing, program=CLARINET),
        "contrabass (2 s)": performed("", bass, program=STRINGS),
        "clarinets, one part written a tone higher": performed("", chorales[2], program=CLARINET, ways=shifted.ways),
        "an octave higher": performed("", chorales[3], semitones=12),
        "an octave lower": performed("", chorales[4], semitones=-12),
        "clarinet an octave lower than written": performed("", tune2, program=CLARINET, semitones=-12),
        "seven semitones lower, strings": performed("", chorales[4], program=STRINGS, semitones=-7),
        "noise of the test kind (6 to 10 dB)": performed("", chorales[5], worse="cylinder"),
        "half the tempo": performed("", chorales[0], pace=2.0),
        "twice the tempo": performed("", chorales[1], pace=0.5),
    }
    results = [Pairing(name, whole(recording), recording.ways, True) for name, recording in recordings.items()]
    for name, recording in {"strings, excerpt": recordings["strings"], "demo, excerpt": demos[1]}.items():
        results.append(Pairing(name, Excerpt(recording, 8.0, 20.0), recording.ways, True))
    return [*results, *(_right_real(folder) if (folder := data_folder()) else [])]


def _right_real(folder: Path) -> list[Pairing]:
    clean, bach = vienna(folder / "alignment/vienna4x22", False, range(1, 2)), real(folder)["Bach-fugue_bwv_858"]
    degraded = vienna(folder / "alignment/vienna4x22", True, range(5, 6))[0]
    cut = {"piano, excerpt": Excerpt(clean[0], 30.0, 50.0), "piano, degraded, excerpt": Excerpt(degraded, 20.0, 50.0)}
    cut |= {"piano, whole": whole(clean[2]), "real piano, excerpt": Excerpt(bach, 30.0, 60.0)}
    return [Pairing(name, excerpt, excerpt.recording.ways, True) for name, excerpt in cut.items()]


def _part_a_tone_higher(score: Score) -> Score:
    """Score whose highest part is written a tone higher than it sounds, as for a clarinet in B flat."""
    notes = score.notes
    highest = np.array(
        [pitch == notes.pitch[notes.onset == onset].max() for onset, pitch in zip(notes.onset, notes.pitch, strict=True)]
    )
    return score._replace(notes=notes._replace(pitch=(notes.pitch + 2 * highest).astype(np.int16)))
