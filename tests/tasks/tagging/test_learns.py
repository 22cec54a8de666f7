"""A small tagger learns what it is shown: clips by heart, sounds by kind, and where in a clip a sound is."""

import csv
import json
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from torch.nn.functional import binary_cross_entropy_with_logits

from models.tagging import Att, FrontBack, Spec
from tasks import load
from tasks.tagging.inference import Audio2TagScores
from tasks.tagging.maps import explain_joined, strongest
from tasks.tagging.metrics import TaggingScores
from tests.helpers.commands import TINY, tagging
from tests.helpers.layouts import RATE, tone, write_audio

KINDS = ("tone", "noise", "beat")
FRONT = {"channels": 1, "width": 32, "frames": 256, "time_stride": 8}
BACK = {"layers": 1, "heads": 2, "attention_dropout": 0.1, "hidden_dropout": 0.1}
# Left and right half of a joined clip. Not noise before beat: even in the noise the network half expects a beat.
JOINED = [("tone", "noise"), ("tone", "beat"), ("noise", "tone"), ("beat", "tone"), ("beat", "noise")]
CLIPS = 4


def sound(kinds: set[str], seed: int, seconds: float = 5.0) -> np.ndarray:
    """(samples,) float32: a steady sine, white noise and clicks in time, as asked for, over a faint hiss."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    mixed = 1e-3 * random.standard_normal(len(time))
    if "tone" in kinds:
        mixed += random.uniform(0.05, 0.2) * np.sin(2 * np.pi * random.uniform(200, 3000) * time)
    if "noise" in kinds:
        mixed += random.uniform(0.02, 0.1) * random.standard_normal(len(time))
    if "beat" in kinds:
        phase = (time + random.uniform(0, 1)) % random.uniform(0.25, 0.6)
        mixed += random.uniform(0.4, 0.8) * np.exp(-phase / 0.01) * np.sin(2 * np.pi * 90 * phase)
    return mixed.astype(np.float32)


def write_kinds(root, n: int) -> None:
    """MTAT's layout: n clips with every combination of the three kinds in turn, folder by folder."""
    with_kinds = [{kind for bit, kind in enumerate(KINDS) if code >> bit & 1} for code in range(1, 8)]
    rows = [["clip_id", *KINDS, "mp3_path"]]
    for i in range(n):
        kinds = with_kinds[(i // 16 * 3 + i) % 7]
        rows.append([str(i), *(str(int(kind in kinds)) for kind in KINDS), f"{i % 16:x}/artist-album-{i:03}-0-5.wav"])
        write_audio(root / rows[-1][-1], sound(kinds, i))
    with (root / "annotations_final.csv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL).writerows(rows)


def test_sixteen_clips_are_learnt_by_heart_in_80_steps():
    torch.manual_seed(0)
    net = FrontBack(8, partial(Spec, **FRONT | {"frames": 64}), partial(Att, **BACK), dropout=0.0)
    audio = torch.stack([torch.from_numpy(tone(1.1, seed))[: net.samples] for seed in range(16)])
    labels = (torch.rand(16, 8) < 0.3).float()
    labels[0], labels[1] = 1, 0
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(net(audio, net.clip_level(audio)), labels).backward()
        optimizer.step()
    scores = TaggingScores()
    with torch.no_grad():
        scores.update(net.eval()(audio, net.clip_level(audio)).sigmoid(), labels, torch.arange(16), torch.ones(16))
    assert scores.compute()["auroc_macro"] == 1.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run folder of a tagger trained through the command line on sounds of three kinds."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("learns")
    write_kinds(folder / "data", 160)
    parts = {"front_end": FRONT, "back_end": BACK}
    classes = {"front_end": "models.tagging.Spec", "back_end": "models.tagging.Att"}
    net = {name: {"class_path": classes[name], "init_args": args} for name, args in parts.items()}
    config = TINY | {
        "model": {
            "net": {"class_path": "models.tagging.FrontBack", "init_args": net | {"dropout": 0.0}},
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 3e-3}},
        },
        "trainer": TINY["trainer"] | {"max_epochs": 14},
    }
    (folder / "kinds.yaml").write_text(yaml.safe_dump(config))
    where = ("--data.root", folder / "data", "--runs", folder / "runs", "--data.policy", "cover")
    lowest_loss = ("--checkpoint.monitor", "val/loss", "--checkpoint.mode", "min")
    done = tagging("fit", "--config", folder / "kinds.yaml", *where, *lowest_loss, "--report.gallery", "false")
    assert done.code == 0, done.err
    return folder / "runs" / "tagging" / "kinds"


def test_kinds_of_sound_are_told_apart_in_unseen_clips(run):
    told = json.loads((run / "metrics.json").read_text())
    assert told["metrics"]["n_clips"] == 30
    assert told["metrics"]["auroc_macro"] > 0.95
    assert min(told["per_tag"].values()) > 0.9


def share_on_the_right(tagger, left: str, right: str, seed: int) -> np.ndarray:
    """For the tags (left, right): how much of a joined clip's contribution, above its least, lies on the right half."""
    halves = []
    for k, kind in enumerate((left, right)):
        audio = torch.from_numpy(sound({kind}, 600 + 2 * seed + k))
        halves.append(strongest(tagger, audio, Audio2TagScores(tagger)(audio, tagger.net.sample_rate), tagger.tags.index(kind)))
    found = explain_joined(tagger, *halves).contribution[:, [tagger.tags.index(left), tagger.tags.index(right)]]
    mass = found - found.min(0)
    return mass[len(mass) // 2 :].sum(0) / mass.sum(0)


@pytest.mark.parametrize(("left", "right"), JOINED)
def test_the_contribution_map_shows_in_which_half_a_sound_is(run, left, right):
    tagger = load(run)
    of_left, of_right = np.mean([share_on_the_right(tagger, left, right, seed) for seed in range(CLIPS)], axis=0)
    # Both would be a half if the map told nothing; how much more depends on the machine that the network was trained on.
    assert of_right > 0.6
    assert of_left < 0.5
    assert of_right > of_left + 0.3
