"""The page that follows the score: all times, a player, nothing fetched, whatever the files are called."""

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.alignment import page
from tasks.alignment.aligned import notes_played
from tasks.alignment.output_tables import bar_rows
from tasks.alignment.writer import AlignmentFiles, write_files
from tests.helpers.html_page import Read
from tests.helpers.known_alignments import RATE, aligned, twice

PAGE_ALONE = AlignmentFiles(page=True, check=False, clicks=False, picture=False, font="embedded")


HOSTILE = "songs/<script>alert('x')<!-- \"{{data}}\" & $& \\1 é.wav"


def test_the_page_holds_all_times_and_fetches_nothing():
    made = twice(path=HOSTILE, remarks=["<b>bold</b> & http-like"], transposition=-1)
    text = page.page(made, "recording.flac")
    read = Read(text)
    assert not read.open  # every element is closed
    name = Path(HOSTILE).name
    assert read.texts[("title", None)] == read.texts[("h1", None)] == name
    about = "score: waltz.mid; the recording is 1 semitone below it; <b>bold</b> & http-like"
    assert read.texts[("p", "about")] == about
    assert [tag for tag, _ in read.attributes].count("script") == 2 and "http:" not in text and "https:" not in text
    fetching = {"src", "href", "data", "action", "srcset", "poster"}
    addresses = [value for _, found in read.attributes for key, value in found.items() if key in fetching]
    assert addresses == ["recording.flac"]
    policy = next(found["content"] for _, found in read.attributes if found.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    content = json.loads(read.texts[("script", "data")])
    played = notes_played(made)
    assert [row[2] for row in content["notes"]] == (60 + played.index).tolist()
    np.testing.assert_allclose([row[:2] for row in content["notes"]], played.time, atol=5.1e-5)
    assert content["bars"] == [[row["recording_s"], row["bar"]] for row in bar_rows(made)]
    assert content["beats"][2] == [1.4, 1, 1] and content["duration"] == 11.0
    assert content["names"]["61"] == "C#4"


def test_the_page_has_the_recording_inside_or_beside_it(tmp_path, monkeypatch):
    noise = np.random.default_rng(2).normal(0, 0.1, len(aligned().audio)).astype(np.float32)
    (tmp_path / "in").mkdir()
    write_files(tmp_path / "in", aligned(audio=noise), PAGE_ALONE)
    address = dict(Read((tmp_path / "in/page.html").read_text()).attributes)["audio"]["src"]
    kind, _, content = address.partition(",")
    assert kind == "data:audio/flac;base64" and not (tmp_path / "in/recording.flac").exists()
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="float32")
    assert rate == RATE and len(sound) == len(noise)
    np.testing.assert_allclose(sound, noise, atol=2**-15)
    monkeypatch.setattr(page, "EMBEDDED_BYTES", 1000)
    (tmp_path / "beside").mkdir()
    write_files(tmp_path / "beside", aligned(audio=noise), PAGE_ALONE)
    assert dict(Read((tmp_path / "beside/page.html").read_text()).attributes)["audio"]["src"] == "recording.flac"
    np.testing.assert_array_equal(soundfile.read(tmp_path / "beside/recording.flac", dtype="float32")[0], sound)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to read the script with")
def test_the_pages_script_is_javascript(tmp_path):
    script = Read(page.page(twice(), "recording.flac")).texts["script", None]
    (tmp_path / "page.js").write_text(script, encoding="utf-8")
    subprocess.run(["node", "--check", tmp_path / "page.js"], check=True)
