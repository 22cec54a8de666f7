"""Files appear whole, under the mode that the umask gives."""

import os

import pytest
import torch

from tasks.writers.output_files import whole, write_text


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_exported_weights_have_the_mode_of_any_file(umask, tmp_path):
    from safetensors.torch import save_file

    with whole(tmp_path / "model.safetensors") as path:
        save_file({"x": torch.ones(1)}, str(path))
    write_text(tmp_path / "config.yaml", "x")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"model.safetensors": 0o666 & ~umask, "config.yaml": 0o666 & ~umask}


def fail(path):
    with whole(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_a_block_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        fail(tmp_path / "x")
    assert not list(tmp_path.iterdir())
