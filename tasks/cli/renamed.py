"""Renamed parts of the suite: checkpoints, settings and options of earlier versions -> current names.

Six tables, applied to checkpoints, YAML and command lines. Names and order of parameters are kept otherwise, because optimizer
states are matched by position.
"""

import re
from collections.abc import Mapping
from typing import Any

CLASS_PATHS: dict[str, str] = {
    "datamodules.mtat.MTAT": "datamodules.MTAT",
    "datamodules.msd.MSD": "datamodules.MSD",
    "datamodules.jamendo.Jamendo": "datamodules.Jamendo",
    "datamodules.folder.Folder": "datamodules.Folder",
    "datamodules.dcase2018.DCASE2018": "datamodules.DCASE2018",
    "datamodules.desed.DESED": "datamodules.DESED",
    "datamodules.soundscapes.Soundscapes": "datamodules.Soundscapes",
    "datamodules.musdb.MUSDBHQ": "datamodules.MUSDBHQ",
    "datamodules.musdb.MUSDB18": "datamodules.MUSDB18",
    "datamodules.stem_folder.StemFolder": "datamodules.StemFolder",
    "datamodules.loops.LoopSessions": "datamodules.LoopSessions",
    "datamodules.alignment.rendered.Vienna": "datamodules.Vienna",
    "datamodules.symbolic.data.SymbolicData": "datamodules.GenerationDataModule",
    "datamodules.alignment.sets.PaperData": "datamodules.PaperData",
    "datamodules.alignment.sets.MAPS": "datamodules.MAPS",
    "datamodules.alignment.sets.SMD": "datamodules.SMD",
    "datamodules.alignment.sets.MAESTRO": "datamodules.MAESTRO",
    "datamodules.alignment.sets.ASAP": "datamodules.ASAP",
    "datamodules.alignment.sets.MazurkaBL": "datamodules.MazurkaBL",
    "datamodules.alignment.sets.Pairs": "datamodules.Pairs",
    "datamodules.demo.data.TaggingDemo": "datamodules.TaggingDemo",
    "datamodules.demo.data.SoundEventDemo": "datamodules.SoundEventDemo",
    "datamodules.demo.data.SeparationDemo": "datamodules.SeparationDemo",
    "datamodules.demo.data.AlignmentDemo": "datamodules.AlignmentDemo",
    "datamodules.demo.data.GenerationDemo": "datamodules.GenerationDemo",
    "datamodules.symbolic.corpora.Blues": "datamodules.generation.corpora.Blues",
    "datamodules.symbolic.corpora.BoulangerLewandowski": "datamodules.generation.corpora.BoulangerLewandowski",
    "datamodules.symbolic.corpora.Chorales": "datamodules.generation.corpora.Chorales",
    "datamodules.symbolic.corpora.Composers": "datamodules.generation.corpora.Composers",
    "datamodules.symbolic.corpora.FiddleTunes": "datamodules.generation.corpora.FiddleTunes",
    "datamodules.symbolic.corpora.JSB": "datamodules.generation.corpora.JSB",
    "datamodules.symbolic.corpora.MusicFolder": "datamodules.generation.corpora.MusicFolder",
    "datamodules.symbolic.corpora.Nottingham": "datamodules.generation.corpora.Nottingham",
    "datamodules.symbolic.corpora.POP909": "datamodules.generation.corpora.POP909",
    "datamodules.symbolic.views.AbcText": "datamodules.generation.views.AbcText",
    "datamodules.symbolic.views.BarImage": "datamodules.generation.views.BarImage",
    "datamodules.symbolic.views.ChordMelody": "datamodules.generation.views.ChordMelody",
    "datamodules.symbolic.views.Drums": "datamodules.generation.views.Drums",
    "datamodules.symbolic.views.NoteTuples": "datamodules.generation.views.NoteTuples",
    "datamodules.symbolic.views.PianoRoll": "datamodules.generation.views.PianoRoll",
    "datamodules.symbolic.views.Serial": "datamodules.generation.views.Serial",
    "datamodules.symbolic.views.VoiceGrid": "datamodules.generation.views.VoiceGrid",
    "models.features.LogMel": "models.blocks.LogMel",
    "models.sed.CRNN": "models.sed.DetectionCRNN",
    "models.tagging.CRNN": "models.tagging.TaggingCRNN",
    "models.alignment.front.STFT": "models.alignment.front.LogSTFT",
    "models.alignment.front.Match": "models.alignment.front.SpectralRise",
    "tasks.sed.schedule.RampDecay": "tasks.sed.RampDecay",
    "tasks.alignment.objective.PairObjective": "tasks.alignment.PairObjective",
    "tasks.alignment.objective.SalienceObjective": "tasks.alignment.SalienceObjective",
    "losses.meta_tasnet.MetaTasNetLoss": "losses.MetaTasNetLoss",
}
"""Earlier class path -> current class path."""
ARGUMENTS: dict[str, dict[str, str]] = {}
"""Current class path -> earlier name of an argument -> current name."""
DROPPED: dict[str, tuple[str, ...]] = {"tasks.alignment.module.AlignmentModule": ("inference.exact_cells",)}
"""Class path of a module -> settings that checkpoints and configs may still hold, and nothing reads."""
STATE_KEYS: dict[str, list[tuple[str, str]]] = {
    "generation": [(r"^net\.storeys\.", "net.layers."), (r"^net\.head\.heard\.", "net.head.embeddings.")],
}
"""Task -> (pattern, replacement) of earlier weight names, as in `re.sub`."""
CALLBACK_WEIGHTS = ("best_weights",)
"""Entries of callback states that contain weights by name."""
CALLBACK_STATES: dict[str, str] = {}
"""Earlier class name of a callback -> current name, the key of its state: Lightning only warns of a missing state."""
OPTIONS = {
    "tagging": {f"output.{name}": f"model.inference.{name}" for name in ("threshold", "top", "calibrated")},
    "sed": {f"output.{name}": f"model.inference.{name}" for name in ("thresholds", "window", "step")},
}
"""Task -> earlier name of an option -> current name. Each is accepted for one version after the renaming."""


