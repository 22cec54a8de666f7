"""Allow-list for checkpoints and stored configs: classes, arguments, file names and plain values.

A checkpoint is read without unpickling code, but its settings name classes to build and files to write. Before any class is
imported they are compared with the annotations of the module's constructor, so that a string in place of a class, a function,
an instance or a class of the working folder is refused with one sentence.
"""

import importlib
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import torch

from datamodules.common.errors import DataError
from tasks.cli.lightning_internals import CLASS_PATH, INSTANTIATOR, INSTANTIATORS
from tasks.cli.yaml_files import TooLarge, YAMLError, check_yaml, load_yaml
from tasks.writers.output_files import is_plain_name, is_plain_text, names_file

# Annotations of constructors

_SCALARS = (str, int, float, bool, complex, bytes, type(None), Path, list, dict, tuple, set, frozenset, type)


def arguments_of(cls: type) -> dict[str, Any]:
    """Annotation of every argument of a class, including those of its bases."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if "__init__" not in vars(base) or base is object:
            continue
        try:
            of_base = get_type_hints(base.__init__, include_extras=True)
        except (NameError, TypeError, AttributeError):  # an annotation for type checkers only
            of_base = {}
        named = dict.fromkeys(inspect.signature(base.__init__).parameters)
        hints |= named | of_base
    return hints


def accepted_classes(hint: Any) -> tuple[type, ...]:
    """Classes that an annotation accepts, as instances or returned by callables; not those in containers."""
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
    """True if an annotation accepts a class path, directly or inside a container."""
    if isinstance(hint, TypeVar):
        return True
    if accepted_classes(hint) or hint is Callable or get_origin(hint) is Callable or isinstance(hint, str):
        return True
    if hint is type or get_origin(hint) is type or hint is types.ModuleType:
        return True
    return get_origin(hint) is not Literal and any(expects_class(arg) for arg in get_args(hint))


def free_text(hint: Any) -> bool:
    """True if an annotation accepts any text as text: a str or a Literal."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(free_text(arg) for arg in get_args(hint)) and not expects_class(hint)
    return hint is str or get_origin(hint) is Literal


def element(hint: Any) -> Any:
    """Annotation of the elements of a container; `Any` if unspecified, None if the annotation is no container."""
    if hint is Any:
        return Any
    if get_origin(hint) in (Union, types.UnionType):
        inner = [item for arg in get_args(hint) if (item := element(arg)) is not None]
        return None if not inner else inner[0] if len(inner) == 1 else Union[tuple(inner)]  # noqa: UP007
    origin, args = get_origin(hint), [arg for arg in get_args(hint) if arg is not ...]
    if origin is None or origin is Literal or origin is Callable:
        return Any if hint in (list, dict, tuple, set) else None
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return args[-1] if args else Any
    return args[0] if len(args) == 1 else Union[tuple(args)] if args else Any  # noqa: UP007


# Allow-list

PREFIXES = ("models.", "losses.", "datamodules.", "tasks.callbacks.", "torch.nn.", "torch.optim.")
CLASSES = frozenset(
    {
        "pytorch_lightning.cli.ReduceLROnPlateau",
        "pytorch_lightning.loggers.CSVLogger",
        "pytorch_lightning.loggers.TensorBoardLogger",
        "tasks.alignment.options.AlignmentOptions",
        "tasks.alignment.PairObjective",
        "tasks.alignment.SalienceObjective",
        "tasks.generation.options.GenerationOptions",
        "tasks.generation.tables.Survey",
        "tasks.sed.options.DetectionOptions",
        "tasks.sed.RampDecay",
        "models.separation.options.SeparationOptions",
        "tasks.separation.inference.SeparationOptions",
        "tasks.tagging.options.TaggingOptions",
    }
)
"""Further classes."""

FILE_NAMES = ("sources",)
"""Settings whose strings become file names."""
LABELS = ("tags", "classes", "labels")
"""Settings whose strings are printed and written into tables, but not used as paths, such as `rock/pop`."""

PLAIN = (str, int, float, bool, complex, bytes, type(None), torch.Tensor, torch.Size, torch.dtype, torch.device)
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_WORD = re.compile(r"[\w-]*", re.ASCII)
_trust: ContextVar[bool] = ContextVar("trust", default=False)


class Untrusted(ValueError):
    """A value that the allow-list refuses; the message has no file name yet (`refusing` adds it)."""


