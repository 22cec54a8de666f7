"""Where the pitches of a recording are, as a network says, below its spectrogram."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from tasks.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTLINE = style.COLOURS[4]


def salience_picture(
    spectrogram: ArrayLike,
    salience: ArrayLike,
    *,
    spectrogram_hertz: ArrayLike,
    salience_hertz: ArrayLike,
    frame_s: float,
    title: str,
    notes: ArrayLike = (),
) -> "Figure":
    """A signal's spectrogram, and below it where its pitches are (Figure 2), with the true notes outlined.

    Args:
        spectrogram: (bins, frames) dB, frame i centred at i * frame_s
        salience: (pitches, frames) in [0, 1], the same frames
        spectrogram_hertz: (bins,) rising, Hz
        salience_hertz: (pitches,) evenly spaced in pitch, Hz
        frame_s: time from frame to frame, s
        title: the file
        notes: (notes, 3) onset s, offset s, MIDI number

    Raises:
        ValueError: frames or frequencies that do not fit.
    """
    salience, hertz = np.asarray(salience, dtype=np.float64), np.asarray(salience_hertz, dtype=np.float64)
    frames = np.asarray(spectrogram).shape[-1]
    if salience.shape != (len(hertz), frames):
        raise ValueError(f"expected salience ({len(hertz)} pitches, {frames} frames), got {salience.shape}")
    made = style.figure(820, title)
    above, below = made.subplots(2, 1, sharex=True)
    image = style.spectrogram(above, spectrogram, spectrogram_hertz, frame_s, -frame_s / 2)
    style.colour_bar(made, image, "dB below the loudest", ax=above, pad=0.01)
    extent = (-frame_s / 2, (frames - 0.5) * frame_s, -0.5, len(hertz) - 0.5)
    look = {"cmap": style.SPECTROGRAM, "vmin": 0.0, "vmax": 1.0, "interpolation": "nearest"}
    image = below.imshow(salience, aspect="auto", origin="lower", extent=extent, **look)
    style.colour_bar(made, image, "salience", ax=below, pad=0.01)
    _octaves(below, hertz)
    _outline(below, np.asarray(notes, dtype=np.float64).reshape(-1, 3), hertz)
    below.set_xlim(0.0, extent[1])  # the first frame is centred at the beginning
    style.dress(above, None, "frequency (Hz)")
    style.dress(below, "time (s)", "fundamental frequency (Hz)")
    return made


def _octaves(axes: "Axes", hertz: np.ndarray) -> None:
    """A tick on every C."""
    shown = {note: 440 * 2 ** ((note - 69) / 12) for note in range(12, 128, 12)}
    shown = {note: value for note, value in shown.items() if hertz[0] <= value <= hertz[-1]}
    axes.set_yticks(_places(hertz, list(shown.values())), [f"{v:.0f} (C{note // 12 - 1})" for note, v in shown.items()])


def _outline(axes: "Axes", notes: np.ndarray, hertz: np.ndarray) -> None:
    """A box of a semitone's height around each note."""
    from matplotlib.patches import Rectangle

    look = {"facecolor": "none", "edgecolor": OUTLINE, "linewidth": 1.2}
    edges = [_places(hertz, 440 * 2 ** ((notes[:, 2] + half - 69) / 12)) for half in (-0.5, 0.5)]
    for (onset, offset, _), low, high in zip(notes, *edges, strict=True):
        axes.add_patch(Rectangle((onset, low), offset - onset, high - low, **look))


def _places(hertz: np.ndarray, values: ArrayLike) -> np.ndarray:
    """Rows, in fractions and also beyond the last, at which frequencies lie on an axis that is even in pitch."""
    pitch = np.log2(hertz)
    return (np.log2(values) - pitch[0]) / (pitch[-1] - pitch[0]) * (len(hertz) - 1)
