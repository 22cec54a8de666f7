"""Page of a blind listening test: stimuli -> one offline HTML file, and the key of its anonymous names."""

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from tasks.reporting import page as reporting
from tasks.reporting.page import text_of
from tasks.writers.output_files import write_json, write_text

FOLDER = Path(__file__).parent  # of style and script
BODY = """<progress id="progress" value="0" max="1" aria-label="Progress"></progress>
<main id="screen"><noscript>This test needs JavaScript, which works without a network.</noscript></main>"""
KEY = "key.json"
SHEETS = 60  # question sheets, of which each listener gets one
LEAST_S, HEARD_S, FADE_S = 4.0, 3.0, 0.5
LEVEL = 0.1  # RMS of every excerpt: 20 dB below full scale
PEAK = 0.98


class Stimulus(NamedTuple):
    """Stimulus of a listening test."""

    audio: bytes  # WAV, FLAC or OGG
    system: str  # composer or system
    piece: str  # equal names in several systems: generated for the same task, to be compared
    real: bool  # by a human


@dataclass(frozen=True)
class ListeningDesign:
    """Design of a listening test.

    Args:
        pairs: number of pairwise comparisons
        singles: number of single ratings, half of them of real pieces; fewer if there are not enough pieces
        seconds: duration of an excerpt; if a piece is shorter, all excerpts are
        human: composer of the real pieces
    """

    pairs: int = 8
    singles: int = 12
    seconds: float = 20.0
    human: str = "Bach"


def write_page(
    path: Path,
    excerpts: Sequence[Stimulus],
    seed: int = 0,
    title: str = "Who wrote this music?",
    questions: ListeningDesign = ListeningDesign(),
) -> Path:
    """Write the page, and beside it `key.json` for the analysis; returns the key's path.

    All excerpts have equal duration and loudness, and random names; the page contains nothing else about them.

    Args:
        path: HTML file
        excerpts: stimuli
        seed: seed of names and sheets
        title: title of the page
        questions: design of the test

    Raises:
        ValueError: audio is unreadable or too short, human or generated pieces are missing, or the title names a system.
    """
    excerpts = list(excerpts)
    machines = {stimulus.system for stimulus in excerpts if not stimulus.real}
    if not machines or all(not stimulus.real for stimulus in excerpts):
        raise ValueError("a listening test needs pieces of a human and of at least one system")
    if named := [name for name in machines if name.lower() in f"{title} {questions.human}".lower()]:
        raise ValueError(f"the title reveals the system {named[0]}")
    draw = random.Random(seed)
    names = [f"{draw.getrandbits(64):016x}" for _ in excerpts]
    by_name = dict(zip(names, excerpts, strict=True))
    sounds = dict(zip(names, _alike(excerpts, questions.seconds), strict=True))
    test = f"{draw.getrandbits(64):016x}"
    sheets = [_sheet(by_name, questions, draw) for _ in range(SHEETS)]
    content = {
        "test": test,
        "human": questions.human,
        "least": HEARD_S,
        "intro": _intro(questions.human, len(sheets[0]["pairs"]), len(sheets[0]["singles"])),
        "sheets": sheets,
        "sounds": {name: sounds[name] for name in sorted(sounds)},
    }
    style, script = text_of(FOLDER / "page.css"), text_of(FOLDER / "page.js")
    write_text(path, reporting.page(title, BODY, data=content, style=style, script=script))
    key = {name: {"system": each.system, "piece": each.piece, "real": each.real} for name, each in by_name.items()}
    write_json(path.with_name(KEY), {"test": test, "human": questions.human, "excerpts": key})
    return path.with_name(KEY)


def _intro(human: str, pairs: int, singles: int) -> list[str]:
    return [
        f"You will hear {pairs} pairs of short pieces, then {singles} pieces alone. Some are by {human}, some by machines that "
        f"have learned from {human}; all are played by the same instrument.",
        "Answer as you feel: there is no time limit, and you may listen again. You can close the page and go on later.",
    ]


def _sheet(by_name: dict[str, Stimulus], questions: ListeningDesign, draw: random.Random) -> dict[str, Any]:
    """Questions of one listener; the page shuffles them again."""
    systems: dict[str, list[str]] = {}
    for name, stimulus in by_name.items():
        systems.setdefault(stimulus.system, []).append(name)
    comparisons = _rounds(list(combinations(sorted(systems), 2)), questions.pairs, draw)
    pairs: list[list[str]] = []
    for first, second in comparisons:
        pairs.append(_pair(systems[first], systems[second], by_name, pairs, draw))
    real = [name for name, stimulus in by_name.items() if stimulus.real]
    # Equal numbers of generated and real pieces, so that guessing is right half of the time.
    half = min(len(real), len(by_name) - len(real), questions.singles // 2)
    machines = {system: list(names) for system, names in systems.items() if not by_name[names[0]].real}
    others = []
    for system in _rounds(sorted(machines), half, draw):
        remaining = machines[system] or next(names for names in machines.values() if names)
        others.append(remaining.pop(draw.randrange(len(remaining))))
    return {"pairs": pairs, "singles": sorted(draw.sample(real, half) + others)}


def _pair(
    first: list[str], second: list[str], by_name: dict[str, Stimulus], used: list[list[str]], draw: random.Random
) -> list[str]:
    """Draw an excerpt of each system, preferably an unused pair generated for the same task."""
    every = [sorted((a, b)) for a in first for b in second]
    fresh = [pair for pair in every if pair not in used] or every
    return draw.choice([pair for pair in fresh if by_name[pair[0]].piece == by_name[pair[1]].piece] or fresh)


def _rounds(items: list[Any], count: int, draw: random.Random) -> list[Any]:
    """Draw `count` items, using all before any is repeated."""
    drawn: list[Any] = []
    while items and len(drawn) < count:
        drawn += draw.sample(items, len(items))
    return drawn[:count]


def _alike(excerpts: Sequence[Stimulus], seconds: float) -> list[str]:
    """Data URLs of mono audio with equal duration and loudness, a fade-out and no tags."""
    decoded = [_read(stimulus) for stimulus in excerpts]
    length = min(seconds, *(len(samples) / rate for samples, rate in decoded)) if len(decoded) > 1 else seconds
    normalised = []
    for samples, rate in decoded:
        samples = samples[: round(length * rate)]
        fade = min(round(FADE_S * rate), len(samples))
        samples[len(samples) - fade :] *= np.linspace(1, 0, fade) ** 2
        normalised.append(samples / np.sqrt((samples**2).mean()))
    level = min(LEVEL, *(PEAK / np.abs(samples).max() for samples in normalised))
    return [_address(level * samples, rate) for samples, (_, rate) in zip(normalised, decoded, strict=True)]


def _read(excerpt: Stimulus) -> tuple[NDArray[np.float64], int]:
    about = f"the sound of {excerpt.piece} by {excerpt.system}"
    try:
        samples, rate = soundfile.read(io.BytesIO(excerpt.audio), always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise ValueError(f"{about} cannot be read: expected WAV, FLAC or OGG") from error
    mono = samples.mean(1)
    if not np.isfinite(mono).all() or not np.abs(mono).max(initial=0) > 1e-4:
        raise ValueError(f"{about} is silent")
    if len(mono) < LEAST_S * rate:
        raise ValueError(f"{about} lasts {len(mono) / rate:.1f} s: a listening test needs at least {LEAST_S:.0f} s")
    return mono, rate


def _address(samples: NDArray[np.float64], rate: int) -> str:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
    return reporting.embedded(buffer.getvalue(), "audio/flac")
