"""Options of every data class: each is read, and where a setting leaves one unread it is refused by name."""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import datamodules
from datamodules.common.base import SuiteDataModule
from datamodules.common.errors import DataError
from datamodules.common.unread import defaults, refuse_unread
from datamodules.generation.user_pieces import UserPieces
from datamodules.tagging.folder import Folder
from tests.helpers.commands import command
from tests.helpers.symbolic_layouts import melody, write_midi

ROOT = Path(__file__).parents[2]
REFUSED = {"Vienna": {"split"}}
"""Options that a class takes from its base and refuses whatever their value, but for the default."""
BASES = {"SuiteDataModule", "RootedDataModule", "PackedDataModule", "UserFiles", "AlignmentDataModule", "ScoredData"}
BASES |= {"TaggingDataModule", "SeparationDataModule", "SEDDataModule"}
"""Classes that no command line can name: their subclasses read what they take."""


def data_classes() -> list[type[SuiteDataModule]]:
    """Every data class of the suite."""
    names = [module.name for module in pkgutil.walk_packages(datamodules.__path__, "datamodules.")]
    modules = map(importlib.import_module, names)
    members = {member for module in modules for member in vars(module).values() if inspect.isclass(member)}
    kinds = [kind for kind in members if issubclass(kind, SuiteDataModule) and kind.__name__ not in BASES]
    return sorted(kinds, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}")


def options(kind: type) -> list[str]:
    """What its constructor takes, as the command line offers it: through `**kwargs` up to the first base without."""
    names: list[str] = []
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
        names += [one.name for one in parameters if one.kind is not one.VAR_KEYWORD and one.name not in names]
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            return names
    return names


def functions(kind: type) -> Iterator[ast.FunctionDef]:
    """Constructors and effective methods of a class, with those of its bases that are reached by `super()`."""
    for name in dir(kind):
        for base in kind.__mro__:
            member = vars(base).get(name)
            member = getattr(member, "fget", None) or getattr(member, "func", None) or member
            if member is None or not inspect.isfunction(member) or not base.__module__.startswith("datamodules"):
                continue
            tree = ast.parse(textwrap.dedent(inspect.getsource(member))).body[0]
            yield tree
            if "super" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
                break


def unread(kind: type) -> list[str]:
    """Options of a class that none of its code reads: neither they nor the attributes that they are kept in."""
    trees = list(functions(kind))
    kept: dict[str, set[str]] = {}
    used: set[str] = set()
    for tree in trees:
        stored = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
        for node in stored if tree.name == "__init__" else []:
            pairs = zip(node.targets[0].elts, node.value.elts, strict=True) if _tuples(node) else [(node.targets[0], node.value)]
            for target, value in pairs:
                for name in _names(value):
                    kept.setdefault(name, set()).update(_attributes(target, ast.Store))
        used |= _attributes(_without_refusals(tree), ast.Load)
    return [name for name in options(kind) if not kept.get(name, set()) & used]


class _Refusals(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        refuses = isinstance(node.func, ast.Name) and node.func.id == "refuse_unread"
        return ast.Constant(None) if refuses else self.generic_visit(node)


def _without_refusals(tree: ast.AST) -> ast.AST:
    return _Refusals().visit(tree)


def _tuples(node: ast.Assign) -> bool:
    target, value = node.targets[0], node.value
    return isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts)


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _attributes(tree: ast.AST, context: type) -> set[str]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, context))
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "self"}


@pytest.mark.parametrize("kind", data_classes(), ids=lambda kind: kind.__qualname__)
def test_every_option_of_a_data_class_is_read_or_refused(kind):
    left = set(unread(kind)) - REFUSED.get(kind.__name__, set())
    tasks = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tasks").rglob("*.py"))
    links = {"view": "notation"}
    assert not [name for name in left if not re.search(rf"datamodule\.{name}\b|links=.*\"{links.get(name, name)}\":", tasks)]


def test_the_walk_finds_an_option_that_nothing_reads():
    class Deaf(SuiteDataModule):
        def __init__(self, ear: int = 1, nose: int = 2, **kwargs) -> None:
            super().__init__(**kwargs)
            self.ear, self.nose = ear, nose

        def train_set(self):
            return self.nose

    assert options(Deaf)[:3] == ["ear", "nose", "batch_size"]
    assert unread_of_local(Deaf) == ["ear"]


def unread_of_local(kind: type) -> list[str]:
    kind.__module__ = "datamodules.local"
    return [name for name in unread(kind) if name not in options(SuiteDataModule)]


SETTINGS = [
    ("AlignmentDemo", {"split": "recording"}, "--data.split without --data.root"),
    ("Vienna", {"split": "recording"}, "--data.split since --data.test_piece"),
    ("MAPS", {"worse": ["room"]}, "--data.worse without --data.extra"),
    ("PaperData", {"scores": "x"}, "--data.scores without --data.mazurka"),
    ("generation.user_pieces.UserPieces", {"voice": 1}, "--data.voice for --data.use continue, but for harmonise: leave it out."),
    ("generation.user_pieces.UserPieces", {"use": "harmonise", "bars": 4}, "--data.bars for --data.use harmonise"),
    ("generation.user_pieces.UserPieces", {"use": "free", "metre": "3/4", "inputs": "x"}, "--data.metre for --data.use free of"),
]


