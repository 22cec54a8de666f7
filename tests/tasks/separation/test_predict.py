"""Songs to stems on disk: rate, length, channels, formats, what they add up to, memory, and what goes wrong."""

import json
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from datamodules.common.errors import DataError
from tasks.separation.figures import LIMIT, PooledSpectrograms
from tasks.separation.inference import Audio2Stems, File2Stems, SeparationOptions
from tasks.separation.song_stems import StemBlock, channel_groups
from tasks.separation.stem_files import StemFiles
from tasks.separation.writer import Outputs
from tests.helpers.songs import place, predict, song, stems_of
from tests.helpers.stub_separators import SOURCES, EqualMasks, EqualWaves, LocalMasks, StandIn


def test_audio_in_memory_is_separated_as_a_file_is(tmp_path):
    separator = StandIn(LocalMasks())
    separator.separating = separator.net
    for channels, rate in ((1, 11_025), (2, 8000), (6, 8000)):
        path = song(tmp_path / f"{channels}.wav", rate, channels)
        audio = soundfile.read(path, dtype="float32", always_2d=True)[0].T
        result = Audio2Stems(separator)(audio, sample_rate=rate)
        assert result.sample_rate == rate and list(result.as_dict()) == list(separator.sources)
        torch.testing.assert_close(result.stems, stems_of(path, separator)[0])
    with pytest.raises(ValueError, match=r"expected audio \(2, samples\), got \(6, 13600\)"):
        Audio2Stems(separator).native(torch.from_numpy(audio))
    with pytest.raises(ValueError, match="the transpose"):
        Audio2Stems(separator)(audio.T, rate)
    with pytest.raises(DataError, match="no samples"):
        Audio2Stems(separator)(audio[:, :0], rate)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rate_channels_and_length_are_the_songs(tmp_path, rate, channels):
    path = song(tmp_path / "x.wav", rate, channels, seconds=1.2345)
    written, _ = soundfile.read(path, dtype="float32", always_2d=True)
    module = StandIn(EqualMasks(sample_rate=44_100, n_fft=1024, hop=256))
    stems, file = stems_of(path, module)
    assert stems.shape == (4, channels, len(written))
    assert (file.sample_rate, file.channels, file.frames, file.damage) == (rate, channels, len(written), None)
    mended = stems.sum(0).T.numpy()
    if rate == 44_100:
        np.testing.assert_allclose(mended, written, rtol=0, atol=1e-6)
    else:  # what lies above both rates' band is lost, and rings where the song is cut off
        inside = slice(rate // 20, -rate // 20)
        error = mended[inside] - written[inside]
        assert np.sqrt(np.mean(error**2)) < 0.1 * np.sqrt(np.mean(written**2))
        for c in range(channels):  # not a sample late
            shifts = [np.dot(mended[50:-50, c], np.roll(written[:, c], s)[50:-50]) for s in (-1, 0, 1)]
            assert np.argmax(shifts) == 1


@pytest.mark.parametrize("ending", ["mp3", "flac", "ogg"])
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_compressed_songs(tmp_path, ending, rate):
    path = song(tmp_path / f"x.{ending}", rate)
    length = len(soundfile.read(path)[0])
    stems, _ = stems_of(path, StandIn(EqualMasks(sample_rate=44_100, n_fft=1024, hop=256)))
    assert stems.shape == (4, 2, length)


@pytest.mark.parametrize("module", [StandIn(LocalMasks()), StandIn(EqualWaves(reach=3))])
@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("rate", [8000, 44_100])
def test_songs_of_a_moment(tmp_path, module, seconds, rate):
    stems, _ = stems_of(song(tmp_path / "x.wav", rate, seconds=seconds), module)
    assert stems.shape == (4, 2, round(seconds * rate))
    assert torch.isfinite(stems).all()


@pytest.mark.parametrize("module", [StandIn(LocalMasks()), StandIn(EqualWaves())])
def test_a_song_shorter_than_one_sample_of_the_network(tmp_path, module):
    soundfile.write(tmp_path / "x.wav", np.full((3, 2), 0.5), 192_000)
    stems, _ = stems_of(tmp_path / "x.wav", module)
    assert stems.shape == (4, 2, 3)


def test_silence(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros((9000, 2)), 8000)
    stems, _ = stems_of(tmp_path / "x.wav", StandIn(LocalMasks(), SeparationOptions(niter=1, window=20, chunk=0.5)))
    assert torch.equal(stems, torch.zeros(4, 2, 9000))


def test_chunks_do_not_change_a_resampled_song(tmp_path):
    path = song(tmp_path / "x.wav", 11_025, seconds=4)
    how = [SeparationOptions(niter=1, window=20, chunk=chunk, context=0.1) for chunk in (0.4, 100.0)]
    one, other = (stems_of(path, StandIn(LocalMasks(), inference))[0] for inference in how)
    torch.testing.assert_close(one, other, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("channels", "of_net", "groups"), [
    (1, 2, ((0,),)), (2, 2, ((0, 1),)), (2, 1, ((0,), (1,))), (3, 2, ((0, 1), (2,))), (4, 2, ((0, 1), (2, 3))),
    (6, 2, ((0, 1), (2,), (3,), (4, 5))), (5, 2, ((0, 1), (2,), (3,), (4,))),
])  # fmt: skip
def test_channels_are_paired(channels, of_net, groups):
    assert channel_groups(channels, of_net) == groups


def test_a_mono_channel_is_heard_on_both_sides_and_averaged_back(tmp_path):
    class Left(EqualMasks):
        def forward(self, magnitude):
            assert torch.equal(magnitude[:, 0], magnitude[:, 1])
            return super().forward(magnitude) * torch.tensor([4.0, 0.0])[:, None, None]

    path = song(tmp_path / "x.wav", channels=1)
    stems, _ = stems_of(path, StandIn(Left()))
    torch.testing.assert_close(stems[0, 0], torch.from_numpy(soundfile.read(path, dtype="float32")[0]) / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("ending", "subtype", "tolerance"), [
    ("wav", "PCM_16", 0.6 / 2**15), ("wav", "PCM_24", 0.6 / 2**23), ("wav", "FLOAT", 0),
    ("flac", "PCM_16", 0.6 / 2**15), ("flac", "PCM_24", 0.6 / 2**23), ("mp3", "PCM_16", 0.05), ("ogg", "PCM_16", 0.05),
])  # fmt: skip
def test_formats(tmp_path, ending, subtype, tolerance):
    path = song(tmp_path / "in/x.wav", 44_100, seconds=0.7)
    module = StandIn(EqualMasks(sample_rate=44_100, n_fft=1024, hop=256))
    expected, _ = stems_of(path, module)
    predict([path], tmp_path / "out", module, format=ending, subtype=subtype)
    folder = place(tmp_path / "out", path)
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{name}.{ending}" for name in SOURCES)
    for name, stem in zip(SOURCES, expected, strict=True):
        read, rate = soundfile.read(folder / f"{name}.{ending}", dtype="float64", always_2d=True)
        assert (rate, read.shape) == (44_100, (30_870, 2))
        # Coders filter the very top of the band away.
        assert np.abs(read - stem.T.numpy()).mean() <= tolerance
        if ending in ("wav", "flac"):
            assert soundfile.info(folder / f"{name}.{ending}").subtype == subtype
            assert np.abs(read - stem.T.numpy()).max() <= tolerance


@pytest.mark.parametrize(("subtype", "steps"), [("PCM_16", 2**15), ("PCM_24", 2**23)])
def test_integers_are_the_stems_own_up_to_full_scale(tmp_path, subtype, steps):
    values = torch.arange(-steps, steps, steps // 1000).double() / steps
    with StemFiles(tmp_path / "x", ["a"], 8000, 1, len(values), "wav", subtype) as files:
        files.write(values[None, None].float())
    assert np.array_equal(soundfile.read(tmp_path / "x/a.wav")[0], values.numpy())
    assert files.clipped.tolist() == [0]


def test_what_predict_leaves(tmp_path, capsys):
    paths = [song(tmp_path / "in/a.wav"), song(tmp_path / "in/deep/a.wav", 11_025, seed=5)]
    writer = predict([tmp_path / "in"], tmp_path / "out", picture=True)
    assert not writer.failed_files
    listing = json.loads((tmp_path / "out/stems.json").read_text())
    assert list(listing["files"]) == [str(path) for path in paths]
    said = capsys.readouterr().out
    for path in paths:
        row = listing["files"][str(path)]
        assert row["duration_s"] == pytest.approx(soundfile.info(path).duration, abs=1e-6)
        assert {file.name for file in (tmp_path / "out" / row["folder"]).iterdir()} == {*row["stems"], "spectrogram.png"}
        assert str(tmp_path / "out" / row["folder"]) in said
    assert not list((tmp_path / "out").rglob(".*"))


@pytest.mark.parametrize(("subtype", "rate"), [("PCM_16", 8000), ("PCM_24", 8000), ("FLOAT", 8000), ("PCM_16", 11_025)])
@pytest.mark.parametrize("two_stems", [None, "vocals"])
def test_stems_sum_to_the_song(tmp_path, subtype, rate, two_stems):
    path = song(tmp_path / "in/x.wav", rate, subtype="PCM_16")
    mixture, _ = soundfile.read(path, dtype="float64", always_2d=True)

    class Poor(LocalMasks):
        def forward(self, magnitude):
            return 0.7 * super().forward(magnitude)

    predict([path], tmp_path / "out", StandIn(Poor()), subtype=subtype, sum_to_mix=True, two_stems=two_stems)
    files = sorted(place(tmp_path / "out", path).glob("*.wav"))
    total = sum(soundfile.read(file, dtype="float64", always_2d=True)[0] for file in files)
    assert len(files) == (2 if two_stems else 4)
    if subtype == "FLOAT":
        np.testing.assert_allclose(total, mixture, rtol=0, atol=1e-6)
    else:
        assert np.array_equal(total, mixture)  # to the last bit
    predict([path], tmp_path / "plain", StandIn(Poor()), subtype="FLOAT")
    lacking = sum(soundfile.read(file, always_2d=True)[0] for file in place(tmp_path / "plain", path).glob("*.wav"))
    assert np.abs(lacking - mixture).max() > 0.01


def test_two_stems(tmp_path):
    path = song(tmp_path / "in/x.wav")
    mixture = torch.from_numpy(soundfile.read(path, dtype="float32")[0].T)
    module = StandIn(LocalMasks())
    stems, _ = stems_of(path, module)
    for other, rest in (("sum", stems[:3].sum(0)), ("minus", mixture - stems[3])):
        predict([path], tmp_path / other, module, two_stems="vocals", other=other, subtype="FLOAT")
        folder = place(tmp_path / other, path)
        assert sorted(file.name for file in folder.iterdir()) == ["no_vocals.wav", "vocals.wav"]
        for name, expected in (("vocals", stems[3]), ("no_vocals", rest)):
            written = soundfile.read(folder / f"{name}.wav", dtype="float32")[0].T
            np.testing.assert_allclose(written, expected.numpy(), rtol=0, atol=1e-6)
    with pytest.raises(DataError, match="unknown stem 'voice'; choose from drums, bass, other, vocals"):
        predict([path], tmp_path / "x", two_stems="voice")


def test_clipping_is_counted_and_never_rescaled(tmp_path, capsys):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.tile([[1.0, 0.5]], (8000, 1)) * 6, 8000, subtype="FLOAT")
    predict([path], tmp_path / "out")
    out = capsys.readouterr().out
    assert "clipped (drums.wav 8000, bass.wav 8000" in out
    assert "--output.subtype FLOAT" in out
    read, _ = soundfile.read(place(tmp_path / "out", path) / "drums.wav")
    assert read[:, 0].min() > 0.99
    np.testing.assert_allclose(read[:, 1], 0.75, atol=1e-3)
    predict([path], tmp_path / "float", subtype="FLOAT")
    assert "clipped" not in capsys.readouterr().out


def test_seams_are_reported(tmp_path, capsys):
    paths = [song(tmp_path / "long.wav", 11_025, seconds=4), song(tmp_path / "short.wav", seconds=0.5)]
    predict(paths, tmp_path / "out", StandIn(LocalMasks(reach=40)), check_seams=True)
    out = capsys.readouterr().out
    assert "long.wav: stems of chunks differ from those of the whole by -" in out
    assert "short.wav: shorter than one chunk" in out


def test_memory_does_not_grow_with_the_song(tmp_path):
    def peak(seconds):
        soundfile.write(tmp_path / "x.wav", np.zeros((seconds * 8000, 2)), 8000)
        held = 0
        tracemalloc.start()
        for piece in File2Stems(StandIn(inference=SeparationOptions(0, 20, 2.0, 0.2)))(tmp_path / "x.wav").pieces():
            held = max(held, piece.mixture.numel() + piece.stems.numel())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, held

    peak(20)
    (short, short_held), (long, long_held) = peak(40), peak(160)
    assert long < 1.1 * short
    assert long_held == short_held


def test_a_song_has_as_many_columns_as_a_picture_can_show():
    rate = 8000
    for seconds in (0.01, 1, 30, 400):
        columns = PooledSpectrograms(rate, 2)
        time = torch.arange(int(seconds * rate)) / rate
        sound = torch.stack([torch.sin(2 * torch.pi * 1000 * time), torch.zeros_like(time)])[:, None]
        sound[..., : sound.shape[-1] // 2] *= 0.1
        for part in sound.split(10_000, dim=-1):
            columns.push(part)
        levels, step = columns.close()
        assert levels.shape[:2] == (2, len(columns.hertz))
        assert 1 <= levels.shape[2] <= LIMIT
        if seconds >= 1:
            assert levels.shape[2] * step == pytest.approx(seconds, abs=2 * step + 0.1)
            assert levels.shape[2] > LIMIT / 2 or columns.pooled == 1
            quiet, loud = levels[0, :, levels.shape[2] // 4], levels[0, :, 3 * levels.shape[2] // 4]
            assert loud.max() - quiet.max() == pytest.approx(20, abs=0.1)
            assert columns.hertz[loud.argmax()] == pytest.approx(1000, rel=0.05)
        assert levels[1].max() <= -110


def test_equal_shares_and_rounding():
    piece = StemBlock(torch.tensor([[0.5, -0.25]]), torch.tensor([[[0.1, 0.0]], [[0.2, 0.0]]]))
    exact = Outputs(["a", "b"], sum_to_mix=True)(piece)
    torch.testing.assert_close(exact, torch.tensor([[[0.2, -0.125]], [[0.3, -0.125]]]))
    rounded = Outputs(["a", "b"], sum_to_mix=True, steps=4)(piece)
    assert torch.equal(rounded, torch.tensor([[[0.25, -0.0]], [[0.25, -0.25]]]))
