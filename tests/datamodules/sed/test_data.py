"""Sound event data: lists and shares, what is known of a clip, partial downloads, embeddings on frames, statistics."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from datamodules.audio.windows import FrameGrid
from datamodules.common.errors import DataError
from datamodules.common.input_spec import SEDSpec
from datamodules.sed.dcase import CLASSES, DCASE2018, DESED
from models.sed.front import align
from tests.helpers.sed_layout import write_dcase2018

RATE = 8_000
GRID = FrameGrid(RATE, 80, 4)  # 40 ms


def write_clip(folder, name, seconds=2.0, hz=440.0):
    folder.mkdir(parents=True, exist_ok=True)
    sound = np.random.default_rng(round(hz)).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(folder / name, sound, RATE, subtype="PCM_16")


def write_table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n")


LABELS = ["Cat", "Dog,Speech", "Speech", "Blender", "Frying"]
STRONG = ["filename", "onset", "offset", "event_label"]


@pytest.fixture
def root(tmp_path):
    """A tiny set in the task's layout, with its traps: an event-free clip, an overlap within a class, a clip that is missing."""
    names = {kind: [f"Y{kind:_<11}{k}_0.000_2.000.wav" for k in range(5)] for kind in ("weak", "unlabeled")}
    meta, audio = tmp_path / "metadata", tmp_path / "audio"
    write_table(meta / "train/weak.csv", ["filename", "event_labels"], zip(names["weak"], LABELS, strict=True))
    write_table(meta / "train/unlabel_in_domain.csv", ["filename"], [[name] for name in names["unlabeled"]])
    for k in range(5):
        write_clip(audio / "train/weak", names["weak"][k], 2.0 + 0.5 * (k == 2), 300.0 + 100 * k)
        if k != 3:
            write_clip(audio / "train/unlabel_in_domain", names["unlabeled"][k])
    rows = [["a.wav", "0.5", "1.0", "Dog"], ["a.wav", "0.8", "1.5", "Dog"], ["a.wav", "0.1", "0.3", "Cat"], ["b.wav", "", "", ""]]
    write_table(meta / "test/test.csv", STRONG, rows)
    write_table(meta / "eval/eval.csv", STRONG, [["c.wav", "0.0", "9.0", "Frying"], ["d.wav", "1.0", "1.2", "Cat"]])
    for folder, name, seconds in (("test", "a.wav", 2.0), ("test", "b.wav", 1.0), ("eval", "c.wav", 2.0), ("eval", "d.wav", 3.0)):
        write_clip(audio / folder, name, seconds)
    return tmp_path


def ready(root, tmp=None, kind=DCASE2018, **options):
    options = {"streams": {"weak": 2, "unlabeled": 3}, "batches_per_epoch": 4, "cache_dir": str(root / "cache")} | options
    data = kind(str(root), **options)
    data.connect(SEDSpec(GRID))
    return data


def test_a_batch_has_each_streams_share_and_says_what_is_known(root):
    data = ready(root, pack="never")
    batches = list(data.train_dataloader())
    assert len(batches) == 4
    for batch in batches:
        assert batch.tagged.tolist() == [True, True, False, False, False] and not batch.timed.any()
        assert batch.audio.dtype == torch.int16 and batch.audio.shape[1] == batch.length.max()
        assert batch.activity.shape == (5, GRID.count(int(batch.length.max())), 10)
        for name, tags in zip(batch.names[:2], batch.tags[:2], strict=True):
            k = int(name.rsplit("_", 3)[-3][-1])
            assert ",".join(CLASSES[i] for i in tags.nonzero().flatten()) == LABELS[k]
        assert not batch.tags[2:].any()


def test_evaluation_knows_when_events_sound_and_keeps_clips_without(root, caplog):
    data = ready(root)
    (batch,) = data.val_dataloader()
    assert batch.names == ("audio/test/a.wav", "audio/test/b.wav") and batch.timed.all() and batch.tagged.all()
    dog, cat = CLASSES.index("Dog"), CLASSES.index("Cat")
    on = batch.activity[0, :, dog].nonzero().flatten()
    assert on.min() == round(0.5 / 0.04) and on.max() == round(1.5 / 0.04) - 1
    assert batch.tags[0].nonzero().flatten().tolist() == [cat, dog] and not batch.tags[1].any()
    assert batch.length.tolist() == [16_000, 8_000] and not batch.audio[1, 8_000:].any()
    corpus = data.corpus("validation")
    assert corpus.names == ("a.wav", "b.wav") and corpus.durations.tolist() == [2.0, 1.0]
    assert corpus.events.onset.tolist() == [0.1, 0.5] and corpus.events.offset.tolist() == [0.3, 1.5]
    assert "2 rows merged into 1 events, in 1 file: a.wav" in caplog.text
    assert data.corpus("test").events.offset.tolist() == [2.0, 1.2]  # cut where the clip ends


def test_what_was_not_downloaded_is_left_out(root, caplog):
    with caplog.at_level(logging.WARNING):
        data = ready(root)
        assert len(data.clips("unlabeled")) == 4 and len(data.clips("weak")) == 5
    assert "Left out 1 file: audio/train/unlabel_in_domain/Yunlabeled__3_0.000_2.000.wav: missing" in caplog.text
    with pytest.raises(DataError, match="is missing: copy it again"):
        ready(root, strict=True).clips("weak")


