"""How far a recording is tuned from 440 Hz."""

import numpy as np

LISTENED_S = 60.0


def tuning_cents(audio: np.ndarray, rate: int) -> float:
    """Cents above 440 Hz, -50 to 50, of audio (samples,): by the peaks of its loudest minute's spectrum, by librosa."""
    import librosa

    if not len(audio):
        raise ValueError("the tuning of an empty recording was asked for")
    part = _loudest(audio, min(len(audio), int(LISTENED_S * rate)))
    pitches, magnitudes = librosa.piptrack(y=part, sr=rate, n_fft=4096, fmin=100.0, fmax=2500.0)
    heard = magnitudes > 0
    if not heard.any():
        return 0.0
    strong = heard & (magnitudes >= np.median(magnitudes[heard]))
    return 100.0 * float(librosa.pitch_tuning(pitches[strong], resolution=0.02))


def _loudest(audio: np.ndarray, samples: int) -> np.ndarray:
    """The stretch of so many samples that holds most energy, by quarters of its length."""
    starts = range(0, len(audio) - samples + 1, max(1, samples // 4))
    return max((audio[start : start + samples] for start in starts), key=lambda part: float(np.square(part).sum()))
