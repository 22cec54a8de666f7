"""Sync Toolbox beside our rows: python -m benchmarks.peers.synctoolbox --root VIENNA4X22, on the test split of vienna.yaml."""

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
    """Print the peer's row, or in one sentence why there is none."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.synctoolbox", description=__doc__)
    parser.add_argument("--root", required=True, help="folder of Vienna 4x22")
    parser.add_argument("--python", help=f"of the environment that {HERE.name}/synctoolbox.txt describes")
    words = parser.parse_args()
    try:
        data = Vienna(words.root, **yaml.safe_load(CONFIG.read_text())["data"]["init_args"])
        python, pairs = interpreter(words.python), data.listed("test")
        with tempfile.TemporaryDirectory() as folder:
            for place, pair in enumerate(pairs):
                write_pair(Path(folder), f"{place:03}", *(hear(sound, RATE) for sound in (pair.performance, pair.score)))
            found = align(Path(folder), python)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    rows = scored(zip((pair.truth() for pair in pairs), found.values(), strict=True))
    print(f"{data.name}, subset {data.subset}, test split, {len(pairs)} recordings, {len(rows.error)} events")
    print("\n".join(table_lines({NAME: row(rows, [pair.piece for pair in pairs])})))
    turned = sum(int(one["turned"]) != 0 for one in found.values())
    print(f"CPU seconds a recording: {np.mean([one['cpu_s'] for one in found.values()]):.1f}; in another key, it says: {turned}")
    return 0


def interpreter(named: str | None = None) -> Path:
    """The Python that has the peer. Raises DataError where it is not installed."""
    python = Path(named) if named else cache_root(None) / "peers/synctoolbox/bin/python"
    if not python.is_file() or run([python, "-I", "-c", "import synctoolbox"], capture_output=True).returncode:
        raise DataError(f"{NAME} is not installed for {python}, so not compared: {HERE.name}/synctoolbox.txt says how it is.")
    return python


def write_pair(folder: Path, name: str, performance: np.ndarray, score: np.ndarray) -> None:
    """Sounds (samples,) at RATE as files that `align` finds; as loud as recordings are, by which the peer is better."""
    for side, audio in (("performance", performance), ("score", score)):
        soundfile.write(folder / f"{name}.{side}.wav", 0.9 * audio / np.abs(audio).max(), RATE, subtype="FLOAT")


def align(folder: Path, python: Path) -> dict[str, dict[str, np.ndarray]]:
    """By name, what the peer leaves of each pair of files in a folder (`synctoolbox_align`)."""
    # Isolated: else this folder came first in the peer's path, and our file of its name would be what it imports.
    done = run([python, "-I", RUNNER, folder], capture_output=True, text=True, env=os.environ | ONE_THREAD)
    if done.returncode:
        raise DataError(f"{NAME} failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    return {path.stem: dict(np.load(path)) for path in sorted(folder.glob("*.npz"))}


def scored(found: Iterable[tuple[np.ndarray, dict[str, np.ndarray]]]) -> AlignmentRows:
    """Errors by truths (events, 2) and paths; times are transferred linearly, as the notebook does."""
    scores = AlignmentScores()
    for place, (truth, path) in enumerate(found):
        knots, times = path["score_s"], path["performance_s"]
        scores.update(place, truth, np.interp(truth[:, 0], knots, times), time_errors(truth, knots, times))
    return scores.rows()


def row(rows: AlignmentRows, pieces: list[str]) -> dict:
    """Scores and their bootstrap intervals."""
    return summary(rows) | {f"{name}_interval": edges for name, edges in intervals(rows, pieces).items()}


if __name__ == "__main__":
    sys.exit(main())
