"""Every config builds the network that its paper describes: counts of parameters, summed layer by layer from published sizes."""

from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from models.generation.frame_spec import FrameSpec
from tasks.cli.configs import parents
from tests.tasks.generation.test_systems import CONFIGS


def merged(first: dict, then: dict) -> dict:
    both = {key: merged(first[key], then[key]) for key in first.keys() & then.keys() if isinstance(then[key], dict)}
    return first | then | both


def made(spec):
    """What a config names: a class with its arguments, still to be called; or a plain value."""
    if not isinstance(spec, dict) or "class_path" not in spec:
        return spec
    module, name = spec["class_path"].rsplit(".", 1)
    return partial(getattr(import_module(module), name), **{key: made(value) for key, value in spec.get("init_args", {}).items()})


def count(row: str, form: FrameSpec) -> int:
    found: dict = {}
    for path in [CONFIGS / "base.yaml", *parents(CONFIGS / f"{row}.yaml"), CONFIGS / f"{row}.yaml"]:
        found = merged(found, yaml.safe_load(Path(path).read_text()) or {})
    return sum(parameter.numel() for parameter in made(found["model"]["net"])(form).parameters())


def cells(*sizes: int, conditions: int = 0) -> FrameSpec:
    return FrameSpec("categories", sizes, conditions)


def roll(columns: int, planes: int = 1, conditions: int = 0) -> FrameSpec:
    return FrameSpec("binary", (2,) * columns, conditions, planes=planes)


def dense(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def lstm(inputs: int, *widths: int) -> int:
    """One bias a gate, as published; cuDNN's, and so torch's, have two: `biases` more."""
    return sum(4 * width * (below + width + 1) for below, width in zip((inputs, *widths), widths, strict=False))


def biases(*widths: int) -> int:
    return 4 * sum(widths)


MINIBACH = dense(64 * 21, 200) + dense(200, 64 * (21 + 21 + 28))
CELTIC = lstm(137, 512, 512, 512) + dense(512, 137)
BACHBOT = 108 * 32 + lstm(32, 256, 256, 256) + dense(256, 108)
RNN_RBM = 88 * 150 + dense(100, 88) + dense(100, 150) + 88 * 100 + dense(100, 100)
HEXAHEDRIA = lstm(80, 300, 300) + lstm(300 + 2, 100, 50) + dense(50, 2)
DEEPHEAR = sum(below * above + below + above for below, above in ((64 * 84, 1024), (1024, 256), (256, 64), (64, 16)))
MIDINET_DRAWS = dense(100 + 13, 1024) + 2 * 1024 + dense(1024 + 13, 256) + 2 * 256
MIDINET_DRAWS += dense(128, 16) + 2 * 16 + 3 * (dense(2 * 16, 16) + 2 * 16)
MIDINET_DRAWS += 3 * (2 * 128 * (128 + 13 + 16) + 128 + 2 * 128) + (128 + 13 + 16) * 128 + 1
MIDINET_JUDGES = dense(2 * 128 * (1 + 13), 14) + dense(4 * (14 + 13), 77) + 2 * 77
MIDINET_JUDGES += dense(3 * 77 + 13, 1024) + 2 * 1024 + dense(1024 + 13, 1)
VOICE = 4 * 55 * 20 + dense(17, 20) + 2 * (lstm(100, 256, 256) + biases(256, 256)) + dense(80, 256) + dense(768, 256)
BLUES = lstm(12, 8) + biases(8) + lstm(13 + 8, 8) + biases(8)
TCN_BLOCK = dense(3 * 150, 150) + 150
LSTM = lstm(88, 256) + biases(256) + dense(256, 88)


@pytest.mark.parametrize(
    ("row", "form", "published", "ours"),
    [
        ("minibach", cells(21, 21, 21, 28), MINIBACH, 0),
        ("celtic", cells(137), CELTIC, biases(512, 512, 512)),
        ("bachbot", cells(108), BACHBOT, biases(256, 256, 256) + 32),  # what is learned before the first symbol
        ("rnn_rbm", roll(88), RNN_RBM, 100),
        ("jsb_rnn_rbm", roll(88), RNN_RBM, 100),
        ("hexahedria", roll(2 * 78, planes=2), HEXAHEDRIA, biases(300, 300, 100, 50)),
        ("deephear_m", roll(84), DEEPHEAR, 0),
        ("deephear_c", roll(84), DEEPHEAR, 0),
        ("midinet", roll(16 * 128, planes=16, conditions=13), MIDINET_DRAWS + MIDINET_JUDGES, 0),
        ("deepbach", cells(54, 54, 54, 54, conditions=17), 4 * (VOICE + dense(256, 54)), 0),
        ("blues_c", roll(12), lstm(12, 8) + dense(8, 12), biases(8)),
        ("blues_mc", roll(25), BLUES, dense(16, 25)),
        ("tcn", roll(88), dense(3 * 88, 150) + 150 + dense(88, 150) + 3 * TCN_BLOCK, dense(150, 88)),
        ("jsb_lstm", roll(88), LSTM, 0),
    ],
)
def test_networks_have_the_published_sizes(row, form, published, ours):
    assert count(row, form) == published + ours


def test_what_is_known_of_published_totals():
    assert CELTIC == 5_599_881, "folk-rnn's, of 137 tokens"
    assert MINIBACH == 1344 * 200 + 200 + 200 * 4480 + 4480


@pytest.mark.parametrize(
    ("row", "form", "expected"),
    [
        ("concert", cells(60, 16, 25), 99_994),
        ("gru", cells(54, 54, 54, 54, conditions=17), 822_616),
        ("transformer", cells(54, 54, 54, 54, conditions=17), 3_867_736),
        ("vrae", cells(54, 54, 54, 54, conditions=17), 2_292_756),
        ("rbm", roll(88), 53_302),
        ("rnn_nade", roll(88), 543_192),
        ("jsb_gru_rbm", roll(88), 157_138),
        ("jsb16_lstm", cells(47, 47, 47, 47, conditions=16), 2_267_836),
    ],
)
def test_networks_of_no_published_size_stay_as_they_were_measured(row, form, expected):
    assert count(row, form) == expected
