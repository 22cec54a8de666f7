"""What reports and `compare` say of systems alike: their names, and rows of what was measured of music. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

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
