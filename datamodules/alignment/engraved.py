"""Engraved scores (MusicXML, MEI, Humdrum) by partitura: what is written, and the ways in which its repeats are played."""

import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

from datamodules.alignment.metre import Measure
from datamodules.alignment.musicxml import Engraving, read_musicxml, sounding_mei
from datamodules.alignment.playing import Stretch, WrittenNote, WrittenScore, play
from datamodules.alignment.score import Origin, Score
from datamodules.common.errors import DataError
from datamodules.generation.reading.plausible_score import check_metres
from datamodules.generation.reading.repeats import Signs, play_order, repeats_of, runs_of

log = logging.getLogger(__name__)

TEMPI = (5.0, 1000.0)  # quarter notes a minute: what counts as a tempo
MOST_REPEATS = 5  # up to so many, all ways of playing them are found; of more, all and none
MOST_WAYS = 64
MOST_PASSES = 4  # of a repeat that is played fewer times than written


def read_engraved(path: Path) -> list[tuple[str, Score]]:
    """The ways in which an engraved score may be played, each with its name; first with all repeats, none after a da capo.

    Seconds are those of the written tempi, 120 quarter notes a minute where there is none; what comes before the first
    tempo has it too. Grace notes come before the beat. Ids are the file's; where a way repeats or leaves out something
    "-1", "-2", ... are added for the first and the second time, as in match files.
    Raises DataError as `read_score`, and where partitura is not installed.
    """
    written = _written(path)
    return [(name, play(written, stretches, str(path))) for name, stretches in written.ways.items()]


def _written(path: Path) -> WrittenScore:
    with _partitura(path) as partitura:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _read(path, partitura)
        except DataError:
            raise
        except Exception as error:  # partitura raises whatever its parsing runs into
            raise DataError(f"{path} cannot be read as a score ({type(error).__name__}: {error}).") from error


@contextmanager
def _partitura(path: Path) -> Iterator:
    """The package, imported without fluidsynth: where it finds that, it fetches a SoundFont from the network."""
    hidden = "partitura" not in sys.modules and "fluidsynth" not in sys.modules
    if hidden:
        sys.modules["fluidsynth"] = None
    try:
        import partitura
        import partitura.score
    except ImportError as error:
        raise DataError(f"{path} is read by partitura, which is not installed: pip install -e '.[score]'.") from error
    finally:
        if hidden:
            del sys.modules["fluidsynth"]
    yield partitura


def _read(path: Path, partitura) -> WrittenScore:
    kinds = partitura.score
    score, printed, signs = _parsed(path, partitura)
    parts = [part for part in score.parts if part.first_point is not None]
    names = _part_names(parts)
    notes = [note for part, name in zip(parts, names, strict=True) for note in _notes(part, kinds, name, printed)]
    if not notes:
        raise DataError(f"{path} holds no notes: expected a score.")
    leading = max(parts, key=lambda part: len(list(part.iter_all(kinds.Measure))))
    tempi = sorted({mark for part in parts for mark in _tempi(part, kinds)})
    return WrittenScore(notes, _measures(leading, kinds), tempi, _ways(leading, kinds, signs))


def _parsed(path: Path, partitura) -> tuple[object, dict[str, Engraving], list[Signs]]:
    """Score as partitura has it, what is printed at its notes by their ids there, and signs of its measures, if known."""
    kind = path.suffix.lower()
    if kind == ".mei":
        with sounding_mei(path) as (document, printed):
            return partitura.load_mei(str(document)), printed, []
    if kind == ".krn":
        check_metres(path.read_bytes())
        return partitura.load_kern(str(path)), {}, []
    document = read_musicxml(path)
    return partitura.load_musicxml(document.xml), document.notes, document.signs


def _part_names(parts: list) -> list[str]:
    """Printed name of each part: with its id where several parts share a name, the id alone without a name."""
    names = [(part.part_name or "").strip() for part in parts]
    count = Counter(names)
    return [
        str(part.id or "") if not name else f"{name} ({part.id})" if count[name] > 1 and part.id else name
        for part, name in zip(parts, names, strict=True)
    ]


def _quarters(part):
    """The function from a part's own divisions to quarter notes from its start."""
    start = float(part.quarter_map(part.first_point.t)) if part.first_point.t < part.last_point.t else 0.0
    return lambda time: float(part.quarter_map(time)) - start


def _notes(part, kinds, name: str, printed: dict[str, Engraving]) -> Iterator[WrittenNote]:
    """Notes of a part; of formats that are not looked into, `printed` is empty and the parser's ids are the file's."""
    quarters = _quarters(part)
    for note in part.notes_tied:
        at, until = quarters(note.start.t), quarters(note.start.t + (note.duration_tied or 0))
        grace = sum(1 for _ in note.iter_grace_seq()) if isinstance(note, kinds.GraceNote) else 0
        engraving = printed.get(note.id, Engraving("")) if printed else Engraving(str(note.id or ""))
        origin = Origin(name, *("" if number is None else str(number) for number in (note.staff, note.voice)))
        yield WrittenNote(at, until - at, int(note.midi_pitch), grace, engraving.name, origin, engraving.lyrics)


