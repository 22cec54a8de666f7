"""What `test` and `validate` leave of a tagger: metrics.json, the per-tag table, baselines, and the gallery of maps."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer

from tasks import results
from tasks.metrics.tagging import ClipScores, per_tag_table
from tasks.report import Report
from tasks.tables import write_csv
from tasks.tagging.examples import log_examples
from tasks.writers.whole import write_figure


class TaggingReport(Report):
    """Write and print the scores of a split, each number with its data set, subset, split and policy.

    Args:
        gallery: `test` also draws the paper's Figures 6 to 12 with this network and data (needs attention)
        baselines: `test` also scores cheap baselines on the same clips (needs to read the training clips once)
        resamples: bootstrap draws of the confidence intervals in the per-tag table
        examples: validation clips that W&B or TensorBoard gets after each validation (audio, tags, attention)
    """

    def __init__(self, gallery: bool = True, baselines: bool = False, resamples: int = 500, examples: int = 4) -> None:
        self.gallery, self.baselines, self.resamples, self.examples = gallery, baselines, resamples, examples

    def report(self, trainer: Trainer, tagger: LightningModule, split: str) -> None:
        """The tables, the scores, the pictures, and on screen what they say."""
        scores = tagger.scores.scores()  # gathers: every rank takes part
        metrics = tagger.scores.compute()
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        data, per_tag = trainer.datamodule, results.place(trainer, "per_tag.csv", split)
        rows = per_tag_table(scores, tagger.tags, self.resamples, data.seed)
        about = {"name": data.name, "subset": data.subset, "split": split, "policy": data.policy}
        everywhere = {"data" if key == "name" else key: value for key, value in about.items()}
        write_csv(per_tag, rows, everywhere)
        by_tag = {row["tag"]: results.number(row["auroc"]) for row in rows}
        head_dim = getattr(getattr(tagger.net, "back_end", None), "head_dim", None)
        written = results.write_metrics(trainer, tagger, about, metrics, per_tag=by_tag, head_dim=head_dim)
        _picture(results.place(trainer, "figures/per_tag.png", split), rows, about)
        table = [("this network", metrics["auroc_macro"], metrics["ap_macro"])]
        if split == "test" and self.baselines:
            table += _baselines(trainer, tagger)
        _print(table, about, int(metrics["n_clips"]), per_tag, written)
        if split == "test" and self.gallery and getattr(tagger.net, "explains", False):
            _gallery(trainer, tagger, scores, per_tag.parent / "figures")

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sound, tags and attention of validation clips."""
        log_examples(trainer, pl_module, self.examples)



def _picture(path: Path, rows: list[dict], about: dict) -> None:
    from tasks.figures.tagging import per_tag_bars

    write_figure(path, per_tag_bars(rows, title=", ".join(map(str, about.values()))))


def _baselines(trainer: Trainer, tagger: LightningModule) -> list[tuple[str, float, float]]:
    from tasks.tagging.baselines import score_baselines

    return [(row["name"], row["auroc_macro"], row["ap_macro"]) for row in score_baselines(trainer.datamodule, tagger.net)]


def _gallery(trainer: Trainer, tagger: LightningModule, scores: ClipScores, folder: Path) -> None:
    from tasks.tagging.gallery import draw_gallery

    count = draw_gallery(tagger, trainer.datamodule.clips("test"), scores, folder)
    print(f"heat maps    {folder} ({count} pictures)", flush=True)


def _print(table: list[tuple[str, float, float]], about: dict, clips: int, per_tag: Path, written: Path) -> None:
    where = f"{results.heading(about, f'{clips} clips')}, policy {about['policy']}"
    width = max(len(name) for name, *_ in table)
    lines = [f"\n{where}", f"{'':{width}}  AUROC   AP (macro over tags)"]
    lines += [f"{name:{width}}  {auroc:.4f}  {ap:.4f}" for name, auroc, ap in table]
    lines += ["", f"per tag      {per_tag}", f"scores       {written}"]
    print("\n".join(lines), flush=True)
