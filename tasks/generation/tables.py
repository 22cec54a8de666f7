"""The music of many runs beside each other: what is measured of it does not depend on how a system reads pieces."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.cli.configs import CONFIGS
from tasks.reporting.comparison import Group
from tasks.reporting.comparison_tables import Section
from tasks.reporting.tables import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# What reports and `compare` say of systems alike: their names, and rows of what was measured of music. Imports no torch.

OURS = "this system"
HUMAN = "test pieces"
RULES = ("parallels", "hidden_fifths", "hidden_octaves", "crossings", "overlaps", "out_of_range", "wide_spacing", "leading_tones")


def rule_rows(rules: Mapping[str, Mapping[str, Sequence[float | None]]]) -> list[dict[str, Any]]:
    """Faults per 100 changes of chord, of the systems that write four voices; rates with their intervals."""
    return [
        {"faults per 100 changes": name} | {rule.replace("_", " "): text(rates[rule][0], 2) for rule in RULES}
        for name, rates in rules.items()
        if rates
    ]


def music_rows(plain: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Originality, likeness to the corpus and density of each system, of what a report has kept as plain values."""
    rows = []
    for name in plain["originality"]:
        copied, overlap, density = plain["originality"][name], plain["overlap"].get(name, {}), plain["density"].get(name, {})
        likeness = [value[0] for value in overlap.values() if value[0] is not None]
        rows.append(
            {
                "music": name,
                "copied run median": text(copied["copied_median"], 0),
                "95 %": text(copied["copied_p95"], 0) + (" !" if copied.get("flagged") else ""),
                "longest": text(copied["copied_max"], 0),
                "new 4-grams": text(copied["novelty"][3][0] if len(copied["novelty"]) > 3 else None, 2),
                "overlap with training": text(sum(likeness) / len(likeness) if likeness else None, 2),
                "empty frames": text((density.get("empty_rate") or [None])[0], 3),
                "repeated bars": text((density.get("repeated_bars") or [None])[0], 2),
                "notes per bar": text((density.get("notes_per_bar") or [None])[0], 1),
            }
        )
    return rows


def text(value: float | None, digits: int = 3) -> str:
    """A number as tables show it; a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def by_corpus(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Groups whose music was measured, under the corpus that they learned from."""
    found: dict[str, list[Group]] = {}
    for one in groups:
        if one.results[0].content.get("music") and one.data.get("split") == "test":
            found.setdefault(f"{one.data['name']}, {one.data['subset']}", []).append(one)
    return found


def together(members: Sequence[Group]) -> dict[str, dict[str, Any]]:
    """What was measured of each system's music (of its first seed), the chains', and last of the test pieces."""
    found: dict[str, dict[str, Any]] = {kind: {} for kind in ("rules", "originality", "overlap", "density")}
    for one in members:
        music = one.results[0].content["music"]
        for kind, systems in found.items():
            systems[one.name] = music[kind][OURS]
            for other in set(music[kind]) - {OURS, HUMAN}:
                systems.setdefault(other, music[kind][other])
    for kind, systems in found.items():
        # Of a system that writes four voices, where rules are: to one that writes a roll the test pieces' voices are others.
        seen = [one.results[0].content["music"][kind] for one in members]
        systems[HUMAN] = next((one[HUMAN] for one in seen if one[OURS]), {})
    return found


def music(groups: Sequence[Group]) -> Iterator[Section]:
    """Two tables for each corpus: faults of voice leading; copies, likeness and density."""
    for number, (corpus, members) in enumerate(by_corpus(groups).items(), 1):
        found = together(members)
        rules = {name: rates for name, rates in found["rules"].items() if rates}
        if rules:
            records = [{"system": name} | {rule: rate[0] for rule, rate in rates.items()} for name, rates in rules.items()]
            title = f"Faults of voice leading per 100 changes of chord, learned from {corpus}"
            yield Section(f"rules_{number}", title, rule_rows(rules), records)
        copied = [{"system": name} | _flat(found, name) for name in found["originality"]]
        yield Section(f"music_{number}", f"Copies, likeness and density, learned from {corpus}", music_rows(found), copied)


def drawn(groups: Sequence[Group]) -> Iterator[tuple[str, "Figure"]]:
    """The same as pictures, each with its file's name."""
    from tasks.generation.figures_compared import novelty_figure, overlap_figure, rules_figure

    for number, members in enumerate(by_corpus(groups).values(), 1):
        found = together(members)
        rules = {name: _numbers(rates) for name, rates in found["rules"].items() if rates}
        if len(rules) > 1:
            yield f"rules_{number}.png", rules_figure(rules, HUMAN)
        yield f"overlap_{number}.png", overlap_figure({name: _numbers(one) for name, one in found["overlap"].items()}, HUMAN)
        novelty = {name: list(_numbers(dict(enumerate(one["novelty"]))).values()) for name, one in found["originality"].items()}
        yield f"novelty_{number}.png", novelty_figure(novelty, HUMAN)


