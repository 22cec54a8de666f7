"""PHCCCF pitch code, alone and as input of next-step models."""

import numpy as np
import torch

from models.generation.cores.core import FrameEmbedding, phcccf
from models.generation.frame_spec import FrameSpec


def test_pitch_is_height_and_two_circles():
    code = phcccf(torch.arange(48.0, 73.0)).numpy()
    circle, fifths = code[:, 1:3], code[:, 3:]
    assert np.allclose(code[12] - code[0], [1, 0, 0, 0, 0], atol=1e-5)
    assert np.allclose(np.linalg.norm(circle[1:] - circle[:-1], axis=1), 2 * np.sin(np.pi / 12), atol=1e-5)
    assert np.allclose(np.linalg.norm(fifths[7:] - fifths[:-7], axis=1), 2 * np.sin(np.pi / 12), atol=1e-5)


def test_the_code_stands_beside_the_embedding_of_a_frame():
    form = FrameSpec("categories", (2 + 13, 3), low=60, rest=1, end=0)
    plain, coded = FrameEmbedding(form, 4), FrameEmbedding(form, 4, coded=True)
    assert coded.width == plain.width + 5
    frames = torch.tensor([[0, 0], [1, 1], [2, 2], [14, 0]])  # end, rest, the lowest and the highest pitch
    code = coded(frames)[:, -5:]
    assert not code[:2].any()
    assert torch.allclose(code[2:], phcccf(torch.tensor([60.0, 72.0])))
