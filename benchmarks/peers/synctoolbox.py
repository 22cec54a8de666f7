"""Sync Toolbox on the test split of vienna.yaml: python -m benchmarks.peers.synctoolbox --root VIENNA4X22."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from subprocess import run

import numpy as np
import soundfile
import yaml

from datamodules.alignment.rendered import Vienna
from datamodules.alignment.sounds import hear
from datamodules.common.cache import cache_root
from datamodules.common.errors import DataError
from tasks.alignment.metrics import AlignmentRows, AlignmentScores, intervals, summary, time_errors
from tasks.alignment.report import table_lines

HERE = Path(__file__).parent
NAME, RATE = "synctoolbox 1.4.2", 22_050
CONFIG = HERE.parent.parent / "configs/alignment/vienna.yaml"
RUNNER = HERE / "synctoolbox_align.py"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def main() -> int:
    """Print the peer's row, or the reason why it is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.synctoolbox", description=__doc__)
    parser.add_argument("--root", required=True, help="folder of Vienna 4x22")
    parser.add_argument("--python", help=f"of the environment that {HERE.name}/synctoolbox.txt describes")
    words = parser.parse_args()
    try:
        data = Vienna(words.root, **yaml.safe_load(CONFIG.read_text())["data"]["init_args"])
        python, pairs = interpreter(words.python), data.listed("test")
        with tempfile.TemporaryDirectory() as folder:
            for index, pair in enumerate(pairs):
                write_pair(Path(folder), f"{index:03}", *(hear(sound, RATE) for sound in (pair.performance, pair.score)))
            results = align(Path(folder), python)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    rows = scored(zip((pair.truth() for pair in pairs), results.values(), strict=True))
    print(f"{data.name}, subset {data.subset}, test split, {len(pairs)} recordings, {len(rows.error)} events")
    print("\n".join(table_lines({NAME: row(rows, [pair.piece for pair in pairs])})))
    turned = sum(int(result["turned"]) != 0 for result in results.values())
    print(f"CPU seconds a recording: {np.mean([result['cpu_s'] for result in results.values()]):.1f}; transposed: {turned}")
    return 0


def interpreter(named: str | None = None) -> Path:
    """Python interpreter with the peer. Raises DataError if it is not installed."""
    python = Path(named) if named else cache_root(None) / "peers/synctoolbox/bin/python"
    if not python.is_file() or run([python, "-I", "-c", "import synctoolbox"], capture_output=True).returncode:
        raise DataError(
            f"{NAME} is not installed for {python}, so not compared: install it as described in {HERE.name}/synctoolbox.txt."
        )
    return python


def write_pair(folder: Path, name: str, performance: np.ndarray, score: np.ndarray) -> None:
    """Write sounds (samples,) at RATE as inputs of `align`, normalised, which improves the peer's results."""
    for side, audio in (("performance", performance), ("score", score)):
        soundfile.write(folder / f"{name}.{side}.wav", 0.9 * audio / np.abs(audio).max(), RATE, subtype="FLOAT")


def align(folder: Path, python: Path) -> dict[str, dict[str, np.ndarray]]:
    """Results of the peer by name, for each pair of files in a folder (see `synctoolbox_align`)."""
    # Isolated: otherwise the peer would import our file of the same name.
    done = run([python, "-I", RUNNER, folder], capture_output=True, text=True, env=os.environ | ONE_THREAD)
    if done.returncode:
        raise DataError(f"{NAME} failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    return {path.stem: dict(np.load(path)) for path in sorted(folder.glob("*.npz"))}


def scored(results: Iterable[tuple[np.ndarray, dict[str, np.ndarray]]]) -> AlignmentRows:
    """Errors from truths (events, 2) and paths, with linear interpolation of times as in the package's notebook."""
    scores = AlignmentScores()
    for index, (truth, path) in enumerate(results):
        knots, times = path["score_s"], path["performance_s"]
        scores.update(index, truth, np.interp(truth[:, 0], knots, times), time_errors(truth, knots, times))
    return scores.rows()


def row(rows: AlignmentRows, pieces: list[str]) -> dict:
    """Scores and bootstrap intervals."""
    return summary(rows) | {f"{name}_interval": edges for name, edges in intervals(rows, pieces).items()}


if __name__ == "__main__":
    sys.exit(main())
