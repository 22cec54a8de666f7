"""`compare` of music generation: tables of likelihoods and of music, and one page that needs no other file."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.commands import command

ROOT = Path(__file__).parent.parent
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
