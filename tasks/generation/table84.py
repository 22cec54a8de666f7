"""Table 8.4 of the survey, regenerated from the configs: which systems there are, by what architecture and strategy."""

from pathlib import Path
from typing import Any, NamedTuple

from tasks.configs import CONFIGS
from tasks.generation.survey import ARCHITECTURES, STRATEGIES
from tasks.tables import markdown

LATER = {
    "C-RBM": "models/generation/constraints.py holds its constraints, models/generation/rbm.py its machine",
    "C-RNN-GAN": "models/generation/family.Adversarial is its frame",
    "deepAutoController": "models/generation/autoencoder.py on frames of a spectrum",
    "Rhythm": "datamodules/symbolic/views/drums.py is its view",
    "RL-Tuner": "a next-step system with rewards",
    "UnitSelection": "datamodules/symbolic/cutting.py cuts its units",
    "VRASH": "models/generation/vrae.py with its history fed back",
    "WaveNet": "models/generation/cores/tcn.py, gated, on raw audio",
}
"""Systems of the survey that have no config yet, and what is there for them."""


class Row(NamedTuple):
    """A system's marks, and the configs that carry them."""

    architecture: tuple[str, ...]
    strategy: tuple[str, ...]
    configs: tuple[str, ...]


def read(folder: Path = CONFIGS / "generation") -> dict[str, Row]:
    """Systems that configs name, in alphabetical order. Raises ValueError where two configs give one system other marks."""
    import yaml

    found: dict[str, Row] = {}
    for path in sorted(folder.glob("*.yaml")):
        survey: dict[str, Any] = ((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("model") or {}).get("survey") or {}
        if not survey.get("system"):
            continue
        row = Row(tuple(survey.get("architecture", ())), tuple(survey.get("strategy", ())), (path.stem,))
        before = found.get(survey["system"])
        if before and before[:2] != row[:2]:
            raise ValueError(f"{path} gives {survey['system']} other marks than {before.configs[0]}.yaml")
        found[survey["system"]] = row._replace(configs=(*before.configs, path.stem)) if before else row
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def table(rows: dict[str, Row]) -> str:
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
