"""Weights by the names of Open-Unmix and of asteroid give the same masks in our UMX."""

import pytest
import torch

from models.separation import UMX
from models.separation.importers import from_asteroid, from_openunmix
from tests.helpers.reference_umx import PlainUnmix, asteroid_state, plain_masks, randomise

SOURCES = ("vocals", "drums", "bass", "other")  # not our order


def published(channels=2, hidden=32, bins_in=93, sources=SOURCES, **how):
    torch.manual_seed(0)
    networks = {source: PlainUnmix(129, bins_in, channels, hidden, **how) for source in sources}
    for seed, network in enumerate(networks.values()):
        randomise(network, seed)
    return networks


def states(networks):
    return {source: network.state_dict() for source, network in networks.items()}


def check(imported, networks, bridge):
    net = UMX(len(imported.sources), **imported.init_args)
    net.load_state_dict(imported.state_dict)
    ordered = [networks[source].eval() for source in imported.sources]
    magnitude = torch.rand(2, net.channels, 129, 20, generator=torch.Generator().manual_seed(1))
    expected = plain_masks(ordered, magnitude, bridge)
    torch.testing.assert_close(net.eval()(magnitude), expected, rtol=1e-5, atol=1e-5)
    assert net.bridge is bridge and net.stft.n_fft == 256


@pytest.mark.parametrize("how", [{}, {"channels": 1}, {"both": False}, {"layers": 1}, {"bins_in": 129}, {"hidden": 16}])
def test_openunmix_and_asteroid_give_their_masks(how):
    networks = published(**how)
    check(from_openunmix(states(networks)), networks, False)
    check(from_asteroid(asteroid_state(networks, 256)), networks, True)


def test_arguments_are_read_off_the_shapes():
    imported = from_openunmix(states(published()))
    assert imported.sources == list(SOURCES)
    assert imported.init_args == {
        "bridge": False,
        "hidden": 32,
        "layers": 3,
        "unidirectional": False,
        "channels": 2,
        "sample_rate": 44_100,
        "n_fft": 256,
        "hop": 64,
        "bandwidth": 15_849.0,
    }
    assert UMX(4, **imported.init_args).max_bin == 93


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("bins_in", [1, 2, 17, 93, 128, 129])
def test_bandwidth_gives_back_the_bins(rate, bins_in):
    imported = from_openunmix(states(published(hidden=2, bins_in=bins_in, sources=["vocals"])), sample_rate=rate)
    assert UMX(1, **imported.init_args).max_bin == bins_in


def test_sources_in_another_order():
    networks = published()
    order = ["drums", "bass", "other", "vocals"]
    for imported, bridge in (
        (from_openunmix(states(networks), order), False),
        (from_asteroid(asteroid_state(networks, 256), order), True),
    ):
        assert imported.sources == order
        check(imported, networks, bridge)


def test_what_older_files_hold_besides():
    networks = published(sources=["speech", "noise"])
    old = {
        source: {
            **state,
            "sample_rate": torch.tensor(16_000),
            "stft.window": torch.ones(256),
            "transform.0.window": torch.ones(2),
        }
        for source, state in states(networks).items()
    }
    imported = from_openunmix(old, hop=128)
    assert imported.init_args["sample_rate"] == 16_000 and imported.init_args["hop"] == 128
    check(imported, networks, False)


def test_asteroids_own_file():
    networks = published()
    state = asteroid_state(networks, 256)
    assert len(state) == 186
    arguments = {"sample_rate": 48_000, "n_hop": 32, "spec_power": 1}
    imported = from_asteroid({"model_name": "XUMX", "state_dict": state, "model_args": arguments})
    assert (imported.init_args["sample_rate"], imported.init_args["hop"]) == (48_000, 32)
    check(imported, networks, True)
    with pytest.raises(ValueError, match="spec_power is 2"):
        from_asteroid({"state_dict": state, "model_args": {"spec_power": 2}})


def test_imported_weights_are_copies():
    networks = published()
    imported = from_openunmix(states(networks))
    for value in imported.state_dict.values():
        value.zero_()
    assert networks["vocals"].fc1.weight.abs().sum() > 0


def spoil(state, how):
    if how == "missing":
        del state["fc2.weight"]
    if how == "extra":
        state["fc9.weight"] = torch.zeros(1)
    if how == "shape":
        state["fc2.weight"] = state["fc2.weight"][:, :-1]
    if how == "nan":
        state["bn3.running_var"] = state["bn3.running_var"] * torch.nan
    if how == "other":
        state.clear()
        state["epoch"] = torch.tensor(3)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("missing", "drums: parameter fc2.weight is missing"),
        ("extra", "drums: unknown parameter fc9.weight"),
        ("shape", r"drums: parameter fc2.weight has shape \(32, 63\), expected \(32, 64\)"),
        ("nan", "drums: parameter bn3.running_var contains values that are not finite"),
        ("other", "drums: parameter bn1.bias is missing"),
    ],
)
def test_wrong_weights_are_one_sentence(how, sentence):
    wrong = {source: dict(state) for source, state in states(published()).items()}
    spoil(wrong["drums"], how)
    with pytest.raises(ValueError, match=sentence) as error:
        from_openunmix(wrong)
    assert "\n" not in str(error.value)


def test_what_is_no_network_at_all():
    networks = published()
    with pytest.raises(ValueError, match="one state dict per target"):
        from_openunmix(states(networks)["vocals"])
    with pytest.raises(ValueError, match=r"weights for no source"):
        from_openunmix({})
    with pytest.raises(ValueError, match=r"weights for vocals, drums, bass, other, expected vocals, drums"):
        from_openunmix(states(networks), ["vocals", "drums"])
    with pytest.raises(ValueError, match=r"vocals: parameter fc1.weight is missing: these are not"):
        from_openunmix({"vocals": {"epoch": torch.tensor(1)}})
    with pytest.raises(ValueError, match="not the state dict of asteroid"):
        from_asteroid(states(networks)["vocals"])
    with pytest.raises(ValueError, match=r"encoder.1.bias is not a parameter of asteroid's XUMX"):
        from_asteroid({**asteroid_state(networks, 256), "encoder.1.bias": torch.zeros(1)})
