"""Likelihood by every protocol, accuracies, and that no batch size, padding, order or sharding changes them."""

import math
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed

from tasks.generation.metrics.likelihood import FrameLikelihood, intervals, summary
from tests.helpers import forkserver

COLUMNS, HOLD, REST = 4, 9, 8
LENGTHS = (5, 1, 8, 3, 6)


def piece(one: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Nats (frames,), guesses and truth (frames, columns) of one piece."""
    random = np.random.default_rng(one)
    cells = random.integers(0, 10, (2, LENGTHS[one], COLUMNS))
    return torch.tensor(random.gamma(2.0, 1.0, LENGTHS[one]), dtype=torch.float32), *torch.from_numpy(cells)


def scored(batches: list[list[int]], padding: int = 0, hold: int = HOLD, roll: bool = False) -> FrameLikelihood:
    """The metric over batches of pieces, each padded to its longest and by `padding` frames of rubbish."""
    scores = FrameLikelihood()
    for batch in batches:
        frames = max(LENGTHS[one] for one in batch) + padding
        nll, valid = torch.full((len(batch), frames), 1e30), torch.zeros(len(batch), frames, dtype=torch.bool)
        guess, truth = torch.full((2, len(batch), frames, COLUMNS), 7)
        for row, one in enumerate(batch):
            length = LENGTHS[one]
            valid[row, :length] = True
            nll[row, :length], guess[row, :length], truth[row, :length] = piece(one)
        if roll:
            guess, truth = (guess < 5).float(), (truth < 5).float()
        scores.update(torch.tensor(batch), nll, valid, COLUMNS, guess, truth, hold=hold, rest=REST)
    return scores


def test_the_three_protocols_by_hand():
    scores = FrameLikelihood()
    nll = torch.tensor([[4.0, 1.0, 1.0], [6.0, 8.0, 99.0]])
    scores.update([3, 1], nll, torch.tensor([[True] * 3, [True, True, False]]), columns=2)
    found = scores.compute()
    assert found["nll_frame"] == 20 / 5 and found["nll_frame_without_first"] == 10 / 3
    assert found["nll_frame_mean_per_piece"] == (6 / 3 + 14 / 2) / 2
    assert found["nll_cell"] == 2.0 and found["bits_cell"] == pytest.approx(2.0 / math.log(2))
    assert (found["n_pieces"], found["n_frames"], found["n_cells"]) == (2, 5, 10)
    assert not {"accuracy", "onset_accuracy", "bl_accuracy"} & set(found), "nothing was guessed"


def test_a_uniform_roll_of_88_pitches_costs_61_nats():
    scores = FrameLikelihood()
    scores.update([0], torch.full((1, 7), 88 * math.log(2)), torch.ones(1, 7, dtype=torch.bool), 88)
    assert scores.compute()["nll_frame"] == pytest.approx(61.0, abs=0.01) and scores.compute()["bits_cell"] == pytest.approx(1)


@pytest.mark.parametrize("roll", [False, True])
def test_padding_batches_and_order_change_nothing(roll):
    whole = scored([[0, 1, 2, 3, 4]], roll=roll).compute()
    for other in (scored([[k] for k in (3, 1, 4, 0, 2)], roll=roll), scored([[4, 1], [0, 3, 2]], 50, roll=roll)):
        assert other.compute() == pytest.approx(whole, rel=1e-12)
    assert scored([[0, 1, 2], [3, 4, 0]], roll=roll).compute() == whole, "a piece seen twice counts once"


def test_accuracies_by_a_loop_over_cells():
    right = cells = onsets_right = onsets = 0
    for one, length in enumerate(LENGTHS):
        _, guess, truth = piece(one)
        for t in range(length):
            for v in range(COLUMNS):
                same, cell = bool(guess[t, v] == truth[t, v]), int(truth[t, v])
                before = int(truth[t - 1, v]) if t else None
                begins = cell != HOLD and not (cell == REST and before == REST)
                right, cells = right + same, cells + 1
                onsets_right, onsets = onsets_right + (same and begins), onsets + begins
    found = scored([[0, 1, 2, 3, 4]]).compute()
    assert found["accuracy"] == right / cells and found["onset_accuracy"] == onsets_right / onsets
    assert onsets < cells


def test_without_a_hold_an_onset_is_a_change():
    truth = torch.tensor([[[1, 5], [1, 6], [2, 6]]])
    guess = torch.tensor([[[1, 0], [0, 6], [0, 0]]])
    scores = FrameLikelihood()
    scores.update([0], torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool), 2, guess, truth)
    assert scores.compute()["onset_accuracy"] == 2 / 4 and scores.compute()["accuracy"] == 2 / 6


def test_the_accuracy_of_rolls_is_boulanger_lewandowskis():
    truth = torch.tensor([[[1.0, 0, 1], [0, 1, 0]]])
    guess = torch.tensor([[[1.0, 1, 0], [0, 1, 0]]])
    scores = FrameLikelihood()
    scores.update([0], torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool), 3, guess, truth)
    found = scores.compute()
    assert found["bl_accuracy"] == 2 / 4 and "accuracy" not in found


def test_intervals_hold_the_value_and_narrow_with_more_pieces():
    few, many = FrameLikelihood(), FrameLikelihood()
    for scores, count in ((few, 10), (many, 400)):
        nll = torch.from_numpy(np.random.default_rng(0).gamma(2.0, 1.0, (count, 6)))
        scores.update(range(count), nll, torch.ones(count, 6, dtype=torch.bool), 1)
    widths = []
    for scores in (few, many):
        low, high = intervals(scores.rows())["nll_frame"]
        assert low < scores.compute()["nll_frame"] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused_by_piece(value):
    nll = torch.tensor([[1.0, 2.0], [1.0, value]])
    with pytest.raises(ValueError, match="piece 8"):
        FrameLikelihood().update([7, 8], nll, torch.ones(2, 2, dtype=torch.bool), 1)


def test_shapes_that_do_not_fit_are_refused():
    scores, valid = FrameLikelihood(), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="got"):
        scores.update([0], torch.zeros(2, 3), valid, 1)
    with pytest.raises(ValueError, match="guesses"):
        scores.update([0, 1], torch.zeros(2, 3), valid, 4, torch.zeros(2, 3, 4), torch.zeros(2, 3, 5))


def test_no_piece_is_no_number():
    found = FrameLikelihood().compute()
    assert math.isnan(found["nll_frame"]) and found["n_pieces"] == 0
    assert all(math.isnan(edge) for edge in intervals(FrameLikelihood().rows())["nll_frame"])


def two_ranks(rank: int, folder: str, shards: list[list[list[int]]]) -> None:
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    try:
        found = [scored([[one] for one in shard[rank]]) for shard in shards]
        torch.save([(scores.compute(), summary(scores.rows())) for scores in found], f"{folder}/{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    """Pieces shared out, some on both, all on one of them."""
    shards = [[[0, 2, 4], [1, 3]], [[0, 2, 4], [1, 3, 0]], [[0, 1, 2, 3, 4], []]]
    other = forkserver.call(two_ranks, 1, str(tmp_path), shards)
    two_ranks(0, str(tmp_path), shards)
    assert other.wait(60) == 0
    expected = scored([[0, 1, 2, 3, 4]]).compute()
    for rank in (0, 1):
        for pair in torch.load(tmp_path / f"{rank}.pt"):
            assert all(found == pytest.approx(expected, rel=1e-12) for found in pair)


def test_windows_make_up_their_pieces():
    """However pieces are cut, and in whatever order windows come, the protocols are of pieces."""
    whole, windows = scored([[0], [1], [2], [3], [4]]).compute(), FrameLikelihood()
    spans = [(one, start) for one, length in enumerate(LENGTHS) for start in range(0, length, 3)]
    for item in (5, 2, 0, 7, 4, 1, 6, 3, 8, 2):
        one, start = spans[item]
        nll, guess, truth = (part[None, start : start + 3] for part in piece(one))
        valid = torch.ones(nll.shape, dtype=torch.bool)
        windows.update([item], nll, valid, COLUMNS, guess, truth, hold=HOLD, rest=REST, piece=torch.tensor([one]))
    found = windows.compute()
    assert len(spans) == 9
    onsets = whole.pop("onset_accuracy"), found.pop("onset_accuracy")  # a rest that goes on into a window begins there
    assert found == pytest.approx(whole, rel=1e-12) and abs(onsets[0] - onsets[1]) < 0.1
