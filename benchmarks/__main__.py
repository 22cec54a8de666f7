"""List or run a benchmark: python -m benchmarks NAME. Each measures ratios to a peer within one run."""

import ast
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
WITH_OPTIONS = ("fuzz",)


def find() -> dict[str, str]:
    """Name -> first line of the docstring, for the files of this folder with a `run` function."""
    benchmarks = {}
    for path in sorted(HERE.glob("*.py")):
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            benchmarks[path.stem] = (ast.get_docstring(tree) or "").split("\n")[0]
    return benchmarks


def main(argv: list[str]) -> int:
    """Run one benchmark with its options, or list all."""
    benchmarks = find()
    if argv and argv[0] in benchmarks and argv[0] in WITH_OPTIONS:
        return importlib.import_module(f"benchmarks.{argv[0]}").run(argv[1:])
    if len(argv) != 1 or argv[0] not in benchmarks:
        width = max(map(len, benchmarks))
        print("usage: python -m benchmarks NAME\n\n" + "\n".join(f"  {name:{width}} {text}" for name, text in benchmarks.items()))
        return 0 if argv in ([], ["-h"], ["--help"]) else 2
    importlib.import_module(f"benchmarks.{argv[0]}").run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
