"""Networks that do not cover the mixture: residual source of the Wiener filter."""

import json

import numpy as np
import pytest
import soundfile
import torch

from datamodules.common.errors import DataError
from datamodules.separation.data import TrackBatch
from datamodules.separation.musdb import MUSDBHQ
from datamodules.separation.stem_folder import StemFolder
from losses import MultiDomainLoss
from models.separation import UMX
from models.separation.coverage import covers_by_name
from models.separation.wiener import wiener
from tasks import load
from tasks.separation.import_weights import main
from tasks.separation.inference import Audio2Stems, File2Stems, SeparationOptions
from tasks.separation.module import SeparationModule
from tasks.separation.song_stems import StemBlock
from tasks.separation.writer import Outputs
from tests.helpers.commands import separation
from tests.helpers.songs import place, predict, song
from tests.helpers.stub_separators import EqualMasks, StandIn
from tests.models.separation.test_wiener import check, music, plain_wiener

SIZES = {"hidden": 8, "layers": 1, "n_fft": 256, "hop": 64, "bandwidth": None}


class ConstantMasks(EqualMasks):
    """Masks that are the same numbers everywhere."""

    def __init__(self, *masks: float) -> None:
        super().__init__(n_sources=len(masks))
        self.masks = torch.tensor(masks)

    def forward(self, magnitude):
        return self.masks[:, None, None, None] * magnitude.new_ones(magnitude.shape)[:, None]


def gains(masks, **how):
    """Gain of each stem over noise that a network with constant masks hears."""
    audio = 0.1 * torch.randn(2, 40_000, generator=torch.Generator().manual_seed(0))
    module = StandIn(ConstantMasks(*masks), SeparationOptions(niter=1, window=50), **how)
    module.separating = module.net
    stems = Audio2Stems(module).native(audio)[..., 1000:-1000]
    audio = audio[..., 1000:-1000]
    return [float((stem * audio).sum() / audio.square().sum()) for stem in stems]


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("iterations", [1, 3])
def test_the_residual_is_one_more_source_of_the_formulas(channels, iterations):
    magnitudes, spectrum = music(channels=channels)
    magnitudes *= 0.3
    rest = (spectrum.abs() - magnitudes.sum(0)).clamp(min=0)
    expected = plain_wiener(torch.cat([magnitudes, rest[None]]), spectrum, iterations)[:-1]
    found = wiener(magnitudes, spectrum, iterations, residual=True)
    assert found.shape == magnitudes.shape
    check(found, expected)
    assert torch.equal(wiener(magnitudes, spectrum, 0, residual=True), wiener(magnitudes, spectrum, 0))


def test_a_stem_never_becomes_the_mixture():
    assert gains([0.3])[0] > 0.999  # what the filter does where one source is taken for all of a song
    assert gains([0.3], covers_mixture=False)[0] == pytest.approx(0.09 / (0.09 + 0.49), abs=0.02)
    first, second = gains([0.3, 0.1], covers_mixture=False)
    assert first == pytest.approx(0.09 / (0.09 + 0.01 + 0.36), abs=0.02)
    assert second == pytest.approx(0.01 / (0.09 + 0.01 + 0.36), abs=0.02)
    full = [0.4, 0.3, 0.2, 0.1]
    assert gains(full) == pytest.approx(gains(full, covers_mixture=False), abs=1e-3)  # nothing is left over


@pytest.mark.parametrize(("sources", "covers"), [
    (["drums", "bass", "other", "vocals"], True), (["vocals", "accompaniment"], True), (["speech", "noise"], True),
    (["vocals"], False), (["voice"], False), (["drums", "bass"], False), (["drums", "other", "bass"], False),
    (["guitar", "piano"], True), (["speech"], False),
])  # fmt: skip
def test_old_checkpoints_are_told_by_their_names(sources, covers):
    assert covers_by_name(sources) is covers
    assert SeparationModule(sources, lambda n: UMX(n, **SIZES), MultiDomainLoss(True, True)).covers_mixture is covers


def test_the_data_say_whether_the_stems_are_all(tmp_path):
    assert MUSDBHQ(str(tmp_path)).covers_mixture
    assert not MUSDBHQ(str(tmp_path), sources=["drums", "vocals"]).covers_mixture
    for track in range(3):
        for name in ("guitar", "piano", "voice", "mixture"):
            path = tmp_path / str(track) / f"{name}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, np.zeros((100, 2)), 8000)
    assert StemFolder(str(tmp_path)).covers_mixture
    assert not StemFolder(str(tmp_path), sources=["guitar", "piano"]).covers_mixture


