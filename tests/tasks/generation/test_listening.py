"""The page of a listening test: it gives nothing away, plays offline, asks everything, and is made of runs."""

import base64
import io
import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from datamodules.common.errors import DataError
from datamodules.generation.views.view import Encoded
from datamodules.generation.writing.midi import midi_bytes
from tasks.generation.listening import from_runs, page
from tasks.generation.listening.analysis import checked, read_key
from tasks.generation.listening.page import ListeningDesign, Stimulus, write_page
from tests.helpers.html_page import Read
from tests.helpers.listening_data import RATE, SYSTEMS, excerpts, page_of, tone
from tests.helpers.written_pieces import written as chords


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Text of a page, its data, its key."""
    return page_of(tmp_path_factory.mktemp("listening"))


def sounds(data):
    return {name: soundfile.read(io.BytesIO(base64.b64decode(address.split(",")[1]))) for name, address in data["sounds"].items()}


def test_the_page_names_no_system_and_no_piece_and_fetches_nothing(written):
    text, data, key = written
    plain = re.sub(r"base64,[^\"]*", "", text).lower()
    assert not [name for name in (*SYSTEMS[1:], "markov", "lstm", "chorale_", "test.html") if name in plain]
    assert "http:" not in text and "https:" not in text
    read = Read(text)
    assert not read.open
    fetching = {"src", "href", "data", "action", "srcset", "poster"}
    assert not [value for _, found in read.attributes for name, value in found.items() if name in fetching]
    policy = next(found["content"] for _, found in read.attributes if found.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';") and policy.endswith("media-src data:")
    assert set(data["sounds"]) == set(key["excerpts"]) and data["test"] == key["test"]
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in data["sounds"])


def test_all_excerpts_are_equally_long_and_loud_and_fade(written):
    found = sounds(written[1])
    assert {len(samples) for samples, _ in found.values()} == {5 * RATE}
    levels = [np.sqrt((samples**2).mean()) for samples, _ in found.values()]
    assert np.ptp(levels) < 1e-3 * max(levels) and levels[0] == pytest.approx(page.LEVEL, rel=1e-3)
    assert all(np.abs(samples[-20:]).max() < 1e-3 for samples, _ in found.values())


def test_a_peak_lowers_all():
    quiet = np.zeros(5 * RATE)
    quiet[::RATE] = 1.0
    held = io.BytesIO()
    soundfile.write(held, quiet, RATE, format="FLAC")
    found = [page._alike([Stimulus(sound, "a", "p", True) for sound in (held.getvalue(), tone(0))], 20)][0]
    read = [soundfile.read(io.BytesIO(base64.b64decode(address.split(",")[1])))[0] for address in found]
    assert np.abs(read[0]).max() == pytest.approx(page.PEAK, abs=1e-3)
    assert np.sqrt((read[0] ** 2).mean()) == pytest.approx(np.sqrt((read[1] ** 2).mean()), rel=1e-2)


def test_every_sheet_is_half_real_and_pairs_two_systems_on_one_task(written):
    _, data, key = written
    known = key["excerpts"]
    for sheet in data["sheets"]:
        assert len(sheet["pairs"]) == 6 and len(set(map(tuple, sheet["pairs"]))) == 6
        between = [frozenset(known[name]["system"] for name in pair) for pair in sheet["pairs"]]
        assert all(len(two) == 2 and between.count(two) == 2 for two in between)
        assert all(known[a]["piece"] == known[b]["piece"] for a, b in sheet["pairs"])
        heard = [known[name]["system"] for name in sheet["singles"]]
        assert len(set(sheet["singles"])) == 8 and [heard.count(name) for name in SYSTEMS] == [4, 2, 2]
    assert len({json.dumps(sheet) for sheet in data["sheets"]}) > 50
    assert data["intro"][0].startswith("You will hear 6 pairs of short pieces, then 8 pieces alone. Some are by Bach")


def test_of_few_real_pieces_fewer_are_judged_so_that_half_stays_real(tmp_path):
    some = [one for one in excerpts() if not one.real or one.piece == "chorale_0"]
    key = read_key(write_page(tmp_path / "test.html", some, questions=ListeningDesign(pairs=2, singles=8)))
    data = json.loads(Read((tmp_path / "test.html").read_text()).texts["script", "data"])
    for sheet in data["sheets"]:
        assert sorted(key["excerpts"][name]["real"] for name in sheet["singles"]) == [False, True]
    assert "then 2 pieces alone" in data["intro"][0]


def test_the_same_seed_writes_the_same_page_and_another_seed_other_names(tmp_path):
    few, ask = excerpts(2), ListeningDesign(2, 4)
    texts = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        key = write_page(tmp_path / name / "test.html", few, seed, questions=ask)
        texts.append([(tmp_path / name / "test.html").read_bytes(), set(read_key(key)["excerpts"])])
    assert texts[0] == texts[1] and not texts[0][1] & texts[2][1]


def test_what_no_test_can_be_made_of_is_refused(tmp_path):
    some = excerpts(2)
    for wrong, said in (
        ([one for one in some if one.real], "at least one system"),
        ([one for one in some if not one.real], "of a human"),
        ([*some, Stimulus(b"RIFF", "x", "tune", False)], "tune by x cannot be read"),
        ([*some, Stimulus(tone(0, 1.5), "x", "tune", False)], "lasts 1.5 s"),
        ([*some, Stimulus(tone(0, loud=0.0), "x", "tune", False)], "silent"),
    ):
        with pytest.raises(ValueError, match=said):
            write_page(tmp_path / "test.html", wrong)
    with pytest.raises(ValueError, match="reveals the system secret-lstm"):
        write_page(tmp_path / "test.html", some, title="Bach or Secret-LSTM")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the script with")
def test_the_script_leads_through_all_questions_in_a_random_order(written, tmp_path):
    script = tmp_path / "try.js"
    script.write_text(
        "const page = require(process.argv[2]), data = JSON.parse(require('fs').readFileSync(0));\n"
        "const seeded = (s) => () => (s = (s * 16807) % 2147483647) / 2147483647;\n"
        "const [state, other] = [5, 77].map((seed) => page.begun(data, seeded(seed), 'me', 'now')), steps = [];\n"
        "for (let n = 0; n < 40; n++) { const [name, k] = page.step(state); steps.push([name, k, page.done(state)]);\n"
        "  if (name === 'background') state.background = {}; else if (name === 'pair') state.pairs.push({});\n"
        "  else if (name === 'single') state.singles.push({}); else break; }\n"
        "console.log(JSON.stringify({ steps, plans: [state.plan, other.plan], response: page.response(state) }));\n"
    )
    data = {**written[1], "sounds": {}}
    run = ["node", script, page.FOLDER / "page.js"]
    found = json.loads(subprocess.run(run, input=json.dumps(data), capture_output=True, text=True, check=True).stdout)
    names = [name for name, _, _ in found["steps"]]
    assert names == ["background", *["pair"] * 6, *["single"] * 8, "end"]
    assert [part for *_, part in found["steps"]] == pytest.approx(np.linspace(0, 1, 16).tolist())
    assert found["plans"][0] != found["plans"][1]
    sheets = [[sorted(map(sorted, sheet["pairs"])), sorted(sheet["singles"])] for sheet in data["sheets"]]
    for plan in found["plans"]:
        assert [sorted(map(sorted, plan["pairs"])), sorted(plan["singles"])] in sheets
    assert "plan" not in found["response"] and found["response"]["test"] == data["test"]


PILOT = """<script>(async () => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms)), said = [];
  for (let form; (form = document.querySelector("form")); await wait(5)) {
    form.querySelector("button").click();
    said.push(document.getElementById("missing").textContent);
    for (const audio of form.querySelectorAll("audio")) {
      while (!(audio.duration > 0)) await wait(20);
      said.push(audio.duration);
      audio.dispatchEvent(new Event("ended"));
    }
    for (const years of form.querySelectorAll("input[type=number]")) years.value = 7;
    for (const one of form.querySelectorAll("input[type=radio]")) one.checked = true;
    form.querySelector("button").click();
  }
  const kept = JSON.parse(localStorage.getItem(Object.keys(localStorage)[0])), answers = document.getElementById("answers").value;
  const log = { id: "log", textContent: JSON.stringify({ said, kept, answers }) };
  document.body.append(Object.assign(document.createElement("pre"), log));
})();</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser to open the page with")
def test_a_browser_plays_all_sounds_and_asks_everything_before_it_goes_on(written, tmp_path):
    text, _, key = written
    (tmp_path / "test.html").write_text(text.replace("</body>", PILOT), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}/browser",
        "--virtual-time-budget=60000",
    ]
    run = ["chromium", *options, "--dump-dom", (tmp_path / "test.html").as_uri()]
    shown = Read(subprocess.run(run, capture_output=True, text=True, check=True, timeout=120).stdout)
    found = json.loads(shown.texts["pre", "log"])
    response = checked(json.loads(found["answers"]), key, "answers")
    assert [len(response[name]) for name in ("pairs", "singles")] == [6, 8] and response["background"]["training"] == 7
    words = [said for said in found["said"] if isinstance(said, str)]
    assert words == ["Please answer every question.", *["Please listen first."] * 14]
    assert {said for said in found["said"] if not isinstance(said, str)} == {5}
    assert found["kept"]["listener"] == response["listener"] and found["kept"]["finished"] == response["finished"]


