"""Inputs of `predict` on file systems as they are: links, loops, broken links, names that are no UTF-8."""

import os
import sys

import pytest

from datamodules.alignment.folder import _beside
from datamodules.audio.files import AudioFiles
from datamodules.common.errors import DataError, escaped
from datamodules.common.file_search import entry_key, files_under, search
from datamodules.generation.corpora.music_folder import MusicFolder
from datamodules.tagging.folder import list_folders
from tests.helpers.layouts import tone, write_audio
from tests.helpers.tagging_batches import ready

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
ENDINGS = (".wav", ".mp3")


@pytest.fixture
def music(tmp_path):
    """Two albums, one of them linked into a library."""
    for name in ("albums/one/Upper.WAV", "albums/one/b.wav", "albums/two/c.mp3", "library/d.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "library" / "first").symlink_to(tmp_path / "albums" / "one", target_is_directory=True)
    return tmp_path


def names(root, *inputs, **options):
    return [file.name for file in search([str(root / name) for name in inputs], ENDINGS, "file", **options)]


def test_every_name_that_is_asked_for_is_taken(music):
    link = music / "link.wav"
    link.symlink_to(music / "albums/one/Upper.WAV")
    assert names(music, "albums/one/Upper.WAV", "link.wav") == ["Upper.WAV", "link.wav"]
    assert names(music, "link.wav", "link.wav", "albums/../link.wav") == ["link.wav"]


def test_folders_of_linked_albums_are_searched(music):
    assert names(music, "library") == ["d.wav", "first/Upper.WAV", "first/b.wav"]
    assert names(music, "library/*") == ["d.wav", "first/Upper.WAV", "first/b.wav"]
    assert names(music, "library/**/*.wav") == ["d.wav", "first/b.wav"]
    assert names(music, "library/**") == ["d.wav", "first/Upper.WAV", "first/b.wav"]
    assert names(music, "**/one") == ["albums/one/Upper.WAV", "albums/one/b.wav"]
    assert names(music, "lib*/f?rst/b.wav") == ["library/first/b.wav"]


def test_loops_end_and_each_folder_is_searched_once(music):
    for number in range(4):  # without a guard 4 loops have more paths than there are atoms
        (music / "library" / f"loop{number}").symlink_to(music / "library", target_is_directory=True)
        (music / "albums" / f"back{number}").symlink_to(music, target_is_directory=True)
    assert names(music, "library") == ["d.wav", "first/Upper.WAV", "first/b.wav"]
    assert names(music, "library/**/*.wav") == ["d.wav", "first/b.wav"]
    assert sorted(path.name for path in files_under(music, ENDINGS)) == ["Upper.WAV", "b.wav", "c.mp3", "d.wav"]


def test_broken_links_are_yielded_with_their_error(music):
    (music / "gone.wav").symlink_to(music / "nowhere.wav")
    (music / "self.wav").symlink_to(music / "self.wav")
    song = write_audio(music / "song.wav", tone(0.2))
    batches = list(ready(AudioFiles([str(music / "gone.wav"), str(music / "self.wav"), str(song)])).predict_dataloader())
    assert [batch.error for batch in batches] == [
        f"{music / 'gone.wav'} is a broken link to {music / 'nowhere.wav'}.",
        f"{music / 'self.wav'} is a broken link to {music / 'self.wav'}.",
        None,
    ]
    (music / "albums/two/c.mp3").unlink()
    (music / "albums/two/c.mp3").symlink_to("nothing")
    assert names(music, "albums/two") == ["c.mp3"]


def test_a_folder_is_left_out_where_it_is_searched_but_not_where_it_is_named(music):
    assert names(music, "albums", excluded=music / "albums" / "one") == ["two/c.mp3"]
    assert names(music, "library/**", excluded=music / "albums" / "one") == ["d.wav"]
    assert names(music, "albums/one/b.wav", excluded=music / "albums" / "one") == ["b.wav"]


def test_one_entry_has_one_key_however_its_folder_is_reached(music, monkeypatch):
    monkeypatch.chdir(music / "library")
    keys = {entry_key(path) for path in ("first/b.wav", "../albums/one/b.wav", music / "albums/one/b.wav")}
    assert len(keys) == 1
    assert len(names(music, "library/first/b.wav", "albums/one")) == 2


def test_names_that_are_no_utf8_are_printable_and_different(tmp_path):
    try:
        for name in (b"a\xff.wav", b"a\xfe.wav", "ä.wav".encode()):
            write_audio(tmp_path / "plain.wav", tone(0.2)).rename(tmp_path / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    files = search([str(tmp_path)], ENDINGS, "file")
    assert sorted(escaped(file.name) for file in files) == [r"a\xfe.wav", r"a\xff.wav", "ä.wav"]
    assert len({file.key for file in files}) == 3
    for file in files:
        file.key.encode()
    assert [batch.error for batch in ready(AudioFiles(str(tmp_path))).predict_dataloader()] == [None] * 3


def test_a_message_about_a_name_that_is_no_utf8_is_printable(tmp_path):
    with pytest.raises(DataError) as caught:
        search([str(tmp_path / os.fsdecode(b"a\xff.wav"))], ENDINGS, "file")
    str(caught.value).encode()


def test_training_folders_follow_links_to_albums(tmp_path):
    for name in ("albums/rock/a.wav", "albums/rock/b.wav", "albums/jazz/c.wav", "songs/x/tune.abc", "songs/x/.hidden/no.abc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    library = tmp_path / "library"
    library.mkdir()
    for tag in ("rock", "jazz"):
        (library / tag).symlink_to(tmp_path / "albums" / tag, target_is_directory=True)
        (tmp_path / "albums" / tag / "loop").symlink_to(library, target_is_directory=True)
    assert list_folders(library).tags == ["jazz", "rock"]
    assert {row["recording"].rsplit("/", 1)[-1] for row in _beside(library)} == {"a.wav", "b.wav", "c.wav"}
    (library / "songs").symlink_to(tmp_path / "songs", target_is_directory=True)
    assert [path.name for path in MusicFolder(str(library)).sources()] == ["tune.abc"]
