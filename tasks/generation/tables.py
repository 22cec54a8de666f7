"""Tables of music generation: measures of the music of runs, and Table 8.4 of the survey from the configs. Imports no torch."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.cli.configs import CONFIGS
from tasks.generation.figures_compared import novelty_figure, overlap_figure, rules_figure
from tasks.reporting.comparison import Group
from tasks.reporting.comparison_tables import Section
from tasks.reporting.tables import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Measures of music

OURS = "this system"
HUMAN = "test pieces"
RULES = ("parallels", "hidden_fifths", "hidden_octaves", "crossings", "overlaps", "out_of_range", "wide_spacing", "leading_tones")


def rule_rows(rules: Mapping[str, Mapping[str, Sequence[float | None]]]) -> list[dict[str, Any]]:
    """Voice-leading errors per 100 chord changes of systems that generate four voices; rates with intervals."""
    return [
        {"errors per 100 changes": name} | {rule.replace("_", " "): text(rates[rule][0], 2) for rule in RULES}
        for name, rates in rules.items()
        if rates
    ]


def music_rows(plain: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Originality, similarity to the corpus and density of each system, from the plain values of a report."""
    rows = []
    for name in plain["originality"]:
        copied, overlap, density = plain["originality"][name], plain["overlap"].get(name, {}), plain["density"].get(name, {})
        areas = [value[0] for value in overlap.values() if value[0] is not None]
        rows.append(
            {
                "music": name,
                "copied run median": text(copied["copied_median"], 0),
                "95 %": text(copied["copied_p95"], 0) + (" !" if copied.get("flagged") else ""),
                "longest": text(copied["copied_max"], 0),
                "new 4-grams": text(copied["novelty"][3][0] if len(copied["novelty"]) > 3 else None, 2),
                "overlap with training": text(sum(areas) / len(areas) if areas else None, 2),
                "empty frames": text((density.get("empty_rate") or [None])[0], 3),
                "repeated bars": text((density.get("repeated_bars") or [None])[0], 2),
                "notes per bar": text((density.get("notes_per_bar") or [None])[0], 1),
            }
        )
    return rows


def text(value: float | None, digits: int = 3) -> str:
    """Number in a table; a dash for None and NaN."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def by_corpus(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Corpus -> groups whose music was measured."""
    corpora: dict[str, list[Group]] = {}
    for runs in groups:
        if runs.results[0].content.get("music") and runs.data.get("split") == "test":
            corpora.setdefault(f"{runs.data['name']}, {runs.data['subset']}", []).append(runs)
    return corpora


def joint_measures(members: Sequence[Group]) -> dict[str, dict[str, Any]]:
    """Kind of measure -> system -> values: each system (first seed), the baselines, and last the test pieces."""
    measures: dict[str, dict[str, Any]] = {kind: {} for kind in ("rules", "originality", "overlap", "density")}
    for runs in members:
        music = runs.results[0].content["music"]
        for kind, systems in measures.items():
            systems[runs.name] = music[kind][OURS]
            for other in set(music[kind]) - {OURS, HUMAN}:
                systems.setdefault(other, music[kind][other])
    for kind, systems in measures.items():
        # Rules of the test pieces come from a system with four voices: the view of a piano roll has other voices.
        contents = [runs.results[0].content["music"][kind] for runs in members]
        systems[HUMAN] = next((content[HUMAN] for content in contents if content[OURS]), {})
    return measures


def music(groups: Sequence[Group]) -> Iterator[Section]:
    """Two tables per corpus: voice-leading errors; copies, similarity and density."""
    for number, (corpus, members) in enumerate(by_corpus(groups).items(), 1):
        measures = joint_measures(members)
        rules = {name: rates for name, rates in measures["rules"].items() if rates}
        if rules:
            records = [{"system": name} | {rule: rate[0] for rule, rate in rates.items()} for name, rates in rules.items()]
            title = f"Voice-leading errors per 100 chord changes, trained on {corpus}"
            yield Section(f"rules_{number}", title, rule_rows(rules), records)
        copied = [{"system": name} | _flat(measures, name) for name in measures["originality"]]
        yield Section(f"music_{number}", f"Copies, similarity and density, trained on {corpus}", music_rows(measures), copied)


