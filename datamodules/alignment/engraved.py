"""Engraved scores (MusicXML; MEI and Humdrum with partitura) -> `Score`, one per unfolding of the repeats."""

import logging
import sys
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice, pairwise, product
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

from datamodules.alignment.mei import Engraving, sounding_mei
from datamodules.alignment.metre import Measure
from datamodules.alignment.playing import Stretch, WrittenNote, WrittenScore, play
from datamodules.alignment.score import Origin, Score
from datamodules.common.errors import DataError
from datamodules.generation.reading.musicxml import ScoreReader
from datamodules.generation.reading.plausible_score import check_metres, check_numbers
from datamodules.generation.reading.repeats import Signs, play_order, repeats_of, runs_of
from datamodules.generation.reading.scores import partwise_score

log = logging.getLogger(__name__)

TEMPI = (5.0, 1000.0)  # quarter notes a minute; other tempi are ignored
MOST_REPEATS = 5  # up to which all combinations are unfolded; with more, all repeats or none
MOST_WAYS = 64
MOST_PASSES = 4  # of a repeat, in unfoldings with fewer passes than written


def read_engraved(path: Path) -> list[tuple[str, Score]]:
    """Unfoldings (name, score) of an engraved score, all repeats first (not repeated after a da capo).

    Times follow the written tempi, by default 120 quarter notes a minute; grace notes precede the beat. With several
    unfoldings, note ids get the suffixes "-1", "-2", ... of match files. Raises DataError as `read_score`.
    """
    written = _written(path)
    return [(name, play(written, stretches, str(path))) for name, stretches in written.ways.items()]


def _written(path: Path) -> WrittenScore:
    if path.suffix.lower() not in (".mei", ".krn"):
        root = partwise_score(path)
        try:
            check_numbers(root)
            return _musicxml(ScoreReader(root), path)
        except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError) as error:
            raise DataError(f"{path} is damaged ({error}): export the score again.") from error
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
    """Package partitura, imported without fluidsynth, with which it would download a SoundFont."""
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


def _musicxml(score: ScoreReader, path: Path) -> WrittenScore:
    starts, end = score.measures()
    names = _part_names([(part.name, score.ids[number]) for number, part in enumerate(score.parts)])
    notes = [
        WrittenNote(
            note.onset / score.ticks,
            note.duration / score.ticks,
            note.pitch,
            note.grace,
            note.name,
            Origin(name, note.staff, note.voice),
            note.lyrics,
        )
        for part, name in zip(score.parts, names, strict=True)
        for note in part.printed.joined(starts)
    ]
    if not notes:
        raise DataError(f"{path} holds no notes: expected a score.")
    edges = [tick / score.ticks for tick in (*starts, end)]
    metres = [(0, 4, 4), *score.events("metres", starts)]
    holding = [metres[bisect_right(metres, start, key=lambda metre: metre[0]) - 1][1:] for start in starts]
    rows = zip(pairwise(edges), holding, score.numbers, strict=True)
    measures = [Measure(*span, *metre, number) for span, metre, number in rows if span[0] < span[1]]
    tempi = [(tick / score.ticks, tempo) for tick, tempo in score.events("tempi", starts) if TEMPI[0] <= tempo <= TEMPI[1]]
    return WrittenScore(notes, measures, tempi, _ways(lambda: _unfolded(edges, score.signs), edges[-1]))


def _read(path: Path, partitura) -> WrittenScore:
    kinds = partitura.score
    score, printed = _parsed(path, partitura)
    parts = [part for part in score.parts if part.first_point is not None]
    names = _part_names([((part.part_name or "").strip(), str(part.id or "")) for part in parts])
    notes = [note for part, name in zip(parts, names, strict=True) for note in _notes(part, kinds, name, printed)]
    if not notes:
        raise DataError(f"{path} holds no notes: expected a score.")
    leading = max(parts, key=lambda part: len(list(part.iter_all(kinds.Measure))))
    tempi = sorted({mark for part in parts for mark in _tempi(part, kinds)})
    return WrittenScore(
        notes,
        _measures(leading, kinds),
        tempi,
        _ways(lambda: _followed(leading, kinds), _quarters(leading)(leading.last_point.t)),
    )


def _parsed(path: Path, partitura) -> tuple[object, dict[str, Engraving]]:
    """Score of partitura, and the engraving of its notes by id if known."""
    if path.suffix.lower() == ".mei":
        with sounding_mei(path) as (document, printed):
            return partitura.load_mei(str(document)), printed
    check_metres(path.read_bytes())
    return partitura.load_kern(str(path)), {}


def _part_names(parts: list[tuple[str, str]]) -> list[str]:
    """Label of each part (name, id): with its id if several parts share a name, the id alone without a name."""
    count = Counter(name for name, _ in parts)
    return [label if not name else f"{name} ({label})" if count[name] > 1 and label else name for name, label in parts]


def _quarters(part):
    """Function from the divisions of a part to quarter notes from its start."""
    start = float(part.quarter_map(part.first_point.t)) if part.first_point.t < part.last_point.t else 0.0
    return lambda time: float(part.quarter_map(time)) - start


