"""The demo as its user runs it: far below its Markov chain, and eight pieces in every kind of file."""

import json

import pytest

from tests.helpers.commands import command


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_is_far_below_the_strongest_chain_and_writes_eight_pieces(tmp_path):
    done = command("generation", "fit", "--runs", tmp_path, "--trainer.enable_progress_bar", "false")
    assert done.code == 0, done.err
    run = tmp_path / "generation" / "default"
    content = json.loads((run / "metrics.json").read_text())
    (chain,) = content["baselines"]
    assert content["metrics"]["nll_cell"] < min(0.6, chain["nll_cell"] - 0.2)
    assert content["metrics"]["onset_accuracy"] > 0.4
    assert "parallels" in content["music"]["rules"]["test pieces"]
    for ending in ("mid", "musicxml", "png", "wav"):
        assert len(list((run / "pieces").glob(f"[0-9]*.{ending}"))) == 8
