"""What a recording or a rendering sounds like: made tempi, detuning, damage that moves no onset, and what is kept."""

import shutil

import numpy as np
import pytest

from datamodules.alignment import degrade, sounds
from datamodules.alignment.degrade import FASTEST, SLOWEST, Curve
from datamodules.alignment.listing import Sound
from datamodules.alignment.score import Score, notes_of
from datamodules.alignment.sounds import fingerprint, hear, played, synthesize
from datamodules.audio import render
from datamodules.common.errors import DataError
from datamodules.demo.alignment import PLAYERS
from tests.helpers.layouts import tone, write_audio
from tests.helpers.score_layouts import write_midi_notes

RATE = 22_050
ONSETS = np.array([0.2, 0.75, 1.1, 1.9, 2.3, 3.05])


def struck() -> np.ndarray:
    """Tones that begin at ONSETS and die away, 4 s."""
    time = np.arange(4 * RATE) / RATE
    sound = np.zeros(len(time))
    for k, onset in enumerate(ONSETS):
        after = np.clip(time - onset, 0, None)
        partials = sum(np.sin(2 * np.pi * 220 * 2 ** (k * 5 / 12) * n * after) / n for n in range(1, 6))
        sound += 0.2 * partials * np.exp(-6 * after) * (time >= onset)
    return sound.astype(np.float32)