def _notes(part, kinds, name: str, printed: dict[str, Engraving]) -> Iterator[WrittenNote]:
    """Notes of a part. printed: engravings by id; if empty, the parser's ids are the file's."""
    quarters = _quarters(part)
    for note in part.notes_tied:
        at, until = quarters(note.start.t), quarters(note.start.t + (note.duration_tied or 0))
        grace = sum(1 for _ in note.iter_grace_seq()) if isinstance(note, kinds.GraceNote) else 0
        engraving = printed.get(note.id, Engraving("")) if printed else Engraving(str(note.id or ""))
        origin = Origin(name, *("" if number is None else str(number) for number in (note.staff, note.voice)))
        yield WrittenNote(at, until - at, int(note.midi_pitch), grace, engraving.name, origin, engraving.lyrics)


def _measures(part, kinds) -> list[Measure]:
    quarters = _quarters(part)
    results = []
    for measure in part.iter_all(kinds.Measure):
        over, under = (int(number) for number in part.time_signature_map(measure.start.t)[:2])
        if not (0 < over < 1000 and 0 < under <= 128):
            raise ValueError(f"the time signature {over}/{under}")
        if measure.end is not None and measure.end.t > measure.start.t:
            results.append(Measure(quarters(measure.start.t), quarters(measure.end.t), over, under, str(measure.name or "")))
    return results


def _tempi(part, kinds) -> Iterator[tuple[float, float]]:
    from partitura.utils import to_quarter_tempo

    quarters = _quarters(part)
    for mark in part.iter_all(kinds.Tempo):
        tempo = to_quarter_tempo(mark.unit or "q", float(mark.bpm))
        if TEMPI[0] <= tempo <= TEMPI[1]:
            yield quarters(mark.start.t), tempo


def _ways(follow: Callable[[], dict[str, list[Stretch]]], end: float) -> dict[str, list[Stretch]]:
    """Unfoldings by name, the default first; the score as written (`end` quarter notes) if its repeat signs are contradictory.

    For MEI and Humdrum they come from partitura, which does not follow a dal segno inside a score.
    """
    whole = [(0.0, end + 1.0)]
    try:
        ways = follow()
    except Exception as error:  # contradicting signs end in any error
        log.warning("The repeats of the score cannot be unfolded (%s: %s): it is played as written.", type(error).__name__, error)
        return {"as written": whole}
    first = {tuple(stretches): name for name, stretches in reversed(ways.items())}
    if len(first) == 1:
        return {"as written": whole}
    return {name: stretches for name, stretches in ways.items() if first[tuple(stretches)] == name}


def _unfolded(edges: list[float], signs: list[Signs]) -> dict[str, list[Stretch]]:
    """Unfoldings from the repeat signs of each measure: each repeat at most as often as written, with and without jumps.

    edges: starts of the measures and end of the last one, quarter notes
    """
    repeats = repeats_of(signs)
    once = dict.fromkeys((repeat.start for repeat in repeats), 1)
    orders = [play_order(signs), play_order(signs, once, jumps=False)]
    if len(repeats) <= MOST_REPEATS:
        counts = [range(1, min(repeat.passes, MOST_PASSES) + 1) for repeat in repeats]
        chosen = (dict(zip(once, times, strict=True)) for times in product(*counts))
        orders += [play_order(signs, passes, jumps) for passes in islice(chosen, MOST_WAYS) for jumps in (True, False)]
    runs = [[(edges[first], edges[last + 1]) for first, last in runs_of(order)] for order in orders]
    borders = sorted({border for stretches in runs for stretch in stretches for border in stretch})
    names = ["all repeats", "no repeats", *(f"sections {_letters(stretches, borders)}" for stretches in runs[2:])]
    # Grace notes stand at the end of the last measure.
    runs = [[*stretches[:-1], (stretches[-1][0], stretches[-1][1] + (stretches[-1][1] == edges[-1]))] for stretches in runs]
    return dict(zip(names, runs, strict=True))


def _letters(stretches: list[Stretch], edges: list[float]) -> str:
    """Sections between jumps as letters in playing order."""
    letters = ascii_uppercase + ascii_lowercase
    played = (section for start, end in stretches for section, edge in enumerate(edges[:-1]) if start <= edge < end)
    return "-".join(letters[section] if section < len(letters) else str(section + 1) for section in played)


def _followed(part, kinds) -> dict[str, list[Stretch]]:
    """Unfoldings by partitura."""
    ways = {"all repeats": _paths(part, kinds, all_repeats=True, ignore_leap_info=False)[0][1]}
    ways |= {"no repeats": _paths(part, kinds, no_repeats=True)[0][1]}
    if sum(1 for _ in part.iter_all(kinds.Repeat)) <= MOST_REPEATS:
        ways |= {f"sections {name}": stretches for name, stretches in _paths(part, kinds)[:MOST_WAYS]}
    return ways


def _paths(part, kinds, **options) -> list[tuple[str, list[Stretch]]]:
    """Section letters and stretches of each path; adjoining stretches are joined."""
    kinds.add_segments(part, force_new=True)  # following leaps alters them
    quarters, paths = _quarters(part), []
    for path in kinds.get_paths(part, **options):
        stretches: list[Stretch] = []
        for name in path.path:
            start, end = quarters(path.segments[name].start.t), quarters(path.segments[name].end.t)
            start = stretches.pop()[0] if stretches and stretches[-1][1] == start else start
            stretches.append((start, end))
        paths.append(("-".join(path.path), stretches))
    return paths
