"""DeepBach: loss vs. single cells in windows, conditionals independent of the cell, sampling with fixed cells."""

import pytest
import torch
import torch.nn.functional as F

from models.generation.deepbach import DeepBach, colours, cooled, pseudo_gibbs, visits
from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.sampling import Sampling

REST, HOLD = 0, 1
FORM = FrameSpec("categories", (6, 5, 7), conditions=5, bar=4, low=60, hold=HOLD, rest=REST)
PLAIN = Sampling()
SMALL = {"layers": 2, "width": 8, "embedding": 4, "hidden": 9, "context": 3, "chunk": 4, "iterations": 30, "apart": 3}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(form: FrameSpec = FORM, **changes) -> DeepBach:
    torch.manual_seed(1)
    return DeepBach(form, **SMALL | changes).eval()


def drawn(*lengths: int, form: FrameSpec = FORM, seed: int = 0) -> FrameBatch:
    """Pieces of such lengths; what stands behind their ends is made of chance too, and must not matter."""
    longest = max(lengths)
    columns = [torch.randint(size, (len(lengths), longest), generator=generator(seed + i)) for i, size in enumerate(form.sizes)]
    conditions = torch.rand(len(lengths), longest, form.conditions, generator=generator(seed))
    valid = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return FrameBatch(torch.stack(columns, -1), conditions, valid)


def asked(net: DeepBach, fixed: torch.Tensor, seed: int = 0, sampling: Sampling = PLAIN) -> torch.Tensor:
    batch = drawn(*[fixed.shape[1]] * fixed.shape[0], form=net.form)
    return net.generate(SamplingRequest(batch.frames, fixed, batch.conditions, generator(seed), sampling))


def plainly(net: DeepBach, frames: torch.Tensor, conditions: torch.Tensor, frame: int, voice: int) -> torch.Tensor:
    """Logits of one cell of one piece as the paper has it: a window before it, one behind it, read towards it."""
    voices = net.voices[voice]
    reach, count = net.context, len(frames)

    def seen(t: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        inside = 0 <= t < count
        symbols = frames[t] if inside else torch.tensor(net.form.sizes)
        notes = [table(symbol) for table, symbol in zip(voices.notes, symbols, strict=True)]
        return voices.metadata(conditions[t] if inside else torch.zeros(net.form.conditions)), notes

    def read(lstm: torch.nn.LSTM, places: list[int]) -> torch.Tensor:
        window = [torch.cat([*notes, known]) for known, notes in map(seen, places)]
        return lstm(torch.stack(window)[None])[0][0, -1]

    left = read(voices.left, list(range(frame - reach, frame)))
    right = read(voices.right, list(range(frame + reach, frame, -1)))
    known, notes = seen(frame)
    centre = voices.centre(torch.cat([*(note for i, note in enumerate(notes) if i != voice), known]))
    return voices.head(torch.cat([left, centre, right]))


@torch.no_grad()
def test_chunks_of_one_frame_are_the_papers_windows():
    net, batch = small(chunk=1), drawn(7)
    nats = net.cells(batch)[0]
    for frame in range(7):
        for voice in range(3):
            logits = plainly(net, batch.frames[0], batch.conditions[0], frame, voice)
            torch.testing.assert_close(
                nats[frame, voice], F.cross_entropy(logits, batch.frames[0, frame, voice]), atol=1e-5, rtol=0
            )


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 4, 50])
def test_no_cell_sees_itself_and_each_sees_its_surroundings(chunk):
    net, batch = small(chunk=chunk), drawn(9)
    frame, voice = 4, 1
    other = batch.frames.clone()
    other[0, frame, voice] = (other[0, frame, voice] + 1) % 5
    before, after = (net.conditionals(frames, batch.conditions, voice)[0] for frames in (batch.frames, other))
    changed = (before - after).abs().amax(-1) > 0
    assert not changed[frame]
    assert changed[frame - net.context : frame].all() and changed[frame + 1 : frame + net.context + 1].all()
    beside = net.conditionals(batch.frames, batch.conditions, 2) - net.conditionals(other, batch.conditions, 2)
    assert beside[0, frame].abs().max() > 0


@torch.no_grad()
def test_padding_and_batch_change_nothing():
    net, batch = small(), drawn(5, 11, 8)
    together = net.surrogate(batch)
    for row, count in enumerate((5, 11, 8)):
        alone = net.surrogate(
            FrameBatch(batch.frames[row, None, :count], batch.conditions[row, None, :count], batch.valid[row, None, :count])
        )
        torch.testing.assert_close(together[row, :count], alone[0], atol=1e-5, rtol=0)
        assert (together[row, count:] == 0).all()
    mean = together.sum() / (5 + 11 + 8) / 3
    torch.testing.assert_close(net.loss(batch)["loss"], mean)


