"""The linear layer by oneDNN gives what PyTorch's own gives, and steps aside where it would not work or not pay."""

import pytest
import torch
import torch.nn.functional as F

from models.separation.umx import ENOUGH, linear

ROWS, INPUTS, OUTPUTS = 200, 300, 400  # enough to be worth it
assert ROWS * INPUTS * OUTPUTS > ENOUGH


def tensors(dtype=torch.float32):
    random = torch.Generator().manual_seed(0)
    shapes = ((ROWS, INPUTS), (OUTPUTS, INPUTS), (OUTPUTS,))
    return [torch.randn(shape, generator=random, dtype=dtype).requires_grad_() for shape in shapes]


def gradients(function, arguments, error):
    result = function(*arguments)
    return [result, *torch.autograd.grad(result, arguments, error)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_result_and_gradients_are_those_of_a_linear_layer(bias, dtype):
    arguments = tensors(dtype)[: 3 if bias else 2]
    error = torch.randn(ROWS, OUTPUTS, dtype=dtype)
    for ours, theirs in zip(gradients(linear, arguments, error), gradients(F.linear, arguments, error), strict=True):
        assert ours.layout == torch.strided and ours.dtype == dtype
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_columns_of_a_larger_matrix_and_nothing_to_learn():
    x, weight, bias = tensors()
    wide = torch.randn(ROWS, 3 * INPUTS)[:, INPUTS : 2 * INPUTS]
    torch.testing.assert_close(linear(wide, weight), F.linear(wide, weight), rtol=1e-5, atol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias), rtol=1e-5, atol=1e-4)


def test_it_steps_aside():
    x, weight, bias = tensors()
    assert torch.equal(linear(x[:9], weight, bias), F.linear(x[:9], weight, bias))  # too little to do
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16
    layer = torch.export.export(Linear(weight, bias), (x,)).module()
    torch.testing.assert_close(layer(x), F.linear(x, weight, bias), rtol=1e-5, atol=1e-4)


class Linear(torch.nn.Module):
    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)

    def forward(self, x):
        return linear(x, self.weight, self.bias)
