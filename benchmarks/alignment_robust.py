"""Ten kinds of recordings and scores that alignment must cope with: median error, and which of them hold (below 50 ms).

Applause, talk inside, hiss, skipped bars, other tunings, keys and tempi, scores that begin with rests or with a pickup, and the
signs of repeats, each on a chorale and an accompanied tune of the demo or on small scores made for it.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.alignment_engine import engine
from benchmarks.alignment_excerpts import aligned_to
from benchmarks.alignment_material import RATE, Recording, demo_score, performed, whole, written
from datamodules.alignment.reading import unfoldings
from datamodules.alignment.score import Score, notes_of
from datamodules.demo import alignment as demo
from datamodules.demo import music

HOLDS_MS, NEAR_MS = 50, 100
APPLAUSE_S, TALK_S = 10.0, 8.0
CENTS, SEMITONES, TEMPI = (-101, -50, 60), (-12, -5, 5, 12), (0.25, 0.5, 2.0, 4.0, 10.0)
"""Tunings, transpositions of the recording, and its tempo relative to the score's."""
SKIPPED = (4, 8)
"""First bar left out, and first bar played again."""
CASES = Path(__file__).parent.parent / "tests/cases/alignment"
SEED = 16


class Variant(NamedTuple):
    """Recording of one of the kinds."""

    kind: str
    name: str
    recording: Recording


def run() -> None:
    """Print a row per recording, and the kinds that hold."""
    align, start = engine(), time.process_time()
    held: dict[str, list[bool]] = {}
    print(f"{'':54} {'median ms':>10} {f'<{HOLDS_MS} ms':>9} {f'<{NEAR_MS} ms':>9}  holds  faults")
    for variant in variants():
        verdict = aligned_to(align, whole(variant.recording))
        median = 1000 * float(np.median(verdict.error))
        shares = "".join(f"{100 * np.mean(verdict.error < ms / 1000):9.1f} " for ms in (HOLDS_MS, NEAR_MS))
        held.setdefault(variant.kind, []).append(median < HOLDS_MS)
        answer = "yes" if median < HOLDS_MS else "no"
        print(f"{variant.kind:20} {variant.name:33} {median:10.0f} {shares} {answer:5}  {', '.join(verdict.faults)}", flush=True)
    print(f"\n{sum(map(all, held.values()))} of {len(held)} kinds hold; {time.process_time() - start:.0f} CPU s")
    for kind, answers in held.items():
        print(f"  {kind:20} {sum(answers)} of {len(answers)}")


