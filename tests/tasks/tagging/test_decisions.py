"""Decisions of a tagger: thresholds learned, fixed and from files, silence and short files, calibrated scores."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datamodules.common.errors import DataError
from models.tagging import Att, FrontBack, Spec
from tasks.tagging.decisions import calibrated, fit_calibration, make_decision
from tasks.tagging.inference import Audio2Tags, File2Tags
from tasks.tagging.metrics import ClipScores
from tasks.tagging.module import TaggingModule
from tasks.tagging.options import TaggingOptions

TAGS = ["flute", "piano", "slow"]
RATE = 16_000


@pytest.fixture(scope="module")
def tagger():
    torch.manual_seed(0)
    spec = Spec(channels=1, width=16, frames=64, time_stride=4)
    return TaggingModule(TAGS, lambda tags: FrontBack(tags, lambda: spec, lambda *a, **k: Att(*a, layers=1, heads=2, **k))).eval()


def stand_in(thresholds=(0.5, 0.2, 0.9), calibration=((1.0,) * 3, (0.0,) * 3)):
    learned = {"thresholds": torch.tensor(thresholds), "calibration": torch.tensor(calibration)}
    return SimpleNamespace(tags=TAGS, inference=TaggingOptions(), **learned)


def decide(**options):
    return make_decision(stand_in(), TaggingOptions(**options))


def test_tags_are_those_that_reach_their_threshold():
    scores = [0.4, 0.3, 0.91]
    assert [tag for tag, _ in make_decision(stand_in())(scores)] == ["slow", "piano"]
    assert [tag for tag, _ in decide(threshold=0.35)(scores)] == ["slow", "flute"]
    assert decide(threshold="0.95")(scores) == []
    assert decide(threshold=0.95, top=1)(scores) == [("slow", 0.91)]
    assert decide(threshold=0.0)(scores, usable=False) == decide(top=3)(scores, usable=False) == []


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_thresholds_are_read_from_a_file(tmp_path, kind):
    path, values = tmp_path / f"thresholds.{kind}", {"slow": 0.1, "flute": 0.7, "piano": 0.4, "other": 0.2}
    text = json.dumps(values) if kind == "json" else "tag,threshold\n" + "".join(f"{t},{v}\n" for t, v in values.items())
    path.write_text(text)
    assert decide(threshold=str(path)).thresholds.tolist() == [0.7, 0.4, 0.1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"flute": 0.5}', "no threshold for 2 of the network's 3 tags"),
        ("a,b\n1,2\n", "is not a file of thresholds"),
        ('{"flute": ', "is not a file of thresholds"),
        ('{"flute": 0.5, "piano": 2, "slow": 0.5}', "expected thresholds from 0 to 1"),
    ],
)
def test_files_that_hold_no_thresholds(tmp_path, text, said):
    (tmp_path / "x").write_text(text)
    with pytest.raises(DataError, match=said):
        decide(threshold=str(tmp_path / "x"))


def test_options_that_are_refused():
    for options, said in (({"threshold": 1.5}, "must be a probability, from 0 to 1, got 1.5"), ({"top": 0}, "at least 1, got 0")):
        with pytest.raises(ValueError, match=said):
            TaggingOptions(**options)
    with pytest.raises(DataError, match=r"^--model\.inference\.threshold nowhere\.json cannot be read"):
        decide(threshold="nowhere.json")
    with pytest.raises(DataError, match=r"^--model\.inference\.calibrated: this checkpoint has no calibration"):
        decide(calibrated=True)


def test_tags_of_a_file_are_decided_by_the_taggers_options(tagger, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "x.wav", np.sin(np.arange(2 * RATE)), RATE, subtype="FLOAT")
    best = File2Tags(tagger)(tmp_path / "x.wav").top(3)
    kept, calibration = tagger.inference, tagger.calibration.clone()
    try:
        tagger.inference = TaggingOptions(threshold=best[1][1])
        assert File2Tags(tagger)(tmp_path / "x.wav").decided() == best[:2]
        tags = File2Tags(tagger, inference=TaggingOptions(top=1))(tmp_path / "x.wav")
        assert tags.decided() == best[:1] and tags.decided(0.0) == best
        tagger.calibration[0].fill_(0.5)  # halves the logits
        tagger.inference = TaggingOptions(threshold=0.0, calibrated=True)
        shown = [score for _, score in File2Tags(tagger)(tmp_path / "x.wav").decided()]
        odds = [(score / (1 - score)) ** 0.5 for _, score in best]
        assert shown == pytest.approx([odd / (1 + odd) for odd in odds], abs=1e-6)
    finally:
        tagger.inference = kept
        tagger.calibration.copy_(calibration)


def test_calibration_makes_scores_the_share_of_right_ones_and_keeps_their_order():
    random = np.random.default_rng(0)
    truth = random.random((4000, 2))
    labels = random.random((4000, 2)) < truth
    said = calibrated(truth, np.array([[0.4, 2.0], [-1.0, 0.5]]))  # too timid and biased, too bold and biased
    fitted = fit_calibration(said[::2], labels[::2])
    found = calibrated(said[1::2], fitted)
    assert np.abs(found - truth[1::2]).max() < 0.05 < np.abs(said - truth).mean(0).min()
    assert (np.argsort(found[:, 0]) == np.argsort(said[1::2, 0])).all()


def test_calibration_of_few_clips_is_finite_and_of_one_kind_none():
    probabilities = np.array([[0.9, 0.1, 0.5], [0.8, 0.2, 0.6], [0.2, 0.3, 0.7]])
    fitted = fit_calibration(probabilities, np.array([[1, 0, 0], [1, 0, 1], [0, 0, 1]]))
    assert np.isfinite(fitted).all() and fitted[:, 1].tolist() == [1.0, 0.0]
    assert calibrated(probabilities, fitted).min() > 0.02 and calibrated(probabilities, fitted).max() < 0.98


def test_thresholds_and_calibration_are_learned_within_limits(tagger):
    random = np.random.default_rng(1)
    labels = np.stack([random.random(60) < 0.3, random.random(60) < 0.3, np.arange(60) < 1], 1)
    probabilities = np.clip(0.05 * labels + 0.01 * random.random((60, 3)), 0, 1)
    probabilities[:, 1] *= 10
    tagger._learn_decisions(ClipScores(np.arange(60), probabilities, labels.astype(np.uint8)))
    assert float(tagger.thresholds.min()) >= 0.05 and float(tagger.thresholds.max()) <= 0.95
    assert ((probabilities[:, 1] >= tagger.thresholds[1].item()) == labels[:, 1]).all()
    assert (tagger.calibration[0] > 0).all() and not (tagger.calibration == torch.tensor([[1.0], [0.0]])).all()
    before = {name: value for name, value in tagger.state_dict().items() if name != "calibration"}
    fresh = TaggingModule(TAGS, lambda tags: tagger.net)
    fresh.load_state_dict(before)  # a checkpoint from before there was calibration
    assert (fresh.calibration == torch.tensor([[1.0], [0.0]])).all() and torch.equal(fresh.thresholds, tagger.thresholds)
    tagger.thresholds.fill_(0.5)


def test_silence_one_sample_and_cancelling_channels_are_noted(tagger, tmp_path):
    import soundfile

    tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE).astype(np.float32)
    sounds = {
        "silent": np.zeros(2 * RATE, np.float32),
        "one": tone[1:2],
        "short": tone[: RATE // 2],
        "antiphase": np.stack([tone, -tone], 1),
        "long": tone,
    }
    tags = {}
    for name, sound in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", sound, RATE, subtype="FLOAT")
        tags[name] = File2Tags(tagger)(tmp_path / f"{name}.wav")
    assert tags["silent"].notes == ("silent",) and not tags["silent"].usable and tags["silent"].decided(0.0) == []
    assert not tags["one"].usable and tags["one"].decided(0.0) == []
    assert tags["short"].notes == ("lasts 0.5 s, less than one chunk of the network (1 s)",)
    assert len(tags["short"].decided(0.0)) == 3
    assert tags["antiphase"].notes[0].startswith("its channels cancel each other")
    np.testing.assert_allclose(tags["antiphase"].scores, tags["long"].scores, atol=1e-6)
    assert tags["long"].notes == () and tags["long"].decided() == [p for p in tags["long"].top(3) if p[1] >= 0.5]
    with pytest.raises(ValueError, match="no samples"):
        Audio2Tags(tagger)(np.zeros(0, np.float32), RATE)
