"""Import published weights of Open-Unmix or asteroid's X-UMX into a run folder that `test`, `predict` and `export` can load.

python -m tasks.separation.import_weights openunmix vocals=vocals.pth drums=drums.pth bass=bass.pth other=other.pth --name umxhq
python -m tasks.separation.import_weights asteroid pytorch_model.bin --name xumx
python -m tasks.separation predict --ckpt_path runs/separation/xumx --data.inputs song.mp3

umx, umxhq, umxse (MIT) and umxl (CC BY-NC-SA 4.0): Stöter et al. 2019; X-UMX: Sawata et al. 2021, by way of asteroid.
"""

import argparse
from pathlib import Path
from typing import Any

from datamodules.common.errors import DataError
from tasks.cli.imported import refuse_existing, write_imported
from tasks.cli.launch import run_safely


def main(argv: list[str] | None = None) -> None:
    """Import one model; exit code 2 on an error."""
    parser = argparse.ArgumentParser(prog="python -m tasks.separation.import_weights", description=__doc__.splitlines()[0])
    parser.add_argument("program", choices=["openunmix", "asteroid"], help="source of the weights")
    parser.add_argument("weights", nargs="+", help="openunmix: SOURCE=FILE for each source; asteroid: one file")
    parser.add_argument("--name", help="name of the run folder (default: the program)")
    parser.add_argument("--sample_rate", type=int, help="Hz, if not 44100 (umxse: 16000)")
    parser.add_argument("--hop", type=int, help="samples, if not a quarter of the FFT size (umxse: 512)")
    parser.add_argument("--runs", default="runs", help="parent folder of all run folders")
    args = parser.parse_args(argv)
    run_safely(lambda: _write(args, Path(args.runs) / "separation" / (args.name or args.program)))


def _write(args: argparse.Namespace, folder: Path) -> None:
    from losses import MultiDomainLoss
    from models.separation import UMX
    from models.separation.coverage import covers_by_name, remark
    from models.separation.importers import from_asteroid, from_openunmix
    from tasks.cli.parsing import quiet
    from tasks.separation.module import SeparationModule

    quiet()
    path = refuse_existing(folder)
    facts = {"sample_rate": args.sample_rate, "hop": args.hop}
    try:
        if args.program == "openunmix":
            weights = from_openunmix(_per_source(args.weights), **facts)
        elif len(args.weights) > 1:
            raise ValueError("asteroid: expected one file with all sources")
        else:
            weights = from_asteroid(_load(args.weights[0]), **facts)
    except ValueError as error:
        raise DataError(str(error)) from error
    covers = covers_by_name(weights.sources)
    separator = SeparationModule(
        weights.sources, lambda n: UMX(n, **weights.init_args), MultiDomainLoss(True, True), covers_mixture=covers
    )
    separator.net.load_state_dict(weights.state_dict)
    net = {"class_path": "models.separation.UMX", "init_args": weights.init_args}
    loss = {"class_path": "losses.MultiDomainLoss", "init_args": {"multi_domain": True, "combination": True}}
    arguments = {"sources": weights.sources, "net": net, "loss": loss, "covers_mixture": covers}
    write_imported(path, "separation", separator, arguments)
    print(f"{', '.join(weights.sources)}, {sum(p.numel() for p in separator.net.parameters()):,} parameters: {folder}")
    if not covers:
        print(remark(weights.sources))


def _per_source(arguments: list[str]) -> dict[str, Any]:
    pairs = [word.partition("=") for word in arguments]
    if not all(source and equals and file for source, equals, file in pairs):
        raise ValueError("openunmix: expected SOURCE=FILE for each source, such as vocals=vocals.pth")
    return {source: _load(file) for source, _, file in pairs}


def _load(path: str) -> Any:
    """Load tensors and plain values of a file."""
    from models.blocks.plain_weights import load_plain

    try:
        return load_plain(Path(path).expanduser())
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: download the weights first") from error
    except ValueError as error:
        raise DataError(str(error)) from error


if __name__ == "__main__":
    main()
