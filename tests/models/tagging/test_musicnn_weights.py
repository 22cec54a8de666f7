"""Import of musicnn's published weights: on made-up variables here, on the real ones where QUINTET_DATA has them."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.tagging.importers import load_musicnn
from models.tagging.musicnn import Musicnn

TAGS = ["loud", "slow", "no voice"]
PATCHES = (60, 340)  # first frames of the two patches whose mean the silver scores are
CLIPS = 40


def made_up(tags: int = len(TAGS), width: int = 64, dense: int = 200) -> dict[str, np.ndarray]:
    """Random variables with the names and shapes of the published checkpoints."""
    random = np.random.default_rng(0)
    kernels = {
        **{f"conv2d{n}": shape for n, shape in zip(("", "_1"), ((7, 38, 1, 204), (7, 67, 1, 204)), strict=True)},
        **{f"conv2d_{n}": (length, 1, 1, 51) for n, length in ((2, 128), (3, 64), (4, 32))},
        "conv2d_5": (7, 561, 1, width),
        "conv2d_6": (7, width, 1, width),
        "conv2d_7": (7, width, 1, width),
        "dense": (2 * (561 + 3 * width), dense),
        "dense_1": (dense, tags),
    }
    arrays = {}
    for name, shape in kernels.items():
        arrays[f"{name}/kernel"] = random.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
        arrays[f"{name}/bias"] = 0.1 * random.standard_normal(shape[-1])
    norms = (1, 204, 204, 51, 51, 51, width, width, width, 2 * (561 + 3 * width), dense)
    for number, size in enumerate(norms):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        arrays[f"{name}/gamma"] = random.standard_normal(size)
        arrays[f"{name}/beta"] = 0.1 * random.standard_normal(size)
        arrays[f"{name}/moving_mean"] = 0.1 * random.standard_normal(size)
        arrays[f"{name}/moving_variance"] = random.uniform(0.02, 2, size)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def as_published(arrays: dict[str, np.ndarray], mel: torch.Tensor) -> torch.Tensor:
    """Logits by the published graph, step by step in TensorFlow's layout: mel (batch, frames, bands)."""
    given = {name: torch.from_numpy(array) for name, array in arrays.items()}

    def numbered(kind, number):
        return kind + (f"_{number}" if number else "")

    def norm(number, x):
        """Over the last axis, as TensorFlow has it."""
        mean, var, gamma, beta = (
            given[f"{numbered('batch_normalization', number)}/{part}"]
            for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return (x - mean) / torch.sqrt(var + 1e-3) * gamma + beta

    def conv(number, x, before, after):
        """(batch, time, frequency, channels) with this much silence around the time axis, ReLU."""
        name = numbered("conv2d", number)
        x = F.conv2d(F.pad(x.permute(0, 3, 1, 2), (0, 0, before, after)), given[f"{name}/kernel"].permute(3, 2, 0, 1))
        return torch.relu(x.permute(0, 2, 3, 1) + given[f"{name}/bias"])

    image = norm(0, mel[..., None])
    front = [norm(number + 1, conv(number, image, 3, 3)).amax(2) for number in (0, 1)]
    front += [norm(n + 1, conv(n, image, k // 2 - 1, k // 2)).amax(2) for n, k in ((2, 128), (3, 64), (4, 32))]
    maps = [torch.cat(front, 2)]
    for number in (5, 6, 7):
        new = norm(number + 1, conv(number, maps[-1][..., None], 3, 3))[:, :, 0]
        maps.append(new if number == 5 else new + maps[-1])
    every = torch.cat(maps, 2)
    pooled = norm(9, torch.stack([every.amax(1), every.mean(1)], 2).flatten(1))
    hidden = norm(10, torch.relu(pooled @ given["dense/kernel"] + given["dense/bias"]))
    return hidden @ given["dense_1/kernel"] + given["dense_1/bias"]


def write_npz(path: Path, arrays: dict[str, np.ndarray], tags=tuple(TAGS)) -> Path:
    np.savez(path, labels=np.array(tags), **arrays)
    return path


def built(imported) -> Musicnn:
    net = Musicnn(len(imported.tags), **imported.init_args)
    net.load_state_dict(imported.state_dict, strict=True)
    return net.eval()


@pytest.mark.parametrize("size", [{}, {"width": 16, "dense": 20}])
def test_imported_network_computes_what_the_published_graph_does(tmp_path, size):
    arrays = made_up(**size)
    imported = load_musicnn(write_npz(tmp_path / "weights.npz", arrays))
    assert imported.tags == TAGS
    assert imported.init_args == {"form": "original", "width": 64, "dense": 200, **size}
    net = built(imported)
    audio = torch.randn(2, net.mel.samples(30), generator=torch.Generator().manual_seed(0)) * torch.tensor([[0.1], [1.0]])
    with torch.no_grad():
        expected = as_published(arrays, net.spectrogram(audio).transpose(1, 2))
        torch.testing.assert_close(net(audio), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_every_value_is_used_exactly_once(tmp_path):
    arrays = made_up()
    ours = load_musicnn(write_npz(tmp_path / "weights.npz", arrays)).state_dict
    given = np.sort(np.concatenate([array.ravel() for array in arrays.values()]))
    taken = np.sort(np.concatenate([t.numpy().ravel() for name, t in ours.items() if not name.endswith("tracked")]))
    np.testing.assert_array_equal(taken, given)


def broken(change):
    arrays = made_up()
    change(arrays)
    return arrays


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.pop("conv2d_4/bias"), r"conv2d_4/bias is missing, expected 64 variables \(1 missing\)"),
        (lambda a: a.pop("dense/kernel"), r"dense/kernel is missing"),
        (lambda a: a.update({"conv2d_8/bias": a["conv2d_4/bias"]}), "unknown variable conv2d_8/bias, musicnn has 64"),
        (
            lambda a: a.update({"conv2d_2/kernel": a["conv2d_2/kernel"][1:]}),
            r"conv2d_2/kernel has shape \(127, 1, 1, 51\), expected \(128, 1, 1, 51\)",
        ),
        (
            lambda a: a.update({"conv2d_6/kernel": a["conv2d_6/kernel"].transpose(3, 1, 2, 0)}),
            r"conv2d_6/kernel has shape \(64, 64, 1, 7\), expected \(7, 64, 1, 64\)",
        ),
        (lambda a: a.update({"dense_1/bias": a["dense_1/bias"][:2]}), r"dense_1/bias has shape \(2,\), expected \(3,\)"),
        (lambda a: a.update({"dense/kernel": np.float32(1)}), "dense/kernel is a single number"),
        (lambda a: a["dense/bias"].__setitem__(5, np.nan), "dense/bias contains values that are not finite"),
    ],
)
def test_wrong_variables_are_refused_by_name(tmp_path, change, says):
    path = write_npz(tmp_path / "weights.npz", broken(change))
    with pytest.raises(ValueError, match=rf"weights.npz: (variable )?{says}"):
        load_musicnn(path)


def test_wrong_labels_are_refused(tmp_path):
    np.savez(tmp_path / "none.npz", **made_up())
    with pytest.raises(ValueError, match=r"none.npz: array 'labels' with the tags is missing"):
        load_musicnn(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"dense_1/kernel has shape \(200, 3\), expected \(200, 4\)"):
        load_musicnn(write_npz(tmp_path / "four.npz", made_up(), [*TAGS, "fast"]))
    with pytest.raises(ValueError, match=r"'labels' is int64 of shape \(3,\), expected a list of strings"):
        load_musicnn(write_npz(tmp_path / "numbers.npz", made_up(), range(3)))
    np.savez(tmp_path / "pickled.npz", labels=np.array(TAGS, dtype=object), **made_up())
    with pytest.raises(ValueError, match=r"pickled.npz: .*allow_pickle"):
        load_musicnn(tmp_path / "pickled.npz")


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"gone.npz does not exist: download the wheel by `pip download --no-deps musicnn==0.1.0`"
    ):
        load_musicnn(tmp_path / "gone.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"text.npz is neither an .npz nor the musicnn package"):
        load_musicnn(tmp_path / "text.npz")


def data_folder() -> Path:
    if not os.environ.get("QUINTET_DATA"):
        pytest.skip("QUINTET_DATA names no folder with pretrained/musicnn_mtt.npz and tagging/clips.csv")
    return Path(os.environ["QUINTET_DATA"])


def silver(folder: Path, tags: list[str]) -> tuple[list[np.ndarray], np.ndarray]:
    """Every tenth clip at 16 kHz and its published model's scores (clips, tags)."""
    import soundfile
    from scipy.signal import resample_poly

    with (folder / "tagging" / "clips.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:: 400 // CLIPS]
    clips = []
    for row in rows:
        audio, rate = soundfile.read(folder / "tagging" / "clips" / row["file"], dtype="float32")
        clips.append(resample_poly(audio, 16_000, rate))
    return clips, np.array([[float(row[f"mtt:{tag}"]) for tag in tags] for row in rows])


@pytest.mark.realdata
def test_published_weights_give_the_silver_scores():
    """Mean difference 0.0013 and correlation 0.9994 over all 400 clips; the next best mel has 0.0065 and 0.984."""
    folder = data_folder()
    imported = load_musicnn(folder / "pretrained" / "musicnn_mtt.npz")
    net = built(imported)
    clips, scores = silver(folder, imported.tags)
    starts = [frame * net.hop - net.lead for frame in PATCHES]
    found = []
    for clip in clips:
        patches = torch.from_numpy(np.stack([clip[start : start + net.samples] for start in starts]))
        with torch.no_grad():
            found.append(net(patches).sigmoid().mean(0).numpy())
    found = np.stack(found)
    assert np.corrcoef(found.ravel(), scores.ravel())[0, 1] > 0.998
    assert np.abs(found - scores).mean() < 0.003


@pytest.mark.realdata
def test_our_mel_is_on_the_scale_that_the_weights_were_trained_on():
    """The input's batch norm saw a mean of 1.59 and a variance of 1.75; without the area norm of the bands it would be 3.4."""
    folder = data_folder()
    net = built(load_musicnn(folder / "pretrained" / "musicnn_mtt.npz"))
    clips, _ = silver(folder, [])
    mels = [net.spectrogram(torch.from_numpy(clip[None])) for clip in clips]
    assert abs(np.mean([mel.mean() for mel in mels]) - net.norm.running_mean.item()) < 0.6
    assert abs(np.mean([mel.var() for mel in mels]) - net.norm.running_var.item()) < 0.5


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "first"), [("musicnn_mtt", "guitar"), ("musicnn_msd", "rock")])
def test_published_files_are_complete(name, first):
    imported = load_musicnn(data_folder() / "pretrained" / f"{name}.npz")
    net = built(imported)
    assert len(set(imported.tags)) == 50
    assert imported.tags[0] == first
    assert sum(p.numel() for p in net.parameters()) == 787_159
