"""What the toy of test_resume and test_guard cannot show: the tagger's and the separator's own part in the guarantees."""

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from datamodules.separation.stems import StemBatch, collate
from datamodules.tagging.data import TaggingBatch
from losses import MultiDomainLoss
from models.separation import UMX
from models.tagging import Att, FrontBack, Spec
from tasks.metrics.events.sweep import clip_based
from tasks.metrics.events.tuning import clip_thresholds
from tasks.separation.module import BestOfEachSource, SeparationModule
from tasks.tagging.module import TaggingModule

RATE = 8000
SMALL = {"hidden": 8, "layers": 1, "bandwidth": None, "dropout": 0.0, "sample_rate": RATE, "channels": 1, "n_fft": 64, "hop": 16}
APART = {"one_optimizer": False, "patience": 2, "scheduler": partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=3)}


class Spied(nn.Module):
    """A loss that remembers the types of what it compares."""

    def __init__(self, loss):
        super().__init__()
        self.loss, self.seen = loss, set()
        self.needs_magnitudes = self.needs_waveforms = True

    def forward(self, *compared):
        for one in compared:
            self.seen |= {one.dtype} if isinstance(one, torch.Tensor) else {part.dtype for part in one}
        return self.loss(*compared)


def alone(module, fn="fit"):
    """The module with a stand-in for its Trainer; `module.logged` is what it logs."""
    module.logged = {}
    module.log = lambda name, value, **_: module.logged.update({name: value})
    module.log_dict = lambda values, **_: module.logged.update(values)
    module._trainer = SimpleNamespace(state=SimpleNamespace(fn=fn), sanity_checking=False, should_stop=False)
    return module


def tagger(**options):
    torch.manual_seed(0)
    front = partial(Spec, channels=1, width=16, frames=16, time_stride=4)
    net = partial(FrontBack, front_end=front, back_end=partial(Att, layers=1, heads=2))
    return alone(TaggingModule(["a", "b", "c"], net, **options)).eval()


def clips(chunks, first=0, seed=0):
    """A batch of as many clips of one chunk each."""
    torch.manual_seed(seed)
    samples = tagger().net.samples
    audio = torch.randint(-9000, 9000, (chunks, samples), dtype=torch.int16)
    labels, one = (torch.rand(chunks, 3) < 0.5).float(), torch.ones(chunks)
    level = tagger().net.clip_level(audio) if chunks else one
    return TaggingBatch(audio, labels, torch.arange(first, first + chunks), one, level, 0 * one, ("x.wav",) * chunks)


def separator(**options):
    torch.manual_seed(0)
    loss = options.pop("loss", MultiDomainLoss(multi_domain=False, combination=False))
    return alone(SeparationModule(["a", "b"], partial(UMX, bridge=False, **SMALL), loss, **options)).eval()


def pieces(seconds, batch=1, seed=0):
    """A batch of pieces of one length, of tracks of their own."""
    torch.manual_seed(seed)
    stems = torch.randint(-9000, 9000, (batch, 2, int(RATE * seconds), 1), dtype=torch.int16)
    names, plain = tuple(f"{seed} {k}" for k in range(batch)), torch.ones(batch, 2)
    return StemBatch(stems, stems[:, 0, :0], plain, plain < 0, names, torch.zeros(batch))


@pytest.mark.parametrize(
    ("module", "batches", "weights"),
    [
        (tagger, (clips(3, 0, 1), clips(1, 3, 2)), (3, 1)),
        (separator, (pieces(1.0, 2, 1), pieces(3.0, 1, 2)), (2, 3)),
    ],
    ids=["tagging", "separation"],
)
def test_validation_loss_does_not_depend_on_the_batches(module, batches, weights):
    """Else the same weights would have another loss on another number of ranks."""

    def loss(*given):
        fresh = module()
        fresh.on_validation_epoch_start()
        for batch in given:
            fresh.validation_step(batch)
        fresh.on_validation_epoch_end()
        return float(fresh.logged["val/loss"])

    mean = sum(weight * loss(batch) for weight, batch in zip(weights, batches, strict=True)) / sum(weights)
    assert loss(*batches) == pytest.approx(mean, rel=1e-5), "batches of different sizes must count by their size"


@pytest.mark.parametrize(("module", "batch"), [(tagger, clips(2)), (separator, pieces(1.0))], ids=["tagging", "separation"])
def test_losses_and_scores_are_float32_under_bf16(module, batch):
    inner = nn.BCEWithLogitsLoss() if module is tagger else MultiDomainLoss(True, True)
    fresh = module(loss=Spied(inner))
    with torch.autocast("cpu", torch.bfloat16):
        loss = fresh.training_step(batch)
        fresh.validation_step(batch)
    assert fresh.loss.seen == {torch.float32}, "what a loss compares must have left bfloat16"
    assert loss.dtype == torch.float32
    fresh.on_validation_epoch_end()
    scores = {name: torch.as_tensor(value).dtype for name, value in fresh.logged.items()}
    assert set(scores.values()) <= {torch.float32, torch.float64}


@pytest.mark.parametrize(
    ("module", "nothing", "batch"),
    [(tagger, clips(0), clips(2)), (separator, collate([None], 2, 1), pieces(1.0))],
    ids=["tagging", "separation"],
)
def test_a_batch_of_which_nothing_could_be_read_changes_no_score(module, nothing, batch):
    logged = []
    for batches in ([batch], [nothing, batch, nothing]):
        fresh = module()
        fresh.on_validation_epoch_start()
        for one in batches:
            fresh.validation_step(one)
        fresh.on_validation_epoch_end()
        logged.append({name: float(value) for name, value in fresh.logged.items()})
    assert logged[0] == pytest.approx(logged[1], nan_ok=True)


def test_the_taggers_thresholds_are_measured_and_kept_in_its_checkpoint():
    module = tagger()
    module.validation_step(clips(12))
    module.on_validation_epoch_end()
    rows = module.scores.scores()
    labels = rows.labels.astype(bool)
    best = clip_thresholds(lambda chosen: clip_based(rows.probabilities[chosen], labels[chosen]), len(labels))
    assert module.state_dict()["thresholds"].tolist() == pytest.approx(best.tolist())
    assert set(best.tolist()) != {0.5}


def test_how_long_each_plateau_lasts_survives_a_resume():
    first, second = separator(**APART), separator(**APART)
    first.configure_optimizers(), second.configure_optimizers()
    for loss in (1.0, 2.0, 2.0):
        first._plateaus[0].step(loss)
    checkpoint = {}
    first.on_save_checkpoint(checkpoint)
    second.on_load_checkpoint(copy.deepcopy(checkpoint))
    second.on_fit_start()
    assert [plateau.state_dict() for plateau in second._plateaus] == [plateau.state_dict() for plateau in first._plateaus]
    assert second._plateaus[0].num_bad_epochs == 2


def test_the_best_of_each_source_survives_a_resume():
    net = UMX(2, bridge=False, **SMALL)
    first, second = (BestOfEachSource(net, 2, patience=2) for _ in range(2))
    first.update(net, torch.tensor([3.0, 1.0]))
    first.update(net, torch.tensor([2.0, 4.0]))
    second.load_state_dict(first.state_dict())
    for best in (first, second):
        best.update(net, torch.tensor([2.5, 1.5]))
    assert second.loss.tolist() == first.loss.tolist() == [2.0, 1.0]
    assert second.running() == first.running() == [True, False]
