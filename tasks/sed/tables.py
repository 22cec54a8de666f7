"""Tables of a scored split: scores per class, events, and the printed summary."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from datamodules.sed.events import to_tsv
from tasks.metrics.events import collar, counts
from tasks.metrics.events import counts as segment
from tasks.reporting.tables import write_csv
from tasks.sed import paper
from tasks.sed.metrics import HEADLINE, SedRows, Tuning, decode_events, summary
from tasks.writers.output_files import write_text


def all_scores(detector: LightningModule, thorough: bool) -> dict[str, float]:
    """Scores with the fixed decision, with the tuned one (`tuned_`), and of the teacher (`teacher_`)."""
    fixed, tuned = detector.decision("fixed"), detector.decision("tuned")
    kinds = {"tuned_": (detector.rows[detector.evaluate], tuned)}
    if "teacher" in detector.rows:
        kinds["teacher_"] = detector.rows["teacher"], fixed
    scores = summary(detector.rows["student"], fixed, thorough)
    for prefix, (rows, decision) in kinds.items():
        scored = summary(rows, decision, thorough)
        scores |= {f"{prefix}{name}": value for name, value in scored.items() if not name.startswith("n_")}
    return {name: float(value) for name, value in scores.items()}


def about(trainer: Trainer, split: str) -> dict[str, str]:
    """Protocol of the scores: data, subset, split and policy."""
    data = trainer.datamodule
    return {"name": data.name, "subset": data.subset, "split": split, "policy": paper.PROTOCOL.policy}


def write(per_class_path: Path, events_path: Path, detector: LightningModule, protocol: Mapping[str, str]) -> None:
    """Write the scores per class with both decisions, and the events of the tuned one in the DCASE format."""
    rows = detector.rows[detector.evaluate]
    table = [{"decision": name, **row} for name in ("fixed", "tuned") for row in per_class(rows, detector.decision(name))]
    write_csv(per_class_path, table, {"data" if key == "name" else key: value for key, value in protocol.items()})
    _, events = decode_events(rows, detector.decision("tuned"))
    write_text(events_path, to_tsv(rows.corpus.names, rows.corpus.classes, events))


def per_class(rows: SedRows, decision: Tuning) -> list[dict[str, Any]]:
    """One row per class: counts, clip, segment and event F1, and the decision parameters."""
    corpus, classes = rows.corpus, len(rows.corpus.classes)
    by_clip = counts.count(rows.probabilities, corpus.tags(), decision.clip)
    segments, events = decode_events(rows, decision)
    by_segment = segment.score(corpus.events, segments, classes).counts
    by_event = collar.score(corpus.events, events, classes).counts
    return [
        {
            "class": name,
            "clips": int(by_clip.reference[k]),
            "events": int(by_event.reference[k]),
            "events_predicted": int(by_event.predicted[k]),
            "clip_f1": float(by_clip.f1[k]),
            "segment_f1": float(by_segment.f1[k]),
            "event_f1": float(by_event.f1[k]),
            "event_precision": float(by_event.precision[k]),
            "event_recall": float(by_event.recall[k]),
            "clip_threshold": float(decision.clip[k]),
            "segment_threshold": float(decision.segment.thresholds[k]),
            "segment_filter": int(decision.segment.filters[k]),
            "segment_masked": decision.segment_masked,
            "event_threshold": float(decision.event.thresholds[k]),
            "event_filter": int(decision.event.filters[k]),
            "event_masked": decision.event_masked,
        }
        for k, name in enumerate(corpus.classes)
    ]


def lines(detector: LightningModule, scores: Mapping[str, float], baselines: Sequence[Mapping]) -> list[str]:
    """Lines of the summary: F1 in % of student and teacher, fixed and tuned, and of the baselines."""
    named = [("student, threshold 0.5, 7 frames", ""), (f"{detector.evaluate}, tuned on validation", "tuned_")]
    if "teacher" in detector.rows:
        named.insert(1, ("teacher, threshold 0.5, 7 frames", "teacher_"))
    rows = [(name, [scores[prefix + key] for key in HEADLINE]) for name, prefix in named]
    rows += [(row["name"], [row[key] for key in HEADLINE]) for row in baselines]
    width = max(len(name) for name, _ in rows)
    header = f"{'F1 in %':{width}}  {'clip':>7}  {'segment':>7}  {'event':>7}   (micro, micro, macro)"
    return [header] + [f"{name:{width}}" + "".join(f"  {100 * value:7.2f}" for value in values) for name, values in rows]
