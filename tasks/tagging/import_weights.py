"""Import musicnn's published weights into a run folder that `test`, `predict` and `export` can load.

pip download --no-deps musicnn==0.1.0
python -m tasks.tagging.import_weights musicnn-0.1.0-py3-none-any.whl
python -m tasks.tagging predict --ckpt_path runs/tagging/MTT_musicnn --data.inputs song.mp3

Weights (wheel, unpacked package or .npz): Pons and Serra 2019, ISC licence.
"""

import argparse
from pathlib import Path

from tasks.cli.imported import refuse_existing, write_imported
from tasks.cli.launch import run_safely


def main(argv: list[str] | None = None) -> None:
    """Import one model; exit code 2 on an error."""
    parser = argparse.ArgumentParser(prog="python -m tasks.tagging.import_weights", description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="the package's wheel, its unpacked folder, or an .npz of its variables")
    parser.add_argument("--model", default="MTT_musicnn", choices=["MTT_musicnn", "MSD_musicnn"], help="model of the package")
    parser.add_argument("--runs", default="runs", help="parent folder of all run folders")
    args = parser.parse_args(argv)
    run_safely(lambda: _write(args.weights, args.model, Path(args.runs) / "tagging" / args.model))


def _write(weights: str, model: str, folder: Path) -> None:
    from datamodules.common.errors import DataError
    from models.tagging import Musicnn
    from models.tagging.importers import load_musicnn
    from tasks.cli.parsing import quiet
    from tasks.tagging.module import TaggingModule

    quiet()
    path = refuse_existing(folder)
    try:
        state, tags, init_args = load_musicnn(weights, model)
    except (ValueError, OSError) as error:
        raise DataError(str(error)) from error
    tagger = TaggingModule(tags, lambda n_tags: Musicnn(n_tags, **init_args))
    tagger.net.load_state_dict(state)
    net = {"class_path": "models.tagging.Musicnn", "init_args": init_args}
    write_imported(path, "tagging", tagger, {"tags": list(tags), "net": net})
    print(f"{len(tags)} tags, {sum(p.numel() for p in tagger.net.parameters()):,} parameters: {folder}")


if __name__ == "__main__":
    main()