def variants() -> Iterator[Variant]:
    """Recordings of all kinds."""
    for name, score in _bases().items():
        recording, bar_s = performed(name, score), float(score.bars[1] - score.bars[0])
        yield Variant("applause", name, _changed(recording, _applauded, lambda time: time + APPLAUSE_S))
        yield Variant("talk inside", name, _interrupted(recording, float(recording.truth[len(recording.truth) // 2, 1])))
        yield Variant("hiss at 0 dB", name, _changed(recording, _hissed, lambda time: time))
        yield Variant("skipped bars", name, _skipped(name, score))
        for cents in CENTS:
            yield Variant("tuning", f"{name}, {cents:+} cents", performed(name, score, cents=cents))
        for semitones in SEMITONES:
            yield Variant("key", f"{name}, {semitones:+} semitones", performed(name, score, semitones=semitones))
        for tempo in TEMPI:
            yield Variant("tempo", f"{name}, {tempo:g} of the score's", _changed_score(recording, tempo))
        yield Variant("rests first", name, _changed_score(recording, rest_s=2 * bar_s))
    for piece in [piece for piece in music.fiddle_tunes() if piece.parts[0][0].onset < 0][:3]:
        yield Variant("pickup", piece.name[-33:], performed(piece.name, written(piece, 0.4)))
    yield from _repeats()


def _bases() -> dict[str, Score]:
    """A chorale and an accompanied tune of the demo's test set."""
    tests = [item for item in demo.performances() if demo.PLAYERS[item.player].split == "test"]
    chosen = {
        kind: next(item for item in tests if (item.piece.kind == "chorale") == (kind == "chorale"))
        for kind in ("chorale", "tune")
    }
    return {kind: demo_score(item) for kind, item in chosen.items()}


# Changes of the recording


def _changed(
    recording: Recording, sound: Callable[[np.ndarray], np.ndarray], moved: Callable[[np.ndarray], np.ndarray]
) -> Recording:
    """Recording with another sound, and with its true times moved."""
    truth = np.stack([recording.truth[:, 0], moved(recording.truth[:, 1])], 1)
    return Recording(recording.kind, recording.name, lambda: sound(recording.audio), recording.ways, lambda: truth)


def _applauded(audio: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(SEED)
    hands = np.repeat(random.uniform(0.3, 1.0, round(100 * APPLAUSE_S)), -(-RATE // 100))[: round(APPLAUSE_S * RATE)]
    applause = (0.7 * audio.std() * hands * random.normal(size=len(hands))).astype(np.float32)
    return np.concatenate([applause, audio, applause])


def _interrupted(recording: Recording, at: float) -> Recording:
    """Recording with talk inserted at a time (s)."""

    def sound(audio: np.ndarray) -> np.ndarray:
        return np.concatenate([audio[: round(at * RATE)], _talk(audio.std()), audio[round(at * RATE) :]])

    return _changed(recording, sound, lambda time: time + TALK_S * (time >= at))


def _talk(level: float) -> np.ndarray:
    """Sound with the pitch range, syllables and formants of a voice (samples,)."""
    from scipy.signal import lfilter

    random, time_s = np.random.default_rng(SEED), np.arange(round(TALK_S * RATE)) / RATE
    pitch = 120 * 2 ** np.interp(
        time_s, np.arange(0, TALK_S + 1, 0.3), random.uniform(-0.3, 0.5, len(np.arange(0, TALK_S + 1, 0.3)))
    )
    voice = 2 * np.mod(np.cumsum(pitch) / RATE, 1.0) - 1 + 0.2 * random.normal(size=len(time_s))
    for formant in (600.0, 1500.0, 2600.0):
        pole = 0.98 * np.exp(2j * np.pi * formant / RATE)
        voice = lfilter([1.0], [1.0, -2 * pole.real, abs(pole) ** 2], voice)
    voice *= np.clip(np.sin(2 * np.pi * 3.5 * time_s), 0, 1)
    return (level * voice / voice.std()).astype(np.float32)


def _hissed(audio: np.ndarray) -> np.ndarray:
    return (audio + audio.std() * np.random.default_rng(SEED).normal(size=len(audio))).astype(np.float32)


def _skipped(name: str, score: Score) -> Recording:
    """Recording that leaves out bars."""
    begin, end = score.bars[list(SKIPPED)]
    notes, inside = score.notes, (score.notes.onset < begin) | (score.notes.onset >= end)
    late = (end - begin) * (notes.onset >= end)
    columns = (notes.onset - late, np.minimum(notes.offset, np.where(late, np.inf, begin)) - late, notes.pitch)
    recording = performed(name, score._replace(notes=notes_of(*(column[inside] for column in columns))), ways=[("", score)])
    onset = recording.truth[:, 0]
    truth = np.stack([onset + (end - begin) * (onset >= begin - 1e-6), recording.truth[:, 1]], 1)
    return Recording(recording.kind, name, lambda: recording.audio, [("", score)], lambda: truth)


# Changes of the score


def _changed_score(recording: Recording, tempo: float = 1.0, rest_s: float = 0.0) -> Recording:
    """Recording at `tempo` of its score's tempo, or with a rest (s) before the first bar of the score."""

    def moved(time: np.ndarray) -> np.ndarray:
        return tempo * time + rest_s

    score, notes = recording.score, recording.score.notes
    beats, bars = (_extended(moved(edges), rest_s) for edges in (score.beats, score.bars))
    other = score._replace(notes=notes._replace(onset=moved(notes.onset), offset=moved(notes.offset)), beats=beats, bars=bars)
    truth = np.stack([moved(recording.truth[:, 0]), recording.truth[:, 1]], 1)
    return Recording(recording.kind, recording.name, lambda: recording.audio, [("", other)], lambda: truth)


def _extended(edges: np.ndarray, rest_s: float) -> np.ndarray:
    """Beats or bars with those of a rest before the first, s."""
    step, count = edges[1] - edges[0], round(rest_s / (edges[1] - edges[0]))
    return np.concatenate([edges[0] - step * np.arange(count, 0, -1), edges])


# Repeats


def _repeats() -> Iterator[Variant]:
    """Every unfolding of scores with D.C. al Fine and with voltas: small ones of the tests, and longer ones."""
    with tempfile.TemporaryDirectory() as folder:
        longer = {name: Path(folder) / f"{name}.musicxml" for name in ("D.C. al Fine", "voltas")}
        for name, path in longer.items():
            path.write_text(_musicxml(name), encoding="utf-8")
        for kind, paths in zip(
            longer, ((CASES / "dc.musicxml", longer["D.C. al Fine"]), (CASES / "volta.musicxml", longer["voltas"])), strict=True
        ):
            for path in paths:
                ways = unfoldings(path)
                for way, score in ways:
                    size = "long" if path in longer.values() else "short"
                    yield Variant("D.C. al Fine, voltas", f"{kind}, {size}, {way}", performed(way, score, ways=ways))


def _musicxml(name: str) -> str:
    """Twelve bars of random melody in 4/4: a D.C. at their end with Fine after bar 8, or voltas at bars 7 and 8."""
    random = np.random.default_rng(SEED)
    fine = "<direction><direction-type><words>{}</words></direction-type><sound {}/></direction>"
    bars = {number: ["", ""] for number in range(1, 13)}
    if name == "voltas":
        for number, last in ((7, '<repeat direction="backward"/>'), (8, "")):
            ending = '<ending number="{0}" type="{1}"/>'
            bars[number][0] = f'<barline location="left">{ending.format(number - 6, "start")}</barline>'
            bars[number][1] = f'<barline location="right">{ending.format(number - 6, "stop")}{last}</barline>'
        bars[1][0] = '<barline location="left"><repeat direction="forward"/></barline>'
    else:
        bars[8][0], bars[12][1] = fine.format("Fine", 'fine="yes"'), fine.format("D.C. al Fine", 'dacapo="yes"')
    attributes = "<attributes><divisions>1</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>"
    measures = [
        f'<measure number="{number}">{attributes * (number == 1)}{left}{_notes(random)}{right}</measure>'
        for number, (left, right) in bars.items()
    ]
    head = '<part-list><score-part id="P1"><part-name>Piano</part-name></score-part></part-list>'
    return f'<score-partwise version="3.1">{head}<part id="P1">{"".join(measures)}</part></score-partwise>'


def _notes(random: np.random.Generator) -> str:
    """Four quarter notes."""
    return "".join(
        f"<note><pitch><step>{random.choice(list('CDEFGAB'))}</step><octave>{random.integers(4, 6)}</octave></pitch>"
        "<duration>1</duration><voice>1</voice><type>quarter</type></note>"
        for _ in range(4)
    )
