"""MUSDB18-HQ and MUSDB18: the 14 validation tracks, .stem.mp4 files on real sound, and what a user gets told."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from datamodules.audio import av_audio
from datamodules.common.errors import DataError
from datamodules.separation import stem_conversion
from datamodules.separation.musdb import MUSDB18, MUSDBHQ, VALIDATION
from tests.helpers.stems import STEMS, write_musdb_hq, write_track

LEAF = "Leaf - Summerghost"


@pytest.fixture(scope="module")
def sample():
    """The excerpt of a MUSDB18 track that the stempeg package brings (real drums, bass, other, vocals; 6 s)."""
    pytest.importorskip("av")
    spec = find_spec("stempeg")
    if spec is None or not (found := list(Path(spec.origin).parent.glob("data/*.stem.mp4"))):
        pytest.skip("the stempeg package with its sample is not installed")
    return found[0]


@pytest.fixture(scope="module")
def root(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("musdb18") / "set"
    for place in ("train/Easton - Falcon", f"train/{LEAF}", "test/Easton - Test"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample, folder / f"{place}.stem.mp4")
    return folder


def ready(root: Path, **options) -> MUSDB18:
    return MUSDB18(str(root), **{"cache_dir": str(root.parent / "cache"), "seconds": 2.0, "samples_per_track": 4, **options})


def test_the_validation_tracks_are_those_of_mus_yaml():
    assert len(VALIDATION) == len(set(VALIDATION)) == 14
    assert {"ANiMAL - Rockshow", "Johnny Lokke - Promises & Lies", "Traffic Experiment - Sirens"} <= set(VALIDATION)


def test_hq_splits_by_the_names_of_the_validation_tracks(tmp_path):
    root = write_musdb_hq(tmp_path, validation=(LEAF, "Young Griffo - Pennies"), seconds=0.1, rate=8000)
    write_track(root / "test" / "ANiMAL - Rockshow", 0.1, 1, rate=8000)  # a name decides within train/ alone
    data = MUSDBHQ(str(root), sample_rate=8000)
    names = {split: [track.name for track in data.tracks(split)] for split in ("train", "validation", "test")}
    assert names == {
        "train": ["Artist A - One", "Artist B - Two", "Artist C - Three"],
        "validation": [LEAF, "Young Griffo - Pennies"],
        "test": ["ANiMAL - Rockshow", "Artist D - Four", "Artist E - Five"],
    }
    assert data.sources == list(STEMS)
    assert all(list(track.stems) == list(STEMS) and track.mixture for track in data.opened[0])


def test_a_track_without_mixture_is_mixed_from_its_stems(tmp_path):
    root = write_musdb_hq(tmp_path, seconds=0.5, rate=8000)
    (root / "test" / "Artist D - Four" / "mixture.wav").unlink()
    first, second = MUSDBHQ(str(root), sample_rate=8000).test_set()
    assert len(first.mixture) == 0 and torch.equal(first.waveforms()[1], first.waveforms()[0].sum(0))
    assert len(second.mixture) == 4000


def test_accompaniment_and_hidden_files_are_no_stems(tmp_path):
    root = write_musdb_hq(tmp_path, seconds=0.5, rate=8000)
    folder = root / "test" / "Artist D - Four"
    shutil.copy(folder / "other.wav", folder / "accompaniment.wav")
    (folder / "._drums.wav").write_bytes(b"what macOS leaves behind")
    assert len(MUSDBHQ(str(root), sample_rate=8000).test_set()[0].mixture) == 4000


def test_stem_mp4_files_become_hq_layout_of_the_same_sound(root, sample):
    import av

    data = ready(root)
    assert {track.name: track.split for track in data.opened[0]} == {
        "Easton - Falcon": "train",
        LEAF: "validation",
        "Easton - Test": "test",
    }
    streams = {i: [] for i in range(5)}
    with av.open(str(sample)) as container:
        for packet in container.demux(container.streams.audio):
            for frame in packet.decode():
                streams[packet.stream.index].append(frame.to_ndarray().T)
    batch = data.test_set()[0]
    sources, mixture = batch.waveforms()
    for got, index in ((mixture, 0), *zip(sources, (1, 2, 3, 4), strict=True)):
        wanted = np.concatenate(streams[index]).clip(-1, 32767 / 32768)
        assert got.shape == (2, len(wanted))
        np.testing.assert_allclose(got.numpy().T, wanted, atol=0.5001 / 32768)
    assert mixture.shape[1] == 268_288
    # The mixture as in the file is mastered: near the stems' sum, not equal to it.
    error = (sources.sum(0) - mixture).square().mean() / mixture.square().mean()
    assert 0.01 < error < 0.06
    # The order of the streams: drums and bass sound low, of these the drums also high; vocals are the highest voice.
    power = [torch.fft.rfft(source.mean(0)).abs().square() for source in sources]
    low, high = ([float(p[cut].sum() / p.sum()) for p in power] for cut in (slice(0, 3042), slice(30_420, None)))  # 0.5, 5 kHz
    assert min(low[0], low[1]) > 0.8 > 0.6 > low[2] > low[3]
    assert high[0] > 10 * high[1]


def test_the_converted_files_are_an_hq_folder(root):
    folder = ready(root).converted()
    ready(root).tracks("train")
    hq = MUSDBHQ(str(folder))
    assert [track.name for track in hq.tracks("validation")] == [LEAF]
    assert torch.equal(hq.test_set()[0].stems, ready(root).test_set()[0].stems)
    assert not list(folder.rglob("*.part"))
    assert soundfile.info(next(folder.rglob("bass.wav"))).subtype == "PCM_16"


def test_conversion_goes_on_where_it_stopped(root, monkeypatch):
    data = ready(root)
    data.tracks("train")
    lost = data.converted() / "test" / "Easton - Test" / "vocals.wav"
    lost.unlink()
    calls, true = [], stem_conversion._convert_one
    monkeypatch.setattr(stem_conversion, "_convert_one", lambda job, kind: (calls.append(job.source.name), true(job, kind))[1])
    ready(root).tracks("train")
    assert calls == ["Easton - Test.stem.mp4"] and lost.is_file()
    assert data.prepare(root.parent / "run")["converted"]["files"] == 15


def test_training_on_real_stems(root):
    batch = next(iter(ready(root, batch_size=4).train_dataloader()))
    sources, mixture = batch.waveforms()
    assert sources.shape == (4, 4, 2, 88_200) and mixture.isfinite().all() and sources.std() > 1e-3


def test_a_broken_mp4_loses_its_track(sample, tmp_path, caplog):
    (tmp_path / "set" / "train").mkdir(parents=True)
    shutil.copy(sample, tmp_path / "set" / "train" / "Good.stem.mp4")
    (tmp_path / "set" / "train" / "Bad.stem.mp4").write_bytes(sample.read_bytes()[:4000])
    assert [track.name for track in ready(tmp_path / "set").opened[0]] == ["Good"]
    assert "Bad.stem.mp4 cannot be opened as an audio or video file" in caplog.text


def test_an_mp4_of_other_streams_loses_its_track(sample, tmp_path, caplog):
    import av

    (tmp_path / "set" / "train").mkdir(parents=True)
    shutil.copy(sample, tmp_path / "set" / "train" / "Good.stem.mp4")
    with av.open(str(sample)) as source, av.open(str(tmp_path / "set" / "train" / "One.stem.mp4"), "w", format="mp4") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert [track.name for track in ready(tmp_path / "set").opened[0]] == ["Good"]
    assert "One.stem.mp4 has 1 audio streams, expected 5" in caplog.text


def test_without_pyav_the_command_that_installs_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "A - B.stem.mp4").write_bytes(b"not looked into")
    with pytest.raises(DataError) as caught:
        MUSDB18(str(tmp_path), cache_dir=str(tmp_path / "cache")).tracks("train")
    said = str(caught.value)
    assert said == (
        f"{tmp_path / 'train' / 'A - B.stem.mp4'} is read by PyAV, which is not installed: pip install -e '.[video]' "
        f"(or: pip install av)."
    )


def test_converted_tracks_need_no_pyav(root, monkeypatch):
    ready(root).tracks("train")
    monkeypatch.setitem(sys.modules, "av", None)
    assert len(ready(root).opened[0]) == 3


def test_each_format_names_the_class_of_the_other(tmp_path):
    (tmp_path / "mp4" / "train").mkdir(parents=True)
    (tmp_path / "mp4" / "train" / "A - B.stem.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=rf"\.stem\.mp4 files.*--data datamodules\.MUSDB18 --data\.root {tmp_path}/mp4\."):
        MUSDBHQ(str(tmp_path / "mp4")).tracks("train")
    hq = write_musdb_hq(tmp_path / "hq", seconds=0.1)
    with pytest.raises(DataError, match=rf"folders of WAV files.*--data datamodules\.MUSDBHQ --data\.root {hq}\."):
        MUSDB18(str(hq)).tracks("train")
    with pytest.raises(DataError, match=r"ARTIST - TITLE\.stem\.mp4.*musdb18\.zip, open at zenodo\.org/records/1117372"):
        MUSDB18(str(tmp_path / "mp4" / "train")).tracks("train")


def test_a_container_says_what_it_holds(sample):
    head = av_audio.header(sample)
    assert (head.sample_rate, head.channels, head.streams) == (44_100, 2, 5)
    assert head.seconds == pytest.approx(6.08, abs=0.01)
