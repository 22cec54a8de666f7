"""The demo as its user runs it: what the network learns is more than what features alone know."""

import json

import pytest

from tests.helpers.commands import command


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demos_network_is_above_chroma_on_an_instrument_it_never_heard(tmp_path):
    done = command("alignment", "fit", "--runs", tmp_path, "--trainer.enable_progress_bar", "false")
    assert done.code == 0, done.err
    content = json.loads((tmp_path / "alignment" / "default" / "metrics.json").read_text())
    chroma = next(row for row in content["baselines"] if row["name"] == "DTW_chroma")
    assert content["metrics"]["distance_within_50"] > chroma["within_50"] + 0.02
    assert content["metrics"]["distance_within_50"] > 0.9
    assert content["metrics"]["distance_lost"] == 0.0
