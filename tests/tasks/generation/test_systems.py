"""Every config of music generation trains two steps, writes music in every kind of file, and scores the same when read again."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from datamodules.common.errors import DataError
from datamodules.generation.user_pieces import Question
from tasks import load
from tasks.cli.configs import parents
from tasks.generation.inference import Writer
from tests.helpers.commands import command
from tests.helpers.pieces import chorale

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs" / "generation"
ROWS = sorted(path.stem for path in CONFIGS.glob("*.yaml") if "tiny" not in path.stem and path.stem not in ("base", "default"))
OWN = [row for row in ROWS if row.startswith(("jsb", "bl_", "nottingham", "muse", "piano"))]
FAMILIES = ("markov", "rbm", "minibach", "vrae", "hexahedria", "rnn_rbm")
"""One of each; the others have a tiny config that the fast tests train."""
QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu")
SHORT = ("--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1")
SHORT += ("--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1")
FEW = ("--report.measured", "0", "--report.pieces", "1", "--report.bars", "2", "--report.baseline", "false")
SMALL = {
    "Chorales": ("--data.corpus.pieces", "40"),
    "FiddleTunes": ("--data.corpus.pieces", "2"),
    "Blues": ("--data.corpus.pieces", "20"),
}
BRIEF = ("--model.net.search", '{"steps": 3, "rate": 1.0, "starts": 1}')
LIGHT = {
    "EnergyModel": ("--model.net.hidden", "8", "--model.net.temperatures", "20"),
    "StackedAutoencoder": ("--model.net.widths", "[16, 8]", "--model.net.bottleneck", "4", *BRIEF),
    "VRAE": (
        *("--model.net.encoder", "8", "--model.net.decoder", "8", "--model.net.latent", "4", "--model.net.samples", "1"),
        *BRIEF,
    ),
    "DeepBach": ("--model.net.width", "8", "--model.net.hidden", "8", "--model.net.iterations", "4", "--data.crop", "32"),
    "Biaxial": ("--model.net.time", "[4, 4]", "--model.net.note", "[4, 4]", "--data.crop", "16", "--data.windows", "true"),
    "rnn_rbm": ("--model.net.head.temperatures", "10"),
}
"""What makes a system, or one row of it, small."""


def settings(row: str) -> dict[str, str]:
    """Names of a row's corpus and system, its own or those of the configs that it extends."""
    found = {}
    for path in [CONFIGS / "base.yaml", *parents(CONFIGS / f"{row}.yaml"), CONFIGS / f"{row}.yaml"]:
        content = yaml.safe_load(Path(path).read_text()) or {}
        parts = {
            "corpus": content.get("data", {}).get("init_args", {}).get("corpus", {}),
            "net": content.get("model", {}).get("net", {}),
        }
        found |= {name: part["class_path"].rsplit(".", 1)[1] for name, part in parts.items() if "class_path" in part}
    return found


def trained(row: str, folder: Path, light: bool, *more: object) -> Path:
    found = settings(row)
    words = ["--config", CONFIGS / f"{row}.yaml", "--runs", folder, *QUIET, *SHORT, *FEW, *SMALL.get(found["corpus"], ())]
    if light:
        words += [*LIGHT.get(found["net"], ()), *LIGHT.get(row, ())]
    words += ["--data.items", "16", "--data.batch_size", "4", "--data.eval_batch_size", "2", *more]
    done = command("generation", "fit", *words)
    assert done.code == 0, done.err[-3000:]
    return folder / "generation" / row


def check(row: str, tmp_path: Path, light: bool) -> None:
    run = trained(row, tmp_path, light)
    suffixes = {path.suffix for path in (run / "pieces").iterdir()}
    assert {".mid", ".png"} <= suffixes
    assert suffixes & {".wav"} or not (run / "pieces" / "01.mid").stat().st_size > 400
    before = json.loads((run / "metrics.json").read_text())
    assert before["metrics"]["nll_frame"] > 0
    done = command("generation", "test", "--ckpt_path", run, *QUIET, *FEW, "--trainer.limit_test_batches", "1")
    assert done.code == 0, done.err[-3000:]
    after = json.loads((run / "metrics.json").read_text())
    assert after["metrics"]["nll_frame"] == pytest.approx(before["metrics"]["nll_frame"], rel=1e-5)
    check_uses(run)


def check_uses(run: Path) -> None:
    """Whatever a system offers keeps what was given, and it refuses the rest in a sentence."""
    composer = load(run)
    writer, piece = Writer(composer), chorale(5, phrases=1)
    if composer.view.name in ("abc_text", "note_tuples", "bar_image"):
        piece = piece.with_notes(piece.voice(0))
    offered = composer.net.supports & composer.view.uses
    assert offered
    for use in ("free", "continue", "harmonise", "inpaint"):
        asked = piece.with_notes(piece.voice(0)) if use == "harmonise" else piece
        question = Question("song.mid", [asked], use, 2, (2, 2) if use == "inpaint" else None, None)
        if use not in offered:
            with pytest.raises(DataError, match=f"cannot {use}: --data.use takes"):
                writer(question, 0)
            continue
        (answer,) = writer(question, 0)
        kept = {tuple(note) for note in answer.piece.notes[:, [0, 2]].tolist()}
        given = answer.fixed.at(answer.piece.ticks).notes
        assert {tuple(note) for note in given[:, [0, 2]].tolist()} <= kept, use
        assert use == "free" or len(given)


@pytest.mark.parametrize("row", FAMILIES)
def test_one_system_of_each_family(row, tmp_path):
    check(row, tmp_path, light=True)


@pytest.mark.parametrize("row", [row for row in FAMILIES if row != "markov"] + ["deepbach", "deephear_m"])
def test_mixed_precision_trains_every_family_to_finite_scores(row, tmp_path):
    run = trained(row, tmp_path, True, "--trainer.precision", "bf16-mixed", "--report.pieces", "0")
    scores = json.loads((run / "metrics.json").read_text())["metrics"]
    assert all(value is not None for value in scores.values())
    weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point())


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row not in OWN])
def test_every_system_in_its_own_size(row, tmp_path):
    check(row, tmp_path, light=False)
