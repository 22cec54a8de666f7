"""Previews small enough to stand in a page."""

import io
from pathlib import Path

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
