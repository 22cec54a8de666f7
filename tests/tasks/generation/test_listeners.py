"""What listeners' answers say: known p-values and strengths, what was put in, and files that cannot be answers."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize

from datamodules.common.errors import DataError
from tasks.generation.listening.analysis import (
    analyse,
    bradley_terry,
    checked,
    lines_of,
    read_key,
    read_responses,
    report,
    rows_of,
    share,
)
from tests.helpers.listening_data import SYSTEMS, page_of


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("listening"))[2]


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


def test_known_p_values_and_intervals(key):
    names = sorted(key["excerpts"])
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


def test_what_listeners_were_made_to_think_is_found(key):
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


def test_intervals_narrow_with_listeners(key):
    widths = []
    for count in (6, 60):
        row = analyse([answers(key, str(k), k) for k in range(count)], key, resamples=200)["ranking"][0]
        widths.append(row["high"] - row["low"])
    assert widths[1] < widths[0] / 2


def test_without_answers_nothing_is_claimed(key):
    found = analyse([], key)
    assert found["listeners"] == 0 and found["discrimination"]["share"] is None and not found["by_background"]
    assert json.dumps(found, allow_nan=False) and lines_of(found)


BREAKS = {
    "another test": lambda r: r.update(test="0" * 16),
    "not a response": lambda r: r.pop("listener"),
    "about the listener": lambda r: r["background"].update(training=-1),
    "neither piece": lambda r: r["pairs"][3].update(chosen="0" * 16),
    "does not compare two pieces": lambda r: r["pairs"][0].update(first="0" * 16),
    "rates an unknown piece": lambda r: r["singles"][0].update(id=["a"]),
    "human or machine": lambda r: r["singles"][0].update(real="yes"),
    "outside 1 to 5": lambda r: r["singles"][9].update(pleasant=6),
    "not a list": lambda r: r.update(pairs={"a": 1}),
}


@pytest.mark.parametrize("said", BREAKS)
def test_a_response_that_cannot_be_is_named_with_what_is_wrong(key, said):
    response = answers(key, "a", 0)
    assert checked(response, key, "a.json") is response
    BREAKS[said](response)
    with pytest.raises(DataError, match=f"a.json is left out: .*{said}"):
        checked(response, key, "a.json")


def test_files_are_read_and_bad_ones_left_out_by_name(key, tmp_path):
    place = tmp_path / "sent"
    place.mkdir()
    (tmp_path / "key.json").write_text(json.dumps(key))
    for name, content in (("a", answers(key, "x", 1)), ("b", answers(key, "y", 2)), ("c", answers(key, "x", 3)), ("d", [1])):
        (place / f"{name}.json").write_text(json.dumps(content))
    (place / "e.json").write_text("{")
    found, left_out = read_responses([place, tmp_path / "gone.json"], key)
    assert [one["listener"] for one in found] == ["x", "y"] and len(left_out) == 4
    for sentence, name, said in zip(
        left_out, ("c", "d", "e", "gone"), ("repeats", "not a response", *["be read"] * 2), strict=True
    ):
        assert f"{name}.json" in sentence and said in sentence
    text = report([place], tmp_path / "out", tmp_path / "key.json")
    assert text.startswith("2 listeners") and "e.json cannot be read" in text
    assert json.loads((tmp_path / "out/listening.json").read_text())["listeners"] == 2
    assert (tmp_path / "out/listening.csv").read_text().splitlines()[0].startswith("system,taken_yes,taken_of")
    assert "| Bach" in (tmp_path / "out/listening.md").read_text()
    with pytest.raises(DataError, match="no answers to this test"):
        report([place / "e.json"], tmp_path)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"test": "a"}'])
def test_a_key_that_is_none_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "key.json").write_text(content)
    with pytest.raises(DataError, match=r"key\.json"):
        read_key(tmp_path / "key.json")
