"""Published weights from the command line to a run folder that predicts."""

import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from models.blocks.plain_weights import load_plain
from models.separation import UMX
from models.separation.importers import ASTEROID_LAYERS, SCALES
from tasks.separation.import_weights import main
from tests.helpers.commands import separation

SIZES = {"hidden": 8, "layers": 1, "n_fft": 256, "hop": 64, "bandwidth": 6000.0}


class Holding:
    """An object that starts a program when it is unpickled."""

    def __reduce__(self):
        return subprocess.Popen, (["true"],)


def branches(sources):
    torch.manual_seed(0)
    net = UMX(len(sources), **SIZES)
    return net, {source: net.branch(j).state_dict() for j, source in enumerate(sources)}


def run(words):
    with pytest.raises(SystemExit) as left:
        main(words)
    return left.value.code


def test_openunmix_files_separate_a_song(tmp_path, recwarn):
    net, states = branches(["vocals", "drums"])
    for source, state in states.items():
        torch.save(state, tmp_path / f"{source}.pth")
    main(["openunmix", *(f"{s}={tmp_path}/{s}.pth" for s in states), "--runs", str(tmp_path / "runs"), "--name", "mine"])
    assert not [warning for warning in recwarn if "save_hyperparameters" in str(warning.message)]
    soundfile.write(tmp_path / "song.wav", 0.1 * np.random.default_rng(0).standard_normal((44100, 2)), 44100)
    folder = tmp_path / "runs/separation/mine"
    done = separation("predict", "--ckpt_path", folder, "--data.inputs", tmp_path / "song.wav", "--output.picture", "false")
    assert done.code == 0, done.err
    assert {path.stem for path in folder.rglob("*.wav")} == {"vocals", "drums"}
    stored = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(stored[f"net.{name}"], value) for name, value in net.state_dict().items())


def test_asteroids_file(tmp_path):
    _, states = branches(["bass", "vocals"])
    theirs = {}
    for source, state in states.items():
        for name, value in state.items():
            layer, _, rest = name.partition(".")
            found = next((t for t, o in ASTEROID_LAYERS.items() if o == layer), None)
            theirs[f"mean_scale.{name}_{source}" if name in SCALES else f"{found.format(source)}.{rest}"] = value
    given = {"sources": ["bass", "vocals"], "sample_rate": 44_100, "n_hop": np.int64(64), "max_bin": np.int64(35)}
    versions = {"torch_version": torch.__version__, "asteroid_version": "0.6.0"}
    torch.save({"state_dict": theirs, "model_args": given, "infos": {"software_versions": versions}}, tmp_path / "xumx.bin")
    main(["asteroid", str(tmp_path / "xumx.bin"), "--runs", str(tmp_path)])
    stored = torch.load(tmp_path / "separation/asteroid/checkpoints/best.ckpt", weights_only=True)
    assert stored["hyper_parameters"]["net"]["init_args"]["hop"] == 64
    assert stored["hyper_parameters"]["net"]["init_args"]["bridge"] is True
    assert stored["hyper_parameters"]["sources"] == ["bass", "vocals"]


def test_weights_come_back_as_plain_values(tmp_path):
    torch.save({"a": [np.int64(3)], "b": torch.__version__, "c": torch.ones(2)}, tmp_path / "x.pth")
    content = load_plain(tmp_path / "x.pth")
    assert type(content["a"][0]) is int and type(content["b"]) is str
    assert content["b"] == str(torch.__version__)


@pytest.mark.parametrize("value", [np.ones(3), Path("x"), Fraction(1, 2), Holding()], ids=lambda value: type(value).__name__)
def test_no_other_class_is_built(value, tmp_path, capsys):
    torch.save({"x": value}, tmp_path / "x.pth")
    assert run(["asteroid", str(tmp_path / "x.pth"), "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "does not contain plain weights (it needs" in said and said.count("\n") == 1


def test_a_file_that_was_cut(tmp_path, capsys):
    torch.save({"x": torch.ones(100)}, tmp_path / "x.pth")
    (tmp_path / "x.pth").write_bytes((tmp_path / "x.pth").read_bytes()[:200])
    assert run(["asteroid", str(tmp_path / "x.pth"), "--runs", str(tmp_path)]) == 2
    assert "damaged or truncated" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["openunmix", "vocals.pth"], "SOURCE=FILE"),
        (["openunmix", "vocals=nowhere.pth"], "does not exist"),
        (["asteroid", "a", "b"], "one file"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, words, said):
    assert run([*words, "--runs", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ckpt"))
