"""Mutations of the code behind each guarantee, and the test that must fail under it.

    python -m tests.helpers.mutations            # all, in a copy of the tracked files
    python -m tests.helpers.mutations Checkpoint # those of one part

Prints a line per mutation and exits with 1 if a test passes all the same, or if the text to replace is gone. Run it after code
moves: a guarantee whose test was moved wrongly is no guarantee.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
BASE, CHECKPOINT, STOP = "datamodules/common/base.py", "tasks/callbacks/checkpoint.py", "tasks/callbacks/stop.py"
GUARD, TEACHER, SWITCH = "tasks/callbacks/guard.py", "tasks/callbacks/mean_teacher.py", "tasks/callbacks/switch.py"
STORAGE, ROWS = "tasks/callbacks/storage.py", "tasks/metrics/rows.py"


class Mutation(NamedTuple):
    """Change of one place of a file."""

    part: str
    change: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = [
    Mutation(
        *("EpochSampler", "order does not depend on the epoch", BASE),
        *("manual_seed(mix(seed, epoch))", "manual_seed(mix(seed, 0))"),
        "tests/datamodules/test_sampler.py::test_order_and_item_seeds_change_with_the_epoch",
    ),
    Mutation(
        *("EpochSampler", "item seeds do not depend on the epoch", BASE),
        *("yield index, mix(self.seed, epoch, index)", "yield index, mix(self.seed, index)"),
        "tests/datamodules/test_sampler.py::test_order_and_item_seeds_change_with_the_epoch",
    ),
    Mutation(
        *("EpochSampler", "ranks read other shares of a global batch", BASE),
        *("view(self.steps, self.world, self.batch_size)[self.start :, self.rank]", "view(self.world, -1)[self.rank]"),
        "tests/datamodules/test_sampler.py::test_global_batches_do_not_depend_on_the_ranks",
    ),
    Mutation(
        *("EvaluationShard", "padded to equal shares", BASE),
        *("return iter(self.indices)", "return iter([*self.indices, 0])"),
        "tests/datamodules/test_sampler.py::test_evaluation_shards_cover_everything_once",
    ),
    Mutation(
        *("resume position", "an open accumulation window is not repeated", BASE),
        *("batches.current.processed // window * window", "batches.current.processed"),
        "tests/datamodules/test_sampler.py::test_resume_position",
    ),
    Mutation(
        *("RowMetric", "rows of other ranks are not gathered", ROWS),
        *("if self._is_synced:", "if True:"),
        "tests/metrics/test_tagging.py::test_two_processes_equal_one",
    ),
    Mutation(
        *("TaggingScores", "clips that two ranks hold count twice", "tasks/tagging/metrics.py"),
        *("np.unique(", "(lambda clip, **_: (np.sort(clip), np.argsort(clip, kind='stable')))("),
        "tests/metrics/test_tagging.py::test_two_processes_equal_one",
    ),
    Mutation(
        *("Checkpoint", "the worse score is the best", CHECKPOINT),
        *('score > best if self.mode == "max" else score < best', 'score < best if self.mode == "max" else score > best'),
        "tests/suite/test_checkpoint.py::test_best_follows_the_monitor",
    ),
    Mutation(
        *("Checkpoint", "counters are stored as they are in the saving hook", CHECKPOINT),
        *('lightning_internals.settle(checkpoint["loops"]["fit_loop"], self._moment)', "pass"),
        "tests/suite/test_resume.py",
    ),
    Mutation(
        *("Checkpoint", "counters of an open window are not rewound", CHECKPOINT),
        *('lightning_internals.rewind(checkpoint["loops"]["fit_loop"], trainer.accumulate_grad_batches)', "pass"),
        "tests/suite/test_resume.py",
    ),
    Mutation(
        *("Checkpoint", "last.ckpt is not written after a validation", CHECKPOINT),
        *("        if not lightning_internals.accumulates(trainer):\n            self.save_last(trainer)", "        pass"),
        "tests/suite/test_checkpoint.py::test_last_is_written_after_every_validation",
    ),
    Mutation(
        *("DurableIO", "written in place, not renamed", STORAGE),
        *('temporary = path.with_name(f".{os.getpid()}.{path.name}.tmp")', "temporary = path"),
        "tests/suite/test_checkpoint_disk.py::test_a_write_that_dies_leaves_the_old_file",
    ),
    Mutation(
        *("DurableIO", "renamed before the bytes are on disk", STORAGE),
        *("            os.fsync(file.fileno())\n", ""),
        "tests/suite/test_checkpoint_disk.py::test_bytes_reach_the_disk_before_the_name",
    ),
    Mutation(
        *("DurableIO", "no previous.ckpt", STORAGE),
        *("if path.name != LAST or not path.exists():", "if True:"),
        "tests/suite/test_checkpoint.py::test_broken_last_falls_back_and_says_so",
    ),
    Mutation(
        *("FiniteGuard", "steps of a bad gradient are taken", GUARD),
        *("optimizer.zero_grad(set_to_none=True)", "pass"),
        "tests/suite/test_guard.py::test_bad_step_changes_nothing_and_is_counted",
    ),
    Mutation(
        *("FiniteGuard", "running statistics keep a NaN", GUARD),
        *("            buffer.copy_(backup)\n        self.in_a_row", "            pass\n        self.in_a_row"),
        "tests/suite/test_guard.py::test_nan_audio_does_not_spoil_running_statistics",
    ),
    Mutation(
        *("FiniteGuard", "a rank decides alone", GUARD),
        *("trainer.strategy.reduce_boolean_decision(bool(all_finite(checked)), all=True)", "bool(all_finite(checked))"),
        "tests/suite/test_guard.py::test_a_step_that_is_bad_on_another_rank_is_skipped_here_too",
    ),
    Mutation(
        *("MeanTeacher", "one update a batch, not a step", TEACHER),
        *("if trainer.global_step == self._seen:", "if False:"),
        "tests/suite/test_mean_teacher.py::test_once_per_accumulation_window",
    ),
    Mutation(
        *("MeanTeacher", "steps are not in the checkpoint", TEACHER),
        *('self.steps = state_dict["steps"]', "pass"),
        "tests/suite/test_mean_teacher.py::test_resume_is_bit_exact",
    ),
    Mutation(
        *("OptimizerSwitch", "no return to the best weights", SWITCH),
        *("pl_module.load_state_dict(self._best)", "pass"),
        "tests/suite/test_switch.py::test_a_switch_goes_back_to_the_best_weights_and_statistics",
    ),
    Mutation(
        *("OptimizerSwitch", "the phase is not restored", SWITCH),
        *('self.phase, self.best_score = state_dict["phase"], ', "self.best_score = "),
        "tests/suite/test_switch.py::test_resume_is_exact_in_every_phase",
    ),
    Mutation(
        *("StepSeed", "steps are not seeded", CHECKPOINT),
        *("reseed(self.seed, _TRAIN, trainer.current_epoch, batch_idx, trainer.global_rank)", "pass"),
        "tests/suite/test_seeding.py",
    ),
    Mutation(
        *("Preempt", "leaves without a checkpoint", STOP),
        *("checkpoint.save_between_steps(trainer, batch_idx)", "pass"),
        "tests/suite/test_preempt.py::test_status_and_checkpoint",
    ),
]


def check(mutation: Mutation, tree: Path) -> str:
    """Result of a mutation's test under it: the first failing test, or what is wrong with the mutation."""
    path = tree / mutation.file
    text = path.read_text()
    if text.count(mutation.old) == 0:
        return "GONE: the text to replace is not there"
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        words = [sys.executable, "-m", "pytest", "-q", "-x", "-rf", "-p", "no:cacheprovider", "-m", "not slow", mutation.test]
        done = subprocess.run(words, cwd=tree, capture_output=True, text=True, env=environment(tree))
    finally:
        path.write_text(text)
    failed = [line.removeprefix("FAILED ").split(" - ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode == 1 and failed:
        return failed[0]
    return "PASSED" if done.returncode == 0 else f"BROKEN: {done.stdout[-300:]}"


def environment(tree: Path) -> dict[str, str]:
    """Environment in which the packages are those of a tree."""
    return os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}


def main(parts: list[str]) -> int:
    """Run the mutations of these parts, or all; number of those that no test noticed."""
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        for name in listed:
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, Path(folder) / name)
        for mutation in MUTATIONS:
            if not parts or mutation.part in parts:
                result = check(mutation, Path(folder))
                unnoticed += "::" not in result or not result.startswith("tests/")
                print(f"{mutation.part:16} {mutation.change:46} {result}", flush=True)
    return unnoticed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
