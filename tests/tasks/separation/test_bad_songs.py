"""What goes wrong when songs are separated: bad files, formats that cannot hold them, folders and disks that refuse."""

import json

import numpy as np
import pytest
import soundfile

from datamodules.common.errors import DataError
from tasks.separation.inference import SeparationOptions
from tasks.separation.writer import StemWriter
from tests.helpers.layouts import tone
from tests.helpers.songs import place, predict, song
from tests.helpers.stub_separators import EqualMasks, LocalMasks, StandIn


def test_bad_songs_are_named_and_leave_nothing(tmp_path):
    good = song(tmp_path / "in/good.wav", seconds=4)
    sound = np.stack([tone(40.0, rate=8000)] * 2, axis=1)
    sound[-100] = np.nan
    soundfile.write(tmp_path / "in/late_nan.wav", sound, 8000, subtype="FLOAT")
    (tmp_path / "in/empty.wav").write_bytes(b"")
    (tmp_path / "in/text.mp3").write_text("no sound\n" * 99)
    soundfile.write(tmp_path / "in/nothing.wav", np.zeros((0, 2)), 8000)
    writer = predict([tmp_path / "in"], tmp_path / "out")
    failed = {line.split()[0].rpartition("/")[2]: line for line in writer.failed_files}
    assert set(failed) == {"late_nan.wav", "empty.wav", "text.mp3", "nothing.wav"}
    assert all(line.count(str(tmp_path)) == 1 for line in writer.failed_files)
    for name, said in (("late_nan", "NaN"), ("empty", "0 bytes"), ("nothing", "no audio")):
        assert said in failed[f"{name}.wav"]
    assert "does not decode" in failed["text.mp3"]
    assert not any("\n" in line for line in writer.failed_files)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"stems.json", "journal.jsonl", place(tmp_path, good).name}
    with pytest.raises(DataError, match="NaN"):
        predict([tmp_path / "in/late_nan.wav"], tmp_path / "strict", strict=True)
    assert not [file for file in (tmp_path / "strict").rglob("*") if file.is_dir()]


def test_a_truncated_song_gives_the_stems_of_what_is_there(tmp_path, capsys):
    path = song(tmp_path / "x.flac", seconds=50)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    writer = predict([path], tmp_path / "out", StandIn(inference=SeparationOptions(0, 20, 5.0, 0.2)))
    assert not writer.failed_files
    assert "x.flac breaks off at " in capsys.readouterr().out
    assert 0 < soundfile.info(place(tmp_path / "out", path) / "bass.wav").duration < 50


def test_formats_that_cannot_hold_a_song_say_so(tmp_path):
    paths = [song(tmp_path / "in/six.wav", channels=6), song(tmp_path / "in/high.wav", rate=96_000)]
    writer = predict(paths, tmp_path / "out", format="mp3")
    assert len(writer.failed_files) == 2
    assert all("choose --output.format wav or flac" in line and "\n" not in line for line in writer.failed_files)
    with pytest.raises(ValueError, match="PCM_24"):
        StemWriter("out", format="flac", subtype="FLOAT")


def test_nothing_is_overwritten_unasked(tmp_path):
    path = song(tmp_path / "x.wav")
    predict([path], tmp_path / "out")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.wav")}
    predict([path], tmp_path / "out")  # the same network and options: nothing to do
    with pytest.raises(DataError, match=r"already holds predictions .*: add --overwrite true"):
        predict([path], tmp_path / "out", StandIn(LocalMasks()))
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.wav")} == before
    other = song(tmp_path / "y.wav")
    predict([other], tmp_path / "out")
    assert len(json.loads((tmp_path / "out/stems.json").read_text())["files"]) == 2
    predict([path], tmp_path / "out", overwrite=True)
    assert all(file.stat().st_mtime_ns != time for file, time in before.items())


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_separated(tmp_path):
    path = song(tmp_path / "x.wav")
    (tmp_path / "file").write_text("in the way")

    class Never(EqualMasks):
        def forward(self, magnitude):
            raise AssertionError

    with pytest.raises(DataError, match=r"file/out cannot be written .*--output\.folder"):
        predict([path], tmp_path / "file/out", StandIn(Never()))


def test_a_full_disk_ends_in_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    path = song(tmp_path / "x.wav")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    writer = predict([path], tmp_path / "out")
    assert "No space left on device" in writer.failed_files[0]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"stems.json", "journal.jsonl"}
