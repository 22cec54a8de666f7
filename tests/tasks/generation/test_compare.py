"""`compare` of music generation: tables of likelihoods and of music, and one page that needs no other file."""

import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from datamodules.generation.corpora import JSB, BoulangerLewandowski
from tasks.generation import tables as table84
from tasks.generation.evaluation import HUMAN, OURS, evaluate_music
from tasks.generation.tables import joint_measures
from tests.helpers.commands import command
from tests.helpers.pieces import chorale, random_piece

ROOT = Path(__file__).parents[3]
TINY = ROOT / "configs" / "generation" / "tiny.yaml"
QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of the tiny config, and its copy as another seed and as another representation."""
    folder = tmp_path_factory.mktemp("compared")
    done = command("generation", "fit", "--config", TINY, "--runs", folder, *QUIET)
    assert done.code == 0, done.err[-2000:]
    first = folder / "generation" / "tiny"
    for name, seed, policy in (("seed1", 1, None), ("rolls", 0, "piano roll, whole pieces")):
        copy = first.with_name(name)
        shutil.copytree(first, copy)
        content = json.loads((copy / "metrics.json").read_text())
        content["seed"] = seed
        content["data"]["policy"] = policy or content["data"]["policy"]
        content["row"] = name if policy else content["row"]
        content["metrics"]["nll_frame"] += 0.5 * seed
        (copy / "metrics.json").write_text(json.dumps(content))
    return folder / "generation"


def test_likelihoods_of_two_representations_are_never_in_one_table(runs, tmp_path):
    done = command("generation", "compare", runs, "--out", tmp_path)
    assert done.code == 0, done.err
    tables = done.out.split("## ")[1:]
    likelihoods = [table for table in tables if table.startswith("Likelihood")]
    assert len(likelihoods) == 2
    assert sum("rolls" in table for table in likelihoods) == 1
    assert "±" in next(table for table in likelihoods if "rolls" not in table)
    assert all("Markov chain, order 4" in table for table in likelihoods)
    rows = list(csv.DictReader((tmp_path / "music_1.csv").open()))
    assert [row["system"] for row in rows][-1] == "test pieces"
    assert {"rules_1.png", "overlap_1.png", "novelty_1.png", "compare.md"} <= {path.name for path in tmp_path.iterdir()}


def test_the_page_holds_pictures_and_sounds_and_asks_for_nothing_else(runs, tmp_path):
    assert command("generation", "compare", runs, "--out", tmp_path).code == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count('src="data:audio/ogg;base64,') >= 2
    assert page.count('src="data:image/png;base64,') >= 4
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_a_run_without_music_is_left_out_of_its_tables(runs, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(runs / "tiny", bare)
    content = json.loads((bare / "metrics.json").read_text())
    content.pop("music")
    (bare / "metrics.json").write_text(json.dumps(content))
    shutil.rmtree(bare / "pieces")
    done = command("generation", "compare", bare, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "Copies" not in done.out


def test_a_listening_test_is_made_of_runs_and_its_answers_are_read(runs, tmp_path):
    done = command("generation", "compare", runs / "tiny", "--listening", "1", "--out", tmp_path)
    assert done.code == 0, done.err
    page = next(tmp_path.glob("*.html")).read_text()
    assert "tiny" not in page
    assert "audio" in page
    missing = command("generation", "compare", "--responses", tmp_path / "none.json", "--out", tmp_path)
    assert missing.code == 2
    assert "none.json" in missing.err


def test_rules_are_set_beside_test_pieces_as_a_system_of_four_voices_sees_them():
    kinds = ("rules", "originality", "overlap", "density")
    of_rolls = {kind: {OURS: {"a": [1]}, HUMAN: {"a": [2]}} for kind in kinds} | {"rules": {OURS: {}, HUMAN: {}}}
    of_voices = {kind: {OURS: {"a": [3]}, HUMAN: {"a": [4]}} for kind in kinds}
    members = [
        SimpleNamespace(name=name, results=[SimpleNamespace(content={"music": music})])
        for name, music in (("rolls", of_rolls), ("voices", of_voices))
    ]
    found = joint_measures(members)
    assert found["rules"] == {"rolls": {}, "voices": {"a": [3]}, HUMAN: {"a": [4]}}
    assert found["overlap"][HUMAN] == {"a": [2]}


@pytest.mark.parametrize("voices", [3, 4, 5])
def test_voice_leading_is_judged_where_the_system_writes_four_voices(voices):
    written = [random_piece(seed, voices=voices, registers=((70, 81), (60, 69), (52, 59), (36, 51), (24, 35))) for seed in (1, 2)]
    found = evaluate_music({OURS: written, HUMAN: [chorale(1), chorale(2)]}, [chorale(3), chorale(4)], 10)
    assert bool(found.rules[OURS]) == bool(found.rules[HUMAN]) == (voices == 4)


def test_pictures_say_which_corpus_they_are_of(runs, tmp_path):
    assert command("generation", "compare", runs, "--out", tmp_path).code == 0
    page = (tmp_path / "report.html").read_text()
    corpus = re.search(r"Copies, similarity and density, trained on ([^<]+)<", page)[1]
    assert page.count(f"<figcaption>trained on {corpus}</figcaption>") == 3


def test_table_84_says_what_its_marks_stand_for():
    text = table84.table(table84.read())
    assert "StAE stacked autoencoders" in text and "uS unit selection" in text


@pytest.mark.parametrize(
    ("corpus", "unit", "known"),
    [(BoulangerLewandowski(set="JSB_Chorales"), "nats/frame", ("RNN-NADE", "5.830")), (JSB(), "nats/cell", ("Coconet", "0.436"))],
)
def test_published_numbers_stand_beside_runs_of_their_corpus(runs, tmp_path, corpus, unit, known):
    run = tmp_path / "run"
    shutil.copytree(runs / "tiny", run)
    content = json.loads((run / "metrics.json").read_text())
    content["data"]["name"] = corpus.name
    (run / "metrics.json").write_text(json.dumps(content))
    done = command("generation", "compare", run, "--table", "likelihood", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    header, *lines = [line for line in done.out.splitlines() if line.startswith("|")]
    column = [cell.strip() for cell in header.split("|")].index(unit)
    row = next(line for line in lines if line.startswith(f"| {known[0]}"))
    assert row.split("|")[column].strip() == known[1]