def constant_umx(mask):
    """A UMX of one source whose mask is the same everywhere, by its weights."""
    net = UMX(1, **SIZES)
    branch = net.branch(0)
    with torch.no_grad():
        for tensor in (branch.bn3.weight, branch.bn3.bias):
            tensor.zero_()
        branch.output_mean.fill_(mask)
    return net


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run folder of imported weights of vocals alone, whose mask is 0.3, and what the import said."""
    folder = tmp_path_factory.mktemp("imported")
    torch.save(constant_umx(0.3).branch(0).state_dict(), folder / "vocals.pth")
    words = ["openunmix", f"vocals={folder / 'vocals.pth'}", "--sample_rate", "8000", "--runs", str(folder), "--name", "mine"]
    main(words)
    return folder / "separation/mine"


def test_vocals_alone_stay_below_the_song(run, tmp_path, capsys):
    path = song(tmp_path / "song.wav", 8000, 2)
    written = soundfile.read(path, dtype="float32")[0]
    done = separation("predict", "--ckpt_path", run, "--data.inputs", path, "--output.folder", tmp_path / "out",
                      "--output.picture", "false", "--output.rest", "true", "--output.subtype", "FLOAT")  # fmt: skip
    assert done.code == 0, done.err
    assert done.out.count("vocals does not cover the mixture") == 1
    vocals, rest = (soundfile.read(place(tmp_path / "out", path) / f"{n}.wav", dtype="float32")[0] for n in ("vocals", "rest"))
    assert 0.1 < np.sqrt(np.mean(vocals**2) / np.mean(written**2)) < 0.35
    np.testing.assert_allclose(vocals + rest, written, rtol=0, atol=1e-6)


def test_import_says_it_and_old_run_folders_are_treated_alike(run, tmp_path, capsys):
    main(["openunmix", f"vocals={run.parent.parent / 'vocals.pth'}", "--runs", str(tmp_path)])
    assert "vocals does not cover the mixture" in capsys.readouterr().out
    stored = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert stored["hyper_parameters"].pop("covers_mixture") is False  # earlier versions did not write it
    torch.save(stored, tmp_path / "old.ckpt")
    path = song(tmp_path / "song.wav", 8000, 2)
    old, new = (torch.cat(list(File2Stems(load(file))(path)), -1) for file in (tmp_path / "old.ckpt", run))
    assert torch.equal(old, new)


def test_a_test_track_that_is_the_sum_of_its_stems_has_no_rest():
    net = ConstantMasks(0.3, 0.1)
    separator = SeparationModule(
        ["drums", "bass"], lambda n: net, MultiDomainLoss(True, True), inference=SeparationOptions(window=50)
    )
    stems = (torch.randn(2, 8000, 2, generator=torch.Generator().manual_seed(0)) * 3000).to(torch.int16)
    summed = TrackBatch("a", 0, stems, stems[0, :0], None)
    mixture = stems.sum(0).to(torch.int16)
    of_sum, of_file = (separator.test_step(batch) for batch in (summed, summed._replace(mixture=mixture)))
    assert float(of_sum.sum(0).square().mean() / of_file.sum(0).square().mean()) > 4


def test_outputs_of_a_network_that_lacks_sources(tmp_path):
    piece = StemBlock(torch.tensor([[0.5, -0.25]]), torch.tensor([[[0.1, 0.0]]]))
    two = Outputs(["vocals"], two_stems="vocals", covers_mixture=False)
    torch.testing.assert_close(two(piece), torch.tensor([[[0.1, 0.0]], [[0.4, -0.25]]]))  # its silence is no accompaniment
    with pytest.raises(DataError, match="vocals is the only stem"):
        Outputs(["vocals"], two_stems="vocals", other="sum")
    with pytest.raises(DataError, match=r"--output\.rest true"):
        Outputs(["vocals"], sum_to_mix=True, covers_mixture=False)
    exact = Outputs(["vocals"], sum_to_mix=True, rest=True, covers_mixture=False)
    torch.testing.assert_close(exact(piece), torch.tensor([[[0.1, 0.0]], [[0.4, -0.25]]]))
    with pytest.raises(DataError, match="already has a stem rest"):
        Outputs(["vocals", "rest"], rest=True)
    path = song(tmp_path / "x.wav")
    predict([path], tmp_path / "out", rest=True)
    listing = json.loads((tmp_path / "out/stems.json").read_text())["files"][str(path)]
    assert listing["stems"][-1] == "rest.wav"
