"""Shared by all tests: one cache of rendered demo audio per session, no network, one thread."""

import gc
import os
import sys

import pytest

from tests.helpers.numba_lock import CompileInTurn


def pytest_configure():
    gc.disable()  # until all tests are imported: among what stays there is no garbage to look for, now or later
    # Tests run side by side, and what they start inherits this.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_sessionfinish():
    gc.freeze()  # pytest ends with several collections of everything that the tests have imported


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keep what tests render away from the user's cache; test processes share one, so that each set is rendered once."""
    import torch  # after OMP_NUM_THREADS is set

    from tests.helpers.demo_pieces import share_pieces

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    before = os.environ.get("QUINTET_CACHE")
    os.environ.update(QUINTET_CACHE=str(folder), WANDB_MODE="offline", WANDB_SILENT="true")
    torch.set_num_threads(1)
    share_pieces(folder.parent)
    sys.meta_path.insert(0, CompileInTurn(folder.with_name("numba.lock")))
    yield folder
    os.environ.pop("QUINTET_CACHE") if before is None else os.environ.update(QUINTET_CACHE=before)


@pytest.fixture(autouse=True)
def own_run_folder(monkeypatch):
    """A command line that ran in this process must not choose the folder of the next one."""
    monkeypatch.delenv("QUINTET_RUN_FOLDER", raising=False)