def renamed_settings(value: Any) -> Any:
    """Rename class paths and the arguments of their classes in nested settings of a config or checkpoint."""
    if isinstance(value, list):
        return [renamed_settings(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    settings = {key: renamed_settings(item) for key, item in value.items()}
    for key, arguments in (("class_path", "init_args"), ("_class_path", None)):
        path = settings.get(key)
        if not isinstance(path, str):
            continue
        settings[key] = path = CLASS_PATHS.get(path, path)
        if arguments is None:
            settings = renamed_arguments(settings, path)
        elif isinstance(settings.get(arguments), dict):
            settings[arguments] = renamed_arguments(settings[arguments], path)
    return settings


def renamed_arguments(arguments: Mapping[str, Any], class_path: str) -> dict[str, Any]:
    """Rename arguments of one class; a value under the current name overrides one under the earlier name."""
    names = ARGUMENTS.get(class_path, {})
    kept = {key: value for key, value in arguments.items() if key not in names}
    for name in DROPPED.get(class_path, ()):
        section, _, entry = name.partition(".")
        if isinstance(kept.get(section), Mapping):
            kept[section] = {key: value for key, value in kept[section].items() if key != entry}
    return {names[key]: value for key, value in arguments.items() if key in names} | kept


def renamed_config(content: Any, module: str) -> Any:
    """Rename settings of a config file, whose `model` section holds the arguments of the task's module."""
    settings = renamed_settings(content)
    if isinstance(settings, dict) and isinstance(settings.get("model"), dict):
        settings["model"] = renamed_arguments(settings["model"], module)
    return settings


def renamed_word(word: str, module: str) -> str:
    """Rename a word of a command line: a class path, alone or after `--option=`, or an option of the task's module."""
    option, sign, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if option.startswith("--model."):
        name, dot, rest = option.removeprefix("--model.").partition(".")
        option = f"--model.{ARGUMENTS.get(module, {}).get(name, name)}{dot}{rest}"
    return f"{option}{sign}{CLASS_PATHS.get(value, value)}"


def renamed_checkpoint(content: Mapping[str, Any], task: str, module: str) -> dict[str, Any]:
    """Rename classes, arguments, weights and callback states in the content of a checkpoint.

    Args:
        content: content of the file
        task: name of its task
        module: class path of the task's module, which is not stored beside its arguments
    """
    renamed = dict(content)
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        if isinstance(renamed.get(key), dict):
            renamed[key] = renamed_settings(renamed[key])
    if isinstance(renamed.get("hyper_parameters"), dict):
        renamed["hyper_parameters"] = renamed_arguments(renamed["hyper_parameters"], module)
    _rename_weights(renamed.get("state_dict"), task)
    if isinstance(renamed.get("callbacks"), dict):
        renamed["callbacks"] = {_renamed_callback(key): value for key, value in renamed["callbacks"].items()}
        for state in renamed["callbacks"].values():
            for name in CALLBACK_WEIGHTS:
                _rename_weights(state.get(name) if isinstance(state, dict) else None, task)
    return renamed


def _rename_weights(weights: Any, task: str) -> None:
    """Rename weights in place: Lightning's state dictionaries carry metadata, and their order is that of the parameters."""
    if isinstance(weights, dict) and task in STATE_KEYS:
        renamed = {_renamed_key(key, task): value for key, value in weights.items()}
        weights.clear()
        weights.update(renamed)


def _renamed_key(key: str, task: str) -> str:
    for pattern, replacement in STATE_KEYS[task]:
        key = re.sub(pattern, replacement, key)
    return key


def _renamed_callback(key: str) -> str:
    """State key of a callback: its class name, alone or followed by its settings in braces."""
    name, brace, settings = key.partition("{")
    return f"{CALLBACK_STATES.get(name, name)}{brace}{settings}"
