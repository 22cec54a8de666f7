"""A listening test of tones, for the tests of its page and of its analysis."""

import io
import json

import numpy as np
import soundfile

from tasks.generation.listening.analysis import read_key
from tasks.generation.listening.page import ListeningDesign, Stimulus, write_page
from tests.helpers.html_page import Read

RATE = 8000
SYSTEMS = ("Bach", "markov_order_4", "secret-lstm")


def tone(seed: int, seconds: float = 5.0, loud: float = 0.3, channels: int = 1, form: str = "WAV") -> bytes:
    random, held = np.random.default_rng(seed), io.BytesIO()
    wave = np.sin(2 * np.pi * random.uniform(100, 900) * np.arange(round(seconds * RATE)) / RATE)
    soundfile.write(held, loud * np.stack([wave] * channels, 1), RATE, format=form)
    return held.getvalue()


def excerpts(each: int = 5) -> list[Stimulus]:
    """Of different length, loudness and form."""
    made = []
    for k, system in enumerate(SYSTEMS):
        for one in range(each):
            loud, form = (0.02, 0.3, 0.9)[(k + one) % 3], ("WAV", "FLAC", "OGG")[k]
            sound = tone(10 * k + one, 5 + one / 10, loud, 1 + one % 2, form)
            made.append(Stimulus(sound, system, f"chorale_{one}", system == "Bach"))
    return made


def page_of(folder) -> tuple[str, dict, dict]:
    """Text of a page, its data, its key."""
    path = folder / "test.html"
    key = read_key(write_page(path, excerpts(), seed=3, questions=ListeningDesign(pairs=6, singles=8)))
    text = path.read_text(encoding="utf-8")
    return text, json.loads(Read(text).texts["script", "data"]), key
