"""YAMNet on real sounds, where QUINTET_DATA has them."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from models.extractors import YAMNet

RATE = 16_000
real = pytest.mark.skipif(not os.environ.get("QUINTET_DATA"), reason="QUINTET_DATA names no folder of real recordings")


def esc10(folder):
    """ESC-10 clips at 16 kHz with class and fold, one after the other."""
    import soundfile
    import soxr

    for row in csv.DictReader((folder / "esc10.csv").open()):
        audio, rate = soundfile.read(folder / row["file"], dtype="float32")
        yield row["class"], row["fold"], soxr.resample(audio, rate, RATE).astype(np.float32)


# AudioSet's names for what ESC-10 calls its classes.
NAMES = {
    "baby_cry": {"Crying, sobbing", "Baby cry, infant cry"},
    "chainsaw": {"Chainsaw"},
    "clock_tick": {"Clock", "Tick-tock", "Tick"},
    "dog_bark": {"Animal", "Dog", "Domestic animals, pets"},
    "fire_crackling": {"Fire", "Crackle"},
    "helicopter": {"Vehicle", "Helicopter", "Aircraft"},
    "person_sneeze": {"Sneeze"},
    "rain": {"Water", "Rain", "Rain on surface"},
    "rooster": {"Animal", "Fowl", "Chicken, rooster"},
    "sea_waves": {"Water", "Ocean", "Waves, surf"},
}


@real
@pytest.mark.realdata
def test_yamnet_names_real_sounds_and_its_embeddings_tell_them_apart():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = Path(os.environ["QUINTET_DATA"])
    names = [row["display_name"] for row in csv.DictReader((data / "pretrained/yamnet_class_map.csv").open())]
    net = YAMNet(str(data / "pretrained/yamnet.npz"), step_s=0.48)
    classes, folds, embeddings, scores = [], [], [], []
    for label, fold, audio in esc10(data / "sed/esc10"):
        classes.append(label), folds.append(fold)
        embedded = net.extract(audio)[0]
        embeddings.append(embedded.mean(0))
        scores.append(net.classes(torch.from_numpy(embedded)).sigmoid().detach().numpy().mean(0))
    classes, folds, embeddings, scores = map(np.array, (classes, folds, embeddings, scores))
    assert len(classes) == 320
    quiet = names.index("Silence")
    for label, known in NAMES.items():
        mean = scores[classes == label].mean(0)
        mean[quiet] = 0  # most of a short sound's five seconds
        assert names[int(mean.argmax())] in known, label
    right = []
    for fold in np.unique(folds):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        probe.fit(embeddings[folds != fold], classes[folds != fold])
        right.append(probe.score(embeddings[folds == fold], classes[folds == fold]))
    assert np.mean(right) > 0.93
