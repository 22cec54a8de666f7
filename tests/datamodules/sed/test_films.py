"""Films and sound that PyAV reads: sound and images in step, every container in every task, what cannot be read said."""

import os
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from datamodules.alignment.user_pairs import ScoredRecordings
from datamodules.audio import reading
from datamodules.audio.av_audio import AVSource, AVTrack
from datamodules.audio.files import AudioFiles, Recordings
from datamodules.audio.windows import Window
from datamodules.common.errors import DataError
from datamodules.common.input_spec import AlignmentSpec, TaggingSpec
from datamodules.sed.embeddings import images
from datamodules.separation.songs import Songs, open_song
from tests.helpers.films import click_s, write_film
from tests.helpers.layouts import tone, write_audio

RATE = 16_000
FPS = 100.0

pytest.importorskip("av")


def flash_s(path) -> float:
    return float(images(path, FPS, 8, 8).mean((1, 2, 3)).argmax() / FPS)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov", ".webm", ".ts", ".mpg"])
@pytest.mark.parametrize(("sound_from", "images_from"), [(2.0, 0.0), (0.0, 2.0), (0.0, 0.0)])
def test_sound_and_images_are_in_step(tmp_path, ending, sound_from, images_from):
    path = write_film(tmp_path / f"a{ending}", sound_from=sound_from, images_from=images_from)
    click, flash = click_s(reading.read_file(path, RATE), RATE), flash_s(path)
    assert abs(click - flash) < 0.011, "an image is shown from its time on, read every 10 ms"
    # Broadcast containers say nothing of the samples that an encoder puts before the first.
    assert click == pytest.approx(3.0, abs=0.03 if ending in (".ts", ".mpg") else 0.002)


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_a_gap_in_the_sound_is_silence(tmp_path, ending):
    path = write_film(tmp_path / f"a{ending}", without=(1.0, 2.0))
    assert click_s(reading.read_file(path, RATE), RATE) == pytest.approx(3.0, abs=0.002)
    assert reading.duration(path) == pytest.approx(4.0, abs=0.03)


def test_samples_before_the_beginning_are_dropped(tmp_path):
    path = write_film(tmp_path / "a.m4a", images=False, click=0.5)
    assert click_s(reading.read_file(path, RATE), RATE) == pytest.approx(0.5, abs=0.001)


