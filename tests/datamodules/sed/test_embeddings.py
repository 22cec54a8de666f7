"""The cache of embeddings: one file a clip, made once, resumed after a kill, named by extractor; films in pictures."""

import numpy as np
import pytest
import soundfile

from datamodules.common.errors import DataError
from datamodules.sed.embeddings import EmbeddingCache, embed, video_path

RATE = 8_000


class Loudness:
    """A stand-in for a pretrained network: mean square of every half second."""

    kind, dim, sample_rate = "audio", 1, RATE

    def __init__(self, fingerprint="0123456789abcdef"):
        self.fingerprint, self.calls = fingerprint, 0

    def extract(self, signal):
        self.calls += 1
        frames = signal[: len(signal) // 4000 * 4000].reshape(-1, 4000)
        return np.square(frames).mean(1, keepdims=True), 0.25 + 0.5 * np.arange(len(frames))


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "set" / "audio" / "train"
    folder.mkdir(parents=True)
    for k in range(3):
        soundfile.write(folder / f"{k}.wav", np.full(2 * RATE, 0.1 * (k + 1)), RATE)
    return sorted(folder.iterdir())


def test_each_clip_is_extracted_once(tmp_path, clips):
    extractor = Loudness()
    cache = EmbeddingCache(tmp_path / "cache", "loudness", extractor, tmp_path)
    assert cache.build(clips[:2]) == {} and extractor.calls == 2
    assert cache.build(clips) == {} and extractor.calls == 3
    found = cache.read(clips[1])
    assert found.values.dtype == np.float16 and found.values.shape == (4, 1)
    np.testing.assert_allclose(found.values, 0.04, rtol=1e-3)
    np.testing.assert_allclose(found.times, [0.25, 0.75, 1.25, 1.75])


def test_another_extractor_or_another_file_is_extracted_anew(tmp_path, clips):
    first, second = Loudness(), Loudness("fedcba9876543210")
    EmbeddingCache(tmp_path, "loudness", first, tmp_path).build(clips)
    EmbeddingCache(tmp_path, "loudness", second, tmp_path).build(clips)
    assert second.calls == 3
    soundfile.write(clips[0], np.full(3 * RATE, 0.5), RATE)
    cache = EmbeddingCache(tmp_path, "loudness", first, tmp_path)
    with pytest.raises(DataError, match="has no embeddings of stream loudness: build them with `prepare`"):
        cache.read(clips[0])
    cache.build(clips)
    assert first.calls == 4 and len(cache.read(clips[0]).values) == 6


def test_a_killed_run_goes_on_and_leaves_nothing_half_written(tmp_path, clips):
    class Dies(Loudness):
        def extract(self, signal):
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().extract(signal)

    with pytest.raises(KeyboardInterrupt):
        EmbeddingCache(tmp_path, "loudness", Dies(), tmp_path).build(clips)
    after = Loudness()
    cache = EmbeddingCache(tmp_path, "loudness", after, tmp_path)
    assert cache.build(clips) == {} and after.calls == 1


def test_a_bad_file_is_named_and_the_others_go_on(tmp_path, clips):
    clips[1].write_bytes(b"no sound")
    cache = EmbeddingCache(tmp_path, "loudness", Loudness(), tmp_path)
    faults = cache.build([*clips, clips[0].with_name("absent.wav")])
    assert [path.name for path in faults] == ["absent.wav", "1.wav"]
    assert "absent.wav is missing" in str(faults) and str(clips[1]) in faults[clips[1]]
    assert len(cache.read(clips[2]).values) == 4
    with pytest.raises(DataError):
        cache.build(clips, strict=True)


def test_a_damaged_file_of_the_cache_is_named(tmp_path, clips):
    cache = EmbeddingCache(tmp_path / "cache", "loudness", Loudness(), tmp_path)
    cache.build(clips)
    kept = next((tmp_path / "cache").rglob("*.npy"))
    for path in (tmp_path / "cache").rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="is damaged: delete it"):
        cache.read(clips[0])
    assert kept.suffix == ".npy"


def test_a_film_lies_beside_its_sound(tmp_path):
    (tmp_path / "video" / "train").mkdir(parents=True)
    (tmp_path / "video" / "train" / "b.webm").touch()
    assert video_path(tmp_path / "audio" / "train" / "a.wav", tmp_path) == tmp_path / "video" / "train" / "a.mp4"
    assert video_path(tmp_path / "audio" / "train" / "b.wav", tmp_path) == tmp_path / "video" / "train" / "b.webm"
    assert video_path(tmp_path / "c.mkv", tmp_path) == tmp_path / "c.mkv"


def film(path, seconds=2.0, fps=25, images=True):
    """A film whose picture grows brighter by 4 each frame, or one with sound alone."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        if images:
            stream = container.add_stream("mpeg4", rate=fps)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 4_000_000
            for k in range(round(seconds * fps)):
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * k, np.uint8), format="rgb24")
                for packet in stream.encode(picture):
                    container.mux(packet)
        else:
            stream = container.add_stream("aac", rate=16_000)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
            sound.sample_rate = 16_000
            for packet in stream.encode(sound):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


class Brightness:
    kind, dim, fps, fingerprint = "video", 1, 15.0, "brightness"

    def extract(self, images):
        return images.mean((1, 2, 3))[:, None], np.arange(len(images)) / self.fps


def test_pictures_are_those_shown_at_the_time(tmp_path):
    film(tmp_path / "a.mp4")
    values, times = embed(Brightness(), tmp_path / "a.mp4")
    assert len(values) == 31 and times[-1] == 2.0  # both ends
    shown = np.minimum(np.floor(times * 25 + 1e-6), 49)
    np.testing.assert_allclose(values[:, 0], 4 * shown, atol=6)


def test_a_film_without_pictures_is_named(tmp_path):
    film(tmp_path / "b.mp4", images=False)
    with pytest.raises(DataError, match=r"b\.mp4 has no images"):
        embed(Brightness(), tmp_path / "b.mp4")
    (tmp_path / "c.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"c\.mp4 cannot be opened as an audio or video file"):
        embed(Brightness(), tmp_path / "c.mp4")


def test_the_sound_of_a_film_is_embedded_too(tmp_path):
    film(tmp_path / "b.mp4", images=False)
    values, _ = embed(Loudness(), tmp_path / "b.mp4")
    assert values.shape == (2, 1) and not values.any()
