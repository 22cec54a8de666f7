"""Augmentation: consistent inputs and labels, padding, reproducibility."""

import math

import pytest
import torch

from models.augment import AugmentedBatch, FilterAugment, FrameShift, Mixup, SpecAugment, two_views
from models.augment.augmentation import Augmentation, range_edges
from models.sed import MelFrontEnd

FACTOR, OUT, BANDS, CLASSES = 4, 30, 16, 3
VALID = (120, 61, 4, 2)
ALL = [
    Mixup(p=1.0),
    Mixup(p=1.0, labels="hard"),
    SpecAugment(2, 0.2, 2, 5),
    FrameShift(10.0),
    FilterAugment("step", min_width=2),
    FilterAugment("linear", min_width=2),
]


def view(seed=0, group=None):
    """Every cell of input and frame labels tells which output frame of which clip it belongs to."""
    torch.manual_seed(seed)
    valid = torch.tensor(VALID)
    mel = torch.randn(4, 122, BANDS)
    mel = torch.where(torch.arange(122)[None, :, None] < valid[:, None, None], mel, 0.0)
    inside = torch.arange(OUT)[None, :, None] < (valid // FACTOR).clamp(min=1)[:, None, None]
    frames = torch.where(inside, torch.rand(4, OUT, CLASSES).round(), 0.0)
    number = torch.arange(OUT).float()[None, :, None] + 100 * torch.arange(4.0)[:, None, None] + 1
    return AugmentedBatch(mel, valid, {"e": number.expand(4, OUT, 2).clone()}, frames.amax(1), frames, group, None, FACTOR)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


def flat(v):
    return [v.mel, v.valid, v.embeddings["e"], v.clip, v.frames]


@pytest.mark.parametrize("augmentation", ALL, ids=lambda a: f"{type(a).__name__}-{getattr(a, 'kind', getattr(a, 'labels', ''))}")
def test_reproducible_and_out_of_place(augmentation):
    before = view()
    torch.manual_seed(3)
    first = augmentation(before)
    assert same(before, view()), "the view given was changed"
    torch.manual_seed(3)
    assert same(augmentation(before), first)
    torch.manual_seed(4)
    assert not same(augmentation(before), first)
    assert [x.shape for x in flat(first)] == [x.shape for x in flat(before)]
    padding = torch.arange(122) >= first.valid[:, None]
    assert not first.mel[padding].any()
    assert augmentation(before._replace(mel=None)).mel is None


def test_mixup_has_one_share_and_one_permutation():
    before, after = view(), None
    torch.manual_seed(1)
    after = Mixup(0.5, p=1.0)(before)
    torch.manual_seed(1)
    torch.rand(())
    share = float(torch.distributions.Beta(0.5, 0.5).sample())
    partner = torch.randperm(4)
    assert 0.01 < share < 0.99
    for mixed, values in zip(flat(after), flat(before), strict=True):
        if values is before.valid:
            assert torch.equal(mixed, values.maximum(values[partner]))
        else:
            torch.testing.assert_close(mixed, share * values + (1 - share) * values[partner])
    torch.manual_seed(1)
    hard = Mixup(0.5, p=1.0, labels="hard")(before)
    assert torch.equal(hard.frames, before.frames.maximum(before.frames[partner]))
    assert torch.equal(hard.mel, after.mel)


def test_mixup_stays_in_its_group_and_sometimes_away():
    group = torch.tensor([5, 0, 5, 0])
    before = view(group=group)
    strangers = torch.stack([(Mixup(0.5, p=1.0)(before).embeddings["e"][:, 0, 0] - 1) for _ in range(60)])
    own = 100 * torch.arange(4.0)
    other = own[torch.tensor([2, 3, 0, 1])]
    assert ((strangers >= own.minimum(other) - 1e-3) & (strangers <= own.maximum(other) + 1e-3)).all()
    assert (strangers != own).any()
    assert all(same(Mixup(p=0.0)(before), before) for _ in range(5))
    changed = sum(not same(Mixup(0.5, p=0.5)(before), before) for _ in range(200))
    assert 50 < changed < 110  # a permutation of two pairs is the identity every fourth time


def test_frame_shift_moves_everything_alike():
    before = view()
    before = before._replace(mel=before.mel.clone())
    for k, valid in enumerate(VALID):  # each frame of the log-mel names the output frame it belongs to
        frame = torch.arange(122)
        before.mel[k] = torch.where(frame < valid, frame // FACTOR + 100.0 * k + 1, 0.0)[:, None]
    frames = before.embeddings["e"][..., :1].expand(-1, -1, CLASSES).clone()
    before = before._replace(frames=frames)
    shifted = 0
    for seed in range(20):
        torch.manual_seed(seed)
        after = FrameShift(10.0)(before)
        assert torch.equal(after.frames[..., 0], after.embeddings["e"][..., 0])
        assert torch.equal(after.clip, before.clip)
        for k, valid in enumerate(VALID):
            n = max(1, valid // FACTOR)
            whole = valid // FACTOR * FACTOR
            assert torch.equal(after.mel[k, :whole:FACTOR, 0], after.frames[k, : whole // FACTOR, 0])
            assert torch.equal(after.mel[k, whole:], before.mel[k, whole:])
            assert sorted(after.frames[k, :n, 0].tolist()) == before.frames[k, :n, 0].tolist()
            assert torch.equal(after.frames[k, n:], before.frames[k, n:])
            moved = int(after.frames[k, 0, 0] - before.frames[k, 0, 0]) % n
            assert torch.equal(after.frames[k, :n, 0], before.frames[k, :n, 0].roll(-moved))
            shifted += moved > 0
    assert shifted > 20


def test_spec_augment_blanks_stripes():
    ones = view()._replace(mel=torch.ones(4, 122, BANDS))
    share = []
    for seed in range(50):
        torch.manual_seed(seed)
        blank = SpecAugment(2, 0.1, 0, 0)(ones).mel == 0
        assert (blank.all(2) == blank.any(2)).all()
        width = blank.all(2).sum(1)
        assert (width <= 2 * (0.1 * torch.tensor(VALID)).floor()).all()
        assert not blank[1, 61:].any()
        share.append(float(width[0]))
        bands = (SpecAugment(0, 0, 2, 4)(ones).mel == 0).all(1).sum(1)
        assert (bands <= 8).all()
    assert 0 < sum(share) / len(share) < 24 and len(set(share)) > 5
    wide = SpecAugment(0, 0, 1, 99)(ones).mel
    assert wide.shape == ones.mel.shape


def test_filter_augment_colours_levels():
    before = view()
    torch.manual_seed(0)
    step = FilterAugment("step", (-4.5, 6.0), (2, 5), 2)
    after = step(before)
    gain = (after.mel - before.mel)[0] * 20 / math.log(10)  # in dB
    torch.testing.assert_close(gain[0], gain[77], rtol=0, atol=1e-4)
    assert gain.min() >= -4.5 - 1e-4 and gain.max() <= 6 + 1e-4
    torch.manual_seed(0)
    assert 2 <= len(step.response(1, BANDS)[0].unique()) <= 5
    assert not torch.equal(gain[0], ((after.mel - before.mel)[1] * 20 / math.log(10))[0]), "each clip has its own"
    linear = FilterAugment("linear", bands=(1, 1)).response(3, BANDS)
    torch.testing.assert_close(linear.diff(dim=1), linear.diff(dim=1)[:, :1].expand(-1, BANDS - 1), rtol=1e-3, atol=1e-4)
    edges = torch.cat([range_edges(50, BANDS, n, 3) for n in (5,)])
    assert (edges.diff(dim=1) >= 3).all() and (edges[:, 0] == 0).all() and (edges[:, -1] == BANDS).all()
    assert len(edges.unique(dim=0)) > 1
    with pytest.raises(ValueError, match="do not fit"):
        FilterAugment(bands=(5, 5))(before)


def test_a_gain_before_standardisation_is_the_same():
    """A louder recording, standardised, is the standardised one coloured by FilterAugment's own measure."""
    mel = MelFrontEnd(8000, 256, 100, BANDS, peak=False)
    mel.set_statistics(torch.linspace(-6, -2, BANDS), torch.linspace(1, 2, BANDS))
    audio = 0.1 * torch.randn(1, 4000)
    quiet, valid = mel(audio)
    loud, _ = mel(audio * 10 ** (3 / 20))
    given = AugmentedBatch(quiet, valid, {}, torch.zeros(1, 1), torch.zeros(1, 10, 1), gain=mel.gain)
    even = FilterAugment(decibels=(3.0, 3.0), min_width=1)(given)
    torch.testing.assert_close(even.mel, loud, rtol=0, atol=1e-4)


def test_two_views_share_what_moves_labels():
    torch.manual_seed(0)
    student, teacher = two_views(view(), ALL[:1] + ALL[3:5], independent=True)
    assert torch.equal(student.frames, teacher.frames) and torch.equal(student.embeddings["e"], teacher.embeddings["e"])
    assert not torch.equal(student.mel, teacher.mel)
    student, teacher = two_views(view(), ALL[3:5], independent=False)
    assert same(student, teacher)
    student, teacher = two_views(view(), [])
    assert same(student, view())
    with pytest.raises(NotImplementedError):
        Augmentation()(view())


@pytest.mark.parametrize("build", [lambda: Mixup(labels="none"), lambda: Mixup(alpha=0), lambda: FilterAugment("curve")])
def test_options_must_mean_something(build):
    with pytest.raises(ValueError, match="expected"):
        build()