def test_crops_are_those_of_the_whole(tmp_path):
    path = write_film(tmp_path / "a.mp4", sound_from=2.0)
    whole = reading.read_file(path, RATE)
    crop = reading.read(path, round(2.9 * RATE), RATE // 2, RATE)
    np.testing.assert_allclose(crop, whole[round(2.9 * RATE) :][: RATE // 2], atol=1e-4)
    assert np.abs(crop).max() > 0.5


def test_a_broadcast_whose_clock_jumps_goes_on():
    """Joined recordings of a day apart: no day of silence between them."""
    import av

    def packet(seconds: float) -> SimpleNamespace:
        frame = av.AudioFrame.from_ndarray(np.ones((1, 800), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, round(seconds * 8000), Fraction(1, 8000)
        return SimpleNamespace(decode=lambda: [frame])

    streams = SimpleNamespace(audio=[], video=[])
    for name, far in (("mpegts", 86_400.0), ("mpegts", -5000.0), ("matroska,webm", 1e9)):
        track = AVTrack(SimpleNamespace(streams=streams, format=SimpleNamespace(name=name), duration=600_000_000), None)
        blocks = [block for at in (0.0, 0.1, far, far + 0.1) for block in track.decode(packet(at))]
        assert sum(map(len, blocks)) == 3200, name


@pytest.mark.parametrize(("seconds", "fps", "count"), [(10.0, 15.0, 151), (4.0, 15.0, 61)])
@pytest.mark.parametrize("ending", [".webm", ".mp4", ".mkv"])
def test_both_ends_of_a_film_count(tmp_path, ending, seconds, fps, count):
    path = write_film(tmp_path / f"a{ending}", seconds=seconds, sound=False, fps=15)
    assert len(images(path, fps, 8, 8)) == count


def test_a_film_without_time_stamps_runs_at_its_rate(tmp_path):
    import av

    if "libx264" not in av.codec.codecs_available:
        pytest.skip("this PyAV writes no H.264")
    path = write_film(tmp_path / "raw.x264", sound=False, container="h264")
    with av.open(str(path)) as film:
        assert next(film.decode(video=0)).pts is None
    assert flash_s(path) == pytest.approx(3.0, abs=0.011)
    assert len(images(path, 5.0, 8, 8)) == 21


ALL = (".m4a", ".aac", ".m4v", ".ts", ".mpg", ".wma", ".wmv", ".webm", ".mkv", ".mp4", ".mov", ".avi")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A film or sound of every kind, and a WAV file."""
    root = tmp_path_factory.mktemp("films")
    for ending in ALL:
        write_film(root / f"a{ending}", seconds=0.6, click=0.3, images=ending not in (".m4a", ".aac", ".wma"))
    write_audio(root / "a.wav", tone(0.6, rate=RATE), RATE)
    return root


def data_of(task: str, inputs: list[str]):
    """What `predict` of a task reads its user's files by."""
    data = {"tagging": AudioFiles, "sed": Recordings, "alignment": ScoredRecordings, "separation": Songs}[task](inputs)
    if task == "tagging":
        data.connect(TaggingSpec(Window(RATE, RATE, 256, 0)))
    if task == "alignment":
        data.connect(AlignmentSpec(RATE, 0.02, 1, lambda audio, cents: audio, lambda: "none"))
    return data


@pytest.mark.parametrize("task", ["tagging", "sed", "separation", "alignment"])
def test_every_task_reads_every_kind(folder, task):
    data = data_of(task, [str(folder)])
    assert len(data.paths()) == len(ALL) + 1
    if task == "alignment":
        return  # which decodes as sed does, if there is a score
    for batch in data.predict_dataloader():
        assert batch.error is None, batch.error
        if task == "separation":
            with open_song(batch.path) as song:
                frames, rate = np.concatenate(list(song.blocks())), song.rate
                assert frames.shape[1] == song.channels == (1 if batch.path.endswith(".wav") else 2)
            seconds = len(frames) / rate
        else:
            samples = len(batch.audio) if task == "tagging" else sum(map(len, reading.AudioBlocks(batch.path, RATE)))
            seconds = samples / RATE
        assert seconds == pytest.approx(0.6, abs=0.08), batch.path


def error_of(task: str, path) -> str:
    """What is said of a file that cannot be read; sed decodes it later than its loader."""
    (batch,) = data_of(task, [str(path)]).predict_dataloader()
    if task == "sed":
        with pytest.raises(DataError) as caught:
            list(reading.AudioBlocks(path, RATE))
        return str(caught.value)
    return batch.error


@pytest.mark.parametrize("task", ["tagging", "sed", "separation"])
def test_a_silent_film_is_said_to_be_one(tmp_path, task):
    path = write_film(tmp_path / "silent.mp4", seconds=0.4, click=0.2, sound=False)
    said = f"{path} is a video file without audio: expected an audio file, or a video file with audio; leave it out."
    assert error_of(task, path) == said


@pytest.mark.parametrize("task", ["tagging", "sed", "separation"])
@pytest.mark.parametrize("ending", [".mpg", ".m4a"])
def test_without_pyav_the_extra_is_named(folder, task, ending, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = folder / f"a{ending}"
    said = f"{path} is read by PyAV, which is not installed: pip install -e '.[video]' (or: pip install av)."
    assert error_of(task, path) == said


def test_a_list_of_addresses_is_no_film(tmp_path):
    """A playlist makes a player open what it names."""
    (tmp_path / "a.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/b.ts\n#EXT-X-ENDLIST\n")
    write_film(tmp_path / "b.ts", seconds=0.4, click=0.2)
    with pytest.raises(DataError, match=r"a\.mp4 cannot be opened as an audio or video file"):
        AVSource(tmp_path / "a.mp4")


def test_a_name_that_is_no_utf8(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.m4a"
    try:
        with open(path, "wb") as file:  # noqa: PTH123  pathlib refuses bytes
            file.write(write_film(tmp_path / "a.m4a", seconds=0.4, click=0.2, images=False).read_bytes())
    except (OSError, UnicodeError):
        pytest.skip("a file system of UTF-8 names")
    assert reading.duration(os.fsdecode(path)) == pytest.approx(0.4, abs=0.05)


def test_a_damaged_film_gives_what_it_holds_and_says_so(tmp_path):
    path = write_film(tmp_path / "a.mkv", seconds=4.0, click=0.5)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    decoded = reading.decode(path, RATE)
    assert click_s(decoded.audio, RATE) == pytest.approx(0.5, abs=0.01) and len(decoded.audio) < 3 * RATE


def test_an_m4a_cut_short_is_said(tmp_path):
    import av

    whole = write_film(tmp_path / "whole.m4a", images=False)
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    data = (tmp_path / "cut.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    assert "but its header claims 4.0 s" in reading.decode(tmp_path / "cut.mkv", RATE).damage
