"""List or run a benchmark: python -m benchmarks NAME. Each measures ratios against a peer within one run."""

import ast
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
WITH_OPTIONS = ("fuzz",)


def find() -> dict[str, str]:
    """Name -> first line of the docstring of every file here that has a `run` function."""
    found = {}
    for path in sorted(HERE.glob("*.py")):
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").split("\n")[0]
    return found


def main(argv: list[str]) -> int:
    """Run one benchmark, or say which there are; what follows its name belongs to a benchmark that has options."""
    found = find()
    if argv and argv[0] in found and argv[0] in WITH_OPTIONS:
        return importlib.import_module(f"benchmarks.{argv[0]}").run(argv[1:])
    if len(argv) != 1 or argv[0] not in found:
        width = max(map(len, found))
        print("usage: python -m benchmarks NAME\n\n" + "\n".join(f"  {name:{width}} {text}" for name, text in found.items()))
        return 0 if argv in ([], ["-h"], ["--help"]) else 2
    importlib.import_module(f"benchmarks.{argv[0]}").run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
