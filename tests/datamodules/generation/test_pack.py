"""The pack of a corpus: equal to what was parsed, made once whoever asks, made anew when its ingredients change."""

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.common.checksum import TABLE
from datamodules.common.errors import DataError
from datamodules.generation import pack
from datamodules.generation.corpora.chorales import Chorales
from datamodules.generation.corpora.corpus import Corpus, Dropped, Splits
from datamodules.generation.corpora.music_folder import MusicFolder
from datamodules.generation.piece import Piece, in_order, same
from tests.helpers.symbolic_layouts import melody, write_midi


def piece(seed: int, **changes) -> Piece:
    """A piece with something in every field."""
    random = np.random.default_rng(seed)
    notes = np.stack(
        [random.integers(0, 60, 9), random.integers(1, 9, 9), random.integers(40, 80, 9), np.full(9, 70), range(9)], 1
    )
    made = Piece(
        in_order(notes),
        ticks=12,
        length=70 + seed,
        name=f"a/piece {seed} \udcff",
        title="Prélude",
        composer="Sor",
        kind="study",
        pickup=seed % 12,
        metres=np.array([[0, 3, 4], [36, 2, 4]], np.int32),
        tempi=np.array([[0, 400_000 + seed], [12, 300_000]], np.int32),
        tonic=seed % 12,
        mode="minor",
        fermatas=random.integers(0, 60, seed).astype(np.int32),
        chords=random.integers(0, 7, (seed, 3)).astype(np.int32),
        drums=random.integers(1, 60, (2 * seed, 4)).astype(np.int32),
        programs=(24, 40),
    )
    return replace(made, **changes)


PIECES = [piece(seed) for seed in range(5)]
BARE = Piece(np.zeros((0, 5), np.int32), 4, 16)
DROPPED = [Dropped("b \udcfe", "b \udcfe is empty", True), Dropped("c", "c: its metre is 7/8", False)]


class Counted(Corpus):
    """A corpus that notes in a file each time it is read."""

    name = "counted"

    def __init__(self, log: str, music: str | None = None, taste: int = 0) -> None:
        self.log, self.music, self.taste = log, music, taste

    def folder(self) -> Path:
        return Path(self.log).parent

    def sources(self) -> list[Path]:
        return [] if self.music is None else [Path(self.music)]

    def read(self) -> Splits:
        with open(self.log, "a") as file:  # noqa: PTH123  O_APPEND: two processes may write
            file.write("read\n")
        return Splits(PIECES[:3], [BARE], PIECES[3:], DROPPED)


def equal(first: Splits, second: Splits) -> bool:
    plain = ("name", "title", "composer", "kind", "programs")
    pairs = [pair for one, other in zip(first[:3], second[:3], strict=True) for pair in zip(one, other, strict=True)]
    arrays = ("notes", "metres", "tempi", "fermatas", "chords", "drums")
    return first.dropped == second.dropped and all(
        same(a, b)
        and all(getattr(a, name) == getattr(b, name) for name in plain)
        and all(getattr(a, name).dtype == getattr(b, name).dtype == np.int32 for name in arrays)
        and all(getattr(a, name).shape == getattr(b, name).shape for name in arrays)
        for a, b in pairs
    )