def rises(audio: np.ndarray) -> np.ndarray:
    """How much louder each millisecond is than the one before, in dB."""
    step = RATE // 1000
    power = (audio[: len(audio) // step * step].astype(float) ** 2).reshape(-1, step).sum(1)
    level = 10 * np.log10(np.convolve(power, np.ones(5), "same") + 1e-3 * power.max())
    return np.maximum(np.diff(level), 0)


def moved_ms(audio: np.ndarray, other: np.ndarray) -> int:
    """By how many ms the onsets of one recording are later than the other's, by cross-correlation."""
    first, second = (rises(one) - rises(one).mean() for one in (audio, other))
    size = min(len(first), len(second))
    return int(np.correlate(first[:size], second[:size], "full").argmax()) - (size - 1)


@pytest.mark.parametrize("duration", [0.5, 30.0, 300.0])
def test_a_made_tempo_wanders_within_its_limits(duration):
    even = np.linspace(0, duration, 2000)
    for seed in range(50):
        curve = Curve(seed, duration)
        time = curve(even)
        assert time[0] == 0 and np.all(np.diff(time) > 0)
        tempo = np.diff(even) / np.diff(time)
        assert SLOWEST - 1e-6 <= tempo.min() <= tempo.max() <= FASTEST + 1e-6
        assert duration < 1 or np.ptp(tempo) > 0.1, "it must change, or nothing is learnt of warping"
        assert curve.even[-1] >= duration, "no note may lie beyond the curve, where time stands still"


def test_a_made_tempo_is_its_seeds():
    even = np.linspace(0, 20, 50)
    np.testing.assert_array_equal(Curve(3, 20.0)(even), Curve(3, 20.0)(even))
    assert not np.allclose(Curve(3, 20.0)(even), Curve(4, 20.0)(even))


def test_notes_are_played_in_the_time_of_a_curve():
    score = Score(notes_of(ONSETS, ONSETS + 0.3, 60 + np.arange(6)), ONSETS, ONSETS[:1], "x.mid")
    curve, notes = Curve(5, 3.35), played(score, 5)
    np.testing.assert_allclose(notes.onset, curve(ONSETS))
    np.testing.assert_allclose(notes.offset, curve(ONSETS + 0.3))
    assert played(score, None) is score.notes


@pytest.mark.parametrize("name", degrade.DEGRADATIONS)
def test_damage_keeps_length_peak_and_onsets(name):
    audio = struck()
    for seed in range(3):
        worse = degrade.degrade(audio, RATE, name, seed)
        assert worse.shape == audio.shape and worse.dtype == np.float32
        assert np.abs(worse).max() == pytest.approx(np.abs(audio).max(), rel=1e-5)
        assert abs(moved_ms(worse, audio)) <= 5
        assert np.corrcoef(worse, audio)[0, 1] < 0.999, "it must be heard"
        np.testing.assert_array_equal(worse, degrade.degrade(audio, RATE, name, seed))


def test_onsets_that_move_are_noticed():
    audio = struck()
    assert moved_ms(np.roll(audio, 10 * RATE // 1000), audio) == pytest.approx(10, abs=1)


def test_damage_differs_by_seed_and_leaves_silence():
    audio = struck()
    assert not np.array_equal(degrade.degrade(audio, RATE, "room", 0), degrade.degrade(audio, RATE, "room", 1))
    assert not degrade.degrade(np.zeros(100, np.float32), RATE, "room", 0).any()
    assert not len(degrade.degrade(np.zeros(0, np.float32), RATE, "hall", 0))
    with pytest.raises(ValueError, match=r"unknown degradation cave: choose from .*hall, hiss"):
        degrade.degrade(audio, RATE, "cave", 0)


def test_what_is_tested_was_never_trained_on():
    heard = [{player.worse for player in PLAYERS.values() if (player.split == "test") == tested} for tested in (False, True)]
    assert heard[0] | heard[1] <= {*degrade.DEGRADATIONS, None} and not heard[0] & heard[1]
    played = [{player.program for player in PLAYERS.values() if (player.split == "test") == tested} for tested in (False, True)]
    assert played[1] and not played[0] & played[1]


@pytest.mark.parametrize(("name", "rings"), [("room", False), ("tape", False), ("hall", True), ("shellac", True)])
def test_rooms_of_tests_ring_longer_than_those_of_training(name, rings):
    burst = np.zeros(3 * RATE, np.float32)
    burst[:50] = np.random.default_rng(0).uniform(-1, 1, 50)
    step = degrade.DEGRADATIONS[name][0]  # the room alone, without the noise
    tails = [np.abs(step(burst, RATE, np.random.default_rng(seed))[int(0.92 * RATE) :]).max() for seed in range(5)]
    assert all((tail > 1e-5) == rings for tail in tails)


def pitch_hz(audio: np.ndarray, near: float) -> float:
    """Frequency of the strongest partial near one, to a hundredth of a Hz."""
    piece = audio[RATE // 2 : 2 * RATE] * np.hanning(RATE * 3 // 2)
    spectrum = np.abs(np.fft.rfft(piece, 1 << 20))
    hertz = np.fft.rfftfreq(1 << 20, 1 / RATE)
    inside = np.abs(hertz - near) < 0.08 * near
    return float(hertz[inside][spectrum[inside].argmax()])


@pytest.mark.parametrize("cents", [30.0, -30.0, 100.0])
def test_detuning_raises_the_pitch_and_moves_nothing(cents):
    held = notes_of([0.1], [3.0], [69], [100], [19])  # an organ, which holds its pitch
    plain, tuned = (pitch_hz(synthesize(held, RATE, cents=by), 440.0) for by in (0.0, cents))
    assert 1200 * np.log2(tuned / plain) == pytest.approx(cents, abs=0.5)
    notes = notes_of(ONSETS, ONSETS + 0.3, [60, 64, 67, 72, 62, 65], np.full(6, 100))
    plain, tuned = synthesize(notes, RATE), synthesize(notes, RATE, cents=cents)
    assert abs(moved_ms(tuned, plain)) <= 1
    assert len(tuned) == pytest.approx(len(plain), abs=0.05 * RATE)


def test_onsets_are_heard_where_they_are_written():
    notes = notes_of(ONSETS, ONSETS + 0.3, [60, 64, 67, 72, 62, 65], np.full(6, 100))
    found = rises(synthesize(notes, RATE))
    for onset in ONSETS:
        near = found[int(1000 * onset) - 30 : int(1000 * onset) + 60]
        assert near.argmax() == pytest.approx(30, abs=15), f"the onset at {onset} s"


def test_drums_stay_drums():
    beat = notes_of(ONSETS, ONSETS + 0.1, np.full(6, 38), np.full(6, 100), np.full(6, -1))
    drums = synthesize(beat, RATE)
    np.testing.assert_array_equal(synthesize(beat, RATE, program=19), drums)
    low = synthesize(beat._replace(program=np.zeros(6, np.int16)), RATE)
    size = min(len(drums), len(low))
    assert np.abs(drums).max() > 0.01 and abs(np.corrcoef(drums[:size], low[:size])[0, 1]) < 0.5


def test_more_programs_than_channels_are_heard_all_the_same():
    programs = np.arange(20)  # pianos, mallets and organs, each a note of its own
    many = notes_of(0.5 * programs, 0.5 * programs + 0.3, 60 + programs, np.full(20, 100), programs)
    power = (synthesize(many, RATE)[: 10 * RATE] ** 2).reshape(20, -1).mean(1)
    assert power.min() > 1e-6


def kept(folder) -> set[str]:
    return {path.name for path in (folder / "alignment/sounds").glob("*.npy")}


def test_a_rendering_is_kept_by_what_the_file_says(tmp_path, monkeypatch):
    here = write_midi_notes(tmp_path / "a/x.mid", ONSETS)
    there = shutil.copy(here, tmp_path / "y.mid")
    first = hear(Sound(here, "embedded"), RATE, tmp_path)
    (name,) = kept(tmp_path)
    monkeypatch.setattr(sounds, "synthesize", lambda *_, **__: pytest.fail("it was rendered already"))
    np.testing.assert_array_equal(hear(Sound(there, "embedded"), RATE, tmp_path), first)
    worse = hear(Sound(here, "embedded", worse="room", seed=1), RATE, tmp_path)
    assert kept(tmp_path) == {name} and not np.array_equal(worse, first)
    assert np.abs(first).max() > 0.01 and first.dtype == np.float32


def test_another_font_program_tempo_tuning_or_rate_is_another_rendering(tmp_path):
    path, fonts = write_midi_notes(tmp_path / "x.mid", ONSETS), tmp_path / "fonts"
    fonts.mkdir()
    font = shutil.copy(render.soundfont(), fonts / "other.sf2")
    plain = Sound(path, "embedded")
    changes = {"font": str(font), "program": 6, "curve": 1, "cents": 10.0, "velocity": 30}
    others = [plain._replace(**{name: value}) for name, value in changes.items()]
    heard = [hear(sound, RATE, tmp_path) for sound in (plain, *others)] + [hear(plain, 16_000, tmp_path)]
    assert len(kept(tmp_path)) == 7
    np.testing.assert_array_equal(heard[0], heard[1])  # the same SoundFont under another name
    assert not any(np.array_equal(heard[0], other) for other in heard[2:])
    write_midi_notes(path, ONSETS + 0.1)
    hear(plain, RATE, tmp_path)
    assert len(kept(tmp_path)) == 8


def test_a_score_may_be_evenly_loud(tmp_path):
    midi = render.midi_file([render.RenderedNote(k / 2, k / 2 + 0.4, 0, 60, 20 + 20 * k) for k in range(5)], {0: 0}, 3.0)
    (tmp_path / "x.mid").write_bytes(midi)
    plain = Sound(tmp_path / "x.mid", "embedded")
    loud = [
        [np.abs(heard[k * RATE // 2 :][: RATE // 3]).max() for k in range(5)]
        for heard in (hear(plain, RATE, tmp_path), hear(plain._replace(velocity=64), RATE, tmp_path))
    ]
    assert max(loud[0]) > 3 * min(loud[0]) and max(loud[1]) < 1.2 * min(loud[1])


def test_recordings_are_known_by_their_content(tmp_path):
    path = write_audio(tmp_path / "x.wav", tone(0.3, rate=RATE), RATE)
    before = fingerprint(Sound(path))
    assert before == fingerprint(Sound(path)) != fingerprint(Sound(path, cents=5.0))
    write_audio(path, tone(0.4, rate=RATE), RATE)
    assert fingerprint(Sound(path)) != before
    np.testing.assert_allclose(hear(Sound(path), RATE), tone(0.4, rate=RATE), atol=1e-6)


def test_what_cannot_be_heard_is_one_sentence(tmp_path):
    path, broken = write_midi_notes(tmp_path / "x.mid", ONSETS), tmp_path / "broken.sf2"
    broken.write_bytes(b"no SoundFont" * 50)
    for sound, words in (
        (Sound(path, str(tmp_path / "no.sf2")), r"the SoundFont .*no\.sf2 does not exist: name an \.sf2 file, or embedded"),
        (Sound(path, str(broken)), r"the SoundFont .*broken\.sf2 cannot be used \(.*\): name another \.sf2 file"),
        (Sound(tmp_path / "no.mid", "embedded"), r"no\.mid cannot be read \(No such file or directory\)"),
        (Sound(tmp_path / "no.wav"), r"no\.wav"),
    ):
        with pytest.raises(DataError, match=words) as error:
            hear(sound, RATE, tmp_path)
        assert "\n" not in str(error.value)
    assert not kept(tmp_path)
