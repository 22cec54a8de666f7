"""The aligner: float32 under bf16, scores equal to plain computations, the threshold, and what its checkpoint keeps."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.alignment.crops import PairBatch
from datamodules.alignment.data import WholeBatch
from datamodules.alignment.sets import MAPS
from losses import ContrastiveLoss, SoftCrossEntropy
from models.alignment import MLP, SCNN, FrameNet, Handcrafted, SalienceMap
from models.alignment.front import Chroma, Front, Salience
from tasks.alignment.evaluate import PAIRS, input_spec, sample_distances
from tasks.alignment.metrics import equal_error
from tasks.alignment.module import AlignmentModule, PairObjective, SalienceObjective, without_files
from tests.helpers.short_sets import write_short_maps
from tests.tasks.tagging.test_module_guarantees import Spied, alone

CONFIGS = Path(__file__).parents[3] / "configs" / "alignment"
QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu")
FRAME_S = 512 / 22_050


def front(bins: int = 16, channels: int = 1) -> Front:
    """A front end of so many bins that nothing is heard by."""
    made = Front(22_050, 512)
    made.bins, made.channels = bins, channels
    return made


NETS = {
    "SCNN": partial(SCNN, front(), context=44, channels=(2, 2, 2, 2), embedding=6),
    "FrameNet": partial(FrameNet, front(), channels=(2, 3, 4), embedding=6),
    "MLP": partial(MLP, front(), hidden=5),
    "Handcrafted": partial(Handcrafted, front()),
    "SalienceMap": partial(SalienceMap, front(360, 6)),
}


def aligner(name: str, fn: str = "fit", **options) -> AlignmentModule:
    torch.manual_seed(0)
    return alone(AlignmentModule(NETS[name], **options), fn).eval()


def crops(module: AlignmentModule, batch: int = 3, pairs: int = 8, frames: int = 12) -> PairBatch:
    random, net = torch.Generator().manual_seed(1), module.net
    shape = (batch, net.front.channels, net.front.bins, frames + net.context - 1)
    performance, score = (torch.rand(shape, generator=random) for _ in range(2))
    places = torch.randint(frames, (batch, pairs, 2), generator=random)
    label = (torch.arange(batch * pairs) % 2).view(batch, pairs).float()
    pitches = (torch.rand(batch, 128, shape[-1], generator=random) < 0.02).to(torch.uint8)
    return PairBatch(performance, score, places, label, pitches, tuple(map(str, range(batch))))


def recording(module: AlignmentModule, index: int = 0, noise: float = 0.1, performance: int = 70, score: int = 60) -> WholeBatch:
    """Frames at random; the performance plays those of the score 10 frames later, its events up to a fifth of a second away."""
    random, net = np.random.default_rng(index), module.net.front
    written, played = (3 * random.normal(size=(net.channels, net.bins, count)) for count in (score, performance))
    played[..., 10:] = written[..., : performance - 10] + noise * played[..., 10:]
    times = np.sort(random.uniform(0, (score - 1) * FRAME_S, 20))
    truth = np.stack([times, np.sort(times + 10 * FRAME_S + random.uniform(-0.2, 0.2, 20))], 1)
    sides = [torch.from_numpy(side.astype(np.float32)) for side in (played, written)]
    return WholeBatch(*sides, torch.from_numpy(truth), index, f"recording {index}", "piece")


LOSSES = {"MLP": SoftCrossEntropy()}


@pytest.mark.parametrize("name", ["SCNN", "FrameNet", "MLP"])
def test_losses_and_scores_are_float32_under_bf16(name):
    spied = Spied(LOSSES.get(name, ContrastiveLoss()))
    module = aligner(name, objective=PairObjective(spied))
    with torch.autocast("cpu", torch.bfloat16):
        loss = module.training_step(crops(module))
        embedded = module.net.embed(crops(module).performance, "performance")
        module.validation_step(recording(module))
    assert spied.seen == {torch.float32} and loss.dtype == embedded.dtype == torch.float32
    module.on_validation_epoch_end()
    assert {torch.as_tensor(value).dtype for value in module.logged.values()} <= {torch.float32, torch.float64, torch.int64}


def test_salience_is_float32_under_bf16():
    module = aligner("SalienceMap", objective=SalienceObjective())
    module.objective.loss = Spied(SoftCrossEntropy())
    with torch.autocast("cpu", torch.bfloat16):
        loss = module.training_step(crops(module, 1, 2, 4))
        assert module.net.frames(recording(module).performance, "score").dtype == torch.float32
    assert module.objective.loss.seen == {torch.float32} and loss.dtype == torch.float32


@pytest.mark.parametrize("name", ["SCNN", "FrameNet", "MLP"])
def test_the_objective_is_that_of_each_pair_by_itself(name):
    loss = LOSSES.get(name, ContrastiveLoss(0.7))
    module = aligner(name, objective=PairObjective(loss))
    batch = crops(module)
    singly = []
    for item, pair in np.ndindex(*batch.label.shape):
        left, right = (int(place) for place in batch.places[item, pair])
        one = module.net.embed(batch.performance[item : item + 1], "performance")[0, left]
        other = module.net.embed(batch.score[item : item + 1], "score")[0, right]
        singly.append(loss(module.net.between(one, other)[None], batch.label[item, pair][None]))
    torch.testing.assert_close(module.training_step(batch), torch.stack(singly).mean(), rtol=1e-4, atol=1e-6)
    module.training_step(batch).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.net.parameters())


def errors_along(path: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Estimated less true times of the events, a score frame at the mean of its performance frames in a path (steps, 2)."""
    columns = np.unique(path[:, 1])
    rows = np.array([path[path[:, 1] == column, 0].mean() for column in columns])
    return np.interp(truth[:, 0], columns * FRAME_S, rows * FRAME_S) - truth[:, 1]