@contextmanager
def trusting(trust: bool = True) -> Iterator[None]:
    """Context in which checkpoints may name any class (`--trust true`); file names and plain values are still checked."""
    token = _trust.set(trust)
    try:
        yield
    finally:
        _trust.reset(token)


def trusts() -> bool:
    """True inside `trusting`: checkpoints may name any class."""
    return _trust.get()


@contextmanager
def refusing(path: Path | str) -> Iterator[None]:
    """Context that turns `Untrusted` into a DataError with the name of the file."""
    try:
        yield
    except Untrusted as error:
        sentence = " ".join(str(error).split())[:400].encode("ascii", "backslashreplace").decode()  # it quotes untrusted text
        raise DataError(f"{path} was refused: {sentence}") from error
    except RecursionError as error:
        raise DataError(f"{path} was refused: its settings are nested too deeply") from error


def check_content(content: Mapping[str, Any]) -> None:
    """Check plain values, names, class paths and legacy keys of a checkpoint, but not the types of arguments.

    Args:
        content: result of `torch.load(weights_only=True)`

    Raises:
        Untrusted: a value is refused.
    """
    for key in ("hparams", "module_arguments", "hparams_type"):
        if key in content:
            raise Untrusted(f"unexpected key '{key}': `fit` does not write it, but Lightning would read settings from it")
    for key in ("hparams_name", "datamodule_hparams_name"):
        if content.get(key, "kwargs") != "kwargs":
            raise Untrusted(f"'{key}' must be 'kwargs'")
    _check_plain(content, "")
    check_names(content.get("hyper_parameters", {}))
    check_names(content.get("datamodule_hyper_parameters", {}))
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        if not isinstance(settings := content.get(key, {}), dict):
            raise Untrusted(f"'{key}' must be a mapping of settings")
        if not all(isinstance(name, str) for name in settings):
            raise Untrusted(f"'{key}' must be a mapping of settings with names of type str")
        if settings.get(INSTANTIATOR, INSTANTIATORS[0]) not in INSTANTIATORS:
            raise Untrusted(f"'{key}' names the instantiator {settings[INSTANTIATOR]!r}, expected {INSTANTIATORS[0]}")
    check_settings(content.get("hyper_parameters", {}), None, "model")
    stamp = content.get("quintet", {})
    if not isinstance(stamp, dict) or not is_plain_name(stamp.get("row", "default")):
        raise Untrusted("the row in its stamp is not a plain file name")
    if type(stamp.get("seed", 0)) is not int:
        raise Untrusted("the seed in its stamp is not a whole number")


def _check_plain(value: Any, label: str) -> None:
    """Refuse anything but plain values, tensors and containers of them."""
    if type(value) in (list, tuple, set):
        for item in value:
            _check_plain(item, label)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_plain(key, label)
            _check_plain(item, f"{label}.{key}" if label else str(key))
    elif not isinstance(value, PLAIN):
        raise Untrusted(f"{label} holds a {type(value).__name__} ({value!r:.60}), expected plain data")


def check_names(settings: Any) -> None:
    """Refuse names of sources that are not plain file names, and labels with control characters, at any depth.

    Raises:
        Untrusted: a name is refused.
    """
    for key, value in _items(settings):
        names = list(value) if isinstance(value, (list, tuple, dict)) else []
        for name in names:
            if key in FILE_NAMES and not is_plain_name(name):
                raise Untrusted(
                    f"{key} holds {name!r:.80}, which is not a plain file name (results are written under these names)"
                )
            if key in LABELS and not (isinstance(name, str) and is_plain_text(name)):
                raise Untrusted(f"{key} holds {name!r:.80}, expected text without control characters")
        check_names(value)


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return [("", item) for item in value] if isinstance(value, (list, tuple)) else []


def check_settings(settings: Mapping[str, Any], cls: type | None, label: str) -> None:
    """Compare settings with the annotations of a constructor; only allowed classes are imported.

    Args:
        settings: arguments by name, from a config or a checkpoint
        cls: class of the arguments; None: only class paths are checked
        label: name of the settings in messages

    Raises:
        Untrusted: a class path is outside the allow-list, is no class or one of another type than annotated, or a string stands
            in place of a class.
    """
    hints = arguments_of(cls) if cls else {}
    for name, value in settings.items():
        if name == CLASS_PATH:
            trusted_class(value, f"{label}.{name}")
        elif not str(name).startswith("_"):
            check_value(value, hints.get(name), f"{label}.{name}", cls is not None)


