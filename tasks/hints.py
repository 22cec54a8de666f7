"""Annotations of constructors: which arguments a class takes, and whether an argument expects a class."""

import inspect
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_SCALARS = (str, int, float, bool, complex, bytes, type(None), Path, list, dict, tuple, set, frozenset, type)


def arguments_of(cls: type) -> dict[str, Any]:
    """Annotation of every argument of a class, those that it hands on to its bases included."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if "__init__" not in vars(base) or base is object:
            continue
        try:
            of_base = get_type_hints(base.__init__, include_extras=True)
        except (NameError, TypeError, AttributeError):  # an annotation that exists for type checkers alone
            of_base = {}
        named = dict.fromkeys(inspect.signature(base.__init__).parameters)
        hints |= named | of_base
    return hints


def accepted_classes(hint: Any) -> tuple[type, ...]:
    """Classes that an annotation asks for, be it for an instance or for a callable that returns one; not those in containers."""
    if isinstance(hint, TypeVar):
        return accepted_classes(hint.__bound__)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return tuple(dict.fromkeys(cls for arg in args for cls in accepted_classes(arg)))
    if origin is Annotated:
        return accepted_classes(args[0])
    if origin is Callable:
        return accepted_classes(args[-1])
    cls = origin or hint
    if not isinstance(cls, type) or cls in _SCALARS or cls is object or cls.__module__ in ("collections.abc", "typing", "enum"):
        return ()
    return (cls,)


def expects_class(hint: Any) -> bool:
    """Whether a class path could be meant where this annotation stands, directly or inside a container."""
    if isinstance(hint, TypeVar):
        return True
    if accepted_classes(hint) or hint is Callable or get_origin(hint) is Callable or isinstance(hint, str):
        return True
    if hint is type or get_origin(hint) is type or hint is types.ModuleType:
        return True
    return get_origin(hint) is not Literal and any(expects_class(arg) for arg in get_args(hint))


def free_text(hint: Any) -> bool:
    """Whether any text is a legitimate value and stays text: a str, or one of several words."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(free_text(arg) for arg in get_args(hint)) and not expects_class(hint)
    return hint is str or get_origin(hint) is Literal


def element(hint: Any) -> Any:
    """Annotation of what a container holds; `Any` where that is open, None where the annotation is no container."""
    if hint is Any:
        return Any
    if get_origin(hint) in (Union, types.UnionType):
        inner = [found for arg in get_args(hint) if (found := element(arg)) is not None]
        return None if not inner else inner[0] if len(inner) == 1 else Union[tuple(inner)]  # noqa: UP007
    origin, args = get_origin(hint), [arg for arg in get_args(hint) if arg is not ...]
    if origin is None or origin is Literal or origin is Callable:
        return Any if hint in (list, dict, tuple, set) else None
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return args[-1] if args else Any
    return args[0] if len(args) == 1 else Union[tuple(args)] if args else Any  # noqa: UP007
