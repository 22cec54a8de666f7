"""Facts travel as arguments and return values: no function assigns attributes of an object that it did not make."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.syntax_trees import syntax_tree

ROOT = Path(__file__).parents[2]
INTERNALS = {"tasks/cli/lightning_internals.py", "datamodules/common/base.py"}
MAKERS = {"cls", "copy", "deepcopy", "__new__", "finalize"}
"""Functions that return a new object, beside classes."""
EXCEPTIONS = {
    # An autograd function keeps what its backward pass needs on the context that torch gives it.
    ("models/separation/masking.py", "ctx.stft"),
    # The only way to keep an optimizer from moving single parameters.
    ("tasks/generation/module.py", "parameter.grad"),
    # Documented hooks of the standard library.
    ("tasks/cli/parsing.py", "warnings.formatwarning"),
    ("tasks/separation/evaluate.py", "warnings.showwarning"),
    # PyAV has no other way to decode on several threads.
    ("datamodules/sed/embeddings.py", "stream.thread_type"),
}
"""Attributes that an API of another library asks to be set."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    return sorted(path for top in ("tasks", "datamodules", "models", "losses") for path in (ROOT / top).rglob("*.py"))


def owner(node: ast.expr) -> ast.expr:
    """Expression at the left end of a chain of attributes, items and calls of its methods."""
    while True:
        if isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not makes(node):
            node = node.func.value
        else:
            return node


def makes(node: ast.expr) -> bool:
    """True if an expression is a call of a class or of another maker."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in MAKERS or name.lstrip("_")[:1].isupper()


def inside(function: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a function or module, without those of functions in it."""
    for node in ast.iter_child_nodes(function):
        yield node
        if not isinstance(node, Function | ast.Lambda):
            yield from inside(node)


def assigned(node: ast.AST) -> list[ast.expr]:
    """Targets of an assignment, a loop, a `with`, a walrus or a `del`."""
    if isinstance(node, ast.Assign | ast.Delete):
        targets = list(node.targets)
    elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.NamedExpr | ast.For | ast.AsyncFor | ast.comprehension):
        targets = [node.target]
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        targets = [node.optional_vars]
    else:
        return []
    flat = []
    while targets:
        target = targets.pop()
        if isinstance(target, ast.Tuple | ast.List):
            targets += target.elts
        else:
            flat.append(target.value if isinstance(target, ast.Starred) else target)
    return flat


def made(function: ast.AST) -> set[str]:
    """Local names of objects that a function makes, and of their parts."""
    names: set[str] = set()
    for node in inside(function):
        value = getattr(node, "iter", getattr(node, "value", None))
        if value is None:
            continue
        is_made = makes(owner(value)) or getattr(owner(value), "id", None) in names
        names |= {target.id for target in assigned(node) if isinstance(target, ast.Name) and is_made}
    return names


def foreign_assignments(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and target of each assignment to an attribute of an object that the function around it did not make."""
    for function in [tree, *(node for node in ast.walk(tree) if isinstance(node, Function))]:
        if getattr(function, "name", "") == "connect":
            continue
        own = made(function)
        for node in inside(function):
            for target in assigned(node):
                if isinstance(target, ast.Attribute) and not allowed(target, own):
                    yield target.lineno, ast.unparse(target)
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "delattr", "object.__setattr__"):
                target = ast.Attribute(node.args[0], "x", ast.Store())
                if not allowed(target, own):
                    yield node.lineno, f"setattr({ast.unparse(node.args[0])})"


def allowed(target: ast.Attribute, own: set[str]) -> bool:
    """True if a target is an attribute of `self` or of an object made by the function."""
    if isinstance(target.value, ast.Name) and target.value.id == "self":
        return True
    return makes(owner(target.value)) or getattr(owner(target.value), "id", None) in own


def test_no_function_assigns_attributes_of_an_object_that_it_did_not_make():
    found = set()
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        if name not in INTERNALS:
            found |= {(name, target, line) for line, target in foreign_assignments(path, syntax_tree(path))}
    wrong = [f"{name}:{line} {target}" for name, target, line in sorted(found) if (name, target) not in EXCEPTIONS]
    assert not wrong, "pass it as an argument, return it, or give the object a method:\n" + "\n".join(wrong)
    assert {(name, target) for name, target, _ in found} >= EXCEPTIONS, "an exception that nothing needs any more"


@pytest.mark.parametrize(
    ("body", "is_foreign"),
    [
        ("self.x = 1", False),
        ("self.x += 1", False),
        ("self.x.y = 1", True),
        ("other.x = 1", True),
        ("other.x.y += 1", True),
        ("other.x, y = 1, 2", True),
        ("del other.x", True),
        ("setattr(other, 'x', 1)", True),
        ("setattr(self, 'x', 1)", False),
        ("for other.x in y: pass", True),
        ("with z as other.x: pass", True),
        ("new = Thing(); new.x = 1", False),
        ("new = copy.deepcopy(other).eval(); new.x = 1", False),
        ("new = Thing()\nfor part in new.parts(): part.x = 1", False),
        ("for part in other.parts(): part.x = 1", True),
        ("new = other.find(); new.x = 1", True),
        ("Element('a').text = ''", False),
        ("def connect(other): other.x = 1", False),
        ("def inner(): self.x.y = 1", True),
    ],
)
def test_the_rule_is_what_it_says(body, is_foreign):
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    tree = ast.parse(f"def method(self, other, y, z):\n{lines}")
    assert bool([*foreign_assignments(Path("x.py"), tree)]) == is_foreign
