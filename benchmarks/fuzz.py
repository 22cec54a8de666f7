"""Fuzz campaign over all readers of files: --seconds N --seed S; counts tracebacks, hangs and memory, saves what failed."""

import argparse
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.fuzzing.mutations import mutated
from benchmarks.fuzzing.readers import READERS

HANG_S = 5.0
GROWTH_MB = 500
FAILURES = ("traceback", "hang", "memory", "crash", "vague")
"""Unexpected exception, over 5 s of CPU, over 500 MB, death by a signal, message without the file's name."""
SIGPROF = getattr(signal, "SIGPROF", 27)
WORKER = (sys.executable, "-m", "benchmarks.fuzzing.worker", str(HANG_S), str(8 * GROWTH_MB))


@dataclass
class Tally:
    """Counts of one format, and its failures by signature."""

    counts: Counter = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)  # signature -> saved file
    slowest_s: float = 0.0


class Worker:
    """Process that reads files, restarted after each death.

    Args:
        words: command (default: `benchmarks.fuzzing.worker`)
        patience_s: wall-clock time without an answer that counts as a hang
    """

    def __init__(self, words: Sequence[str] = WORKER, patience_s: float = 20 * HANG_S) -> None:
        self.words, self.patience_s = list(words), patience_s
        self.process: subprocess.Popen | None = None

    def read(self, kind: str, path: Path) -> dict[str, Any]:
        """Result of reading one file."""
        if self.process is None:
            self._start()
        try:
            self.process.stdin.write(f"{kind}\t{path}\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=self.patience_s)
        except queue.Empty:
            self.stop()
            return {"kind": "hang", "said": f"no answer in {self.patience_s:.0f} s", "s": self.patience_s}
        except OSError:
            line = ""
        if line:
            answer = json.loads(line)
            if answer["mb"] > GROWTH_MB or answer["kind"] == "memory":
                answer |= {"kind": "memory", "said": f"{answer['mb']} MB {answer['said']}"}
                self.stop()  # its peak would hide the next one
            return answer
        code = self.process.wait()
        self.stop()
        if code == -SIGPROF:
            return {"kind": "hang", "said": f"over {HANG_S:.0f} s of CPU", "s": HANG_S}
        return {"kind": "crash", "said": f"the process ended with {code}", "s": 0.0}

    def _start(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(self.words, **pipes, text=True, cwd=Path(__file__).parent.parent)
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_pump, args=(self.process.stdout, self.answers), daemon=True).start()
        if self.answers.get(timeout=300) != "ready\n":
            raise RuntimeError(f"the worker did not start: {' '.join(self.words)}")

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _pump(pipe: Any, answers: queue.Queue) -> None:
    for line in pipe:
        answers.put(line)
    answers.put("")


def campaign(
    kinds: Sequence[str], seconds: float, seed: int, inputs: int | None, out: Path, worker: Worker | None = None
) -> dict[str, Tally]:
    """Read mutated files of all formats until the time or the number of inputs is reached.

    Args:
        kinds: formats, of READERS
        seconds: for all of them
        seed: input n of a format is the same file for the same seed
        inputs: of each format; None: as many as the time allows
        out: folder of failing files, one per kind of failure, created if needed
        worker: process that reads (default: a new one)

    Returns:
        Counts of each format.
    """
    tallies, worker, end = {kind: Tally() for kind in kinds}, worker or Worker(), time.monotonic() + seconds
    number = 0
    try:
        with TemporaryDirectory() as folder:
            while time.monotonic() < end and (inputs is None or number < inputs):
                for kind in kinds:
                    ending, content = mutated(kind, seed, number)
                    path = Path(folder) / f"fuzz-{number}.{ending}"
                    path.write_bytes(content)
                    _count(tallies[kind], worker.read(kind, path), path, kind, out)
                    path.unlink()
                number += 1
    finally:
        worker.stop()
    return tallies


def _count(tally: Tally, answer: dict[str, Any], path: Path, kind: str, out: Path) -> None:
    tally.counts[answer["kind"]] += 1
    tally.slowest_s = max(tally.slowest_s, answer.get("s", 0.0))
    if answer["kind"] not in FAILURES:
        return
    signature = f"{answer['kind']} {answer['said'].split(':')[0] if answer['kind'] == 'traceback' else ''}".strip()
    signature = signature if answer["kind"] == "traceback" else f"{signature} {len(tally.failures)}"
    if signature not in tally.failures and len(tally.failures) < 50:
        out.mkdir(parents=True, exist_ok=True)
        saved = out / f"{kind}-{len(tally.failures)}-{answer['kind']}{path.suffix}"
        saved.write_bytes(path.read_bytes())
        saved.with_suffix(saved.suffix + ".txt").write_text(f"{answer['said']}\n", encoding="utf-8")
        tally.failures[signature] = f"{saved.name}: {answer['said'][:150]}"


def table(tallies: dict[str, Tally]) -> str:
    """Counts of each format and of all, as a table."""
    columns = ("inputs", "read", "refused", *FAILURES)
    rows = [(kind, tally.counts.total(), *(tally.counts[name] for name in columns[1:])) for kind, tally in tallies.items()]
    rows.append(("all", *(sum(row[k] for row in rows) for k in range(1, len(columns) + 1))))
    slowest = [tally.slowest_s for tally in tallies.values()]
    lines = [f"{'format':12}" + "".join(f"{name:>10}" for name in columns) + "  slowest s"]
    for row, seconds in zip(rows, [*slowest, max(slowest)], strict=True):
        lines.append(f"{row[0]:12}" + "".join(f"{value:>10}" for value in row[1:]) + f"{seconds:>11.2f}")
    return "\n".join(lines)


def run(argv: list[str]) -> int:
    """Run a campaign; exit code 1 if any file failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the whole campaign (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: %(default)s)")
    parser.add_argument("--inputs", type=int, help="files of each format at most")
    parser.add_argument("--formats", nargs="+", choices=list(READERS), default=list(READERS), help="default: all")
    parser.add_argument("--out", type=Path, default=Path("fuzz_findings"), help="folder of what failed (default: %(default)s)")
    args = parser.parse_args(argv)
    tallies = campaign(args.formats, args.seconds, args.seed, args.inputs, args.out)
    print(table(tallies))
    failures = [line for tally in tallies.values() for line in tally.failures.values()]
    if failures:
        print(f"\n{len(failures)} kind(s) of failure, saved in {args.out}:\n" + "\n".join(f"  {line}" for line in failures))
    return 1 if failures else 0