def _flat(found: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    copied = {key: value for key, value in found["originality"][name].items() if key != "novelty"}
    overlap = {f"overlap_{key}": value[0] for key, value in found["overlap"][name].items()}
    return copied | overlap | {key: value[0] for key, value in found["density"][name].items()}


def _numbers(estimates: Mapping[Any, Sequence[float | None]]) -> dict[Any, tuple[float, ...]]:
    """Estimates as a report has kept them, with NaN again where JSON knows none."""
    return {key: tuple(math.nan if value is None else value for value in values) for key, values in estimates.items()}


# Where a system stands in the survey: its row of Table 8.4, which each config carries.

ARCHITECTURES = {
    "Fd": "feed-forward",
    "RNN": "recurrent",
    "AE": "autoencoder",
    "StAE": "stacked autoencoders",
    "RBM": "Boltzmann machine",
    "VAE": "variational",
    "CnV": "convolutional",
    "CnD": "conditioning",
    "GAN": "adversarial",
    "RL": "reinforcement learning",
    "Cp": "compound",
}
STRATEGIES = {
    "sfF": "single-step feed-forward",
    "itF": "iterated feed-forward",
    "CnD": "conditioning",
    "S": "sampling",
    "iM": "input manipulation",
    "A": "adversarial",
    "RL": "reinforcement learning",
    "uS": "unit selection",
    "Cp": "compound",
}
"""Marks of the columns, and what they stand for."""


@dataclass
class Survey:
    """A row of Table 8.4 (Briot, Hadjeres, Pachet 2017).

    Args:
        system: its name there; a system that is not in the survey has empty marks
        architecture: marks of the architecture's columns, in the table's order
        strategy: marks of the strategy's columns
        note: where the slides and the survey differ, or what is ours
    """

    system: str = ""
    architecture: list[str] = field(default_factory=list)
    strategy: list[str] = field(default_factory=list)
    note: str = ""

    def __post_init__(self) -> None:
        for marks, columns in ((self.architecture, ARCHITECTURES), (self.strategy, STRATEGIES)):
            if unknown := [mark for mark in marks if mark not in columns]:
                raise ValueError(f"--model.survey: {', '.join(unknown)} is no column of Table 8.4 ({', '.join(columns)})")


# Table 8.4 of the survey, regenerated from the configs: which systems there are, by what architecture and strategy.

LATER = {
    "C-RBM": "models/generation/constraints.py holds its constraints, models/generation/rbm.py its machine",
    "C-RNN-GAN": "models/generation/generative_model.py has its base class, Adversarial",
    "deepAutoController": "models/generation/autoencoder.py on frames of a spectrum",
    "Rhythm": "datamodules/generation/views/piano_roll.py is its view",
    "RL-Tuner": "a next-step system with rewards",
    "UnitSelection": "datamodules/generation/grid.py cuts its units",
    "VRASH": "models/generation/vrae.py with its history fed back",
    "WaveNet": "models/generation/cores/tcn.py, gated, on raw audio",
}
"""Systems of the survey that have no config yet, and what is there for them."""


class SurveyRow(NamedTuple):
    """A system's marks, and the configs that carry them."""

    architecture: tuple[str, ...]
    strategy: tuple[str, ...]
    configs: tuple[str, ...]


def read(folder: Path = CONFIGS / "generation") -> dict[str, SurveyRow]:
    """Systems that configs name, in alphabetical order. Raises ValueError where two configs give one system other marks."""
    import yaml

    found: dict[str, SurveyRow] = {}
    for path in sorted(folder.glob("*.yaml")):
        survey: dict[str, Any] = ((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("model") or {}).get("survey") or {}
        if not survey.get("system"):
            continue
        row = SurveyRow(tuple(survey.get("architecture", ())), tuple(survey.get("strategy", ())), (path.stem,))
        before = found.get(survey["system"])
        if before and before[:2] != row[:2]:
            raise ValueError(f"{path} gives {survey['system']} other marks than {before.configs[0]}.yaml")
        found[survey["system"]] = row._replace(configs=(*before.configs, path.stem)) if before else row
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def table(rows: dict[str, SurveyRow]) -> str:
    """The table as Markdown: architecture left, strategy right, as in the survey; then what is not there yet."""
    lines = [
        {"system": system}
        | {mark: "x" if mark in row.architecture else "" for mark in ARCHITECTURES}
        | {f"{mark} ": "x" if mark in row.strategy else "" for mark in STRATEGIES}
        | {"config": ", ".join(row.configs)}
        for system, row in rows.items()
        if row.architecture
    ]
    beyond = ", ".join(system for system, row in rows.items() if not row.architecture)
    later = "\n".join(f"- {system}: {place}" for system, place in LATER.items() if system not in rows)
    legend = "\n".join(
        f"{side}: {', '.join(f'{mark} {meaning}' for mark, meaning in marks.items())}."
        for side, marks in (("Architecture, left", ARCHITECTURES), ("strategy, right", STRATEGIES))
    )
    return f"{markdown(lines)}\n\n{legend}\n\nBeyond the survey: {beyond}.\n\nNot yet, and what is there for them:\n{later}\n"
