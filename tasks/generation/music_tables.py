"""The music of many runs beside each other: what is measured of it does not depend on how a system reads pieces."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.comparison import Group
from tasks.comparison_tables import Section
from tasks.generation.systems import HUMAN, OURS, music_rows, rule_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    from tasks.figures.generation_compared import novelty_figure, overlap_figure, rules_figure

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
