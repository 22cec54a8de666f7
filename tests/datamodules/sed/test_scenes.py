"""Soundscapes: labels from energy, places without overlap, the layout on disk, splits that share no sound."""

import numpy as np
import pytest
import soundfile

from datamodules.demo import soundscapes
from datamodules.sed import scenes
from datamodules.sed.scenes import Recipe, active, compose

RATE = 16_000


def tone(seconds, hz=1000.0, rate=RATE):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def test_a_sound_is_on_where_it_has_energy_and_short_pauses_belong_to_it():
    quiet = np.zeros(round(0.1 * RATE), np.float32)
    longer = np.zeros(round(0.3 * RATE), np.float32)
    sound = np.concatenate([quiet, tone(0.5), quiet, tone(0.2), longer, tone(0.4)])
    np.testing.assert_allclose(active(sound, RATE), [[0.1, 0.9], [1.2, 1.6]], atol=0.011)


def test_what_is_30_db_down_or_under_the_floor_or_too_short_is_off():
    sound = np.concatenate([tone(0.5), 0.02 * tone(0.5), np.zeros(4800, np.float32), tone(0.03)])
    np.testing.assert_allclose(active(sound, RATE), [[0, 0.5]], atol=0.011)
    assert len(active(tone(0.5), RATE, floor_db=0.0)) == 0
    assert active(np.zeros(0, np.float32), RATE).shape == (0, 2)


def test_a_sound_that_is_short_is_on():
    quiet = np.zeros(round(0.1 * RATE), np.float32)
    np.testing.assert_allclose(active(np.concatenate([quiet, tone(0.02), quiet]), RATE), [[0.1, 0.12]], atol=0.011)


@pytest.fixture(scope="module")
def bank():
    noise = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)
    return [[tone(0.5, 500.0)], [tone(1.5, 1500.0)], [tone(4.0, 3000.0)]], [0.01 * noise]


def test_labels_are_where_the_sound_is_heard(bank):
    random = np.random.default_rng(1)
    for _ in range(20):
        scene = compose(random, *bank, Recipe(shorter=0.0))
        assert scene.samples.dtype == np.int16 and len(scene.samples) == 10 * RATE
        spectrum = np.abs(np.fft.rfft(scene.samples[: 1000 * 160].reshape(1000, 160) * np.hanning(160), axis=1))
        for hz, label in ((500, 0), (1500, 1), (3000, 2)):
            on = np.zeros(1000, bool)
            for onset, offset in zip(scene.onset[scene.label == label], scene.offset[scene.label == label], strict=True):
                on[round(onset * 100) : round(offset * 100)] = True
            loud = spectrum[:, hz // 100] > 2 * np.median(spectrum[:, [10, 20, 40, 50, 60]])
            if on.any():
                assert loud[on].mean() > 0.9
            assert loud[~on].mean() < 0.2


def test_events_of_a_class_never_overlap(bank):
    random = np.random.default_rng(2)
    for _ in range(50):
        scene = compose(random, *bank, Recipe(events=(3, 6)))
        assert (np.diff(scene.onset) >= 0).all() and (scene.offset > scene.onset).all()
        assert (scene.offset <= len(scene.samples) / RATE + 1e-9).all()
        for label in range(3):
            mine = scene.label == label
            assert (scene.onset[mine][1:] - scene.offset[mine][:-1] >= scenes.GAP_S - 1e-9).all()


def test_some_scenes_are_shorter_and_some_are_empty(bank):
    random = np.random.default_rng(3)
    made = [compose(random, *bank, Recipe(shorter=0.3)) for _ in range(60)]
    assert 5 < sum(len(scene.samples) < 10 * RATE for scene in made) < 35
    assert 0 < sum(not len(scene.label) for scene in made) < 12


def rows(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


def test_the_embedded_set_lies_as_dcase_2018_does(tmp_path):
    clips = {"weak": 6, "unlabeled": 4, "validation": 3, "test": 5}
    root = soundscapes.build(tmp_path, clips, {"train": 2, "validation": 1, "test": 1}, processes=2)
    weak, unlabeled = rows(root / "metadata/train/weak.csv"), rows(root / "metadata/train/unlabel_in_domain.csv")
    assert weak[0] == ["filename", "event_labels"] and len(weak) == 7
    assert all(set(row[1].split(",")) <= set(soundscapes.CLASSES) for row in weak[1:])
    assert unlabeled[0] == ["filename"] and len(unlabeled) == 5
    for table, folder, count in (("test/test.csv", "test", 3), ("eval/eval.csv", "eval", 5)):
        listed = rows(root / "metadata" / table)
        assert listed[0] == ["filename", "onset", "offset", "event_label"]
        names = {row[0] for row in listed[1:]}
        assert names == {path.name for path in (root / "audio" / folder).iterdir()} and len(names) == count
        for name, onset, offset, label in listed[1:]:
            seconds = soundfile.info(root / "audio" / folder / name).duration
            first, last = map(float, name[:-4].rsplit("_", 2)[1:])
            assert name[0] == "Y" and len(name.rsplit("_", 2)[0]) == 12 and last - first == pytest.approx(seconds, abs=1e-3)
            assert not label or (label in soundscapes.CLASSES and 0 <= float(onset) < float(offset) <= seconds + 1e-3)
    assert sorted(path.name for path in root.iterdir()) == ["audio", "checksums.json", "metadata"]
    again = soundscapes.build(tmp_path / "again", clips, {"train": 2, "validation": 1, "test": 1}, processes=1)
    for path in sorted(root.rglob("*.*")):
        assert path.read_bytes() == (again / path.relative_to(root)).read_bytes()


def test_a_variant_is_the_same_at_each_call_and_unlike_the_next():
    one, same, other = (soundscapes.sound_effect("Bell", variant, RATE) for variant in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert len(one) != len(other) or not np.allclose(one, other)
    assert soundscapes.bed(1, RATE).std() == pytest.approx(10 ** (-32 / 20), rel=0.02)
