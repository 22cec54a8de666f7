"""Names of what is cached: a copied or renamed data set finds everything again, and a changed file makes it anew."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from datamodules.alignment.listing import Sound
from datamodules.alignment.sounds import fingerprint as sound_key
from datamodules.audio.windows import Window
from datamodules.common.cache import cached, fingerprint, probe
from datamodules.common.input_spec import SeparationSpec, TaggingSpec
from datamodules.sed.embeddings import EmbeddingCache
from datamodules.separation.stem_folder import StemFolder
from datamodules.tagging.folder import Folder
from datamodules.tagging.mtat import MTAT
from tests.datamodules.sed.test_embeddings import Loudness
from tests.datamodules.sed.test_soundscapes import library  # noqa: F401  a fixture
from tests.datamodules.sed.test_soundscapes import ready as soundscapes
from tests.datamodules.separation.test_loops import make as loops
from tests.datamodules.separation.test_stem_statistics import spectrogram
from tests.helpers.layouts import tone, write_audio, write_folder, write_mtat
from tests.helpers.loop_layout import write_sessions
from tests.helpers.stems import write_track


def copied(root, to):
    """As `cp -r`: other times of change, another folder name."""
    return shutil.copytree(root, to, copy_function=shutil.copy)


@pytest.mark.parametrize("size", [0, 100, 1 << 16, (1 << 16) + 1, 1 << 20])
def test_a_probe_is_of_the_content(tmp_path, size):
    content = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(content)
    assert probe(tmp_path / "a") == probe(tmp_path / "b")
    for changed in (content + b"x", content[: size // 2] + b"?" + content[size // 2 + 1 :] if size <= 1 << 16 else content[::-1]):
        (tmp_path / "b").write_bytes(changed)
        assert probe(tmp_path / "a") != probe(tmp_path / "b")


def test_a_fingerprint_changes_with_names_sizes_and_contents(tmp_path):
    def of(*names, settings="s"):
        return fingerprint(settings, [(name.encode(), bytes(tmp_path / name)) for name in names])

    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"same")
    keys = {of("a", "b"), of("a"), of("b"), of("b", "a"), of("a", "b", settings="t")}
    (tmp_path / "b").write_bytes(b"shame")
    keys |= {of("a", "b")}
    (tmp_path / "b").write_bytes(b"Same")
    assert len(keys | {of("a", "b")}) == 7


def test_the_shared_cache_is_used_where_only_it_holds_something(tmp_path, monkeypatch):
    monkeypatch.setenv("QUINTET_CACHE", str(tmp_path / "shared"))
    own, shared = tmp_path / "own/packs/x", tmp_path / "shared/packs/x"
    assert cached(str(tmp_path / "own"), "packs", "x") == own
    shared.mkdir(parents=True)
    assert cached(str(tmp_path / "own"), "packs", "x") == shared
    assert cached(str(tmp_path / "own"), "packs", "x", whole="index.npz") == own
    (shared / "index.npz").write_bytes(b"")
    own.mkdir(parents=True)  # half built
    assert cached(str(tmp_path / "own"), "packs", "x", whole="index.npz") == shared
    assert cached(str(tmp_path / "own"), "packs", "x") == own


def ready(data):
    data.connect(TaggingSpec(Window(16_000, 8000, 8000, 0)))
    return data


@pytest.mark.parametrize("kind", [MTAT, Folder])
def test_a_pack_is_found_after_a_copy_and_the_run_says_so(tmp_path, monkeypatch, kind, caplog):
    """`prepare` into the shared cache; then `fit` with a cache of the job's own on a copy of the data set."""
    monkeypatch.setenv("QUINTET_CACHE", str(tmp_path / "shared"))
    root = (write_mtat if kind is MTAT else write_folder)(tmp_path / "set")
    with caplog.at_level(logging.INFO):
        assert ready(kind(str(root))).store[0] is not None
    assert "No pack in" in caplog.text and "files are decoded in every epoch" in caplog.text
    pack = ready(kind(str(root))).build_pack()
    caplog.clear()
    copy = copied(root, tmp_path / "elsewhere")
    with caplog.at_level(logging.INFO):
        store, _ = ready(kind(str(copy), cache_dir=str(tmp_path / "job"))).store
    assert store.folder == pack.folder
    assert f"from the pack {pack.folder}" in caplog.text
    changed = next(path for path in copy.rglob("*") if path.suffix in (".mp3", ".ogg"))
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    assert ready(kind(str(copy))).pack_folder() != pack.folder


def test_statistics_are_found_after_a_copy(tmp_path, monkeypatch):
    for number in range(4):
        write_track(tmp_path / f"set/train/{number}", 0.5, number, ("drums", "bass"), 8000)
    root = tmp_path / "set"

    def measured(root, cache):
        data = StemFolder(str(root), sample_rate=8000, cache_dir=cache)
        data.connect(SeparationSpec(spectrogram, "x"))
        return data.statistics()

    monkeypatch.setenv("QUINTET_CACHE", str(tmp_path / "shared"))
    first = measured(root, None)
    monkeypatch.setattr("datamodules.audio.mean_std.combined_moments", None)
    monkeypatch.setattr("datamodules.separation.data.combined_moments", None)
    again = measured(copied(root, tmp_path / "elsewhere"), str(tmp_path / "job"))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_embeddings_are_found_after_a_copy_and_those_of_earlier_versions_are_taken_over(tmp_path):
    clip = write_audio(tmp_path / "set/audio/x.wav", tone(1, rate=8000), 8000)
    extractor = Loudness()
    cache = EmbeddingCache(tmp_path / "cache", "loudness", extractor, tmp_path / "set")
    cache.build([clip])
    copy = copied(tmp_path / "set", tmp_path / "elsewhere") / "audio/x.wav"
    assert EmbeddingCache(tmp_path / "cache", "loudness", extractor, copy.parent.parent).build([copy]) == {}
    assert extractor.calls == 1
    kept = cache.read(clip)
    new = cache._path(clip)
    new.unlink()
    old = as_earlier_versions(cache, clip)
    old.parent.mkdir(exist_ok=True)
    with old.open("wb") as file:
        np.save(file, kept.values)
        np.save(file, kept.times)
    cache.build([clip])
    assert extractor.calls == 1 and new.is_file() and not old.exists()
    np.testing.assert_array_equal(cache.read(clip).values, kept.values)


def as_earlier_versions(cache, clip):
    import hashlib

    stat = clip.stat()
    digest = hashlib.sha256(f"{clip.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:20]
    return cache.folder / digest[:2] / f"{digest}.npy"


def test_the_cluster_script_reads_the_cache_that_prepare_fills():
    script = (Path(__file__).parents[2] / "configs/slurm.sh").read_text()
    assert "srun python" in script and "cache_dir" not in script


def test_loops_soundscapes_and_recordings_are_found_after_a_copy(tmp_path, library):  # noqa: F811
    root = write_sessions(tmp_path / "sessions", sessions=1, rate=8000)
    assert loops(root, tmp_path).folder == loops(copied(root, tmp_path / "moved"), tmp_path).folder
    mixed = soundscapes(library).find_root()
    assert soundscapes(copied(library, library.parent / "another")).find_root() == mixed
    path = write_audio(tmp_path / "x.wav", tone(0.3), 16_000)
    other = shutil.copy(path, tmp_path / "renamed.wav")
    assert sound_key(Sound(path)) == sound_key(Sound(path.with_name(other.name)))