def _measures(part, kinds) -> list[Measure]:
    quarters = _quarters(part)
    found = []
    for measure in part.iter_all(kinds.Measure):
        over, under = (int(number) for number in part.time_signature_map(measure.start.t)[:2])
        if not (0 < over < 1000 and 0 < under <= 128):
            raise ValueError(f"the time signature {over}/{under}")
        if measure.end is not None and measure.end.t > measure.start.t:
            found.append(Measure(quarters(measure.start.t), quarters(measure.end.t), over, under))
    return found


def _tempi(part, kinds) -> Iterator[tuple[float, float]]:
    from partitura.utils import to_quarter_tempo

    quarters = _quarters(part)
    for mark in part.iter_all(kinds.Tempo):
        tempo = to_quarter_tempo(mark.unit or "q", float(mark.bpm))
        if TEMPI[0] <= tempo <= TEMPI[1]:
            yield quarters(mark.start.t), tempo


def _ways(part, kinds, signs: list[Signs]) -> dict[str, list[Stretch]]:
    """Name -> stretches; the usual way first. Where the signs lead nowhere, the score is played as written.

    signs: of each measure; of formats without, the way is partitura's, which follows no dal segno inside a score.
    """
    whole = [(0.0, _quarters(part)(part.last_point.t) + 1.0)]
    measures = list(part.iter_all(kinds.Measure))
    try:
        ways = _unfolded(part, measures, signs) if signs and len(measures) == len(signs) else _followed(part, kinds)
    except Exception as error:  # signs that contradict each other end in whatever error they run into
        log.warning("The repeats of the score cannot be followed (%s: %s): it is played as written.", type(error).__name__, error)
        return {"as written": whole}
    first = {tuple(stretches): name for name, stretches in reversed(ways.items())}
    if len(first) == 1:
        return {"as written": whole}
    return {name: stretches for name, stretches in ways.items() if first[tuple(stretches)] == name}


def _unfolded(part, measures: list, signs: list[Signs]) -> dict[str, list[Stretch]]:
    """The ways by the signs: each repeat so many times as is written or fewer, with jumps and without."""
    repeats = repeats_of(signs)
    once = dict.fromkeys((repeat.start for repeat in repeats), 1)
    orders = [play_order(signs), play_order(signs, once, jumps=False)]
    if len(repeats) <= MOST_REPEATS:
        counts = [range(1, min(repeat.passes, MOST_PASSES) + 1) for repeat in repeats]
        chosen = (dict(zip(once, times, strict=True)) for times in product(*counts))
        orders += [play_order(signs, passes, jumps) for passes in islice(chosen, MOST_WAYS) for jumps in (True, False)]
    quarters = _quarters(part)
    starts = [quarters(measure.start.t) for measure in measures]
    ends = [*starts[1:], quarters(part.last_point.t)]
    runs = [[(starts[first], ends[last]) for first, last in runs_of(order)] for order in orders]
    edges = sorted({edge for stretches in runs for stretch in stretches for edge in stretch})
    names = ["all repeats", "no repeats", *(f"sections {_letters(stretches, edges)}" for stretches in runs[2:])]
    # Grace notes stand where the last measure ends.
    runs = [[*stretches[:-1], (stretches[-1][0], stretches[-1][1] + (stretches[-1][1] == ends[-1]))] for stretches in runs]
    return dict(zip(names, runs, strict=True))


def _letters(stretches: list[Stretch], edges: list[float]) -> str:
    """Sections between any two jumps as letters, in the order in which they are played."""
    letters = ascii_uppercase + ascii_lowercase
    played = (section for start, end in stretches for section, edge in enumerate(edges[:-1]) if start <= edge < end)
    return "-".join(letters[section] if section < len(letters) else str(section + 1) for section in played)


def _followed(part, kinds) -> dict[str, list[Stretch]]:
    """The ways by partitura."""
    ways = {"all repeats": _paths(part, kinds, all_repeats=True, ignore_leap_info=False)[0][1]}
    ways |= {"no repeats": _paths(part, kinds, no_repeats=True)[0][1]}
    if sum(1 for _ in part.iter_all(kinds.Repeat)) <= MOST_REPEATS:
        ways |= {f"sections {name}": stretches for name, stretches in _paths(part, kinds)[:MOST_WAYS]}
    return ways


def _paths(part, kinds, **options) -> list[tuple[str, list[Stretch]]]:
    """Sections by their letters, and the stretches that they are, what follows on joined."""
    kinds.add_segments(part, force_new=True)  # following leaps alters them
    quarters, found = _quarters(part), []
    for path in kinds.get_paths(part, **options):
        stretches: list[Stretch] = []
        for name in path.path:
            start, end = quarters(path.segments[name].start.t), quarters(path.segments[name].end.t)
            start = stretches.pop()[0] if stretches and stretches[-1][1] == start else start
            stretches.append((start, end))
        found.append(("-".join(path.path), stretches))
    return found