def test_bf16_and_a_voice_alone():
    net, batch = small(), drawn(6, 4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net.loss(batch)["loss"]
    assert loss.dtype == torch.float32
    assert abs(loss - net.loss(batch)["loss"]) < 0.05
    alone = FrameSpec("categories", (6,), bar=4, hold=HOLD)
    assert torch.isfinite(small(alone).loss(drawn(5, form=alone))["loss"])


MASKS = {
    "free": lambda fixed: fixed,
    "continue": lambda fixed: fixed.index_fill(1, torch.arange(7), True),
    "harmonise": lambda fixed: fixed.index_fill(2, torch.tensor(0), True),
    "inpaint": lambda fixed: ~fixed.index_fill(1, torch.arange(9, 14), True),
    "nothing to do": lambda fixed: ~fixed,
}


@pytest.mark.parametrize("use", MASKS)
def test_masks(use):
    net = small()
    fixed = MASKS[use](torch.zeros(2, 23, 3, dtype=torch.bool))
    values = drawn(23, 23).frames
    frames = asked(net, fixed)
    assert torch.equal(frames[fixed], values[fixed])
    assert (frames >= 0).all() and (frames < torch.tensor(FORM.sizes)).all()
    assert not ((frames[:, 0] == HOLD) & ~fixed[:, 0]).any()
    assert torch.equal(frames, asked(net, fixed))
    if use != "nothing to do":
        assert not torch.equal(frames, asked(net, fixed, seed=1))
        assert (frames != values)[~fixed].any()


@torch.no_grad()
def test_a_cut_of_a_long_piece_is_sampled_as_the_whole():
    """Only the surroundings of open cells are read; there they look the same as in the whole piece."""
    net, batch = small(), drawn(60)
    fixed = torch.ones(1, 60, 3, dtype=torch.bool)
    fixed[:, 30:33] = False
    cuts = []
    conditionals = net.conditionals
    net.conditionals = lambda *of: cuts.append(of) or conditionals(*of)
    frames = asked(net, fixed)
    _, conditions, column = cuts[0]
    count = conditions.shape[1]
    assert count < 20
    first = next(at for at in range(60) if torch.equal(batch.conditions[:, at : at + count], conditions))
    cut = conditionals(frames[:, first : first + count], conditions, column)[:, 30 - first : 33 - first]
    whole = conditionals(frames, batch.conditions, column)[:, 30:33]
    torch.testing.assert_close(whole, cut, atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(top_k=1)])
def test_cold_ends_where_every_cell_is_the_likeliest(sampling):
    net = small(iterations=200)
    fixed = torch.zeros(1, 8, 3, dtype=torch.bool)
    frames, conditions = asked(net, fixed, sampling=sampling), drawn(8).conditions
    for voice in range(3):
        logits = net.conditionals(frames, conditions, voice)
        logits[:, 0, HOLD] = -torch.inf
        assert torch.equal(logits.argmax(-1), frames[..., voice])


def test_colours_cover_every_open_cell_once_and_keep_apart():
    fixed = torch.zeros(1, 10, 3, dtype=torch.bool)
    fixed[:, :, 0] = fixed[:, :4] = True
    count = torch.zeros(10, 3, dtype=torch.int64)
    for column, phase in colours(fixed, 3):
        count[phase::3, column] += 1
    assert torch.equal(count[~fixed[0]], torch.ones(12, dtype=torch.int64))
    assert (count[:, 0] == 0).all()
    sets = colours(fixed, 3)
    order = visits(sets, generator())
    assert sorted(next(order) for _ in sets) == sorted(next(order) for _ in sets) == sets
    assert colours(torch.zeros(1, 2, 1, dtype=torch.bool), 4) == [(0, 0), (0, 1)]


def test_cooling():
    assert cooled(0.5, 1.1, 0) == 1.1
    assert cooled(0.5, 1.1, 1 / 3) == pytest.approx(0.8)
    assert cooled(0.5, 1.1, 0.7) == cooled(0.5, 1.1, 0.99) == 0.5
    assert cooled(2.0, 1.1, 0) == 2.0


def test_pseudo_gibbs_has_the_right_distribution():
    """Of a joint distribution over two cells that is known, with its true conditionals."""
    joint = torch.tensor([[0.4, 0.1], [0.1, 0.4]])

    class Known(DeepBach):
        def conditionals(self, frames, conditions, column):
            table = joint if column == 0 else joint.T
            return table[:, frames[..., 1 - column]].movedim(0, -1).log()

    form = FrameSpec("categories", (2, 2))
    net = Known(form, **SMALL)
    values = torch.zeros(4000, 1, 2, dtype=torch.long)
    request = SamplingRequest(values, values.bool(), torch.zeros(4000, 1, 0), generator())
    frames = pseudo_gibbs(net, request, iterations=40, hottest=1.0)
    found = torch.bincount(frames[:, 0, 0] * 2 + frames[:, 0, 1], minlength=4) / 4000
    torch.testing.assert_close(found, joint.flatten(), atol=0.03, rtol=0)


def test_it_learns():
    """A voice that doubles another is known from it."""
    batch = drawn(12, 12, 12, form=FrameSpec("categories", (4, 4), conditions=5))
    batch.frames[..., 1] = batch.frames[..., 0]
    net = small(FrameSpec("categories", (4, 4), conditions=5), dropout=0.1).train()
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        net.loss(batch)["loss"].backward()
        optimizer.step()
    other = drawn(12, form=FrameSpec("categories", (4, 4), conditions=5), seed=7)
    other.frames[..., 1] = other.frames[..., 0]
    assert net.eval().pseudo_nll(other) < 0.2


def test_published_size():
    """Per voice two LSTMs of two layers of 256 that read four notes of 20 and metadata of 20."""
    net = DeepBach(FrameSpec("categories", (30, 31, 32, 33), conditions=20, hold=1))
    lstm = 4 * 256 * (100 + 256 + 2) + 4 * 256 * (256 + 256 + 2)
    for voice, size in enumerate((30, 31, 32, 33)):
        embeddings = 20 * (31 + 32 + 33 + 34) + 20 * 20 + 20
        centre, head = 80 * 256 + 256, 768 * 256 + 256 + 256 * size + size
        assert sum(p.numel() for p in net.voices[voice].parameters()) == 2 * lstm + embeddings + centre + head


def test_wrong_arguments():
    with pytest.raises(ValueError, match="voice grid"):
        DeepBach(FrameSpec("binary", (2,) * 8))
    with pytest.raises(ValueError, match="chunk is 0"):
        DeepBach(FORM, chunk=0)
