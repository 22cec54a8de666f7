"""What `test` and `validate` leave of a tagger: metrics.json, the per-tag table, baselines, and the gallery of maps."""

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from tasks.metrics.tagging import ClipScores, per_tag_table
from tasks.tables import write_csv
from tasks.tagging.examples import log_examples
from tasks.writers.whole import write_json


class TaggingReport(Callback):
    """Write and print the scores of a split, each number with its data set, subset, split and policy.

    Args:
        gallery: `test` also draws the paper's Figures 6 to 12 with this network and data (needs attention)
        baselines: `test` also scores cheap baselines on the same clips (needs to read the training clips once)
        resamples: bootstrap draws of the confidence intervals in the per-tag table
        examples: validation clips that W&B or TensorBoard gets after each validation (audio, tags, attention)
    """

    def __init__(self, gallery: bool = True, baselines: bool = False, resamples: int = 500, examples: int = 4) -> None:
        self.gallery, self.baselines, self.resamples, self.examples = gallery, baselines, resamples, examples

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Everything there is to say about the test split."""
        self._report(trainer, pl_module, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same tables for the `validate` verb; during training a few fixed examples, where a logger takes them."""
        if trainer.state.fn == "validate":
            self._report(trainer, pl_module, "validation")
        elif self.examples and not trainer.sanity_checking:
            log_examples(trainer, pl_module, self.examples)

    def _report(self, trainer: Trainer, tagger: LightningModule, split: str) -> None:
        scores = tagger.scores.scores()  # gathers: every rank takes part
        metrics = tagger.scores.compute()
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        folder, data = Path(trainer.default_root_dir), trainer.datamodule
        rows = per_tag_table(scores, tagger.tags, self.resamples, data.seed)
        suffix = "" if split == "test" else f"_{split}"
        about = {"name": data.name, "subset": data.subset, "split": split, "policy": data.policy}
        everywhere = {"data" if key == "name" else key: value for key, value in about.items()}
        write_csv(folder / f"per_tag{suffix}.csv", rows, everywhere)
        write_json(folder / f"metrics{suffix}.json", _result(trainer, tagger, about, metrics, rows))
        self._picture(folder, rows, about, suffix)
        table = [("this network", metrics["auroc_macro"], metrics["ap_macro"])]
        if split == "test" and self.baselines:
            table += _baselines(trainer, tagger)
        _print(table, about, int(metrics["n_clips"]), folder, suffix)
        if split == "test" and self.gallery and getattr(tagger.net, "explains", False):
            _gallery(trainer, tagger, scores, folder / "figures")

    def _picture(self, folder: Path, rows: list[dict], about: dict, suffix: str) -> None:
        from tasks.figures.tagging import per_tag_bars

        path = folder / "figures" / f"per_tag{suffix}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        per_tag_bars(rows, title=", ".join(map(str, about.values()))).savefig(path)


def _result(trainer: Trainer, tagger: LightningModule, about: dict, metrics: dict, rows: list[dict]) -> dict:
    return {
        "task": "tagging",
        "row": getattr(trainer, "row", "default"),
        "seed": trainer.datamodule.seed,
        "data": about,
        "metrics": {name: float(value) for name, value in metrics.items()},
        # JSON has no NaN: a tag that cannot be scored is null.
        "per_tag": {row["tag"]: row["auroc"] if row["auroc"] == row["auroc"] else None for row in rows},
        "epoch": trainer.current_epoch,
        "step": trainer.global_step,
        "parameters": sum(p.numel() for p in tagger.net.parameters() if p.requires_grad),
    }


def _baselines(trainer: Trainer, tagger: LightningModule) -> list[tuple[str, float, float]]:
    from tasks.tagging.baselines import score_baselines

    return [(row["name"], row["auroc_macro"], row["ap_macro"]) for row in score_baselines(trainer.datamodule, tagger.net)]


def _gallery(trainer: Trainer, tagger: LightningModule, scores: ClipScores, folder: Path) -> None:
    from tasks.tagging.gallery import draw_gallery

    count = draw_gallery(tagger, trainer.datamodule.clips("test"), scores, folder)
    print(f"heat maps    {folder} ({count} pictures)", flush=True)


def _print(table: list[tuple[str, float, float]], about: dict, clips: int, folder: Path, suffix: str) -> None:
    where = f"{about['name']}, subset {about['subset']}, {about['split']} split, {clips} clips, policy {about['policy']}"
    width = max(len(name) for name, *_ in table)
    lines = [f"\n{where}", f"{'':{width}}  AUROC   AP (macro over tags)"]
    lines += [f"{name:{width}}  {auroc:.4f}  {ap:.4f}" for name, auroc, ap in table]
    lines += ["", f"per tag      {folder / f'per_tag{suffix}.csv'}", f"scores       {folder / f'metrics{suffix}.json'}"]
    print("\n".join(lines), flush=True)
