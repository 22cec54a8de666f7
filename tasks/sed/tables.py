"""The tables that a scored split leaves, on disk and on screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from datamodules.sed.events import to_tsv
from tasks.metrics.events import collar, counts
from tasks.metrics.events import counts as segment
from tasks.reporting.tables import write_csv
from tasks.sed import paper
from tasks.sed.metrics import HEADLINE, SedRows, Tuning, decided, summary
from tasks.writers.output_files import write_text


def all_scores(detector: LightningModule, thorough: bool) -> dict[str, float]:
    """Scores by the fixed decision, by the tuned one (`tuned_`), and of the teacher (`teacher_`)."""
    fixed, tuned = detector.decision("fixed"), detector.decision("tuned")
    kinds = {"tuned_": (detector.found[detector.evaluate], tuned)}
    if "teacher" in detector.found:
        kinds["teacher_"] = detector.found["teacher"], fixed
    scores = summary(detector.found["student"], fixed, thorough)
    for prefix, (found, decision) in kinds.items():
        more = summary(found, decision, thorough)
        scores |= {f"{prefix}{name}": value for name, value in more.items() if not name.startswith("n_")}
    return {name: float(value) for name, value in scores.items()}


def about(trainer: Trainer, split: str) -> dict[str, str]:
    """What the numbers were measured on and by."""
    data = trainer.datamodule
    return {"name": data.name, "subset": data.subset, "split": split, "policy": paper.PROTOCOL.policy}


def write(per_class_path: Path, events_path: Path, detector: LightningModule, told: Mapping[str, str]) -> None:
    """Scores per class by both decisions, and the events that the tuned one finds as a table of the task's own format."""
    found = detector.found[detector.evaluate]
    rows = [{"decision": name, **row} for name in ("fixed", "tuned") for row in per_class(found, detector.decision(name))]
    write_csv(per_class_path, rows, {"data" if key == "name" else key: value for key, value in told.items()})
    _, events = decided(found, detector.decision("tuned"))
    write_text(events_path, to_tsv(found.corpus.names, found.corpus.classes, events))


def per_class(found: SedRows, how: Tuning) -> list[dict[str, Any]]:
    """A row for each class: how often it is there and was said, its F1 by clip, segment and event, and how that was decided."""
    corpus, classes = found.corpus, len(found.corpus.classes)
    by_clip = counts.count(found.probabilities, corpus.tags(), how.clip)
    segments, events = decided(found, how)
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
            "clip_threshold": float(how.clip[k]),
            "segment_threshold": float(how.segment.thresholds[k]),
            "segment_filter": int(how.segment.filters[k]),
            "segment_masked": how.segment_masked,
            "event_threshold": float(how.event.thresholds[k]),
            "event_filter": int(how.event.filters[k]),
            "event_masked": how.event_masked,
        }
        for k, name in enumerate(corpus.classes)
    ]


def lines(detector: LightningModule, scores: Mapping[str, float], others: Sequence[Mapping]) -> list[str]:
    """Lines to print: F1 of student and teacher, of what was tuned, and of the baselines, in %."""
    named = [("student, threshold 0.5, 7 frames", ""), (f"{detector.evaluate}, tuned on validation", "tuned_")]
    if "teacher" in detector.found:
        named.insert(1, ("teacher, threshold 0.5, 7 frames", "teacher_"))
    rows = [(name, [scores[prefix + key] for key in HEADLINE]) for name, prefix in named]
    rows += [(row["name"], [row[key] for key in HEADLINE]) for row in others]
    width = max(len(name) for name, _ in rows)
    shown = [f"{'F1 in %':{width}}  {'clip':>7}  {'segment':>7}  {'event':>7}   (micro, micro, macro)"]
    return shown + [f"{name:{width}}" + "".join(f"  {100 * value:7.2f}" for value in values) for name, values in rows]