def test_a_free_piece_in_the_frame_of_a_file_takes_no_other():
    data = UserPieces(use="free", bars=4, metre="3/4")
    data.set_files([])
    with pytest.raises(DataError, match=r"does not read --data\.bars and --data\.metre for --data\.use free of a file"):
        data.set_files(["song.mid"])


DEMOS = [
    ("TaggingDemo", {"pieces": {"reel": 1}}, "--data.pieces"),
    ("SeparationDemo", {"tunes": 3}, "--data.tunes"),
    ("SoundEventDemo", {"clips": {"weak": 3}, "variants": {"train": 1}}, "--data.clips and --data.variants"),
    ("AlignmentDemo", {"pieces": {"reel": 1}}, "--data.pieces"),
]


@pytest.mark.parametrize(("name", "given", "said"), DEMOS)
def test_the_size_of_an_embedded_set_beside_a_root_is_warned_of(name, given, said, caplog):
    kind = getattr(importlib.import_module("datamodules.demo.data"), name)
    kind("somewhere")
    assert not caplog.messages
    kind("somewhere", **given)
    assert [message for message in caplog.messages if message.startswith(f"{name} does not read {said} beside --data.root")]


@pytest.mark.parametrize(("name", "given", "sentence"), SETTINGS)
def test_an_option_that_a_setting_leaves_unread_is_refused_by_name(name, given, sentence):
    module, _, kind = f"datamodules.{name}".rpartition(".")
    with pytest.raises(DataError) as refused:
        getattr(importlib.import_module(module), kind)(**given)
    assert str(refused.value).startswith(f"{kind} does not read {sentence}")


@pytest.mark.parametrize(
    ("table", "given", "unread"),
    [
        (None, {"threshold": 0.2, "file_column": "path"}, "--data.file_column and --data.threshold because "),
        ("file,tags\n{}", {"threshold": 0.2}, "--data.threshold without --data.tag_columns"),
        ("file,a,b\n{}", {"separator": ";"}, "--data.separator because no column `tags` is read"),
        ("file,tags\n{}", {"split_column": "part"}, "--data.split_column because "),
        ("file,tags,split\n{}", {"drawn_by": "name", "group_column": "tags"}, "--data.drawn_by and --data.group_column because"),
        ("file,tags\n{}", {"drawn_by": "name", "split_seed": 3}, "--data.split_seed because --data.drawn_by is name"),
    ],
)
def test_an_option_that_a_folder_of_clips_leaves_unread_is_refused_by_name(tmp_path, table, given, unread):
    names = [f"{tag}/{number}.wav" for tag in ("rock", "jazz") for number in range(3)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"sound")
    if table:
        row = {"file,tags": "{},rock", "file,a,b": "{},1,0", "file,tags,split": "{},rock,train"}[table.partition("\n")[0]]
        (tmp_path / "clips.csv").write_text(table.format("\n".join(row.format(name) for name in names)))
    with pytest.raises(DataError) as refused:
        _ = Folder(str(tmp_path), **given).index
    assert str(refused.value).startswith(f"Folder does not read {unread}")


def test_a_root_that_the_corpus_does_not_read_is_refused_with_those_that_do(tmp_path):
    tiny = ROOT / "configs" / "generation" / "tiny.yaml"
    for words in (("--config", tiny), ()):
        done = command("generation", "fit", *words, "--data.root", "/nonexistent", "--runs", tmp_path)
        assert done.code == 2 and "Traceback" not in done.err
        assert "The corpus Chorales does not read --data.root, since it brings its own music" in done.err
        assert "datamodules.generation.corpora.NAME (BoulangerLewandowski, JSB, MusicFolder, " in done.err
    assert not any(tmp_path.rglob("*.ckpt"))


def test_windows_without_a_crop_and_shares_of_given_splits_are_refused(tmp_path):
    from datamodules.generation.corpora import Chorales, MusicFolder
    from datamodules.generation.data import GenerationDataModule
    from datamodules.generation.views import VoiceGrid

    with pytest.raises(
        DataError, match=r"GenerationDataModule does not read --data.windows and --data.align without --data.crop"
    ):
        GenerationDataModule(Chorales(), VoiceGrid(), windows=True, align=4)
    for number, split in enumerate(("train", "valid", "test")):
        write_midi(tmp_path / split / "a.mid", {"tune": melody(number)})
    assert MusicFolder(str(tmp_path)).read().test
    with pytest.raises(DataError, match=r"MusicFolder does not read --data.shares where .* has folders for validation and test"):
        MusicFolder(str(tmp_path), shares=(0.2, 0.2)).read()


def test_options_at_their_defaults_are_never_refused():
    class Two:
        def __init__(self, first: int = 1, second: tuple[int, int] = (1, 2)) -> None:
            pass

    assert defaults(Two) == {"first": 1, "second": (1, 2)}
    refuse_unread(Two, {"first": 1, "second": [1, 2]}, "here")
    with pytest.raises(DataError, match=r"^Two does not read --data.first here: leave it out.$"):
        refuse_unread(Two, {"first": 2, "second": [1, 2]}, "here")
