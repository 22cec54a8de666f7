"""Phrases sung from single notes, placed on the beats of a session: vocals where a session has none."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datamodules.audio import EXTENSIONS
from datamodules.errors import DataError
from datamodules.loop_sessions import Loop, leveled, read_sound
from datamodules.splits import deal

STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
BEATS, BARS, PHRASES = 4, 4, 3  # of a bar, of a phrase, for every vowel of every voice
LENGTHS, REST = (1, 1, 2), 0.15  # in beats; share of beats that are paused
LEAP = 7  # semitones from note to note, where the voice has one so near
ONSET = 0.05  # of a note's peak: what comes before is breath and silence


def notes_in(folder: Path) -> dict[str, list[tuple[int, Path]]]:
    """Notes by voice and vowel: (MIDI pitch, file), from names such as femalevoice_aa_Db4.mp3. Raises DataError for none."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(folder.glob("*")):
        match = re.fullmatch(r"(.+?)_([A-Ga-g])([#b]?)(\d)", path.stem)
        if match and path.suffix.lower() in EXTENSIONS:
            name, step, accidental, octave = match.groups()
            pitch = 12 * (int(octave) + 1) + STEPS[step.lower()] + {"#": 1, "b": -1, "": 0}[accidental]
            found.setdefault(name, []).append((pitch, path))
    if not found:
        raise DataError(f"{folder} holds no sung notes: --data.voices names a folder of files such as female_aa_Db4.mp3.")
    return found


def phrases(
    folder: Path, session: str, bar: int, rate: int, channels: int, level: float | None
) -> Iterator[tuple[Loop, str, str]]:
    """Loops of the role `vocals` with their group and split: a singer, all her vowels together, is on one side.

    bar: samples. The singer's name is what stands before the first _ of a file's name.
    """
    voices = notes_in(folder)
    singers = sorted({name.split("_")[0] for name in voices})
    counts = [sum(len(voices[name]) for name in voices if name.split("_")[0] == singer) for singer in singers]
    splits = dict(zip(singers, deal(singers, counts), strict=True))
    for name, notes in voices.items():
        sounds = [(pitch, _from_onset(read_sound(path, rate, channels))) for pitch, path in notes]
        random = np.random.default_rng([ord(letter) for letter in session + name])
        for number in range(PHRASES):
            sound = leveled(_phrase(sounds, bar, channels, rate, random), level, folder)
            singer = name.split("_")[0]
            yield Loop(f"{name}-{number}", "vocals", BARS, sound), singer, splits[singer]


def _from_onset(sound: np.ndarray) -> np.ndarray:
    loud = np.abs(sound).max(1)
    return sound[int(np.argmax(loud > ONSET * loud.max())) :]


def _phrase(sounds: list, bar: int, channels: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """(BARS * bar, channels): a walk from beat to beat."""
    line, beat = np.zeros((BARS * bar, channels), np.float32), 0
    pitch = int(random.choice([pitch for pitch, _ in sounds]))
    while beat < BARS * BEATS:
        length = min(int(random.choice(LENGTHS)), BARS * BEATS - beat)
        if random.random() >= REST:
            near = [one for one in sounds if abs(one[0] - pitch) <= LEAP] or sounds
            pitch, sound = near[int(random.integers(len(near)))]
            start, stop = beat * bar // BEATS, (beat + length) * bar // BEATS
            note = sound[: stop - start].copy()
            fade = min(len(note), round(0.05 * rate))
            note[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
            line[start : start + len(note)] += note
        beat += length
    return line