def test_a_bad_clip_is_replaced_in_training_and_left_out_in_evaluation(root, caplog):
    (root / "audio/test/b.wav").write_bytes(b"RIFF")
    bad = next((root / "audio/train/weak").glob("*0_0.000*"))
    bad.write_bytes(b"nothing")
    data = ready(root, pack="never")
    for batch in data.train_dataloader():
        assert batch.tagged.tolist() == [True, True, False, False, False]
        assert not any(bad.name in name for name in batch.names)
    (batch,) = data.val_dataloader()
    assert batch.names == ("audio/test/a.wav",)
    assert bad.name in caplog.text and "b.wav" in caplog.text
    assert ready(root, pack="build").corpus("validation").names == ("a.wav",)


def test_long_clips_are_cut_by_the_seed_on_whole_frames(root):
    data = ready(root, seconds=1.0, streams={"weak": 2})
    clips = data.clips("weak")
    whole = clips.item(0)
    pieces = [clips.item(0, 1.0, seed) for seed in range(8)]
    step = GRID.hop * GRID.pool
    starts = {next(s for s in range(0, 16_000, step) if (whole.audio[s : s + 8000] == piece.audio).all()) for piece in pieces}
    assert all(len(piece.audio) == 8_000 for piece in pieces) and len(starts) > 3
    assert (clips.item(0, 1.0, 5).audio == pieces[5].audio).all()


def test_strong_streams_train_with_times(root):
    (root / "metadata/train/synthetic21_train").mkdir(parents=True)
    for name, rest in (("train/weak", "weak"), ("validation/validation", "test/test")):
        source = root / "metadata" / (f"train/{rest}.csv" if rest == "weak" else f"{rest}.csv")
        target = root / "metadata" / f"{name}.tsv"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
    (root / "audio/validation").mkdir()
    (root / "audio/test").rename(root / "audio/validation/validation")
    write_table(root / "metadata/train/synthetic21_train/soundscapes.tsv", STRONG, [["s.wav", "0.2", "0.6", "Dishes"]])
    write_clip(root / "audio/train/synthetic21_train/soundscapes", "s.wav")
    data = ready(root, kind=DESED, streams={"weak": 2, "synthetic": 1})
    for batch in data.train_dataloader():
        assert batch.tagged.tolist() == [True] * 3 and batch.timed.tolist() == [False, False, True]
        assert batch.activity[2, :, CLASSES.index("Dishes")].nonzero().flatten().tolist() == list(range(5, 15))
    with pytest.raises(DataError, match=r"has no training list 'unlabeled': --data\.streams takes weak, synthetic"):
        _ = ready(root, kind=DESED).lists


class Ramp:
    """A stand-in for a pretrained network: the time itself, every 0.1 s."""

    kind, dim, sample_rate, fingerprint = "audio", 1, RATE, "ramp"

    def extract(self, signal):
        times = np.arange(0.05, len(signal) / RATE, 0.1)
        return times[:, None], times


def test_embeddings_come_on_the_networks_frames(root):
    data = ready(root, streams={"weak": 2})
    data.connect(SEDSpec(GRID, align, {"ramp": Ramp()}))
    (batch,) = data.val_dataloader()
    assert batch.embeddings["ramp"].shape == (2, 50, 1)
    centres = GRID.centres(16_000)
    np.testing.assert_allclose(batch.embeddings["ramp"][0, 2:-3, 0], centres[2:-3], atol=2e-3)
    assert not batch.embeddings["ramp"][1, 25:].any()
    first = next(iter(data.train_dataloader()))
    assert first.embeddings["ramp"].shape[:2] == first.activity.shape[:2]


def test_statistics_are_those_of_all_training_clips_and_kept(root):
    data = ready(root, streams={"weak": 2, "unlabeled": 1})
    with pytest.raises(ValueError, match="is not standardised by its training set"):
        data.statistics()
    asked = []

    def features(audio):
        asked.append(1)
        return audio.float().reshape(-1, 4)[:2000]

    data.connect(SEDSpec(GRID, features=features))
    mean, std = data.statistics()
    sounds = [data.clips(stream).clips for stream in data.streams]
    rows = np.concatenate([np.float64(one.whole(i)).reshape(-1, 4)[:2000] for one in sounds for i in range(len(one))])
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(std, rows.std(0), rtol=1e-5)
    count = len(asked)
    np.testing.assert_array_equal(data.statistics()[0], mean)
    assert len(asked) == count + 1  # asked for its key alone


def test_a_wrong_root_shows_the_expected_tree(tmp_path):
    with pytest.raises(DataError, match=r"weak\.csv not found: --data\.root must name the folder with metadata/"):
        _ = ready(tmp_path).lists
    with pytest.raises(DataError, match="is not a folder"):
        _ = ready(tmp_path / "absent").lists


def test_impossible_options_are_refused(root):
    for options in ({"streams": {"weak": 0}}, {"batches_per_epoch": 0}, {"seconds": 0.0}, {"streams": {"weak": -1}}):
        with pytest.raises(ValueError, match="must give positive"):
            ready(root, **options)


def test_tables_with_absolute_paths_name_the_same_clips(tmp_path):
    root = write_dcase2018(tmp_path / "set")
    expected = DCASE2018(str(root), streams={"weak": 2, "unlabeled": 2}).listing()[1].tolist()
    for table, folder, base in (("train/weak", "train/weak", root), ("test/test", "test", Path("/elsewhere/set"))):
        path = root / f"metadata/{table}.csv"
        header, *rows = path.read_text().splitlines()
        path.write_text("\n".join([header, *(f"{(base / 'audio' / folder).as_posix()}/{row}" for row in rows)]) + "\n")
    assert DCASE2018(str(root), streams={"weak": 2, "unlabeled": 2}).listing()[1].tolist() == expected
