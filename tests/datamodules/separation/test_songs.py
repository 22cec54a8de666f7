"""A user's songs: opened but not decoded, read block by block with their channels kept."""

import numpy as np
import pytest
import soundfile

from datamodules.common.base import EvaluationShard
from datamodules.common.errors import DataError
from datamodules.separation.songs import SongBatch, Songs, open_song
from tests.helpers.layouts import tone, write_audio


@pytest.fixture
def songs(tmp_path):
    for i, name in enumerate(("a.wav", "b/c.flac", "b/d.ogg", "b/e.mp3")):
        write_audio(tmp_path / name, tone(0.5, seed=i, rate=22_050, channels=2), 22_050)
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2])
def test_songs_come_unread_and_unreadable_ones_with_their_error(songs, workers):
    (songs / "b/broken.wav").write_text("not a song")
    (songs / "b/empty.mp3").write_bytes(b"")
    (songs / "b/noise.m4a").write_bytes(b"\x00" * 50)
    data = Songs([str(songs)], ["vocals"], num_workers=workers)
    batches = list(data.predict_dataloader())
    assert [type(batch) for batch in batches] == [SongBatch] * 7
    assert [batch.path for batch in batches] == data.paths()
    errors = {batch.path.removeprefix(f"{songs}/"): batch.error for batch in batches if batch.error}
    assert set(errors) == {"b/broken.wav", "b/empty.mp3", "b/noise.m4a"}
    assert "does not decode" in errors["b/broken.wav"]
    assert "0 bytes" in errors["b/empty.mp3"]
    assert "cannot be opened as an audio or video file" in errors["b/noise.m4a"]
    assert not any("\n" in error for error in errors.values())
    with pytest.raises(DataError, match=r"broken\.wav does not decode"):
        list(Songs([str(songs)], num_workers=workers, strict=True).predict_dataloader())


def test_ranks_share_the_songs(songs):
    data = Songs(str(songs)).predict_set()
    shards = [[data[i].path for i in EvaluationShard(len(data), rank, 3)] for rank in range(3)]
    assert sorted(shards[0] + shards[1] + shards[2]) == Songs(str(songs)).paths()


def test_no_input(tmp_path):
    with pytest.raises(DataError, match="give files, folders or globs"):
        Songs().predict_dataloader()
    with pytest.raises(DataError, match="holds no audio file"):
        Songs(str(tmp_path)).predict_dataloader()


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_kept(tmp_path, channels):
    sound = 0.1 * np.random.default_rng(0).standard_normal((200_000, channels)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", sound, 48_000, subtype="FLOAT")
    with open_song(tmp_path / "x.wav") as song:
        assert (song.rate, song.channels, song.frames) == (48_000, channels, 200_000)
        blocks = list(song.blocks())
        assert len(blocks) > 1
        assert song.damage is None
    assert np.array_equal(np.concatenate(blocks), sound)


@pytest.mark.parametrize("ending", ["m4a", "mp3", "sound"])
def test_an_ending_that_lies(tmp_path, ending):
    write_audio(tmp_path / "x.wav", tone(0.5)).rename(tmp_path / f"x.{ending}")
    with open_song(tmp_path / f"x.{ending}") as song:
        assert sum(len(block) for block in song.blocks()) == 8000


def test_a_truncated_song_gives_what_it_holds_and_says_so(tmp_path):
    path = write_audio(tmp_path / "x.flac", tone(20.0, channels=2))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_song(path) as song:
        frames = sum(len(block) for block in song.blocks())
        assert 0 < frames < 320_000
        assert "breaks off at" in song.damage


def test_not_a_number(tmp_path):
    write_audio(tmp_path / "x.wav", np.full((8000, 2), np.nan, np.float32))
    with open_song(tmp_path / "x.wav") as song, pytest.raises(DataError, match="NaN"):
        list(song.blocks())


def test_mp4_is_read_where_pyav_is_installed(tmp_path, monkeypatch):
    av = pytest.importorskip("av")
    sound = tone(3.0, rate=44_100, channels=2)
    with av.open(str(tmp_path / "x.m4a"), "w") as file:
        stream = file.add_stream("aac", rate=44_100, layout="stereo")
        stream.bit_rate = 192_000
        for start in range(0, len(sound), 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[start : start + 1024].T), "fltp", "stereo")
            frame.sample_rate, frame.pts = 44_100, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with open_song(tmp_path / "x.m4a") as song:
        assert (song.rate, song.channels) == (44_100, 2)
        read = np.concatenate(list(song.blocks()))
    assert abs(len(read) - len(sound)) <= 2048
    count = min(len(read), len(sound))
    assert np.corrcoef(read[4096 : count - 4096, 0], sound[4096 : count - 4096, 0])[0, 1] > 0.99
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(DataError, match=r"pip install -e '.\[video\]'"):
        open_song(tmp_path / "x.m4a")