class Plain:
    """A view that shows pieces as they are."""

    def encode(self, piece):
        return Encoded(piece, None)

    def decode(self, frames, template):
        return frames


def run_of(folder, row: str, pieces: int, data: str = "chorales") -> None:
    """A run folder as `test` leaves it, each piece a quarter longer than the one before."""
    (folder / "pieces").mkdir(parents=True)
    about = {"name": data, "subset": "full", "split": "test", "policy": "a grid"}
    content = {"task": "generation", "row": row, "seed": 0, "data": about, "metrics": {}}
    (folder / "metrics.json").write_text(json.dumps(content))
    for number in range(1, pieces + 1):
        (folder / "pieces" / f"{number:02d}.mid").write_bytes(midi_bytes(chords([[60 + number]] * (8 + number), ticks=480)))


def test_runs_are_heard_beside_the_test_pieces_whose_frames_they_had(tmp_path, monkeypatch):
    references = [chords([[72]] * 40, name=f"bwv{k}", composer="Johann Sebastian Bach") for k in range(7)]
    monkeypatch.setattr(
        from_runs, "_settings", lambda folder: (SimpleNamespace(view=Plain(), pieces=lambda split: references), 2)
    )
    monkeypatch.setattr(from_runs, "_sound", lambda piece: tone(int(piece.notes[0, 2]) + piece.length))
    for row, pieces in (("gru", 4), ("secret_chain", 4)):
        run_of(tmp_path / row, row, pieces)
    said = from_runs.build_page([str(tmp_path / row) for row in ("gru", "secret_chain")], 2, tmp_path / "out", 0)
    assert "2 systems, 6 excerpts" in said and "secret_chain" not in (tmp_path / "out/listening.html").read_text()
    key = read_key(tmp_path / "out/key.json")
    found = sorted((one["system"].split(" [")[0], one["piece"], one["real"]) for one in key["excerpts"].values())
    machines = [(row, piece, False) for row in ("gru", "secret_chain") for piece in ("bwv0", "bwv6")]
    assert found == [*machines, *(("test pieces of chorales, full", piece, True) for piece in ("bwv0", "bwv6"))]
    assert key["human"] == "Bach"


def test_a_run_without_pieces_or_settings_is_named(tmp_path):
    run_of(tmp_path / "gru", "gru", 0)
    with pytest.raises(DataError, match=r"gru has no pieces: .*generation test"):
        from_runs.build_page([str(tmp_path / "gru")], 2, tmp_path / "out", 0)
    run_of(tmp_path / "lstm", "lstm", 1)
    with pytest.raises(DataError, match=r"config.yaml cannot be read"):
        from_runs.build_page([str(tmp_path / "lstm")], 2, tmp_path / "out", 0)
    with pytest.raises(DataError, match="--listening 0"):
        from_runs.build_page([str(tmp_path / "lstm")], 0, tmp_path / "out", 0)
