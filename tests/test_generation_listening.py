"""The listening test: a page that gives nothing away and plays offline, and an analysis that finds what was put in."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from scipy.optimize import minimize

from datamodules.errors import DataError
from tasks.generation.listening import page as pages
from tasks.generation.listening.analysis import analyse, lines_of, report, rows_of, share
from tasks.generation.listening.page import Excerpt, Questions, write_page
from tasks.generation.listening.ranking import bradley_terry
from tasks.generation.listening.responses import checked, read_key, read_responses

RATE = 8000
SYSTEMS = ("Bach", "markov_order_4", "secret-lstm")


def tone(seed: int, seconds: float = 5.0, loud: float = 0.3, channels: int = 1, form: str = "WAV") -> bytes:
    random, held = np.random.default_rng(seed), io.BytesIO()
    wave = np.sin(2 * np.pi * random.uniform(100, 900) * np.arange(round(seconds * RATE)) / RATE)
    soundfile.write(held, loud * np.stack([wave] * channels, 1), RATE, format=form)
    return held.getvalue()


def excerpts(each: int = 5) -> list[Excerpt]:
    """Of different length, loudness and form."""
    made = []
    for k, system in enumerate(SYSTEMS):
        for one in range(each):
            loud, form = (0.02, 0.3, 0.9)[(k + one) % 3], ("WAV", "FLAC", "OGG")[k]
            sound = tone(10 * k + one, 5 + one / 10, loud, 1 + one % 2, form)
            made.append(Excerpt(sound, system, f"chorale_{one}", system == "Bach"))
    return made


class Read(HTMLParser):
    """Elements with their attributes, and what each script holds."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.texts = [], [], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.attributes.append((tag, dict(attributes)))
        if tag not in ("meta", "input", "link", "img"):
            self.open.append((tag, dict(attributes).get("id")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        self.texts[self.open[-1] if self.open else None] = self.texts.get(self.open[-1] if self.open else None, "") + text


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Text of a page, its data, its key."""
    path = tmp_path_factory.mktemp("listening") / "test.html"
    key = read_key(write_page(path, excerpts(), seed=3, questions=Questions(pairs=6, singles=8)))
    text = path.read_text(encoding="utf-8")
    return text, json.loads(Read(text).texts["script", "data"]), key


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
    assert np.ptp(levels) < 1e-3 * max(levels) and levels[0] == pytest.approx(pages.LEVEL, rel=1e-3)
    assert all(np.abs(samples[-20:]).max() < 1e-3 for samples, _ in found.values())


def test_a_peak_lowers_all():
    quiet = np.zeros(5 * RATE)
    quiet[::RATE] = 1.0
    held = io.BytesIO()
    soundfile.write(held, quiet, RATE, format="FLAC")
    found = [pages._alike([Excerpt(sound, "a", "p", True) for sound in (held.getvalue(), tone(0))], 20)][0]
    read = [soundfile.read(io.BytesIO(base64.b64decode(address.split(",")[1])))[0] for address in found]
    assert np.abs(read[0]).max() == pytest.approx(pages.PEAK, abs=1e-3)
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


def test_the_same_seed_writes_the_same_page_and_another_seed_other_names(tmp_path):
    few, ask = excerpts(2), Questions(2, 4)
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
        ([*some, Excerpt(b"RIFF", "x", "tune", False)], "tune by x cannot be read"),
        ([*some, Excerpt(tone(0, 1.5), "x", "tune", False)], "lasts 1.5 s"),
        ([*some, Excerpt(tone(0, loud=0.0), "x", "tune", False)], "silent"),
    ):
        with pytest.raises(ValueError, match=said):
            write_page(tmp_path / "test.html", wrong)
    with pytest.raises(ValueError, match="gives away the system secret-lstm"):
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
    run = ["node", script, pages.FOLDER / "page.js"]
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


def answers(key, listener: str, seed: int, sees: float = 0.5, training: int = 0, pairs: int = 30) -> dict:
    """A listener who is right with a chance, and prefers by strengths 1, 0 and -1."""
    random, known = np.random.default_rng(seed), key["excerpts"]
    names, strength = sorted(known), dict(zip(SYSTEMS, (1.0, 0.0, -1.0), strict=True))
    made = {"format": 1, "test": key["test"], "listener": listener, "pairs": [], "singles": []}
    made["background"] = {"training": training, "listening": 2, "works": 1, "device": 0}
    for _ in range(pairs):
        first, second = random.choice(names, 2, replace=False).tolist()
        odds = np.exp(strength[known[second]["system"]] - strength[known[first]["system"]])
        chosen = first if random.random() < 1 / (1 + odds) else second
        made["pairs"].append({"first": first, "second": second, "chosen": chosen, "seconds": 1.0})
    for name in random.choice(names, 10, replace=False).tolist():
        real, mark = known[name]["real"], 5 if known[name]["real"] else 2
        said = real if random.random() < sees else not real
        made["singles"].append({"id": name, "real": said, "plausible": mark, "pleasant": 3, "seconds": 1.0})
    return made


def test_known_p_values_and_intervals(written):
    key, names = written[2], sorted(written[2]["excerpts"])
    one = answers(key, "a", 0, pairs=0)
    one["singles"] = [
        {"id": names[0], "real": key["excerpts"][names[0]]["real"] == (k < 60), "plausible": 3, "pleasant": 3} for k in range(100)
    ]
    found = analyse([one], key)
    assert found["discrimination"]["p_value"] == pytest.approx(0.0569, abs=5e-5), "60 of 100"
    assert [found["discrimination"][name] for name in ("low", "high")] == pytest.approx([0.5020, 0.6906], abs=5e-5)
    assert share(0, 10)["low"] == 0.0 and share(0, 10)["high"] == pytest.approx(0.2775, abs=5e-5)
    assert found["ranking"] == [] and "60% [50%, 69%] of 100" in lines_of(found)[0]


def test_strengths_equal_the_maximum_of_the_likelihood():
    wins = np.random.default_rng(0).integers(1, 20, (5, 5)).astype(float)

    def loss(strength):
        apart = strength[:, None] - strength
        return (wins * np.log1p(np.exp(-apart)))[~np.eye(5, dtype=bool)].sum() + strength.mean() ** 2

    best = minimize(loss, np.zeros(5), tol=1e-12).x
    np.testing.assert_allclose(bradley_terry(wins, ghost=0.0), best - best.mean(), atol=1e-5)
    two = bradley_terry(np.array([[0, 30], [10, 0]]), ghost=0.0)
    assert two[0] - two[1] == pytest.approx(np.log(3)), "two systems: the log odds"
    both = bradley_terry(np.stack([wins, wins.T]), ghost=0.0)
    np.testing.assert_allclose(both, [best - best.mean(), bradley_terry(wins.T, ghost=0.0)], atol=1e-5)


def test_who_always_wins_is_strong_but_not_infinitely_so():
    found = bradley_terry(np.array([[0, 9, 9], [0, 0, 5], [0, 4, 0]]))
    assert np.isfinite(found).all() and found[0] > found[1] > found[2]
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        bradley_terry(np.zeros((2, 3)))


def test_what_listeners_were_made_to_think_is_found(written):
    key = written[2]
    some = [answers(key, f"guesses {k}", k, 0.5) for k in range(40)]
    some += [answers(key, f"knows {k}", 100 + k, 0.9, training=10) for k in range(40)]
    found = analyse(some, key, resamples=200)
    assert [row["system"] for row in found["ranking"]] == list(SYSTEMS)
    for row, strength in zip(found["ranking"], (1.0, 0.0, -1.0), strict=True):
        assert row["low"] < strength < row["high"] and row["high"] - row["low"] < 0.6
    groups = found["by_background"]
    assert groups["no training"]["p_value"] > 0.01 and groups["more than 5 years"]["share"] == pytest.approx(0.9, abs=0.05)
    assert groups["more than 5 years"]["p_value"] < 1e-6 and groups["has heard some"]["listeners"] == 80
    taken = found["taken_for_human"]
    assert taken["Bach"]["low"] > taken["secret-lstm"]["high"]
    marks = found["marks"]
    assert marks["Bach"]["plausible"]["mean"] == 5.0 and marks["secret-lstm"]["plausible"]["mean"] == 2.0
    assert marks["markov_order_4"]["pleasant"] == {"mean": 3.0, "low": 3.0, "high": 3.0, "of": taken["markov_order_4"]["of"]}
    assert [row["system"] for row in rows_of(found)] == sorted(SYSTEMS) and json.dumps(found)


def test_intervals_narrow_with_listeners(written):
    key = written[2]
    widths = []
    for count in (6, 60):
        row = analyse([answers(key, str(k), k) for k in range(count)], key, resamples=200)["ranking"][0]
        widths.append(row["high"] - row["low"])
    assert widths[1] < widths[0] / 2


def test_without_answers_nothing_is_claimed(written):
    found = analyse([], written[2])
    assert found["listeners"] == 0 and found["discrimination"]["share"] is None and not found["by_background"]
    assert json.dumps(found, allow_nan=False) and lines_of(found)


BREAKS = {
    "another test": lambda r: r.update(test="0" * 16),
    "no response": lambda r: r.pop("listener"),
    "about the listener": lambda r: r["background"].update(training=-1),
    "neither piece": lambda r: r["pairs"][3].update(chosen="0" * 16),
    "no two pieces": lambda r: r["pairs"][0].update(first="0" * 16),
    "judges no piece": lambda r: r["singles"][0].update(id=["a"]),
    "who wrote it": lambda r: r["singles"][0].update(real="yes"),
    "not 1 to 5": lambda r: r["singles"][9].update(pleasant=6),
    "no list": lambda r: r.update(pairs={"a": 1}),
}


@pytest.mark.parametrize("said", BREAKS)
def test_a_response_that_cannot_be_is_named_with_what_is_wrong(written, said):
    response = answers(written[2], "a", 0)
    assert checked(response, written[2], "a.json") is response
    BREAKS[said](response)
    with pytest.raises(DataError, match=f"a.json is left out: .*{said}"):
        checked(response, written[2], "a.json")


def test_files_are_read_and_bad_ones_left_out_by_name(written, tmp_path):
    key, place = written[2], tmp_path / "sent"
    place.mkdir()
    (tmp_path / "key.json").write_text(json.dumps(key))
    for name, content in (("a", answers(key, "x", 1)), ("b", answers(key, "y", 2)), ("c", answers(key, "x", 3)), ("d", [1])):
        (place / f"{name}.json").write_text(json.dumps(content))
    (place / "e.json").write_text("{")
    found, left_out = read_responses([place, tmp_path / "gone.json"], key)
    assert [one["listener"] for one in found] == ["x", "y"] and len(left_out) == 4
    for sentence, name, said in zip(left_out, ("c", "d", "e", "gone"), ("again", "no response", *["be read"] * 2), strict=True):
        assert f"{name}.json" in sentence and said in sentence
    text = report([place], tmp_path / "out", tmp_path / "key.json")
    assert text.startswith("2 listeners") and "e.json cannot be read" in text
    assert json.loads((tmp_path / "out/listening.json").read_text())["listeners"] == 2
    assert (tmp_path / "out/listening.csv").read_text().splitlines()[0].startswith("system,taken_yes,taken_of")
    assert "| Bach" in (tmp_path / "out/listening.md").read_text()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"test": "a"}'])
def test_a_key_that_is_none_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "key.json").write_text(content)
    with pytest.raises(DataError, match=r"key\.json"):
        read_key(tmp_path / "key.json")