def music_figures(groups: Sequence[Group]) -> Iterator[tuple[str, "Figure"]]:
    """File name and figure of rules, overlap and novelty, per corpus."""
    for number, members in enumerate(by_corpus(groups).values(), 1):
        measures = joint_measures(members)
        rules = {name: _numbers(rates) for name, rates in measures["rules"].items() if rates}
        if len(rules) > 1:
            yield f"rules_{number}.png", rules_figure(rules, HUMAN)
        overlaps = {name: _numbers(areas) for name, areas in measures["overlap"].items()}
        yield f"overlap_{number}.png", overlap_figure(overlaps, HUMAN)
        originality = measures["originality"].items()
        novelty = {name: list(_numbers(dict(enumerate(copies["novelty"]))).values()) for name, copies in originality}
        yield f"novelty_{number}.png", novelty_figure(novelty, HUMAN)


def _flat(measures: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    copied = {key: value for key, value in measures["originality"][name].items() if key != "novelty"}
    overlap = {f"overlap_{key}": value[0] for key, value in measures["overlap"][name].items()}
    return copied | overlap | {key: value[0] for key, value in measures["density"][name].items()}


def _numbers(estimates: Mapping[Any, Sequence[float | None]]) -> dict[Any, tuple[float, ...]]:
    """Estimates of a report with None (JSON) as NaN."""
    return {key: tuple(math.nan if value is None else value for value in values) for key, values in estimates.items()}


# Table 8.4 of the survey

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
"""Abbreviation of a column -> meaning."""


@dataclass
class Survey:
    """Row of Table 8.4 (Briot, Hadjeres, Pachet 2017) in a config.

    Args:
        system: name in the survey; other systems have no marks
        architecture: marked architecture columns, in the table's order
        strategy: marked strategy columns
        note: differences between slides, survey and this implementation
    """

    system: str = ""
    architecture: list[str] = field(default_factory=list)
    strategy: list[str] = field(default_factory=list)
    note: str = ""

    def __post_init__(self) -> None:
        for marks, columns in ((self.architecture, ARCHITECTURES), (self.strategy, STRATEGIES)):
            if unknown := [mark for mark in marks if mark not in columns]:
                raise ValueError(f"--model.survey: unknown column {', '.join(unknown)}; choose from {', '.join(columns)}")


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
"""Systems of the survey without a config -> existing parts for them."""


class SurveyRow(NamedTuple):
    """Marks of a system, and its configs."""

    architecture: tuple[str, ...]
    strategy: tuple[str, ...]
    configs: tuple[str, ...]


def read(folder: Path = CONFIGS / "generation") -> dict[str, SurveyRow]:
    """Systems of the configs, in alphabetical order.

    Raises:
        ValueError: two configs of a system have different marks.
    """
    import yaml

    rows: dict[str, SurveyRow] = {}
    for path in sorted(folder.glob("*.yaml")):
        survey: dict[str, Any] = ((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("model") or {}).get("survey") or {}
        if not survey.get("system"):
            continue
        row = SurveyRow(tuple(survey.get("architecture", ())), tuple(survey.get("strategy", ())), (path.stem,))
        previous = rows.get(survey["system"])
        if previous and previous[:2] != row[:2]:
            raise ValueError(f"{path} gives {survey['system']} other marks than {previous.configs[0]}.yaml")
        rows[survey["system"]] = row._replace(configs=(*previous.configs, path.stem)) if previous else row
    return dict(sorted(rows.items(), key=lambda item: item[0].lower()))


def table(rows: dict[str, SurveyRow]) -> str:
    """Table as Markdown: architecture left, strategy right, as in the survey; then systems without a config."""
    lines = [
        {"system": system}
        | {mark: "x" if mark in row.architecture else "" for mark in ARCHITECTURES}
        | {f"{mark} ": "x" if mark in row.strategy else "" for mark in STRATEGIES}
        | {"config": ", ".join(row.configs)}
        for system, row in rows.items()
        if row.architecture
    ]
    beyond = ", ".join(system for system, row in rows.items() if not row.architecture)
    later = "\n".join(f"- {system}: {part}" for system, part in LATER.items() if system not in rows)
    legend = "\n".join(
        f"{side}: {', '.join(f'{mark} {meaning}' for mark, meaning in marks.items())}."
        for side, marks in (("Architecture, left", ARCHITECTURES), ("strategy, right", STRATEGIES))
    )
    return f"{markdown(lines)}\n\n{legend}\n\nBeyond the survey: {beyond}.\n\nNot yet, and what is there for them:\n{later}\n"
