"""List the tasks, their verbs and their configs, without importing any of them."""

import ast
from pathlib import Path

from tasks.launch import VERBS

HERE = Path(__file__).parent


def find_tasks() -> dict[str, str]:
    """Task name -> first line of its docstring, for every `tasks/<name>/__main__.py` with a TASK."""
    found = {}
    for path in sorted(HERE.glob("*/__main__.py")):
        tree = ast.parse(path.read_text())
        names = {t.id for node in tree.body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)}
        if "TASK" in names:
            found[path.parent.name] = (ast.get_docstring(tree) or "").split("\n")[0]
    return found


def main() -> None:
    """Print what can be launched."""
    configs = HERE.parent / "configs"
    print("usage: python -m tasks.<task> VERB [--config configs/<task>/<row>.yaml] [options]\n")
    print("verbs\n" + "\n".join(f"  {verb:9} {text}" for verb, text in VERBS.items()) + "\n")
    print("tasks")
    tasks = find_tasks()
    width = max(map(len, tasks))
    for name, text in tasks.items():
        rows = sorted(path.stem for path in (configs / name).glob("*.yaml") if path.stem not in ("base", "default"))
        print(f"  {name:{width}} {text}")
        for start in range(0, len(rows), 5):
            print(f"  {'' if start else 'rows':{width}} {' '.join(rows[start : start + 5])}".rstrip())
    print("\nTry: python -m tasks.tagging fit")


if __name__ == "__main__":
    main()
