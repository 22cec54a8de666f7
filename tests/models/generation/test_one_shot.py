"""MiniBach: windows, padding, likelihood of the output voices, harmonisation."""

import math

import pytest
import torch
import torch.nn.functional as F

from models.generation.cells import Cells, cut, ended, joined
from models.generation.frame_spec import FrameBatch, FrameSpec
from models.generation.one_shot import OneShot
from models.generation.sampling import Sampling
from tests.helpers.excerpts import LIKELIEST, ROLL, VOICES, ask_of, excerpts, mask_for, padded, row_by_row


def net_of(form, **options):
    torch.manual_seed(0)
    return OneShot(form, 4, [16], **options).eval()


@pytest.mark.parametrize("frames", [1, 4, 5, 8])
def test_windows_come_back_as_they_were_cut(frames):
    x = torch.randn(2, frames, 3)
    windows = cut(x, 4)
    assert windows.shape == (2 * math.ceil(frames / 4), 4, 3)
    assert torch.equal(joined(windows, frames), x)
    assert cut(x[..., 0] > 0, 4).dtype == torch.bool


def test_cells_are_one_hot_by_column():
    frames = excerpts(VOICES).frames
    wanted = torch.cat([F.one_hot(frames[..., column], size) for column, size in ((0, 5), (2, 6))], -1).float()
    cells = Cells(VOICES, [0, 2])
    assert torch.equal(cells.read(frames), wanted)
    assert torch.equal(cells.likeliest(wanted), frames[..., [0, 2]])
    fixed = torch.tensor([True, True, False])
    assert cells.spread(fixed).tolist() == [True] * 5 + [False] * 6
    assert cells.chances(torch.randn(2, 11)).split([5, 6], -1)[1].sum(-1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("form", [VOICES, ROLL])
def test_the_habit_of_music_is_the_share_of_each_cell(form):
    music = [excerpts(form, seed=0), padded(excerpts(form, seed=1), 5)]
    cells = Cells(form)
    shares = torch.cat([cells.read(batch.frames)[batch.valid] for batch in music]).mean(0)
    assert torch.allclose(cells.chances(cells.initial_bias(music)), shares, atol=0.03)


def test_nothing_follows_an_end():
    frames = torch.tensor([[[1], [7], [2], [7]], [[1], [2], [3], [4]]])
    assert ended(frames, 7)[..., 0].tolist() == [[1, 7, 7, 7], [1, 2, 3, 4]]
    assert ended(frames, -1) is frames


def test_the_size_of_the_survey():
    net = OneShot(FrameSpec("categories", (21, 21, 21, 28)), 64, [200])
    assert [tuple(layer.weight.shape) for layer in net.layers if hasattr(layer, "weight")] == [(200, 1344), (4480, 200)]


@pytest.mark.parametrize("form", [VOICES, ROLL])
def test_the_likelihood_of_the_written_columns_sums_to_one(form):
    batch = excerpts(form, 1, 1)
    rest = torch.cartesian_prod(*(torch.arange(size) for size in form.sizes[1:])).to(batch.frames.dtype)
    frames = torch.cat([batch.frames[0, :, :1].expand(len(rest), 1), rest], 1)[:, None]
    conditions = torch.zeros(len(rest), 1, form.conditions)
    nll = net_of(form).nll(FrameBatch(frames, conditions, torch.ones(len(rest), 1, dtype=torch.bool)))
    assert (-nll).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_the_likelihood_by_plain_softmax():
    batch, net = excerpts(VOICES, 1, 4), net_of(VOICES, conditions=True)
    x = torch.cat([F.one_hot(batch.frames[..., 0], 5).float(), batch.conditions], -1).flatten()
    logits = net.layers(x).reshape(4, 10)
    alto, bass = logits[:, :4].log_softmax(-1), logits[:, 4:].log_softmax(-1)
    wanted = [-(alto[t, batch.frames[0, t, 1]] + bass[t, batch.frames[0, t, 2]]).item() for t in range(4)]
    assert net.nll(batch)[0].tolist() == pytest.approx(wanted, abs=1e-5)
    assert net.loss(batch)["loss"].item() == pytest.approx(sum(wanted) / 8, abs=1e-5)


def test_padding_and_batch_change_nothing():
    batch, net = excerpts(VOICES), net_of(VOICES, conditions=True)
    alone, longer = row_by_row(net.nll, batch), net.nll(padded(batch, 7))
    assert torch.allclose(alone, net.nll(batch), atol=1e-5)
    assert torch.allclose(longer[:, :11], alone, atol=1e-5)
    assert not longer[:, 11:].any()
    assert torch.allclose(net.loss(padded(batch, 7))["loss"], net.loss(batch)["loss"], atol=1e-5)


@pytest.mark.parametrize("form", [VOICES, ROLL])
def test_harmonising_keeps_what_is_given(form):
    batch, net = excerpts(form), net_of(form)
    fixed = mask_for(batch, "harmonise")
    fixed[0, 3] = True
    first, again, other = (net.generate(ask_of(batch, "harmonise", fixed, seed)) for seed in (0, 0, 1))
    assert first.dtype == batch.frames.dtype and first.shape == batch.frames.shape
    assert torch.equal(first[fixed], batch.frames[fixed])
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (first < torch.tensor(form.sizes)).all()


@pytest.mark.parametrize("form", [VOICES, ROLL])
def test_the_coldest_are_the_likeliest(form):
    batch, net = excerpts(form), net_of(form)
    likeliest = net.predict_columns(batch)
    assert torch.equal(likeliest[..., 0], batch.frames[..., 0])
    for sampling in (LIKELIEST, Sampling(top_k=1)):
        assert torch.equal(net.generate(ask_of(batch, "harmonise", sampling=sampling)), likeliest)


def test_what_stands_in_free_cells_means_nothing():
    batch, net = excerpts(VOICES), net_of(VOICES)
    fixed = mask_for(batch, "harmonise")
    noise = batch._replace(frames=torch.where(fixed, batch.frames, -1))
    assert torch.equal(net.generate(ask_of(batch, "harmonise")), net.generate(ask_of(noise, "harmonise")))


def test_what_it_cannot_do_is_refused_in_a_sentence():
    batch, net = excerpts(VOICES), net_of(VOICES)
    with pytest.raises(ValueError, match="does not support inpaint"):
        net.generate(ask_of(batch, "inpaint"))
    with pytest.raises(ValueError, match="must be fixed in every frame"):
        net.generate(ask_of(batch, "harmonise", ~mask_for(batch, "harmonise")))
    for given in ([], [0, 1, 2], [3]):
        with pytest.raises(ValueError, match="some but not all of the 3 columns"):
            OneShot(VOICES, given=given)


def test_it_learns_what_follows_from_the_soprano():
    batch = excerpts(VOICES, 8, 8)
    frames = torch.stack([batch.frames[..., 0], batch.frames[..., 0] % 4, 4 - batch.frames[..., 0]], -1)
    batch, net = batch._replace(frames=frames), net_of(VOICES).train()
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        net.loss(batch)["loss"].backward()
        optimizer.step()
    assert (net.predict_columns(batch) == frames).float().mean() > 0.95
