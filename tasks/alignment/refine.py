"""Onsets moved from the path to where the sound of their notes rises next to it."""

import numpy as np

WITHIN_S = 0.04
HOP_S = 0.004
WINDOW_S = 0.046
PARTIALS = 3


def refined(audio: np.ndarray, rate: int, onsets: np.ndarray, pitch: np.ndarray, cents: float) -> np.ndarray:
    """Onsets (notes,) in s of notes of these MIDI pitches; those that sound nowhere (NaN) stay.

    Around each the energy of its first partials is followed in windows of 46 ms, 4 ms apart. The onset goes to where it rises
    most, in dB over a window, within 40 ms, a rise far away counting less; where nothing rises it stays. It helps where
    notes stand apart and the path is off by a frame, not in a thick or noisy sound: off by default.
    """
    hop, window = round(HOP_S * rate), round(WINDOW_S * rate)
    reach = round(WITHIN_S / HOP_S)
    padded = np.pad(audio.astype(np.float64), window + (reach + 1) * hop)
    found = onsets.copy()
    times = np.arange(-reach, reach + 1)
    nearness = 1 - 0.9 * np.abs(times) / reach
    shape = np.hanning(window)
    for place, (onset, one) in enumerate(zip(onsets, pitch.astype(float), strict=True)):
        if not np.isfinite(onset):
            continue
        hertz = 440.0 * 2 ** ((one - 69 + cents / 100) / 12) * np.arange(1, PARTIALS + 1)
        probe = shape * np.exp(-2j * np.pi * hertz[hertz < rate / 2, None] * np.arange(window) / rate)
        centre = round(onset * rate) + window + (reach + 1) * hop
        after = centre + times * hop
        level = [10 * np.log10(_energy(padded, starts, probe) + 1e-9) for starts in (after, after - window)]
        rise = np.clip(level[0] - level[1], 0, 30) * nearness
        if rise.max() > 3.0:
            found[place] = max(0.0, onset + times[rise.argmax()] * hop / rate)
    return found


def _energy(audio: np.ndarray, starts: np.ndarray, probe: np.ndarray) -> np.ndarray:
    """Energy of the partials in a window from each start on, (starts,)."""
    starts = np.clip(starts, 0, len(audio) - probe.shape[1])
    windows = np.stack([audio[start : start + probe.shape[1]] for start in starts])
    return np.square(np.abs(windows @ probe.T)).sum(1)