@pytest.mark.parametrize("name", ["FrameNet", "Handcrafted"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_scores_equal_a_plain_computation(name, split):
    from librosa.sequence import dtw
    from scipy.spatial.distance import cdist

    module, errors = aligner(name), []
    steps = np.array([[1, 0], [0, 1], [1, 1]])
    for index in (1, 0, 2):
        batch = recording(module, index)
        sides = [module.net.frames(side, "score").double().numpy() for side in (batch.performance, batch.score)]
        errors.append(errors_along(dtw(C=cdist(*sides), step_sizes_sigma=steps)[1], batch.truth.numpy()))
        getattr(module, f"{split}_step")(batch)
    getattr(module, f"on_{split}_epoch_end")()
    far = 1000 * np.abs(np.concatenate(errors))
    prefix = {"validation": "val", "test": "test"}[split]
    for ms in (25, 50, 100, 200):
        assert module.logged[f"{prefix}/distance_within_{ms}"] == pytest.approx((far < ms).mean())
    assert module.logged[f"{prefix}/distance_median_ms"] == pytest.approx(np.median(far), abs=1e-3)
    assert module.logged[f"{prefix}/distance_bias_ms"] == pytest.approx(1000 * np.concatenate(errors).mean(), abs=1e-3)
    assert module.logged[f"{prefix}/within_50"] == module.logged[f"{prefix}/distance_within_50"]
    assert 0.1 < (far < 50).mean() < (far < 200).mean(), "or nothing is compared"


def binary_path(matrix: np.ndarray) -> np.ndarray:
    """Cells (steps, 2) of the cheapest path by steps (1, 1), (1, 0), (0, 1), the first of equally cheap ones in that order."""
    n, m = matrix.shape
    total, came = np.full((n, m), np.inf), np.zeros((n, m), int)
    steps = ((1, 1), (1, 0), (0, 1))
    for i, j in np.ndindex(n, m):
        before = [total[i - a, j - b] if i >= a and j >= b else np.inf for a, b in steps]
        came[i, j] = int(np.argmin(before))
        total[i, j] = matrix[i, j] + (min(before) if i or j else 0)
    cells = [(n - 1, m - 1)]
    while cells[-1] != (0, 0):
        (i, j), (a, b) = cells[-1], steps[came[cells[-1]]]
        cells.append((i - a, j - b))
    return np.array(cells[::-1])


def test_binary_scores_equal_a_plain_computation():
    from scipy.spatial.distance import cdist

    module = aligner("FrameNet")
    batch = recording(module, noise=3.0)
    sides = [module.net.frames(side, "score").double().numpy() for side in (batch.performance, batch.score)]
    distances = cdist(*sides)
    threshold = float(np.median(distances))
    module.threshold.fill_(threshold)
    module.test_step(batch)
    module.on_test_epoch_end()
    errors = errors_along(binary_path((distances > threshold).astype(float)), batch.truth.numpy())
    np.testing.assert_allclose(module.rows["binary"].error, errors, atol=1e-9)
    assert np.abs(module.rows["distance"].error - errors).max() > 0.02, "the other matrix has another path"


def test_the_same_frames_are_laid_on_each_other():
    for name in ("SCNN", "FrameNet", "Handcrafted"):
        module = aligner(name)
        batch = recording(module)
        times = np.linspace(0, 59, 30) * FRAME_S
        module.test_step(batch._replace(performance=batch.score, truth=torch.from_numpy(np.stack([times, times], 1))))
        module.on_test_epoch_end()
        assert module.logged["test/distance_within_25"] == 1 and module.logged["test/distance_p95_ms"] < 1e-6, name
        assert {key.split("/")[1].split("_")[0] for key in module.logged} == {*module.net.modes, "within"}


def test_scores_of_an_epoch_are_forgotten_in_the_next():
    module = aligner("Handcrafted")
    for _ in range(2):
        module.on_validation_epoch_start()
        module.validation_step(recording(module))
        module.on_validation_epoch_end()
        assert module.logged["val/distance_n_recordings"] == 1


def test_the_threshold_is_measured_in_validation_and_kept_in_the_checkpoint():
    module = aligner("FrameNet")
    assert float(module.threshold) == 0.5
    found = []
    for index in range(3):
        batch = recording(module, index)
        module.validation_step(batch)
        sides = [module.net.frames(side, "score").numpy() for side in (batch.performance, batch.score)]
        found.append(sample_distances(module.net.costs(*sides), batch.truth.numpy(), FRAME_S, index))
    module.on_validation_epoch_end()
    expected, error = equal_error(*(torch.cat(side).numpy() for side in zip(*found, strict=True)))
    assert float(module.threshold) == pytest.approx(expected) != 0.5
    assert module.logged["val/pair_error"] == pytest.approx(error)
    again = aligner("FrameNet")
    again.load_state_dict(module.state_dict())
    assert float(again.threshold) == float(module.threshold)
    assert again._threshold("binary") == float(module.threshold) and again._threshold("distance") is None


@pytest.mark.parametrize(("name", "fn"), [("FrameNet", "validate"), ("MLP", "fit"), ("Handcrafted", "fit")])
def test_nothing_else_changes_the_threshold(name, fn):
    """Not `validate`, and not a network that says itself from where on frames differ."""
    module = aligner(name, fn)
    module.validation_step(recording(module))
    module.on_validation_epoch_end()
    assert float(module.threshold) == 0.5 and bool(module.validated) == (fn == "fit")


class Counted:
    """Costs that say where they lie."""

    shape = (50, 40)

    def block(self, first, last):
        return np.arange(first, last, dtype=np.float32)[:, None] + np.arange(40, dtype=np.float32) / 100


def test_distances_to_measure_it_by():
    frames = np.arange(3, 37)
    truth = np.stack([frames, frames + 10], 1) * FRAME_S
    distance, label = sample_distances(Counted(), truth, FRAME_S, 4)
    assert label.tolist() == [0.0] * PAIRS + [1.0] * PAIRS
    rows, columns = np.floor(distance.numpy()), 100 * (distance.numpy() % 1)
    np.testing.assert_allclose(rows[:PAIRS], columns[:PAIRS] + 10, atol=1e-3)
    apart = np.abs(rows[PAIRS:] - 10 - columns[PAIRS:])
    assert apart.min() > 3.9 and len(set(np.round(apart))) > 10
    assert torch.equal(sample_distances(Counted(), truth, FRAME_S, 4)[0], distance)
    assert not torch.equal(sample_distances(Counted(), truth, FRAME_S, 5)[0], distance)


def test_what_was_validated_is_in_the_checkpoint():
    module, checkpoint = aligner("Handcrafted"), {"state_dict": {}, "hyper_parameters": {}}
    module.validation_step(recording(module))
    module.on_validation_epoch_end()
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["validated"]["distance_within_50"] == module.logged["val/within_50"]
    again = aligner("Handcrafted")
    again.on_load_checkpoint(checkpoint)
    assert again.validated == module.validated


def test_a_network_that_learns_nothing_has_no_optimizer_and_no_loss():
    module = aligner("Handcrafted")
    assert module.configure_optimizers() is None and module.training_step(crops(module)) is None
    assert aligner("FrameNet").configure_optimizers() is not None


def test_settings_forget_files_of_weights_alone():
    settings = {"net": {"init_args": {"front": {"init_args": {"weights": "w.h5", "hop": 512}}}}, "steps": "unit"}
    assert without_files(settings) == {
        "net": {"init_args": {"front": {"init_args": {"weights": None, "hop": 512}}}},
        "steps": "unit",
    }
    assert settings["net"]["init_args"]["front"]["init_args"]["weights"] == "w.h5"


def test_another_network_reads_the_same_data_by_features_of_its_own(tmp_path, cache):
    data = MAPS(str(write_short_maps(tmp_path)), cache_dir=str(cache))
    first, second = Handcrafted(Chroma()), FrameNet(Chroma(n_fft=2048), channels=(2, 2, 2))
    data.connect(input_spec(first))
    store, listing = data.store, data.listing
    other = data.with_spec(input_spec(second))
    assert (other.store.key, other.spec.context) == (second.front.key, 15) and second.front.key != first.front.key
    assert data.store is store and data.spec.context == 1 and data.spec.feature_key() == store.key == first.front.key
    assert other.listing is listing and other.left_out is data.left_out


def test_features_are_named_by_the_weights_that_are_loaded_by_then(tmp_path, cache):
    data = MAPS(str(write_short_maps(tmp_path)), cache_dir=str(cache))
    net = FrameNet(Salience(), channels=(2, 2, 2))
    data.connect(input_spec(net))
    before = data.spec.feature_key()
    with torch.no_grad():
        next(net.front.parameters()).add_(1.0)
    assert data.spec.feature_key() != before and data.store.key == data.spec.feature_key()