def check_value(value: Any, hint: Any, label: str, typed: bool = True) -> None:
    """Compare one value with an annotation (see `check_settings`).

    Args:
        value: value of a config or checkpoint
        hint: annotation; None without one
        label: name of the value in messages
        typed: False: only class paths are checked
    """
    if trusts():
        return
    if isinstance(value, str):
        _refuse_large(value, label)
        if typed and not _harmless(value, hint):
            raise Untrusted(f"{label}: expected a class with its arguments, got the text {value!r:.80}")
    elif isinstance(value, Mapping) and ("class_path" in value or "init_args" in value):
        expected = accepted_classes(hint)
        cls = trusted_class(value["class_path"], label) if "class_path" in value else next(iter(expected), None)
        if "class_path" in value and expected and not issubclass(cls, expected):
            kinds = " or ".join(kind.__name__ for kind in expected)
            raise Untrusted(f"{label}: expected a {kinds}, got {value['class_path']}")
        for part in ("init_args", "dict_kwargs"):
            if not isinstance(arguments := value.get(part) or {}, Mapping):
                raise Untrusted(f"{label}.{part} must be a mapping of arguments")
            check_settings(arguments, cls if typed else None, label)
    elif isinstance(value, Mapping):
        expected = accepted_classes(hint)
        hints = arguments_of(expected[0]) if expected else {}
        for key, item in value.items():
            check_value(item, hints.get(key) if expected else element(hint), f"{label}.{key}", typed)
    elif isinstance(value, Sequence | set) and not isinstance(value, bytes):
        for item in value:
            check_value(item, element(hint), label, typed)
    elif not isinstance(value, int | float | complex | None):
        raise Untrusted(f"{label} holds a {type(value).__name__}, expected plain data")


def _harmless(value: str, hint: Any) -> bool:
    """True if a string with annotation `hint` cannot name a class."""
    if free_text(hint):
        return True
    if hint is not None and not expects_class(hint):
        return not _as_settings(value)
    return _WORD.fullmatch(value) is not None and not names_file(value)


def _refuse_large(value: str, label: str) -> None:
    """Refuse a text that expands without bound when it is parsed as YAML."""
    if any(sign in value for sign in "[{&*"):
        try:
            check_yaml(value)
        except TooLarge as error:
            raise Untrusted(f"{label} cannot be read: {error}") from error
        except YAMLError:
            return


def _as_settings(value: str) -> bool:
    """True if the parser would read a text as settings: YAML of a mapping or list with a class path."""
    try:
        content = load_yaml(value)
    except YAMLError:
        return False
    try:
        check_value(content, Any, "", typed=False)
    except Untrusted:
        return True
    return False


def trusted_class(path: Any, label: str) -> type:
    """Import a class if its path is in the allow-list.

    Raises:
        Untrusted: the path is outside the allow-list, or its object is no class of that package.
    """
    if not isinstance(path, str) or not _DOTTED.fullmatch(path):
        raise Untrusted(f"{label} names {path!r:.80}, expected the import path of a class")
    prefix = next((prefix for prefix in PREFIXES if path.startswith(prefix)), None)
    if prefix is None and path not in CLASSES:
        raise Untrusted(
            f"{label} names {path[:80]}, which is not a class of this suite or of torch and may run any code: "
            "add --trust true if you trust its author"
        )
    top = path.split(".")[0]
    cls = _lookup(path) if _lies_in(top, _file_of_package(top)) else None
    if not isinstance(cls, type):
        raise Untrusted(f"{label} names {path[:80]}, which is not a class of the installed {top}")
    if not f"{cls.__module__}.".startswith(prefix or f"{top}.") or not _lies_in(top, _file_of(cls)):
        raise Untrusted(f"{label} names {path[:80]}, whose class {cls.__module__}.{cls.__qualname__} lies outside {top}")
    return cls


def _lookup(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _file_of_package(top: str) -> str | None:
    """File of a top-level package, without importing it."""
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec else None


def _file_of(cls: type) -> str | None:
    return getattr(sys.modules.get(cls.__module__), "__file__", None)


def _lies_in(top: str, file: str | None) -> bool:
    """True if a source file is in the suite's package `top`, or in the installed library of that name."""
    if not file:
        return False
    suite = Path(__file__).resolve().parents[2]
    ours = top in ("models", "losses", "datamodules", "tasks")
    home = suite / top if ours else Path(sys.modules[top].__file__).resolve().parent
    return Path(file).resolve().is_relative_to(home)
