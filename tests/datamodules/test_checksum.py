"""Checksums of what is cached: a flipped byte or a cut file is noticed, said, and made again, in every kind of cache."""

import logging

import numpy as np
import pytest
import soundfile

from datamodules.alignment.features import FeatureStore
from datamodules.alignment.listing import Sound
from datamodules.alignment.sounds import hear
from datamodules.audio.windows import Window
from datamodules.common import checksum
from datamodules.common.cache import build_folder, write_atomically
from datamodules.common.input_spec import TaggingSpec
from datamodules.generation import pack
from datamodules.generation.corpora.music_folder import MusicFolder
from datamodules.generation.piece import same
from datamodules.sed.embeddings import EmbeddingCache
from datamodules.tagging.mtat import MTAT
from tests.datamodules.sed.test_embeddings import RATE, Loudness
from tests.helpers.layouts import tone, write_audio, write_mtat
from tests.helpers.symbolic_layouts import melody, write_midi


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize("size", [0, 1, checksum.BLOCK, checksum.BLOCK + 1])
def test_a_sealed_file_is_whole_until_it_is_not(tmp_path, size):
    path = tmp_path / "x"
    content = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    write_atomically(path, lambda file: file.write(content), sealed=True)
    assert path.read_bytes()[:size] == content and len(path.read_bytes()) == size + checksum.TRAILER
    assert checksum.damaged([path]) == []
    for harm in (cut, flip, lambda path: path.write_bytes(b""), lambda path: path.unlink()):
        write_atomically(path, lambda file: file.write(content), sealed=True)
        harm(path)
        assert checksum.damaged([path]) == [path]


@pytest.mark.parametrize("harm", [cut, flip, lambda path: path.unlink()])
def test_a_folder_is_made_again_where_a_file_of_it_is_damaged(tmp_path, harm, caplog):
    made = []

    def make(part):
        made.append(part)
        (part / "a").mkdir()
        (part / "a/sound.bin").write_bytes(bytes(range(200)))
        (part / "b").write_bytes(b"")

    folder = build_folder(tmp_path / "set", make, "the set")
    assert build_folder(folder, make, "the set") == folder and len(made) == 1
    harm(folder / "a/sound.bin")
    build_folder(folder, make, "the set")
    assert len(made) == 2 and (folder / "a/sound.bin").read_bytes() == bytes(range(200))
    assert "is damaged (sound.bin" in caplog.text
    (folder / checksum.TABLE).unlink()  # as earlier versions left it
    harm(folder / "a/sound.bin")
    build_folder(folder, make, "the set")
    assert len(made) == 2


def ready(root, cache, **options):
    data = MTAT(str(root), cache_dir=str(cache), num_workers=0, **options)
    data.connect(TaggingSpec(Window(16_000, 8000, 8000, 0)))
    return data


@pytest.mark.parametrize("harm", [cut, flip])
def test_training_never_reads_a_damaged_pack(tmp_path, harm, caplog):
    root = write_mtat(tmp_path / "set")
    data = ready(root, tmp_path / "cache")
    good = data.build_pack()
    expected = [good.whole(clip) for clip in range(4)]
    shard = next(good.folder.glob("*.i16"))
    harm(shard)
    with caplog.at_level(logging.WARNING):
        store, _ = ready(root, tmp_path / "cache").store
    assert all(np.array_equal(store.whole(clip), sound) for clip, sound in enumerate(expected))
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("harm", [cut, flip])
def test_a_damaged_pack_of_pieces_is_parsed_again(tmp_path, harm, caplog):
    write_midi(tmp_path / "music/1.mid", {"a": melody(0)})
    first, again = pack.load(MusicFolder(str(tmp_path / "music")), tmp_path), None
    harm(next((tmp_path / "symbolic").glob(f"*/{pack.FILE}")))
    again = pack.load(MusicFolder(str(tmp_path / "music")), tmp_path)
    pairs = zip((*first.train, *first.validation, *first.test), (*again.train, *again.validation, *again.test), strict=True)
    assert all(same(a, b) for a, b in pairs)
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("harm", [cut, flip])
def test_damaged_embeddings_are_computed_again(tmp_path, harm, caplog):
    clip = tmp_path / "x.wav"
    soundfile.write(clip, np.full(2 * RATE, 0.2), RATE)
    cache = EmbeddingCache(tmp_path / "cache", "loudness", extractor := Loudness(), tmp_path)
    cache.build([clip])
    before = cache.read(clip)
    harm(next((tmp_path / "cache").rglob("*.npy")))
    assert cache.build([clip]) == {} and extractor.calls == 2
    np.testing.assert_array_equal(cache.read(clip).values, before.values)
    assert "1 of 1 embeddings" in caplog.text


@pytest.mark.parametrize("harm", [cut, flip])
def test_damaged_features_and_renderings_are_computed_again(tmp_path, harm, caplog):
    def extract(audio, cents):
        return audio[: len(audio) // 100 * 100].reshape(1, 1, -1, 100).mean(3)

    sound = Sound(write_audio(tmp_path / "x.wav", tone(0.5, rate=8000), 8000))
    store = FeatureStore(extract, "means", 8000, str(tmp_path / "cache"))
    store.build([sound])
    before = np.array(store.read(sound))
    harm(store.path(sound))
    assert store.build([sound]) == {}
    np.testing.assert_array_equal(store.read(sound), before)
    assert "1 of 1 files of features" in caplog.text
    played = Sound(write_midi(tmp_path / "1.mid", {"a": melody(0)}), font="embedded")
    rendered = hear(played, 8000, tmp_path / "cache")
    harm(next((tmp_path / "cache/alignment/sounds").glob("*.npy")))
    np.testing.assert_array_equal(hear(played, 8000, tmp_path / "cache"), rendered)
