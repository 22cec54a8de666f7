"""A user's own inputs: what files, folders and globs name, and files that cannot be read."""

import numpy as np
import pytest
import torch

from datamodules.audio.files import AudioFiles, FileBatch, find
from datamodules.common.base import EvaluationShard
from datamodules.common.errors import DataError
from tests.helpers.layouts import tone, write_audio
from tests.helpers.tagging_batches import WINDOW, ready


@pytest.fixture
def songs(tmp_path):
    for name in ("b.wav", "a/c.flac", "a/deep/d.ogg", "a/UPPER.MP3", "a/e.m4a"):
        if name.endswith("m4a"):
            (tmp_path / name).write_bytes(b"\x00" * 50)
        elif name.endswith("MP3"):
            write_audio(tmp_path / "a/x.mp3", tone(0.5)).rename(tmp_path / name)
        else:
            write_audio(tmp_path / name, tone(0.5, rate=22_050, channels=2), 22_050)
    (tmp_path / "a/notes.txt").write_text("notes")
    (tmp_path / "a/._c.flac").write_text("what another system leaves")
    return tmp_path


def names(root, *inputs):
    return [path.removeprefix(f"{root}/") for path in find([str(root / one) for one in inputs])]


def test_folders_are_searched_to_any_depth(songs):
    assert names(songs, "a") == ["a/UPPER.MP3", "a/c.flac", "a/deep/d.ogg", "a/e.m4a"]
    assert names(songs, "") == ["a/UPPER.MP3", "a/c.flac", "a/deep/d.ogg", "a/e.m4a", "b.wav"]


def test_globs_give_audio_alone(songs):
    assert names(songs, "a/*") == ["a/UPPER.MP3", "a/c.flac", "a/deep/d.ogg", "a/e.m4a"]
    assert names(songs, "**/*.ogg", "*.wav") == ["a/deep/d.ogg", "b.wav"]


def test_each_file_comes_once_however_it_is_named(songs):
    assert len(names(songs, "b.wav", "b.wav", "*.wav", "a/../b.wav")) == 1


def test_a_file_named_outright_may_have_any_ending(songs):
    (songs / "b.wav").rename(songs / "b.sound")
    assert names(songs, "b.sound") == ["b.sound"]
    [batch] = ready(AudioFiles(str(songs / "b.sound"))).predict_dataloader()
    assert batch.error is None


@pytest.mark.parametrize(("given", "said"), [("gone.wav", "does not exist"), ("*.aiff", "matches no"), ("empty", "holds no")])
def test_an_input_that_names_nothing_is_an_error(songs, given, said):
    (songs / "empty").mkdir()
    with pytest.raises(DataError, match=said) as caught:
        find([str(songs / "b.wav"), str(songs / given)])
    assert given in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_input_at_all():
    with pytest.raises(DataError, match="give files, folders or globs"):
        ready(AudioFiles()).predict_dataloader()


@pytest.mark.parametrize("workers", [0, 2])
def test_files_are_yielded_whole_and_unreadable_ones_with_their_error(songs, workers):
    (songs / "a/c.flac").write_text("not a song")
    batches = list(ready(AudioFiles([str(songs)], num_workers=workers)).predict_dataloader())
    assert [type(batch) for batch in batches] == [FileBatch] * 5
    errors = {batch.path.removeprefix(f"{songs}/"): batch.error for batch in batches}
    assert "does not decode" in errors.pop("a/c.flac")
    assert "cannot be opened as an audio or video file" in errors.pop("a/e.m4a")
    assert set(errors.values()) == {None}
    for batch in batches:
        assert batch.audio.dtype == torch.float32
        assert len(batch.audio) == (0 if batch.error else pytest.approx(8000, abs=1200))
    with pytest.raises(DataError, match=r"c\.flac does not decode"):
        list(ready(AudioFiles([str(songs)], num_workers=workers, strict=True)).predict_dataloader())


def test_ranks_share_the_files(songs):
    files = ready(AudioFiles([str(songs)])).predict_set()
    shards = [[files[i].path for i in EvaluationShard(len(files), rank, 2)] for rank in range(2)]
    assert sorted(shards[0] + shards[1]) == find([str(songs)])
    assert [len(shard) for shard in shards] == [3, 2]


def test_audio_is_at_the_networks_rate(tmp_path):
    time = np.arange(44_100) / 44_100
    path = write_audio(tmp_path / "x.wav", np.sin(2 * np.pi * 440 * time).astype(np.float32), 44_100)
    [batch] = ready(AudioFiles(str(path)), WINDOW._replace(sample_rate=8000)).predict_dataloader()
    assert len(batch.audio) == 8000
    assert np.abs(np.fft.rfft(batch.audio.numpy())).argmax() == 440