def reads(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.is_file() else 0


@pytest.mark.parametrize(
    "splits", [Splits(PIECES[:3], [BARE], PIECES[3:], DROPPED), Splits([BARE], [], [], []), Splits([], [], [], [])]
)
def test_what_is_read_is_what_was_written(tmp_path, splits):
    pack.write(tmp_path / pack.FILE, splits)
    assert equal(pack.read(tmp_path / pack.FILE), splits)
    assert [path.name for path in tmp_path.iterdir()] == [pack.FILE]


def test_numpy_numbers_in_a_piece_are_kept_as_numbers(tmp_path):
    odd = piece(3, tonic=np.int64(3), pickup=np.int32(3), length=np.int64(73))
    pack.write(tmp_path / pack.FILE, Splits([odd], [], [], []))
    assert equal(pack.read(tmp_path / pack.FILE), Splits([piece(3)], [], [], []))


def test_a_corpus_is_read_once(tmp_path):
    log = tmp_path / "log"
    first, second = (pack.load(Counted(str(log)), tmp_path / "cache") for _ in range(2))
    assert equal(first, second) and equal(first, Counted(str(log)).read()) and reads(log) == 1 + 1
    (folder,) = (path for path in (tmp_path / "cache/symbolic").iterdir() if path.is_dir())
    assert folder.name.startswith("counted-") and {path.name for path in folder.iterdir()} == {pack.FILE, TABLE}


def test_other_arguments_or_other_music_are_another_pack(tmp_path):
    log, music = tmp_path / "log", tmp_path / "a.mid"
    music.write_bytes(b"1")
    corpus = Counted(str(log), str(music))
    pack.load(corpus, tmp_path)
    pack.load(Counted(str(log), str(music), taste=1), tmp_path)
    assert reads(log) == 2
    for change in (lambda: music.write_bytes(b"12"), lambda: music.write_bytes(b"13")):
        change()
        before = reads(log)
        pack.load(corpus, tmp_path)
        pack.load(corpus, tmp_path)
        assert reads(log) == before + 1


def test_other_readers_are_another_pack(tmp_path, monkeypatch):
    reader = tmp_path / "reader.py"
    reader.write_text("read = 1")
    corpus = Counted(str(tmp_path / "log"))
    monkeypatch.setattr(corpus, "ingredients", lambda: [reader])
    pack.load(corpus, tmp_path)
    reader.write_text("read = 2")
    pack.load(corpus, tmp_path)
    assert reads(tmp_path / "log") == 2
    names = {path.name for path in Chorales().ingredients() if isinstance(path, Path)}
    assert {"chorales.py", "musicxml.py", "piece.py", "splitting.py", "corpus.py"} <= names
    assert Chorales(3).ingredients() != Chorales().ingredients()


def test_music_moved_elsewhere_is_the_same_pack(tmp_path):
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders:
        for number in range(3):
            os.utime(write_midi(folder / f"{number}.mid", {"a": melody(number)}), (number, len(folder.name)))
        pack.load(MusicFolder(str(folder)), tmp_path / "cache")
    assert len([path for path in (tmp_path / "cache/symbolic").iterdir() if path.is_dir()]) == 1


def ask(log: Path, cache: Path) -> None:
    assert equal(pack.load(Counted(str(log)), cache), Splits(PIECES[:3], [BARE], PIECES[3:], DROPPED))


def test_two_processes_read_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=ask, args=(tmp_path / "log", tmp_path)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0] and reads(tmp_path / "log") == 1


def test_damaged_files_are_named_each_time_and_stop_a_strict_run(tmp_path):
    corpus = Counted(str(tmp_path / "log"))
    for _ in range(2):
        assert pack.load(corpus, tmp_path).dropped == DROPPED
    with pytest.raises(DataError, match=r"b .* is empty"):
        pack.load(corpus, tmp_path, strict=True)


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 no archive", None])
def test_a_damaged_pack_is_parsed_again(tmp_path, damage, caplog):
    corpus = Counted(str(tmp_path / "log"))
    pack.load(corpus, tmp_path)
    (path,) = tmp_path.glob(f"symbolic/*/{pack.FILE}")
    if damage is None:
        np.savez(path, header=np.frombuffer(b"{}", np.uint8))
    else:
        path.write_bytes(damage)
    pack.load(corpus, tmp_path)
    assert reads(tmp_path / "log") == 2 and "is damaged" in caplog.text
    (path.parent / TABLE).unlink()  # as earlier versions left it
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="delete the folder"):
        pack.load(corpus, tmp_path)


def test_a_reading_that_fails_leaves_no_pack(tmp_path, monkeypatch):
    corpus = Counted(str(tmp_path / "log"))

    def fail() -> Splits:
        raise DataError("the disk of the music is gone")

    monkeypatch.setattr(corpus, "read", fail)
    with pytest.raises(DataError, match="gone"):
        pack.load(corpus, tmp_path)
    monkeypatch.undo()
    assert len(pack.load(corpus, tmp_path).train) == 3


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "symbolic").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"--data\.cache_dir"):
        pack.load(Counted(str(tmp_path / "log")), tmp_path)
