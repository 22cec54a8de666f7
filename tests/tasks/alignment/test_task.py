"""The alignment task as its user runs it: what `predict` reads, and what it says of bad input."""

import soundfile

from datamodules.audio import render
from datamodules.audio.render import RenderedNote

PITCHES = (60, 64, 67, 72, 71, 67, 65, 62, 64, 67, 60, 55)
RATE = 22_050


def melody(start: float = 0.2, pace: float = 0.4) -> list[RenderedNote]:
    """A dozen notes, one every `pace` s."""
    return [RenderedNote(start + k * pace, start + (k + 0.9) * pace, 0, pitch, 80) for k, pitch in enumerate(PITCHES)]


def predict_inputs(folder):
    """A recording with its score beside it, and a recording that is none, for the test of all tasks' verbs."""
    score = render.midi_file(melody(), {0: 0}, 6.0)
    for name in ("song", "broken"):
        (folder / f"{name}.mid").write_bytes(score)
    played = render.midi_file(melody(0.5, 0.5), {0: 1}, 8.0)
    soundfile.write(folder / "song.wav", render.render_mono(played, RATE, 8.0), RATE)
    (folder / "broken.wav").write_bytes(b"no audio")
    return [str(folder / "song.wav")], folder / "broken.wav"
