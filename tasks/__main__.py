"""Entry point `quintet TASK SUBCOMMAND ...`: runs one task, or lists tasks, subcommands and configs without importing torch."""

import difflib
import sys

from tasks.cli.configs import CONFIGS
from tasks.cli.launch import launch, show
from tasks.cli.registry import SUBCOMMANDS, find_tasks, suite_version, task_named


def main(argv: list[str] | None = None) -> None:
    """Run `quintet argv`, the same as `python -m tasks argv`.

    Args:
        argv: task, subcommand and options; or `--version`; empty or `--help` lists the tasks
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        show(_listing())
    elif argv[0] == "--version":
        print(f"quintet {suite_version()}")
    elif argv[0] in (tasks := find_tasks()):
        launch(task_named(argv[0]), argv[1:])
    else:
        nearest = difflib.get_close_matches(argv[0], tasks, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"choose from {', '.join(tasks)}"
        sys.stderr.write(f"error: unknown task '{argv[0]}'; {hint}\n")
        sys.exit(2)


def _listing() -> str:
    options = "SUBCOMMAND [--config NAME] [options]"
    lines = [f"usage: python -m tasks.<task> {options}", f"   or: quintet <task> {options}", ""]
    lines += ["subcommands", *(f"  {subcommand:9} {text}" for subcommand, text in SUBCOMMANDS.items()), "", "tasks"]
    tasks = find_tasks()
    width = max(map(len, tasks))
    for name, text in tasks.items():
        rows = sorted(path.stem for path in (CONFIGS / name).glob("*.yaml") if path.stem not in ("base", "default"))
        lines.append(f"  {name:{width}} {text}")
        for start in range(0, len(rows), 5):
            lines.append(f"  {'' if start else 'rows':{width}} {' '.join(rows[start : start + 5])}".rstrip())
    return "\n".join([*lines, "", f"configs: {CONFIGS}", "", "Try: python -m tasks.tagging fit"])


if __name__ == "__main__":
    main()
